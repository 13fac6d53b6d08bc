"""Frames a second of the pipeline and of the node, what the node adds, how soon it is there, and its memory.

    python tools/on_loopback.py python benchmarks/node.py [--model DIR] [--frames 2000] [--json FILE]

One run, one machine, the demo's images at 320x240, everything subscribed (scene, detections, markers):
- pipeline: `recognize` in a loop in this process, one image at a time on all cores, alone on the machine, images
  already decoded.
- start: from the start of the node's process until others see it on the graph, and until its model is loaded; beside it
  a node of rclpy that does nothing.
- rate: a camera process sends raw images at 30 Hz, the node is another process, scenes are counted in this one.
- added: one image at a time goes through the node and then through the pipeline of this process. The round trip runs
  from `publish` to the scene in the subscriber's hands, so that it holds DDS both ways and both executors; what the
  node adds is the median of the differences of such pairs, in which the pipeline runs on as many threads as the node
  gives an image. `inside` is the part between image callback and last
  message sent, by the node's own diagnostics.
- memory: resident memory of the node's process every 100 frames of a stream, and the slope of the line through all
  but the first reading, when buffers have not yet reached their size.
Needs ROS 2, as `make setup` makes it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402

from kyvo_ros.ros.children import Child  # noqa: E402
from kyvo_ros.ros.demo import keep_dds_on_this_computer  # noqa: E402
from kyvo_ros.ros.resources import resource_path  # noqa: E402

CAMERA_HZ, WARM_UP_FRAMES, MEMORY_STEP = 30.0, 5, 100
START_LIMIT_S, ANSWER_LIMIT_S, RESEND_S, STEP_LIMIT_S = 120.0, 20.0, 3.0, 120.0
BARE_NODE = "import rclpy; rclpy.init(); rclpy.spin(rclpy.create_node('bare'))"


@dataclass
class Options:
    """What is measured, and for how long."""

    model: str
    parallel: int  # images that the node computes at the same time; 0: its own choice
    threads: int  # of each; 0: the cores are shared
    seconds: float  # for each of the two rates
    pairs: int
    frames: int  # of the memory test; 0 leaves it out


class Bench:
    """This process' side: publisher, subscribers, and the node as a child."""

    def __init__(self, options: Options, log: Path) -> None:
        import rclpy
        from kyvo_msgs.msg import SceneGraph
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import qos_profile_sensor_data
        from sensor_msgs.msg import CameraInfo, Image
        from vision_msgs.msg import Detection3DArray
        from visualization_msgs.msg import MarkerArray
        rclpy.init()
        self.log, self.scenes, self.sent, self.last, self.values = log, 0, 0, None, {}
        self.node = rclpy.create_node("benchmark")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.images = self.node.create_publisher(Image, "/camera/image", qos_profile_sensor_data)
        self.infos = self.node.create_publisher(CameraInfo, "/camera/camera_info", qos_profile_sensor_data)
        self.node.create_subscription(SceneGraph, "scene", self._on_scene, 1)
        self.node.create_subscription(Detection3DArray, "detections", lambda m: None, 1)
        self.node.create_subscription(MarkerArray, "markers", lambda m: None, 1)
        self._listen_to_diagnostics()
        arguments = ["-r", "image:=/camera/image", "-r", "camera_info:=/camera/camera_info", "-p",
                     f"threads:={options.threads}", "-p", f"parallel_frames:={options.parallel}",
                     "-p", "device:=cpu"]
        if options.model:
            arguments += ["-p", f"model:={options.model}"]
        self.started = time.perf_counter()
        self.child = Child([sys.executable, "-m", "kyvo_ros.ros.node", "--ros-args", *arguments], log)

    def _listen_to_diagnostics(self) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 1)

    def _on_scene(self, message) -> None:
        self.scenes += 1
        self.last = message

    def _on_diagnostics(self, message) -> None:
        self.values = {v.key: v.value for v in message.status[0].values}

    def wait(self, condition: Callable[[], bool], limit_s: float, what: str) -> None:
        deadline = time.monotonic() + limit_s
        while not condition():
            self.executor.spin_once(timeout_sec=0.02)
            if time.monotonic() > deadline or not self.child.running():
                sys.exit(f"{what} did not come; the node's log:\n{self.log.read_text()}")

    def round_trip_s(self, message) -> float:
        """From publish to the scene of this very image; one that best effort loses is sent again."""
        deadline = time.monotonic() + ANSWER_LIMIT_S
        while time.monotonic() < deadline:
            self.sent += 1
            message.header.stamp.sec, message.header.stamp.nanosec = 2_000_000_000, self.sent
            start = time.perf_counter()
            self.images.publish(message)
            while time.perf_counter() < start + RESEND_S:
                self.executor.spin_once(timeout_sec=0.02)
                if self.last is not None and self.last.header.stamp == message.header.stamp:
                    return time.perf_counter() - start
        sys.exit(f"no scene came; the node's log:\n{self.log.read_text()}")

    def close(self) -> None:
        import rclpy
        self.child.end()
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()


def recorded_images() -> tuple[list, list[np.ndarray], object]:
    """The demo's images as raw messages and as arrays, and their CameraInfo."""
    from rclpy.serialization import deserialize_message
    from sensor_msgs.msg import CameraInfo, CompressedImage

    from kyvo_ros.ros.camera_simulator import read_recording
    from kyvo_ros.ros.conversions import image_from_compressed_msg, image_to_msg
    messages, arrays, info = [], [], None
    for recorded in read_recording(resource_path("demo/recording")):
        if recorded.topic.endswith("compressed"):
            compressed = deserialize_message(recorded.data, CompressedImage)
            arrays.append(image_from_compressed_msg(compressed))
            messages.append(image_to_msg(arrays[-1], compressed.header))
        elif recorded.topic.endswith("camera_info"):
            info = deserialize_message(recorded.data, CameraInfo)
    return messages, arrays, info


def measure_pipeline(recognize: Callable, arrays: list[np.ndarray], seconds: float) -> float:
    """Frames a second of the pipeline alone."""
    for array in arrays[:WARM_UP_FRAMES]:
        recognize(array)
    start, count = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        recognize(arrays[count % len(arrays)])
        count += 1
    return count / (time.perf_counter() - start)


def measure_start(bench: Bench) -> dict:
    """Seconds from the start of the node's process."""
    bench.wait(lambda: "kyvo_node" in bench.node.get_node_names(), START_LIMIT_S, "the node")
    on_graph_s = time.perf_counter() - bench.started
    bench.wait(lambda: bench.values.get("model", "none") != "none", START_LIMIT_S, "the model")
    loaded_s, bare_started = time.perf_counter() - bench.started, time.perf_counter()
    with Child([sys.executable, "-c", BARE_NODE], Path(os.devnull)):
        bench.wait(lambda: "bare" in bench.node.get_node_names(), START_LIMIT_S, "the bare node")
        bare_s = time.perf_counter() - bare_started
    return {"on_graph_s": on_graph_s, "bare_on_graph_s": bare_s, "loaded_s": loaded_s}


def measure_pairs(bench: Bench, recognize: Callable, messages: list, arrays: list[np.ndarray], info,
                  pairs: int) -> dict:
    """Milliseconds of an image through the node and through the pipeline, in turn."""
    bench.wait(lambda: bench.infos.get_subscription_count() > 0, START_LIMIT_S, "the node's subscription")
    node_s, direct_s = [], []
    for i in range(pairs + WARM_UP_FRAMES):
        bench.infos.publish(info)
        node_s.append(bench.round_trip_s(messages[i % len(messages)]))
        start = time.perf_counter()
        recognize(arrays[i % len(arrays)])
        direct_s.append(time.perf_counter() - start)
    node_ms, direct_ms = (1000 * np.array(s[WARM_UP_FRAMES:]) for s in (node_s, direct_s))
    bench.values.clear()
    bench.wait(lambda: bool(bench.values), ANSWER_LIMIT_S, "diagnostics")
    inside = float(bench.values["latency p50 [ms]"]) - float(bench.values["inference p50 [ms]"])
    added_ms = node_ms - direct_ms
    return {"node_ms": float(np.median(node_ms)), "pipeline_ms": float(np.median(direct_ms)),
            "added_ms": float(np.median(added_ms)), "added_p90_ms": float(np.percentile(added_ms, 90)),
            "inside_ms": inside, "pairs": pairs}


def measure_stream(bench: Bench, seconds: float, frames: int) -> dict:
    """Scenes a second while a camera process streams, and the node's memory."""
    camera = [sys.executable, "-m", "kyvo_ros.ros.camera_simulator", "--ros-args", "--log-level", "warn"]
    settings = {"bag": resource_path("demo/recording"), "loop": "true", "continuous": "true", "raw": "true",
                "frame_rate_hz": CAMERA_HZ}
    with Child([*camera, *(a for name, value in settings.items() for a in ("-p", f"{name}:={value}"))]):
        first = bench.scenes
        bench.wait(lambda: bench.scenes >= first + WARM_UP_FRAMES, START_LIMIT_S, "the stream")
        start, before = time.monotonic(), bench.scenes
        bench.wait(lambda: time.monotonic() > start + seconds, 2 * seconds + 1, "time")
        rate = (bench.scenes - before) / (time.monotonic() - start)
        memory = _watch_memory(bench, frames)
    return {"node_hz": rate, "camera_hz": CAMERA_HZ, "memory_mib": memory}


def _watch_memory(bench: Bench, frames: int) -> list[float]:
    """Resident memory of the node, MiB, at the start and after every MEMORY_STEP frames."""
    begin, samples = bench.scenes, [resident_mib(bench.child.process.pid)]
    for step in range(MEMORY_STEP, frames + 1, MEMORY_STEP):
        bench.wait(lambda: bench.scenes >= begin + step, STEP_LIMIT_S, f"frame {step} of the stream")
        samples.append(resident_mib(bench.child.process.pid))
    return samples


def memory_slope(samples_mib: list[float]) -> float:
    """MiB that 1,000 frames add, by least squares over all samples but the first."""
    later = samples_mib[1:]
    return float(np.polyfit(np.arange(len(later)), later, 1)[0]) * 1000 / MEMORY_STEP


def resident_mib(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def run(options: Options) -> dict:
    """All measurements of one run."""
    import torch

    from kyvo_ros.pipeline import KyvoPipeline
    from kyvo_ros.ros.conversions import camera_from_msg
    from kyvo_ros.machine import cores
    from kyvo_ros.scene import CameraView
    pipeline = KyvoPipeline.from_pretrained(options.model or None, device="cpu", threads=cores())
    messages, arrays, info = recorded_images()
    view = CameraView(camera_from_msg(info, *arrays[0].shape[1::-1]))

    def recognize(array: np.ndarray) -> None:
        pipeline.recognize(array, view)
    parallel = options.parallel or pipeline.images_at_once
    threads = options.threads or max(1, cores() // parallel)
    results = {"cpu": cpu_name(), "cores": cores(), "parallel_frames": parallel, "threads": threads,
               "model": pipeline.name, "image": "{1}x{0}".format(*arrays[0].shape), "load_before": os.getloadavg()[0]}
    results["pipeline_hz"] = measure_pipeline(recognize, arrays, options.seconds)
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(options, Path(scratch) / "node.log")
        try:
            torch.set_num_threads(threads)
            results |= measure_start(bench)
            results |= measure_pairs(bench, recognize, messages, arrays, info, options.pairs)
            results |= measure_stream(bench, options.seconds, options.frames)
        finally:
            bench.close()
    return results


def table(results: dict) -> str:
    """For a terminal."""
    memory = results["memory_mib"]
    lines = [
        f"{results['cpu']}, {results['cores']} cores, load {results['load_before']:.1f} before the start; model "
        f"{results['model']}, images {results['image']}",
        f"on the graph after            {results['on_graph_s']:7.1f} s (a node that does nothing: "
        f"{results['bare_on_graph_s']:.1f} s), the model loaded after {results['loaded_s']:.1f} s",
        f"pipeline alone                {results['pipeline_hz']:7.1f} frames/s",
        f"camera + node + listener      {results['node_hz']:7.1f} frames/s (camera at {results['camera_hz']:.0f} Hz, "
        f"{results['parallel_frames']} images at the same time on {results['threads']} threads each)",
        f"one image through the node    {results['node_ms']:7.1f} ms, pipeline {results['pipeline_ms']:.1f} (medians)",
        f"the node adds                 {results['added_ms']:7.1f} ms (median of {results['pairs']} pairs), "
        f"p90 {results['added_p90_ms']:.1f} ms; inside the node {results['inside_ms']:.1f} ms",
    ]
    if len(memory) > 3:
        lines.append(f"memory over {MEMORY_STEP * (len(memory) - 1):5d} frames      {memory[0]:7.1f} MiB at first, "
                     f"{memory[1]:.1f} after {MEMORY_STEP}, {memory[-1]:.1f} at last, {max(memory):.1f} at most; "
                     f"slope {memory_slope(memory):+.2f} MiB per 1000 frames")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="", help="model folder (default: the shipped one)")
    parser.add_argument("--parallel", type=int, default=0, help="images the node computes at once, 0: its own choice")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of each in the node, 0: its own choice")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each rate measurement")
    parser.add_argument("--pairs", type=int, default=60, help="images sent through node and pipeline in turn")
    parser.add_argument("--frames", type=int, default=2000, help="frames of the memory test")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    keep_dds_on_this_computer()
    results = run(Options(given.model, given.parallel, given.threads, given.seconds, given.pairs, given.frames))
    print(table(results))
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

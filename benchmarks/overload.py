"""The node under more cameras than it can serve: how old its scenes are, how fair it is, what it drops, its memory.

    python tools/on_loopback.py python benchmarks/overload.py [--cameras 10] [--hz 30] [--seconds 60] [--json FILE]
        [--model DIR] [--threads N] [--batch N]

Cameras of 320x240, all in one process, send raw images that are stamped as they are sent; the node is a process of
its own, and this one listens to every scene.
- age: from an image's stamp to its scene in the subscriber's hands, DDS both ways included, beside the time of
  inference by the node's own diagnostics. A queue would show here as an age that grows.
- scenes of each camera, which should differ little.
- every image that the node received must be published, dropped with a reason, or the one that waits.
- resident memory of the node once a second, and the slope of the line through all but the first quarter.
Needs ROS 2, as `make setup` makes it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
from node import START_LIMIT_S, cpu_name, recorded_images, resident_mib  # noqa: E402

from kyvo_ros.machine import cores  # noqa: E402
from kyvo_ros.ros.children import Child  # noqa: E402
from kyvo_ros.ros.demo import keep_dds_on_this_computer  # noqa: E402

NODE = (sys.executable, "-m", "kyvo_ros.ros.node")
#: Images of a camera that may be under way between two reports: one waits, so many a small model computes at once.
UNDER_WAY = 1 + min(2, cores())


def send(names: Sequence[str], rate_hz: float, shown_s: float = 0.0) -> None:
    """The cameras: images of the demo, stamped now, until the process is ended; each the next one or, with `shown_s`,
    all the same one for so long.
    """
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import CameraInfo, Image
    messages, _, info = recorded_images()
    rclpy.init()
    node = rclpy.create_node("cameras")
    images = {name: node.create_publisher(Image, f"{name}/image", qos_profile_sensor_data) for name in names}
    infos = {name: node.create_publisher(CameraInfo, f"{name}/camera_info", qos_profile_sensor_data) for name in names}
    due_s, number = time.monotonic(), 0
    while True:
        for name in names:
            index = int(time.monotonic() / shown_s) if shown_s else number
            message = messages[index % len(messages)]
            message.header.stamp = info.header.stamp = node.get_clock().now().to_msg()
            infos[name].publish(info)
            images[name].publish(message)
            number += 1
        due_s = max(due_s + 1.0 / rate_hz, time.monotonic())
        time.sleep(due_s - time.monotonic() if due_s > time.monotonic() else 0.0)


class Rig:
    """The node and its cameras as children, and what they say; a context manager."""

    def __init__(self, cameras: int, rate_hz: float, log: Path, parameters: Sequence[str] = (),
                 command: Sequence[str] = NODE, shown_s: float = 0.0) -> None:
        self.names = [f"camera{number}" for number in range(cameras)]
        self._rate_hz, self._log, self._command, self._shown_s = rate_hz, log, command, shown_s
        self._parameters = (f"cameras:=[{', '.join(self.names)}]", *parameters)
        self.ages_s: dict[str, list[float]] = defaultdict(list)
        self.figures: dict[str, dict[str, str]] = {}  # newest diagnostics of the node ("") and of each camera

    def __enter__(self) -> Rig:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from kyvo_msgs.msg import SceneGraph
        from rclpy.executors import SingleThreadedExecutor
        rclpy.init()
        self.node = rclpy.create_node("overload")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        for name in self.names:
            self.node.create_subscription(SceneGraph, f"{name}/scene", self._hears(name), 1)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        arguments = [word for parameter in self._parameters for word in ("-p", parameter)]
        self.child = Child([*self._command, "--ros-args", *arguments], self._log)
        sender = [sys.executable, __file__, "--send", *self.names, "--hz", str(self._rate_hz)]
        self._sender = Child([*sender, "--shown-s", str(self._shown_s)])
        return self

    def __exit__(self, *_: Any) -> None:
        import rclpy
        self._sender.end()
        self.child.end()
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()

    def spin(self, duration_s: float) -> None:
        """Listen for a time."""
        deadline_s = time.monotonic() + duration_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def wait(self, condition: Callable[[], bool], what: str, limit_s: float = START_LIMIT_S) -> None:
        deadline_s = time.monotonic() + limit_s
        while not condition():
            self.spin(0.1)
            if time.monotonic() > deadline_s or not self.child.running():
                sys.exit(f"{what} did not come; the node's log:\n{self._log.read_text()}")

    def seconds(self, camera: str, name: str) -> float:
        """A time of a camera's diagnostics, given there in milliseconds."""
        return float(self.figures[camera][f"{name} [ms]"]) / 1000

    def _hears(self, name: str) -> Callable[[Any], None]:
        def hear(message: Any) -> None:
            now, stamp = self.node.get_clock().now().nanoseconds, message.header.stamp
            self.ages_s[name].append((now - stamp.sec * 10**9 - stamp.nanosec) / 1e9)
        return hear

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            name = status.name.rpartition("kyvo_node")[2].removeprefix(": ")
            self.figures[name] = {value.key: value.value for value in status.values}


def drops(rig: Rig) -> Counter[str]:
    """Images that the node dropped, by reason, of all cameras."""
    total: Counter[str] = Counter()
    for name in rig.names:
        total.update({key.removeprefix("dropped: "): int(value) for key, value in rig.figures[name].items()
                      if key.startswith("dropped: ")})
    return total


def unaccounted(rig: Rig) -> dict[str, int]:
    """Images of each camera that were neither published nor dropped; more than UNDER_WAY were lost without a word."""
    return {name: int(f["images received"]) - int(f["frames published"]) - int(f["frames dropped"])
            for name, f in rig.figures.items() if name in rig.names}


def slope_mib(samples: Sequence[float], period_s: float) -> float:
    """MiB that an hour adds, by least squares over all samples but the first quarter."""
    later = samples[len(samples) // 4:]
    return float(np.polyfit(np.arange(len(later)) * period_s / 3600, later, 1)[0]) if len(later) > 2 else float("nan")


def measure(rig: Rig, seconds: float) -> dict[str, Any]:
    """All figures, after every camera has had its first scenes."""
    rig.wait(lambda: all(len(rig.ages_s[name]) >= 3 for name in rig.names), "scenes of every camera")
    rig.ages_s.clear()
    memory, deadline_s = [], time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        rig.spin(1.0)
        memory.append(resident_mib(rig.child.process.pid))
    ages_s = np.concatenate([rig.ages_s[name] for name in rig.names])
    counts = [len(rig.ages_s[name]) for name in rig.names]
    inference_s = [max(rig.seconds(name, f"inference {p}") for name in rig.names) for p in ("p50", "p95")]
    halves = np.array_split(np.array(rig.ages_s[rig.names[0]]), 2)
    return {
        "age_ms": {str(p): 1000 * float(np.percentile(ages_s, p)) for p in (50, 95, 100)},
        "age_by_halves_ms": [1000 * float(np.median(half)) for half in halves],
        "inference_ms": {"50": 1000 * inference_s[0], "95": 1000 * inference_s[1]},
        "scenes_hz": sum(counts) / seconds, "scenes_of_a_camera": [min(counts), max(counts)],
        "drops": dict(drops(rig)), "unaccounted": max(unaccounted(rig).values()), "memory_mib": memory,
        "memory_slope_mib_per_hour": slope_mib(memory, 1.0)}


def table(results: dict[str, Any]) -> str:
    """For a terminal."""
    age, inference, memory = results["age_ms"], results["inference_ms"], results["memory_mib"]
    dropped = ", ".join(f"{reason} {count}" for reason, count in results["drops"].items()) or "none"
    verdict = "all accounted for" if results["unaccounted"] <= UNDER_WAY else f"{results['unaccounted']} LOST"
    return "\n".join([
        f"{results['cpu']}, {results['cores']} cores, load {results['load_before']:.1f} before the start; "
        f"{results['cameras']} cameras at {results['hz']:g} Hz, batch {results['batch']}",
        f"age of a scene      {age['50']:7.0f} ms median, {age['95']:.0f} p95, {age['100']:.0f} at most",
        "  by halves         {:7.0f} ms, then {:.0f} (medians, first camera)".format(*results["age_by_halves_ms"]),
        f"inference           {inference['50']:7.0f} ms median, {inference['95']:.0f} p95 (of the slowest camera)",
        f"age over inference  {age['50'] / inference['50']:7.2f} (medians), {age['95'] / inference['95']:.2f} (p95)",
        f"scenes              {results['scenes_hz']:7.1f} a second, {results['scenes_of_a_camera'][0]} to "
        f"{results['scenes_of_a_camera'][1]} of a camera",
        f"images dropped      {dropped}; {verdict}",
        f"memory              {memory[0]:7.1f} MiB at first, {memory[-1]:.1f} at last, {max(memory):.1f} at most; "
        f"slope {results['memory_slope_mib_per_hour']:+.1f} MiB an hour"])


def add_rig_options(parser: argparse.ArgumentParser, cameras: int, hz: float) -> None:
    """How many cameras a Rig has, and which model its node runs; see `node_parameters`."""
    parser.add_argument("--cameras", type=int, default=cameras, help="how many cameras")
    parser.add_argument("--hz", type=float, default=hz, help="images a second of each")
    parser.add_argument("--model", default="", help="model folder (default: the shipped one)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the model, 0: the node's choice")


def node_parameters(given: argparse.Namespace) -> list[str]:
    """What the options of `add_rig_options` set in the node."""
    return [f"threads:={given.threads}", *([f"model:={given.model}"] if given.model else [])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_rig_options(parser, cameras=10, hz=30.0)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the measurement")
    parser.add_argument("--batch", type=int, default=1, help="the node's parameter batch")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--send", nargs="+", help=argparse.SUPPRESS)  # the cameras' process
    parser.add_argument("--shown-s", type=float, default=0.0, help=argparse.SUPPRESS)  # of the same
    given = parser.parse_args()
    keep_dds_on_this_computer()
    if given.send:
        with suppress(KeyboardInterrupt):  # which is how it is ended
            send(given.send, given.hz, given.shown_s)
        return
    parameters = [*node_parameters(given), f"batch:={given.batch}"]
    results: dict[str, Any] = {
        "cpu": cpu_name(), "cores": cores(), "load_before": os.getloadavg()[0],
        "cameras": given.cameras, "hz": given.hz, "batch": given.batch}
    with tempfile.TemporaryDirectory() as scratch:
        with Rig(given.cameras, given.hz, Path(scratch) / "log", parameters) as rig:
            results |= measure(rig, given.seconds)
    print(table(results))
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""The demo: a recording plays as a camera, the node turns it into scenes, and the scenes are compared with the truth.

Node and camera are processes of their own; everything goes over DDS, kept on this computer. Ends by itself, with a
status other than 0 where the node failed, frames are missing or a scene is not valid.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kyvo_ros.evaluation.jaccard import match_scene
from kyvo_ros.evaluation.report import RecognitionReport, evaluate_recognition
from kyvo_ros.ros.children import Child
from kyvo_ros.ros.resources import resource_path
from kyvo_ros.scene import Scene, SceneError, SceneObject

#: Topics of the recording -> names of the node.
REMAPPINGS = ("image/compressed:=/camera/image/compressed", "camera_info:=/camera/camera_info")
WORLD = "world"
_MODEL_LIMIT_S, _SCENE_LIMIT_S, _RATE_S, _CAMERA_HZ = 60.0, 20.0, 6.0, 30.0
#: How often the recording is played to see every frame, the first time at its own rate, then slower.
_PASSES, _RECORDED_HZ = 4, 2.0
_MATCH_TAU_M = 0.5


class DemoError(RuntimeError):
    """The demo cannot show what it is for; the message says what failed."""


@dataclass(frozen=True)
class Options:
    """What the demo runs; `node_command` is replaced by tests that have no model."""

    model: str = ""
    output: Path = Path("demo_output")
    node_command: Sequence[str] = (sys.executable, "-m", "kyvo_ros.ros.node")
    rate_s: float = _RATE_S  # how long the rate is measured
    shown_hz: float = 0.0  # images a second while frames are shown; 0 is the recording's rate


def keep_dds_on_this_computer() -> None:
    """Loopback transports and a domain of our own, where the caller (make demo) has not set them already."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(random.SystemRandom().randint(1, 101)))
    os.environ.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(resource_path("config/loopback_dds.xml")))


def read_truth(path: Path) -> dict[int, tuple[str, Scene]]:
    """Ground truth by stamp: the image's name and its scene in the world frame."""
    document = json.loads(path.read_text())
    return {frame["stamp_ns"]: (frame["image_filename"], Scene(
        [_true_object(item) for item in frame["objects"]], document["frame_id"], frame["stamp_ns"]))
        for frame in document["frames"]}


def _true_object(item: dict) -> SceneObject:
    words = {name: item[name] for name in ("size", "color", "material", "shape")}
    return SceneObject(words, item["position_m"], item["yaw_rad"], item["size_m"])


def run_demo(options: Options) -> RecognitionReport:
    """Play, print, compare, write. Raises DemoError."""
    from kyvo_ros.ros.demo_language import converse  # these need rclpy, whose environment must be set before
    from kyvo_ros.ros.demo_listener import DemoListener
    truth = read_truth(resource_path("demo/ground_truth.json"))
    options.output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch, DemoListener() as listener:
        log = Path(scratch) / "node.log"
        with Child([*options.node_command, "--ros-args", *_node_arguments(options)], log) as node:
            _wait(listener, node, listener.model_ready, _MODEL_LIMIT_S, "the model was not ready", log)
            print(f"the node is ready after {time.monotonic() - started:.1f} s: model {listener.model_name()}\n")
            pairs = _show_frames(listener, node, truth, log, options.shown_hz)
            converse(listener.call, listener.latest, options.output)
            rate_hz = _measure_rate(listener, options.rate_s)
            status = node.end()
        if status != 0:
            raise DemoError(f"the node ended with status {status}:\n{log.read_text()}")
        report = evaluate_recognition(pairs)
        _write(options.output, listener, truth, report, rate_hz)
    _print_summary(report, listener, rate_hz, options.output)
    return report


def _node_arguments(options: Options) -> list[str]:
    parameters = {"model": options.model, "image_transport": "compressed", "plane_frame": WORLD, "output_frame": WORLD}
    arguments = [argument for remapping in REMAPPINGS for argument in ("-r", remapping)]
    return [*arguments, *(a for name, value in parameters.items() if value for a in ("-p", f"{name}:={value}"))]


def _camera(rate_hz: float, endless: bool, listeners: int) -> Child:
    """The recording as a camera; `rate_hz` 0 is its own rate, `listeners` are waited for."""
    forever = str(endless).lower()
    settings = (f"bag:={resource_path('demo/recording')}", f"frame_rate_hz:={rate_hz:.2f}", f"loop:={forever}",
                f"continuous:={forever}", f"wait_for_subscribers:={listeners}")
    return Child([sys.executable, "-m", "kyvo_ros.ros.camera_simulator", "--ros-args", "--log-level", "warn",
                  *(argument for setting in settings for argument in ("-p", setting))])


def _wait(listener, node: Child, condition: Callable[[], bool], limit_s: float, failure: str, log: Path) -> None:
    """Spin until the condition holds. Raises DemoError where the node ends, reports an error, or time runs out."""
    deadline = time.monotonic() + limit_s
    while not condition():
        listener.spin(0.1)
        if not node.running():
            raise DemoError(f"the node ended:\n{log.read_text()}")
        if listener.model_error():
            raise DemoError(listener.model_error())
        if time.monotonic() > deadline:
            raise DemoError(f"{failure} within {limit_s:.0f} s; the node says: {listener.message()}\n{log.read_text()}")


def _show_frames(listener, node: Child, truth: dict, log: Path, rate_hz: float) -> list[tuple[Scene, Scene]]:
    """Play the recording, slower where frames were dropped, and print each frame when its scene comes."""
    printed: set[int] = set()

    def all_seen() -> bool:
        for stamp_ns in sorted(set(listener.scenes) & set(truth) - printed):
            printed.add(stamp_ns)
            name, true_scene = truth[stamp_ns]
            _print_frame(name, listener.scenes[stamp_ns], true_scene, listener.latencies_s.get(stamp_ns))
        return printed == set(truth) and set(listener.pictures) >= set(truth)

    for _ in range(_PASSES):
        with _camera(rate_hz, endless=False, listeners=2) as camera:
            _wait(listener, node, lambda: all_seen() or (not camera.running() and listener.idle_s() > 1.0),
                  10 * _SCENE_LIMIT_S, "the recording did not end", log)
        if all_seen():
            break
        rate_hz = min((rate_hz or _RECORDED_HZ) / 2, 0.5 / listener.typical_latency_s())
        print(f"(this machine is busy: {len(truth) - len(printed)} frames were dropped; again, at {rate_hz:.1f} Hz)")
    else:
        raise DemoError(f"{len(truth) - len(printed)} of {len(truth)} frames did not come back; the node says: "
                        f"{listener.message()}\n{log.read_text()}")
    if listener.invalid:
        raise DemoError(f"{len(listener.invalid)} scenes are not valid, the first: {listener.invalid[0]}")
    return [(listener.scenes[stamp_ns], truth[stamp_ns][1]) for stamp_ns in sorted(truth)]


def _print_frame(name: str, scene: Scene, truth: Scene, latency_s: float | None) -> None:
    latency = "" if latency_s is None else f", {1000 * latency_s:.0f} ms"
    print(f"{name}: {len(scene)} objects{latency}  (ground truth {len(truth)})")
    right = {i for i, _ in match_scene(scene, truth, _MATCH_TAU_M)}
    for index, item in enumerate(scene.objects):
        x, y, z = item.position_m
        mark = "+" if index in right else "-"
        print(f"  {mark} {item.label:<30} x {x:6.2f}  y {y:6.2f}  z {z:5.2f} m   {item.confidence:.2f}")


def _measure_rate(listener, duration_s: float) -> float:
    """Scenes a second while the camera is faster than the node."""
    listener.stop_pictures()
    with _camera(_CAMERA_HZ, endless=True, listeners=1):
        first = listener.count
        while listener.count < first + 2:  # the camera's start is not part of the rate
            listener.spin(0.05)
            first = min(first, listener.count)
            if listener.idle_s() > _SCENE_LIMIT_S:
                raise DemoError("no scene came while measuring the rate")
        start, before = time.monotonic(), listener.count
        while time.monotonic() < start + duration_s:
            listener.spin(0.05)
        return (listener.count - before) / (time.monotonic() - start)


def _write(output: Path, listener, truth: dict, report: RecognitionReport, rate_hz: float) -> None:
    """Annotated pictures, scenes and the report."""
    import cv2
    for stamp_ns, picture in listener.pictures.items():
        cv2.imwrite(str(output / f"{Path(truth[stamp_ns][0]).stem}.png"), picture[..., ::-1])
    scenes = [{"image_filename": truth[s][0], "stamp_ns": s, "frame_id": WORLD,
               "latency_ms": round(1000 * listener.latencies_s[s], 1) if s in listener.latencies_s else None,
               "objects": [_to_json(o) for o in listener.scenes[s].objects]} for s in sorted(truth)]
    (output / "scenes.json").write_text(json.dumps(scenes, indent=1) + "\n")
    figures = {**report.to_dict(), "frames_per_s": round(rate_hz, 2)}
    (output / "report.json").write_text(json.dumps(figures, indent=1) + "\n")


def _to_json(item: SceneObject) -> dict:
    return {"id": item.id, **item.attributes, "confidence": round(item.confidence, 4),
            "position_m": item.position_m.round(4).tolist(), "yaw_rad": item.yaw_rad,
            "size_m": None if item.size_m is None else item.size_m.round(4).tolist()}


def _print_summary(report: RecognitionReport, listener, rate_hz: float, output: Path) -> None:
    p50, p95 = np.percentile(1000 * np.array(list(listener.latencies_s.values())), [50, 95])
    print(f"\nCompared with the ground truth (+ above: attributes equal, within {_MATCH_TAU_M:g} m):\n")
    print(f"{report.table()}\n")
    print(f"Jaccard index {report.by_tau[0.5].jaccard:.3f} at 0.5 m, {report.by_tau[0.25].jaccard:.3f} at 0.25 m")
    print(f"latency {p50:.0f} ms (p95 {p95:.0f} ms) from image to scene; {rate_hz:.1f} scenes/s with the camera at "
          f"{_CAMERA_HZ:.0f} Hz (newest frame wins)")
    print(f"pictures, scenes.json and report.json are in {output}/")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="", help="model folder (default: the shipped one)")
    parser.add_argument("--output", type=Path, default=Options.output, help="folder for pictures and scenes")
    given = parser.parse_args(arguments)
    keep_dds_on_this_computer()
    try:
        run_demo(Options(given.model, given.output))
    except ImportError as error:
        print(f"demo failed: {error}; {sys.executable} needs ROS 2 and kyvo_msgs: use `make demo`, or source your ROS "
              "workspace", file=sys.stderr)
        return 1
    except (DemoError, FileNotFoundError, SceneError, TimeoutError) as error:
        print(f"demo failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The node for hours: cameras, services, parameters and hostile messages together, and whether anything grows or stops.

    python tools/on_loopback.py --limit-s 30000 python benchmarks/soak.py --hours 8 [--cameras 3] [--hz 10]
        [--model DIR] [--threads N] [--json FILE]

While cameras send, every second one thing is done in turn: a service is called, a parameter is set, a camera is
added or removed, hostile messages are published. Once a minute (ten times in a short run) a line tells the node's
resident memory, threads and open files, and the scenes since the last one. The run fails where scenes stop, a service
does not answer, an image is lost without a word, or memory grows by more than --most-mib-per-hour once the first
quarter is over. Needs ROS 2, as `make setup` makes it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test" / "ros"))

from node import resident_mib  # noqa: E402
from overload import (  # noqa: E402
    UNDER_WAY, Rig, add_rig_options, node_parameters, slope_mib, unaccounted,
)

from kyvo_ros.ros.demo import keep_dds_on_this_computer  # noqa: E402

ANSWER_LIMIT_S = 30.0
SAMPLES_OF_A_SHORT_RUN, LONGEST_SAMPLE_S = 10, 60.0
EXTRA = "visitor"


@dataclass(frozen=True)
class Sample:
    """The node at one time."""

    seconds: float
    memory_mib: float
    threads: int
    files: int
    scenes: int  # since the last sample


class Stir:
    """What is done to the node, one thing a second."""

    def __init__(self, rig: Rig) -> None:
        from hostile import Hostile
        from kyvo_msgs.srv import Ask, GetSceneGraph, Recognize
        from rcl_interfaces.srv import SetParameters
        from rclpy.qos import qos_profile_sensor_data
        from sensor_msgs.msg import CameraInfo, Image
        self._rig, self._hostile, self.answers = rig, Hostile(1), 0
        self._clients = {name: rig.node.create_client(kind, name) for name, kind in {
            "recognize": Recognize, "ask": Ask, "get_scene_graph": GetSceneGraph,
            "kyvo_node/set_parameters": SetParameters}.items()}
        self._bad = {kind: rig.node.create_publisher(kind, f"{EXTRA}/{topic}", qos_profile_sensor_data)
                     for kind, topic in ((Image, "image"), (CameraInfo, "camera_info"))}
        self._deeds = itertools.cycle(self._all())

    def once(self) -> None:
        """The next thing."""
        next(self._deeds)()

    def _all(self) -> Iterator[Callable[[], None]]:
        visited = [*self._rig.names, EXTRA]
        yield lambda: self._set("cameras", visited)
        yield self._publish_hostile
        yield lambda: self._call("recognize")
        yield lambda: self._set(f"{self._rig.names[0]}.max_rate_hz", 2.0)
        yield lambda: self._call("ask", question="how many things are there")
        yield lambda: self._set("output_frame", "support_plane")
        yield self._publish_hostile
        yield lambda: self._call("get_scene_graph")
        yield lambda: self._set("cameras", self._rig.names)
        yield lambda: self._set("output_frame", "")
        yield lambda: self._set(f"{self._rig.names[0]}.max_rate_hz", 0.0)

    def _call(self, service: str, **fields: Any) -> None:
        client = self._clients[service]
        self._rig.wait(client.service_is_ready, service, ANSWER_LIMIT_S)
        future = client.call_async(client.srv_type.Request(**fields))
        self._rig.wait(future.done, f"an answer of {service}", ANSWER_LIMIT_S)
        self.answers += 1

    def _set(self, name: str, value: Any) -> None:
        from rclpy.parameter import Parameter
        self._call("kyvo_node/set_parameters", parameters=[Parameter(name, value=value).to_parameter_msg()])

    def _publish_hostile(self) -> None:
        for kind, publisher in self._bad.items():
            for _ in range(20):
                publisher.publish(self._hostile.bytes_of(kind))


def soak(rig: Rig, seconds: float) -> tuple[list[Sample], int]:
    """Samples of the node over a time, and how many answers it gave."""
    rig.wait(lambda: all(rig.ages_s[name] for name in rig.names), "scenes of every camera")
    stir, samples, start_s = Stir(rig), [], time.monotonic()
    period_s = min(LONGEST_SAMPLE_S, seconds / SAMPLES_OF_A_SHORT_RUN)
    while (passed_s := time.monotonic() - start_s) < seconds:
        stir.once()
        rig.spin(min(1.0, period_s))
        if passed_s >= period_s * len(samples):
            samples.append(sample(rig, passed_s))
            print(samples[-1], flush=True)
    return samples, stir.answers


def sample(rig: Rig, seconds: float) -> Sample:
    """The node now."""
    process = Path(f"/proc/{rig.child.process.pid}")
    scenes = sum(len(ages) for ages in rig.ages_s.values())
    rig.ages_s.clear()
    return Sample(seconds, resident_mib(rig.child.process.pid), len(list((process / "task").iterdir())),
                  len(list((process / "fd").iterdir())), scenes)


def faults(rig: Rig, samples: list[Sample], most_mib_per_hour: float) -> list[str]:
    """What went wrong; empty where nothing did."""
    period_s = (samples[-1].seconds - samples[0].seconds) / max(len(samples) - 1, 1)
    slope = slope_mib([s.memory_mib for s in samples], period_s)
    lost = {name: count for name, count in unaccounted(rig).items() if count > UNDER_WAY}
    settled = samples[len(samples) // 4:]
    return [text for text, wrong in {
        "scenes stopped": any(s.scenes == 0 for s in samples[1:]),
        f"memory grows by {slope:.1f} MiB an hour": slope > most_mib_per_hour,
        f"images lost without a word: {lost}": bool(lost),
        "open files grow": settled[-1].files > settled[0].files + 20,
        "threads grow": settled[-1].threads > settled[0].threads + 5,
    }.items() if wrong]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_rig_options(parser, cameras=3, hz=10.0)
    parser.add_argument("--hours", type=float, default=0.05, help="length")
    parser.add_argument("--most-mib-per-hour", type=float, default=20.0, help="growth of memory that fails the run")
    parser.add_argument("--json", type=Path, help="file for the samples")
    given = parser.parse_args()
    keep_dds_on_this_computer()
    with tempfile.TemporaryDirectory() as scratch:
        with Rig(given.cameras, given.hz, Path(scratch) / "log", node_parameters(given)) as rig:
            samples, answers = soak(rig, 3600 * given.hours)
            wrong = faults(rig, samples, given.most_mib_per_hour)
    if given.json:
        given.json.write_text(json.dumps([asdict(s) for s in samples], indent=1) + "\n")
    print(f"{answers} answers; {'; '.join(wrong) or 'nothing grew, nothing stopped, no image was lost without a word'}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

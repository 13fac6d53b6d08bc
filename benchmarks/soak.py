"""The node for hours: cameras, services, parameters and hostile messages together, and whether anything grows or stops.

    python tools/on_loopback.py --limit-s 30000 python benchmarks/soak.py --hours 8 [--cameras 3] [--hz 10]
        [--model DIR] [--threads N] [--json FILE]

While cameras send, every second one thing is done in turn: a service is called, a parameter is set, a camera is
added or removed, hostile messages are published, the scene graph is saved, loaded, and made to forget. All cameras
stand in one place and look at one scene, another every ten seconds, so that the graph lives. Once a minute (ten times
in a short run) a line tells the node's resident memory, threads and open files, and the scenes since the last one. The
run fails where scenes stop, a service does not answer or refuses what it should do (or does what it should refuse), no
frame enters the scene graph, an image is lost without a word, or memory grows by more than --most-mib-per-hour once
the first quarter is over. Needs ROS 2, as `make setup` makes it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test" / "ros"))

from node import recorded_images, resident_mib  # noqa: E402
from overload import (  # noqa: E402
    UNDER_WAY, Rig, add_rig_options, node_parameters, slope_mib, unaccounted,
)

from kyvo_ros.autoencoders.canonical import CanonicalCamera  # noqa: E402
from kyvo_ros.ros.demo import keep_dds_on_this_computer  # noqa: E402

ANSWER_LIMIT_S = 30.0
SAMPLES_OF_A_SHORT_RUN, LONGEST_SAMPLE_S = 10, 60.0
EXTRA, MEMORY_FRAME, GRAPH_FILE = "visitor", "map", "rooms/soaked.json"
#: How long a scene is looked at: long enough for its objects to enter the graph.
SHOWN_S = 10.0
SETTER = "kyvo_node/set_parameters"
QUESTION = "how many things are there"


@dataclass(frozen=True)
class Sample:
    """The node at one time."""

    seconds: float
    memory_mib: float
    threads: int
    files: int
    scenes: int  # since the last sample


class Stir:
    """What is done to the node, one thing a second, and what came of it."""

    def __init__(self, rig: Rig) -> None:
        """Waits until the node knows who asks, since it drops answers to clients that it has not discovered."""
        from hostile import KINDS, Hostile
        from kyvo_msgs.srv import Ask, ForgetObject, GetSceneGraph, LoadSceneGraph, Recognize, SaveSceneGraph
        from rcl_interfaces.srv import SetParameters
        from rclpy.qos import qos_profile_sensor_data
        self._rig, self._hostile = rig, Hostile(1)
        self.answers = self.refusals = 0  # refusals are answers, too
        self.unexpected: Counter[str] = Counter()  # what a service said where it should have said something else
        self._known_ids: list[str] = []  # of objects that were in the graph
        self._clients = {name: rig.node.create_client(kind, name) for name, kind in {
            "recognize": Recognize, "ask": Ask, "get_scene_graph": GetSceneGraph, "save_scene_graph": SaveSceneGraph,
            "load_scene_graph": LoadSceneGraph, "forget_object": ForgetObject, SETTER: SetParameters}.items()}
        # Not /tf: a tree that is garbage would rightly end the graph.
        self._bad = {topic: rig.node.create_publisher(KINDS[topic], f"{EXTRA}/{topic}", qos_profile_sensor_data)
                     for topic in ("image", "camera_info", "depth")}
        self.deeds = tuple(self._all())
        self._turns = itertools.cycle(self.deeds)
        self._meet()

    def once(self) -> None:
        """The next thing."""
        next(self._turns)()

    def _all(self) -> Iterator[Callable[[], None]]:
        first, visited = self._rig.names[0], [*self._rig.names, EXTRA]
        yield lambda: self._set("cameras", visited)
        yield self._publish_hostile
        yield lambda: self.call("recognize", camera=first)
        yield lambda: self._set(f"{first}.max_rate_hz", 2.0)
        yield lambda: self.call("ask", question=QUESTION, camera=first)
        yield lambda: self._set("output_frame", "support_plane")
        yield self._publish_hostile
        yield self._look_at_graph
        yield lambda: self.call("save_scene_graph", path=GRAPH_FILE)
        yield self._forget
        yield lambda: self._set("cameras", self._rig.names)
        yield lambda: self.call("load_scene_graph", path=GRAPH_FILE)
        yield lambda: self.call("load_scene_graph", expected=False, path="rooms/nowhere.json")
        yield lambda: self.call("forget_object", expected=False, id="nobody")
        yield lambda: self._set("output_frame", "")
        yield lambda: self._set(f"{first}.max_rate_hz", 0.0)

    def call(self, service: str, expected: bool | None = True, **fields: Any) -> Any:
        """The response to a request with these fields; `expected`: whether it should succeed, None where both is right.
        """
        client = self._clients[service]
        future = client.call_async(client.srv_type.Request(**fields))
        self._rig.wait(future.done, f"an answer of {service}", ANSWER_LIMIT_S)
        response = future.result()
        why = refusal(response)
        self.answers += 1
        self.refusals += bool(why)
        if expected is not None and expected == bool(why):
            self.unexpected[f"{service}: {why or 'did what it should refuse'}"] += 1
        return response

    def _meet(self) -> None:
        last = self._clients[SETTER]  # clients are discovered in the order in which they were made
        self._rig.wait(last.service_is_ready, SETTER, ANSWER_LIMIT_S)
        asked: list[Any] = []

        def answered() -> bool:
            asked.append(last.call_async(last.srv_type.Request()))
            return any(future.done() for future in asked)
        self._rig.wait(answered, "a first answer", ANSWER_LIMIT_S)

    def _set(self, name: str, value: Any) -> None:
        from rclpy.parameter import Parameter
        self.call(SETTER, parameters=[Parameter(name, value=value).to_parameter_msg()])

    def _look_at_graph(self) -> None:
        self._known_ids = [item.id for item in self.call("get_scene_graph").scene.objects]

    def _forget(self) -> None:
        """An object that was in the graph, and may have left it."""
        if self._known_ids:
            self.call("forget_object", expected=None, id=self._known_ids[-1])

    def _publish_hostile(self) -> None:
        for topic, publisher in self._bad.items():
            for _ in range(20):
                publisher.publish(self._hostile.bytes_of(topic))


def refusal(response: Any) -> str:
    """Why a service did not do what it was asked for; empty where it did."""
    results = getattr(response, "results", None)  # of parameters, one each
    if results is not None:
        return "; ".join(result.reason or "no reason given" for result in results if not result.successful)
    return "" if response.success else response.message or "no reason given"


def graph_parameters(folder: Path) -> list[str]:
    """What the node needs to keep a scene graph, with its files below `folder`, and the visitor to listen to depth."""
    return [f"memory_frame:={MEMORY_FRAME}", f"memory_folder:={folder}", f"{EXTRA}.depth_source:=image"]


def stand(node: Any, camera_frame: str) -> None:
    """Say on /tf_static that the cameras stand where the shipped model's nominal one does; `node` keeps saying so."""
    from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from std_msgs.msg import Header
    from tf2_msgs.msg import TFMessage
    pose = CanonicalCamera().nominal_plane().plane_T_optical()
    translation, rotation = (dict(zip("xyzw", v.tolist())) for v in (pose.translation, pose.quaternion()))
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    node.create_publisher(TFMessage, "/tf_static", latched).publish(TFMessage(transforms=[TransformStamped(
        header=Header(frame_id=MEMORY_FRAME), child_frame_id=camera_frame,
        transform=Transform(translation=Vector3(**translation), rotation=Quaternion(**rotation)))]))


def soak(rig: Rig, seconds: float) -> tuple[list[Sample], Stir]:
    """Samples of the node over a time, and what was done to it."""
    rig.wait(lambda: all(rig.ages_s[name] for name in rig.names), "scenes of every camera")
    stir, samples, start_s = Stir(rig), [], time.monotonic()
    period_s = min(LONGEST_SAMPLE_S, seconds / SAMPLES_OF_A_SHORT_RUN)
    while (passed_s := time.monotonic() - start_s) < seconds:
        stir.once()
        rig.spin(min(1.0, period_s))
        if passed_s >= period_s * len(samples):
            samples.append(sample(rig, passed_s))
            print(samples[-1], flush=True)
    return samples, stir


def sample(rig: Rig, seconds: float) -> Sample:
    """The node now."""
    process = Path(f"/proc/{rig.child.process.pid}")
    scenes = sum(len(ages) for ages in rig.ages_s.values())
    rig.ages_s.clear()
    return Sample(seconds, resident_mib(rig.child.process.pid), len(list((process / "task").iterdir())),
                  len(list((process / "fd").iterdir())), scenes)


def faults(rig: Rig, samples: list[Sample], stir: Stir, most_mib_per_hour: float) -> list[str]:
    """What went wrong; empty where nothing did."""
    period_s = (samples[-1].seconds - samples[0].seconds) / max(len(samples) - 1, 1)
    slope = slope_mib([s.memory_mib for s in samples], period_s)
    lost = {name: count for name, count in unaccounted(rig).items() if count > UNDER_WAY}
    settled = samples[len(samples) // 4:]
    return [text for text, wrong in {
        "scenes stopped": any(s.scenes == 0 for s in samples[1:]),
        f"services did not do what they should: {dict(stir.unexpected)}": bool(stir.unexpected),
        "no frame entered the scene graph": rig.figures[""]["frames in the scene graph"] == "0",
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
        parameters = [*node_parameters(given), *graph_parameters(Path(scratch) / "graphs")]
        with Rig(given.cameras, given.hz, Path(scratch) / "log", parameters, shown_s=SHOWN_S) as rig:
            stand(rig.node, recorded_images()[2].header.frame_id)
            samples, stir = soak(rig, 3600 * given.hours)
            wrong = faults(rig, samples, stir, given.most_mib_per_hour)
    if given.json:
        given.json.write_text(json.dumps([asdict(s) for s in samples], indent=1) + "\n")
    print(f"{stir.answers} answers, {stir.refusals} of them refusals; "
          f"{'; '.join(wrong) or 'nothing grew, nothing stopped, no image was lost without a word'}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

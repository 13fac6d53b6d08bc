"""Thousands of hostile messages: no crash, no hang, and every image is published or counted as dropped by a reason.

All topics that the node subscribes to are fed, by messages of which most are no good ones; only these count towards the
thousands. Most go straight into the callbacks of a node in this process, some over DDS into a node in another one. A
seed that fails is the test's own name for the case: `Hostile(seed)` makes it again.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

harness = pytest.importorskip("harness", reason="needs ROS 2")

from fake_pipeline import FakePipeline  # noqa: E402
from harness import WHITE, FakeNode, Tester, calibration, image_to_msg, stamp  # noqa: E402
from hostile import KINDS, Hostile  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data  # noqa: E402
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from test_several_cameras import Eye  # noqa: E402

from kyvo_ros.autoencoders.canonical import CanonicalCamera, to_canonical  # noqa: E402
from kyvo_ros.ros.node import KyvoNode  # noqa: E402
from kyvo_ros.ros.status import DROP_REASONS, WARN  # noqa: E402

#: Messages that are no good ones, of all topics together: into the callbacks, and over DDS.
IN_PROCESS = 4800
OVER_DDS = 400
#: Every way through the node: plain; over TF into a map and a graph, with depth images; compressed with a region, over
#: a plane that is found in clouds.
SETTINGS = {
    "cameras": ["plain", "placed", "small"], "memory_frame": "map", "tf_timeout_s": 0.0, "max_tf_frames": 50,
    "max_image_megapixels": 1.0, "depth_timeout_s": 0.0, "depth_tolerance_s": 0.1,
    "placed.plane_frame": "world", "placed.output_frame": "map", "placed.depth_source": "image",
    "small.image_transport": "compressed", "small.roi": [2, 2, 8, 8], "small.camera_info_required": False,
    "small.depth_source": "points"}
#: Of each camera: topics in the order in which they are fed.
INPUTS = {"plain": ("camera_info", "image"), "placed": ("camera_info", "depth", "image"),
          "small": ("camera_info", "points", "image/compressed")}


class WarpingPipeline(FakePipeline):
    """Also looks at the image through the canonical camera, as the real one does."""

    def recognize(self, image, camera, *how):
        to_canonical(image, camera, CanonicalCamera())
        return super().recognize(image, camera, *how)


class Patient:
    """A node in this process, and its subscriptions by topic."""

    def __init__(self) -> None:
        overrides = [Parameter(name, value=value) for name, value in SETTINGS.items()]
        self.node = KyvoNode(lambda settings: WarpingPipeline(), namespace="/patient", parameter_overrides=overrides)
        self.cameras = {camera.name: camera for camera in self.node._cameras}
        self.subscriptions = {s.topic_name.removeprefix("/patient/"): s for s in self.node.subscriptions}
        self.fed: set[str] = set()  # topics
        self.with_depth: Counter[str] = Counter()  # images of each camera after which depth was in use
        self.wait(lambda: self.node._slot.pipeline is not None, "the model")

    def wait(self, condition, what: str, limit_s: float = 30.0) -> None:
        deadline = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline, f"{what} within {limit_s} s"
            time.sleep(0)

    def figures(self, camera: str) -> dict[str, str]:
        return self.cameras[camera].status.report().values

    def stage(self, camera: str, name: str) -> tuple[int, str]:
        """Level and message of a stage of a camera."""
        stages = {stage.stage: stage for stage in self.cameras[camera].status.report().stages}
        return stages[name].level, stages[name].message

    def accounted(self, camera: str) -> bool:
        """Whether every image was published or counted as dropped."""
        values = self.figures(camera)
        return int(values["images received"]) == int(values["frames published"]) + int(values["frames dropped"])

    def hear(self, topic: str, data: bytes) -> None:
        """As the executor has it: bytes for those who take them, else a message, unless they are none."""
        self.fed.add(topic)
        subscription = self.subscriptions[topic]
        try:
            message = data if subscription.raw else deserialize_message(data, subscription.msg_type)
        except (RuntimeError, ValueError):
            return
        subscription.callback(message)

    def feed(self, hostile: Hostile, camera: str) -> None:
        """A message of each kind, and until the node is done with it."""
        *others, image = INPUTS[camera]
        tf = hostile.random.choice(("tf", "tf_static"))
        self.hear(f"/{tf}", hostile.bytes_of(tf))
        for topic in others:
            if topic != "camera_info" or hostile.random.random() < 0.5:
                self.hear(f"{camera}/{topic}", hostile.bytes_of(topic))
        self.hear(f"{camera}/{image}", hostile.bytes_of(image))
        self.wait(lambda: self.cameras[camera]._slot.filled is False, "the worker")
        self.with_depth[camera] += bool(self.cameras[camera].recognizer.depth_figures())


@pytest.fixture(scope="module")
def patient(tester) -> Iterator[Patient]:
    made = Patient()
    yield made
    made.node.close()
    made.node.destroy_node()


def _threads() -> set[threading.Thread]:
    """Threads of this process but those of the worker's pool, which come when there is something to compute."""
    return {thread for thread in threading.enumerate() if not thread.name.startswith("kyvo_inference")}


def _altered(*made: Hostile) -> Counter[str]:
    """How many messages of each topic are no good ones."""
    return sum((hostile.altered for hostile in made), Counter())


def test_only_messages_that_are_no_good_ones_count(tester, monkeypatch: pytest.MonkeyPatch) -> None:
    for topic in KINDS:
        hostile = Hostile(7)
        for _ in range(100):
            hostile.bytes_of(topic)
        assert 60 < hostile.altered[topic] < 100, topic
    with monkeypatch.context() as patch:
        patch.setattr(Hostile, "_spoils", lambda self: [])
        patch.setattr(Hostile, "_chosen", lambda self, names: [])
        for topic, kind in KINDS.items():
            untouched = Hostile(7)
            deserialize_message(untouched.bytes_of(topic), kind)
            assert untouched.altered[topic] == 0


@pytest.mark.timeout(300)
def test_hostile_messages_into_the_callbacks(patient: Patient) -> None:
    rounds, threads = 0, _threads()
    before = {name: int(patient.figures(name)["images received"]) for name in patient.cameras}
    hostile = {name: Hostile(seed) for seed, name in enumerate(patient.cameras)}
    while _altered(*hostile.values()).total() < IN_PROCESS:
        for name in patient.cameras:
            patient.feed(hostile[name], name)
        rounds += 1
    assert patient.fed == set(patient.subscriptions), "all that the node subscribes to, and nothing else"
    assert min(_altered(*hostile.values())[topic] for topic in KINDS) > IN_PROCESS // 20
    for name in patient.cameras:
        patient.wait(lambda: patient.accounted(name), f"all images of {name} to be accounted for")
        assert int(patient.figures(name)["images received"]) - before[name] == rounds
    dropped = sum((Counter(c.status.drops()) for c in patient.cameras.values()), Counter())
    assert set(dropped) <= set(DROP_REASONS)
    assert dropped["inference_failed"] == 0, [patient.stage(name, "inference") for name in patient.cameras]
    expected = {"bad_message", "bad_image", "bad_camera_info", "no_transform", "bad_region"}
    assert expected <= set(dropped), f"the messages reach too little: {dropped}"
    assert patient.node._transforms.ignored > 100
    for name in ("placed", "small"):
        assert patient.stage(name, "depth")[0] == WARN, "what is wrong with depth is named, though not counted"
        assert patient.with_depth[name] > 10, "and some of it is good enough to be used"
    assert patient.node._worker.alive and _threads() <= threads
    assert all(int(patient.figures(name)["frames published"]) > 0 for name in patient.cameras)


def test_a_good_message_is_still_a_good_one(patient: Patient) -> None:
    patient.hear("plain/camera_info", serialize_message(calibration("eye")))
    published = int(patient.figures("plain")["frames published"])
    message = image_to_msg(WHITE, Header(stamp=stamp(5 * harness.S), frame_id="eye"))
    patient.hear("plain/image", serialize_message(message))
    patient.wait(lambda: int(patient.figures("plain")["frames published"]) == published + 1, "the scene")
    assert len(patient.cameras["plain"].latest.result.objects) == 3


@pytest.fixture(scope="module")
def sixth(tester) -> Iterator[Tester]:
    with Tester("/sixth") as made:
        yield made


#: Name on the network -> topic; TF is the namespace's own, so that no other node hears of these transforms.
ON_DDS = {"front/image": "image", "front/depth": "depth", "front/camera_info": "camera_info",
          "small/image/compressed": "image/compressed", "small/points": "points", "small/camera_info": "camera_info",
          "tf": "tf", "tf_static": "tf_static"}
DDS_ARGUMENTS = (
    "-r", "/tf:=tf", "-r", "/tf_static:=tf_static", "-p", "cameras:=[front, small]", "-p", "plane_frame:=world",
    "-p", "memory_frame:=map", "-p", "tf_timeout_s:=0.0", "-p", "max_image_megapixels:=1.0",
    "-p", "depth_timeout_s:=0.0", "-p", "front.depth_source:=image", "-p", "small.image_transport:=compressed",
    "-p", "small.camera_info_required:=false", "-p", "small.depth_source:=points")
TF_QOS = {"tf": QoSProfile(depth=100),
          "tf_static": QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)}


def _figures(tester: Tester, camera: str) -> dict[str, str]:
    """Newest figures of a camera; empty before they come."""
    newest = tester.heard["/diagnostics"][-1:]
    return {value.key: value.value for message in newest for status in message.status
            if status.name.endswith(f"kyvo_node: {camera}") for value in status.values}


def _accounted(tester: Tester, camera: str) -> bool:
    values = _figures(tester, camera)
    return bool(values) and (
        int(values["images received"]) == int(values["frames published"]) + int(values["frames dropped"]))


def test_hostile_messages_over_dds(sixth: Tester, tmp_path: Path) -> None:
    publishers = {name: sixth.node.create_publisher(KINDS[topic], name, TF_QOS.get(topic, qos_profile_sensor_data))
                  for name, topic in ON_DDS.items()}
    with FakeNode(sixth, tmp_path / "log", DDS_ARGUMENTS, ready=False) as node:
        sixth.wait(lambda: all(made.get_subscription_count() for made in publishers.values()), "inputs")
        sixth.wait(sixth.values, "the node to run its callbacks: what comes before is not seen")
        hostile = Hostile(99)

        def enough() -> bool:
            """Best effort loses many, more where the node gets little time: so many go on until it has dropped some."""
            for name, topic in ON_DDS.items():
                publishers[name].publish(hostile.bytes_of(topic))
            time.sleep(0.004)
            dropped = [int(_figures(sixth, camera).get("frames dropped", 0)) for camera in ("front", "small")]
            return _altered(hostile).total() >= OVER_DDS and min(dropped) >= OVER_DDS // 80
        sixth.wait(enough, "images of both cameras to be dropped")
        for made in publishers.values():
            sixth.node.destroy_publisher(made)
        assert sixth.set_parameters(plane_frame="", memory_frame="") == ""
        eye = Eye(sixth, "front")
        eye.answer()
        eye.close()
        sixth.forget()
        sixth.wait(lambda: all(_accounted(sixth, camera) for camera in ("front", "small")), "all images accounted for")
        assert "Traceback" not in node.log.read_text()
        assert node.child.end() == 0

"""Thousands of hostile messages: no crash, no hang, and every image is published or counted as dropped by a reason.

Most go straight into the callbacks of a node in this process, some over DDS into a node in another one. A seed that
fails is the test's own name for the case: `Hostile(seed)` makes it again.
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
from hostile import Hostile  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import qos_profile_sensor_data  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from kyvo_ros.autoencoders.canonical import CanonicalCamera, to_canonical  # noqa: E402
from kyvo_ros.ros.node import KyvoNode  # noqa: E402
from kyvo_ros.ros.status import DROP_REASONS  # noqa: E402

#: Of images, calibrations and transforms together, into the callbacks.
IN_PROCESS = 4800
OVER_DDS = 400
#: Every way through the node: plain, over TF into a map and a graph, compressed with a region.
SETTINGS = {
    "cameras": ["plain", "placed", "small"], "memory_frame": "map", "tf_timeout_s": 0.0, "max_tf_frames": 50,
    "max_image_megapixels": 1.0, "placed.plane_frame": "world", "placed.output_frame": "map",
    "small.image_transport": "compressed", "small.roi": [2, 2, 8, 8], "small.camera_info_required": False}


class WarpingPipeline(FakePipeline):
    """Also looks at the image through the canonical camera, as the real one does."""

    def recognize(self, image, camera, *how):
        to_canonical(image, camera, CanonicalCamera())
        return super().recognize(image, camera, *how)


class Patient:
    """A node in this process, and its callbacks by topic."""

    def __init__(self) -> None:
        overrides = [Parameter(name, value=value) for name, value in SETTINGS.items()]
        self.node = KyvoNode(lambda settings: WarpingPipeline(), namespace="/patient", parameter_overrides=overrides)
        self.cameras = {camera.name: camera for camera in self.node._cameras}
        self.callbacks = {s.topic_name.removeprefix("/patient/"): s.callback for s in self.node.subscriptions}
        self.wait(lambda: self.node._slot.pipeline is not None, "the model")

    def wait(self, condition, what: str, limit_s: float = 30.0) -> None:
        deadline = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline, f"{what} within {limit_s} s"
            time.sleep(0)

    def figures(self, camera: str) -> dict[str, str]:
        return self.cameras[camera].status.report().values

    def accounted(self, camera: str) -> bool:
        """Whether every image was published or counted as dropped."""
        values = self.figures(camera)
        return int(values["images received"]) == int(values["frames published"]) + int(values["frames dropped"])

    def feed(self, hostile: Hostile, camera: str) -> None:
        """A message of each kind, and until the node is done with it."""
        kind, topic = (CompressedImage, "small/image/compressed") if camera == "small" else (Image, f"{camera}/image")
        if hostile.random.random() < 0.5:
            self.callbacks[f"{camera}/camera_info"](hostile.bytes_of(CameraInfo))
        self.callbacks[hostile.random.choice(("/tf", "/tf_static"))](hostile.transforms())
        self.callbacks[topic](hostile.bytes_of(kind))
        self.wait(lambda: self.cameras[camera]._slot.filled is False, "the worker")


@pytest.fixture(scope="module")
def patient(tester) -> Iterator[Patient]:
    made = Patient()
    yield made
    made.node.close()
    made.node.destroy_node()


def _threads() -> int:
    """Threads of this process but those of the worker's pool, which come when there is something to compute."""
    return sum(not thread.name.startswith("kyvo_inference") for thread in threading.enumerate())


def test_hostile_messages_into_the_callbacks(patient: Patient) -> None:
    fed, threads = 0, _threads()
    before = {name: int(patient.figures(name)["images received"]) for name in patient.cameras}
    hostile = {name: Hostile(seed) for seed, name in enumerate(patient.cameras)}
    while fed < IN_PROCESS / 2.5:  # messages a round, on average
        for name in patient.cameras:
            patient.feed(hostile[name], name)
            fed += 1
    for name in patient.cameras:
        patient.wait(lambda: patient.accounted(name), f"all images of {name} to be accounted for")
        assert int(patient.figures(name)["images received"]) - before[name] == fed // 3
    dropped = sum((Counter(c.status.drops()) for c in patient.cameras.values()), Counter())
    assert set(dropped) <= set(DROP_REASONS)
    assert dropped["inference_failed"] == 0, patient.figures("plain")
    expected = {"bad_message", "bad_image", "bad_camera_info", "no_transform", "bad_region"}
    assert expected <= set(dropped), f"the messages reach too little: {dropped}"
    assert patient.node._transforms.ignored > 100
    assert patient.node._worker.alive and _threads() == threads
    assert all(int(patient.figures(name)["frames published"]) > 0 for name in patient.cameras)


def test_a_good_message_is_still_a_good_one(patient: Patient) -> None:
    patient.callbacks["plain/camera_info"](serialize_message(calibration("eye")))
    published = int(patient.figures("plain")["frames published"])
    message = image_to_msg(WHITE, Header(stamp=stamp(5 * harness.S), frame_id="eye"))
    patient.callbacks["plain/image"](serialize_message(message))
    patient.wait(lambda: int(patient.figures("plain")["frames published"]) == published + 1, "the scene")
    assert len(patient.cameras["plain"].latest.result.objects) == 3


@pytest.fixture(scope="module")
def sixth(tester) -> Iterator[Tester]:
    with Tester("/sixth") as made:
        yield made


def test_hostile_messages_over_dds(sixth: Tester, tmp_path: Path) -> None:
    arguments = ("-p", "plane_frame:=world", "-p", "memory_frame:=map", "-p", "tf_timeout_s:=0.0", "-p",
                 "max_image_megapixels:=1.0")
    publisher = {kind: sixth.node.create_publisher(kind, topic, qos_profile_sensor_data)
                 for kind, topic in ((Image, "image"), (CameraInfo, "camera_info"))}
    with FakeNode(sixth, tmp_path / "log", arguments, ready=False) as node:
        inputs = (*publisher.values(), sixth.tf)
        sixth.wait(lambda: all(made.get_subscription_count() for made in inputs), "inputs", 20.0)
        sixth.wait(sixth.values, "the node to run its callbacks: what comes before is not seen")
        hostile = Hostile(99)
        for _ in range(OVER_DDS // 4):
            publisher[CameraInfo].publish(hostile.bytes_of(CameraInfo))
            sixth.tf.publish(hostile.transforms())
            for _ in range(2):
                publisher[Image].publish(hostile.bytes_of(Image))
            time.sleep(0.002)
        assert sixth.set_parameters(plane_frame="", memory_frame="") == ""
        sixth.wait(lambda: sixth.infos.get_subscription_count(), "the node to listen")
        sixth.infos.publish(calibration("eye"))
        sixth.answer(frame_id="eye")
        sixth.forget()
        values = sixth.wait(sixth.values, "diagnostics")
        assert int(values["images received"]) == int(values["frames published"]) + int(values["frames dropped"])
        assert int(values["frames dropped"]) >= OVER_DDS // 40, "best effort loses many, not nearly all"
        assert "Traceback" not in node.log.read_text()
        assert node.child.end() == 0
    for made in publisher.values():
        sixth.node.destroy_publisher(made)

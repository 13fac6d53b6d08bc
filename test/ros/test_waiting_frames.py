"""Frames that wait for TF, of cameras that share one worker, with a fake pipeline and our own buffer; no ROS."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import fake_messages as messages
import numpy as np
import pytest
from fake_pipeline import FakePipeline

from kyvo_ros.ros.camera_infos import CameraInfoCache
from kyvo_ros.ros.frames import Frame
from kyvo_ros.ros.mailbox import Mailbox
from kyvo_ros.ros.recognition import Recognizer, infer
from kyvo_ros.ros.settings import Settings
from kyvo_ros.ros.status import Status
from kyvo_ros.ros.transforms import TransformBuffer
from kyvo_ros.ros.worker import Job, Worker
from kyvo_ros.scene import PlaneCamera

S = 10**9
POSE = PlaneCamera(4.0, 0.5).plane_T_optical()
WHITE = np.full((24, 32, 3), 255, np.uint8)


class Rig:
    """Cameras that look up their plane in `world`, and a worker that computes one frame after the other."""

    def __init__(self, tf_timeout_s: float) -> None:
        self.tf, self.pipeline, self.mailbox = TransformBuffer(), FakePipeline(latency_s=0.01), Mailbox()
        self.settings = Settings(plane_frame="world", memory_frame="map", tf_timeout_s=tf_timeout_s,
                                 camera_info_required=False)
        self.recognizers: dict[str, Recognizer] = {}
        self.slots: dict = {}
        self.seen: list[tuple[str, int]] = []  # camera and stamp
        self.failed: list[tuple[str, str]] = []
        self.tf.set("map", "world", (0.0, 0.0, 0.0, 1.0), (0.0, 0.0, 0.0), 0, static=True)
        self.worker = Worker(self.mailbox, self._handle, self._fail)
        self.worker.start()

    def add(self, name: str) -> None:
        recognizer = self.recognizers[name] = Recognizer(CameraInfoCache(), self.tf, Status())
        self.slots[name] = self.mailbox.slot(patience_s=lambda item: recognizer.patience_s(item[1], self.settings))

    def send(self, name: str, stamp_ns: int) -> None:
        image = messages.image(WHITE, header=messages.header(name, stamp_ns))
        self.slots[name].put((name, Frame(image, time.monotonic())))

    def place(self, name: str, stamp_ns: int) -> None:
        """Say by TF where a camera is."""
        self.tf.set("world", name, tuple(POSE.quaternion()), tuple(POSE.translation), stamp_ns)

    def stamps(self, name: str) -> list[int]:
        return [stamp_ns for camera, stamp_ns in self.seen if camera == name]

    def wait(self, condition: Callable[[], bool], limit_s: float) -> None:
        deadline_s = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline_s, f"not within {limit_s} s; seen {self.seen}, failed {self.failed}"
            time.sleep(0.002)

    def _handle(self, items: list[tuple[str, Frame]]) -> Job:
        (name, frame), = items
        recognizer = self.recognizers[name]
        sight = recognizer.prepare(frame, self.pipeline, self.settings)
        scene = yield lambda: infer(sight, self.pipeline)
        recognizer.finish(sight, scene, 0.01, self.pipeline)
        self.seen.append((name, frame.stamp_ns))

    def _fail(self, items: list[tuple[str, Frame]], error: Exception) -> None:
        self.failed.append((items[0][0], str(error)))


@pytest.fixture
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    made = Rig(getattr(request, "param", 5.0))
    yield made
    assert made.worker.stop(30.0)


def test_a_camera_without_tf_holds_up_no_other(rig: Rig) -> None:
    """With five seconds of patience each of its turns would cost the others as much."""
    for name in ("lost", "front", "left"):
        rig.add(name)
    start_s = time.monotonic()
    for number in range(1, 11):
        for name in ("lost", "front", "left"):
            rig.send(name, number * S)
        for name in ("front", "left"):
            rig.place(name, number * S)
        rig.wait(lambda: len(rig.stamps("front")) == len(rig.stamps("left")) == number, 4.0)
    assert time.monotonic() - start_s < 4.0
    assert rig.stamps("lost") == [] and rig.failed == []
    rig.place("lost", S)
    rig.wait(lambda: rig.stamps("lost") == [S], 15.0)


@pytest.mark.parametrize("rig", [0.2], indirect=True)
def test_a_transform_that_does_not_come_is_named_when_patience_is_over(rig: Rig) -> None:
    rig.add("lost")
    start_s = time.monotonic()
    rig.send("lost", S)
    rig.wait(lambda: bool(rig.failed), 30.0)
    assert time.monotonic() - start_s > 0.15
    assert rig.failed[0][0] == "lost" and "TF does not know frame 'lost'" in rig.failed[0][1]


def test_a_camera_whose_tf_comes_after_its_next_image_is_seen_all_the_same(rig: Rig) -> None:
    rig.add("front")
    numbers = itertools.count(1)

    def seen() -> bool:
        number = next(numbers)
        rig.send("front", number * S)
        rig.place("front", max(number - 3, 1) * S)
        time.sleep(0.01)
        return len(rig.stamps("front")) >= 5
    rig.wait(seen, 30.0)
    assert rig.stamps("front") == sorted(rig.stamps("front")) and rig.failed == []

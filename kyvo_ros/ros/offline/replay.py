"""Recorded messages through the recogniser, as the node's callbacks and worker would, but without losing a frame.

An image waits `tf_timeout_s` of the recording's time for what may come after it (TF, camera_info, depth), as it does in
the node. Time that jumps back in the recording is understood. Knows neither bags nor ROS.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from kyvo_ros.ros.camera_infos import CameraInfoCache
from kyvo_ros.ros.conversions.transforms import transforms_from_msg
from kyvo_ros.ros.depth import DepthStore
from kyvo_ros.ros.frames import Frame, FrameDropped, Pipeline, Recognition, stamp_to_ns
from kyvo_ros.ros.offline.bags import CAMERA_INFO, DEPTH, IMAGE, TF_STATIC, Heard
from kyvo_ros.ros.recognition import Recognizer
from kyvo_ros.ros.settings import Settings
from kyvo_ros.ros.status import OK, WARN
from kyvo_ros.ros.transforms import JUMP_BACK_NS, TransformBuffer
from kyvo_ros.scene import CameraView, Transform

#: How much later than its depth an image may come in a recording, beyond the tolerance of their stamps.
_DEPTH_AHEAD_NS = 1_000_000_000
_LOG = logging.getLogger(__name__)


@dataclass
class Ledger:
    """What happened to the frames; takes the place of the node's Status in the recogniser."""

    images: int = 0
    scenes: int = 0
    drops: Counter[str] = field(default_factory=Counter)  # by a reason of status.DROP_REASONS
    reasons: dict[str, str] = field(default_factory=dict)  # the first message of each reason
    remarks: dict[tuple[str, int], str] = field(default_factory=dict)  # by stage and level, the first message
    time_jumps: int = 0
    graph: dict[str, str] = field(default_factory=dict)  # figures of the scene graph; empty where none is kept

    def dropped(self, reason: str, message: str = "") -> None:
        """As Status.dropped."""
        self.drops[reason] += 1
        self.reasons.setdefault(reason, message)

    def failed(self, stage: str, level: int, message: str) -> None:
        """As Status.failed; what is worth no warning is not kept."""
        if level > OK:
            self.remarks.setdefault((stage, level), message)


class _Transforms:
    """A buffer that never waits: what the recording says in time is there already."""

    def __init__(self, settings: Settings) -> None:
        self.buffer = TransformBuffer(settings.tf_buffer_s, settings.max_tf_frames)

    def lookup(self, target: str, source: str, stamp_ns: int, timeout_s: float) -> Transform:
        return self.buffer.lookup(target, source, stamp_ns)


class Replay:
    """One recording through one pipeline; `frames` may be called once."""

    def __init__(self, pipeline: Pipeline, settings: Settings, ledger: Ledger) -> None:
        self._pipeline, self._ledger = pipeline, ledger
        self._settings = replace(settings, depth_timeout_s=0.0)  # what the recording says in time is there already
        self._infos = CameraInfoCache()
        self._transforms = _Transforms(settings)
        # Without a clock: how fast messages are read says nothing of how the camera sends them.
        self._depth = DepthStore(None, clock=lambda: 0.0)
        self._recognizer = Recognizer(self._infos, self._transforms, ledger, self._depth)
        self._waiting: deque[tuple[int, Frame]] = deque()
        self._patience_ns = int(settings.tf_timeout_s * 1e9)
        self._newest_stamp_ns = 0
        self._last_taken_ns = -float("inf")
        self._epoch = 0

    def frames(self, heard: Iterable[Heard]) -> Iterator[tuple[int, Frame, Recognition]]:
        """Time of the recording, image and result of every image that can be used."""
        for item in heard:
            yield from self._due(item.when_ns - self._patience_ns)
            if item.kind == IMAGE:
                yield from self._image(item)
            elif item.kind == CAMERA_INFO:
                self._infos.store(item.message)
            elif item.kind == DEPTH:
                self._store_depth(item.message)
            else:
                self._store_transforms(item)
        yield from self._due(float("inf"))
        if self._settings.depth_source != "none" and not self._depth.any:
            self._ledger.failed("depth", WARN, f"depth_source is {self._settings.depth_source}, but no depth has come; "
                                "name its topic with --depth")

    def locate(self, target: str, view: CameraView, camera_frame: str, stamp_ns: int, settings: Settings) -> Transform:
        """Pose of a view's support plane in a TF frame, by what has been read so far. Raises FrameDropped."""
        return self._recognizer.frame_T_plane(target, view, camera_frame, stamp_ns, settings)

    def known_frames(self) -> list[str]:
        """Names of the frames that TF has told of."""
        return self._transforms.buffer.frames()

    def _image(self, item: Heard) -> Iterator[tuple[int, Frame, Recognition]]:
        self._ledger.images += 1
        frame = Frame(item.message, item.when_ns / 1e9)
        back_ns = self._newest_stamp_ns - frame.stamp_ns if frame.stamp_ns else 0
        if back_ns > JUMP_BACK_NS:
            yield from self._due(float("inf"))  # they belong to the time before
            self._epoch += 1
            self._ledger.time_jumps += 1
            self._transforms.buffer.clear_after(frame.stamp_ns)
        self._newest_stamp_ns = frame.stamp_ns or self._newest_stamp_ns
        if item.when_ns - self._last_taken_ns < self._settings.min_period_s * 1e9 and back_ns <= JUMP_BACK_NS:
            self._ledger.dropped("rate_limit")
            return
        self._last_taken_ns = item.when_ns
        self._waiting.append((item.when_ns, Frame(item.message, frame.arrived_s, self._epoch)))

    def _store_depth(self, message: Any) -> None:
        """Keep what an image that waits, or is to come, may need."""
        self._depth.store(message)
        oldest_ns = min([stamp_to_ns(message.header.stamp), *(frame.stamp_ns for _, frame in self._waiting)])
        self._depth.forget_before(oldest_ns - int(self._settings.depth_tolerance_s * 1e9) - _DEPTH_AHEAD_NS)

    def _store_transforms(self, item: Heard) -> None:
        for sample in transforms_from_msg(item.message):
            try:
                self._transforms.buffer.set(*sample, item.kind == TF_STATIC)
            except ValueError as error:
                _LOG.warning("ignoring a transform: %s", error)

    def _due(self, until_ns: float) -> Iterator[tuple[int, Frame, Recognition]]:
        """Results of the waiting images that came before a time."""
        while self._waiting and self._waiting[0][0] <= until_ns:
            when_ns, frame = self._waiting.popleft()
            try:
                result = self._recognizer.recognize(frame, self._pipeline, self._settings)
            except FrameDropped as error:
                self._ledger.dropped(error.reason, str(error))
                continue
            except Exception as error:  # the boundary of a frame, as in the node: the next one gets its turn
                self._ledger.dropped("inference_failed", f"{type(error).__name__}: {error}")
                _LOG.exception("a frame failed")
                continue
            self._ledger.scenes += 1
            yield when_ns, frame, result

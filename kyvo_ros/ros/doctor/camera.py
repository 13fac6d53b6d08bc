"""A camera, from some of its messages: they go through the node's own recogniser, and what it objects to is said.

The model looks at the first images only; all others are decoded and placed over the plane without it. Knows no ROS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from kyvo_ros.autoencoders.canonical import CanonicalCamera
from kyvo_ros.ros.doctor.findings import Finding, what_to_type, what_to_type_again
from kyvo_ros.ros.frames import Pipeline
from kyvo_ros.ros.offline.bags import CAMERA_INFO, IMAGE, Heard, Topics
from kyvo_ros.ros.offline.replay import Ledger, Replay
from kyvo_ros.ros.settings import Settings
from kyvo_ros.ros.status import DROP_REASONS, ERROR, OK, WARN
from kyvo_ros.scene import CameraView, PinholeCamera, PlaneCamera, Scene

#: Images that the model itself looks at.
LOOKS = 3
#: Images of a long recording that are enough to judge it.
MOST_IMAGES = 500
_FRAMES_NAMED = 8


class DryPipeline:
    """Takes the place of a pipeline: it sees nothing but in the first images. `pipeline` is None where none loads."""

    name, device = "dry", "none"

    def __init__(self, pipeline: Pipeline | None, looks: int = LOOKS) -> None:
        self._pipeline, self._looks = pipeline, looks
        self._canonical = CanonicalCamera()
        self.schema = pipeline.schema if pipeline else SimpleNamespace(metres_per_unit=1.0)
        self.counts: list[int] = []  # of objects in the images that the model looked at

    def recognize(self, image: np.ndarray, camera: CameraView | None = None, *how: Any) -> Scene:
        """The scene of the first images; none of those after them."""
        if self._pipeline is None or len(self.counts) >= self._looks:
            return Scene([])
        scene = self._pipeline.recognize(image, camera, *how)
        self.counts.append(len(scene))
        return scene

    def view_of(self, image: np.ndarray, camera: PinholeCamera | None) -> CameraView:
        """As the pipeline's."""
        if self._pipeline is not None:
            return self._pipeline.view_of(image, camera)
        return CameraView(camera or self._canonical.assumed_camera(image.shape[1], image.shape[0]))

    def nominal_plane(self) -> PlaneCamera:
        """As the pipeline's."""
        return self._pipeline.nominal_plane() if self._pipeline else self._canonical.nominal_plane()


class _Watch:
    """Notes what the recogniser does not look at while messages pass."""

    def __init__(self) -> None:
        self.images = 0
        self.lenses: dict[str, set[tuple]] = {}  # by frame_id
        self.without_stamp = 0
        self.camera_frame = ""

    def passing(self, heard: Iterable[Heard]) -> Iterator[Heard]:
        """The messages up to MOST_IMAGES images."""
        for item in heard:
            if self.images == MOST_IMAGES and item.kind == IMAGE:
                return
            if item.kind == CAMERA_INFO:
                lens = (item.message.width, item.message.height, *np.round(np.asarray(item.message.k), 3).tolist())
                self.lenses.setdefault(item.message.header.frame_id, set()).add(lens)
            elif item.kind == IMAGE:
                self.images += 1
                self.camera_frame = item.message.header.frame_id
                self.without_stamp += item.message.header.stamp.sec == item.message.header.stamp.nanosec == 0
            yield item


def examine(heard: Iterable[Heard], pipeline: Pipeline | None, settings: Settings, topics: Topics,
            source: Path | None = None) -> list[Finding]:
    """What is wrong with a camera that says this, in a recording `source` or a running system; `topics` are for the
    lines to type.
    """
    dry, ledger, watch = DryPipeline(pipeline), Ledger(), _Watch()
    replay = Replay(dry, settings, ledger)
    for _ in replay.frames(watch.passing(heard)):
        pass
    def to_type(reason: str) -> str:
        if source is not None:
            return what_to_type_again(reason, source, bool(topics.image))
        return what_to_type(reason, settings, topics, watch.camera_frame or "CAMERA_FRAME")
    findings = [*_drops(ledger, to_type), *_remarks(ledger, settings, topics, watch, source is None)]
    if dry.counts and not any(dry.counts):
        findings.append(Finding(WARN, "inference", f"the model sees no object at all in the first {len(dry.counts)} "
                                "images; is the camera looking at objects that the model knows? Check its pose and the "
                                "light"))
    transforms = _transforms(replay.known_frames(), settings, watch, source)
    return [*_summary(ledger, dry, topics, source), *findings, *transforms]


def _summary(ledger: Ledger, dry: DryPipeline, topics: Topics, source: Path | None) -> Iterator[Finding]:
    """Where all images were dropped, the drops say it."""
    if not ledger.images:
        running = source is None and topics.image
        yield Finding(ERROR, "image", "there is no image", f"ros2 topic hz {topics.image}" if running else "")
    if not ledger.scenes:
        return
    seen = f"; the first {len(dry.counts)} show {', '.join(map(str, dry.counts))} objects" if dry.counts else ""
    yield Finding(OK, "image", f"{ledger.scenes} of {ledger.images} images can be used{seen}")


def _drops(ledger: Ledger, to_type: Callable[[str], str]) -> Iterator[Finding]:
    for reason, count in ledger.drops.items():
        stage, level = DROP_REASONS[reason]
        if level > OK:
            yield Finding(ERROR, stage, f"{ledger.reasons[reason]} ({count} of {ledger.images} images)",
                          to_type(reason))


def _remarks(ledger: Ledger, settings: Settings, topics: Topics, watch: _Watch,
             running: bool) -> Iterator[Finding]:
    for (stage, level), message in ledger.remarks.items():
        yield Finding(level, stage, message)
    if ledger.time_jumps:
        yield Finding(WARN, "image", f"the images' time jumps back {ledger.time_jumps} times: a bag that loops, or a "
                      "clock that was set; names and transforms begin anew each time")
    for frame_id, lenses in watch.lenses.items():
        if len(lenses) > 1:
            yield Finding(WARN, "camera_info", f"the calibration of frame '{frame_id}' changes ({len(lenses)} "
                          "different ones): a zoom lens, or two cameras on one topic; give each camera its own",
                          f"ros2 topic info --verbose {topics.camera_info}" if running else "")
    if watch.without_stamp > 1:
        yield Finding(ERROR if settings.needs_tf else WARN, "image", f"{watch.without_stamp} images have no stamp, so "
                      "that no transform can be looked up for them; the camera's driver must fill in header.stamp",
                      f"ros2 topic echo --once --field header {topics.image}" if running else "")


def _transforms(known: Sequence[str], settings: Settings, watch: _Watch, source: Path | None) -> Iterator[Finding]:
    """Whether TF is used, and what it offers where it is not."""
    names = ", ".join(known[:_FRAMES_NAMED]) + (", ..." if len(known) > _FRAMES_NAMED else "")
    if settings.needs_tf:
        yield Finding(OK, "transforms", f"TF knows {names or 'no frame'}")
    elif watch.camera_frame in known:
        others = [name for name in known if name in ("map", "world", "odom", "base_link", "table")]
        plane = others[0] if others else "FRAME_WITH_Z_UP"
        yield Finding(OK, "transforms", f"TF knows {names}, but it is not used: where the camera stands is taken from "
                      "the model's own pose", f"kyvo doctor {f'{source} ' if source else ''}-p plane_frame:={plane}")

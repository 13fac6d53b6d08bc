"""Depth beside the pictures: which message belongs to an image, the support plane in it, and objects refined by it.

Reads messages by their fields. Depth helps and is never needed: what is missing, stale or not to be believed is named
in the diagnostics, and the frame goes on without.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from kyvo_ros.depth import (
    DepthError, Expected, PlaneConfig, PlaneNotFoundError, RefinedScene, SupportPlane, find_plane, points_from_depth,
    rated, refine)
from kyvo_ros.depth.points import MAX_POINTS, thinned
from kyvo_ros.ros.conversions.clouds import CloudMessageError, points_from_msg
from kyvo_ros.ros.conversions.images import ImageMessageError, depth_from_msg
from kyvo_ros.ros.regions import shown_points
from kyvo_ros.ros.settings import Settings
from kyvo_ros.ros.status import OK, WARN
from kyvo_ros.ros.transforms import TransformError
from kyvo_ros.scene import CameraView, PinholeCamera, PlaneNotVisibleError, Scene, Transform

#: Messages that are kept: enough for an image that waits its turn while depth comes at 30 Hz.
KEPT = 10
#: Points of a cloud that are looked at, of which the camera may see a few only.
_MOST_OF_A_CLOUD = 8 * MAX_POINTS
#: Depth that has not come for so long is not waited for.
_SILENT_S = 1.0
#: How long the plane of an earlier image tells what is up, by the images' stamps.
_PLANE_HOLDS_NS = 1_000_000_000


class DepthProblem(ValueError):
    """Depth cannot be used for an image; the message says why and what to do."""

    level = WARN  # of the diagnostics


class DepthMissing(DepthProblem):
    """None comes, which `DepthInput.waiting` warns of when it lasts."""

    level = OK


class Lookup(Protocol):
    """What a cloud in another frame needs of TF."""

    def __call__(self, target: str, source: str, stamp_ns: int, timeout_s: float) -> Transform: ...


class Complaints(Protocol):
    """What is needed of `status.Status`."""

    def failed(self, stage: str, level: int, message: str) -> None: ...


class DepthStore:
    """The newest `kept` depth messages by their stamps. Thread-safe; `clock` gives seconds that never run back."""

    def __init__(self, kept: int | None = KEPT, clock: Callable[[], float] = time.monotonic, prefix: str = "") -> None:
        """`kept`: None for all that `forget_before` leaves; `prefix`: of the camera's topics."""
        self._clock, self._prefix = clock, prefix
        self._changed = threading.Condition()
        self._messages: deque[tuple[int, Any]] = deque(maxlen=kept)
        self._start_s = clock()
        self._arrived_s: float | None = None

    def store(self, message: Any) -> None:
        """Keep a message; the oldest goes."""
        stamp = message.header.stamp
        with self._changed:
            self._messages.append((stamp.sec * 1_000_000_000 + stamp.nanosec, message))
            self._arrived_s = self._clock()
            self._changed.notify_all()

    def forget_before(self, stamp_ns: int) -> None:
        """Let the messages with an earlier stamp go."""
        with self._changed:
            self._messages = deque((item for item in self._messages if item[0] >= stamp_ns), self._messages.maxlen)

    def silent_s(self) -> float:
        """Seconds since the newest message, or the start where none came."""
        return self._clock() - (self._start_s if self._arrived_s is None else self._arrived_s)

    @property
    def any(self) -> bool:
        """Whether a message has ever come."""
        return self._arrived_s is not None

    def nearest(self, stamp_ns: int, tolerance_s: float, timeout_s: float) -> Any:
        """The message whose stamp is nearest, waited for while messages come. Raises DepthProblem."""
        deadline = self._clock() + timeout_s
        with self._changed:
            while not self._within(stamp_ns, tolerance_s) and not self._passed(stamp_ns, tolerance_s):
                left = min(deadline - self._clock(), _SILENT_S - self.silent_s()) if self.any else 0.0
                if left <= 0 or not self._changed.wait(left):
                    break
            found = self._within(stamp_ns, tolerance_s)
            if found is None:
                raise self._why_none(stamp_ns, tolerance_s)
            return found

    def _apart_s(self, stamp_ns: int) -> list[tuple[float, int]]:
        """Seconds between the stamps of all messages and this one, absolute, with their indices."""
        return [(abs(when - stamp_ns) / 1e9, index) for index, (when, _) in enumerate(self._messages)]

    def _within(self, stamp_ns: int, tolerance_s: float) -> Any | None:
        apart_s, index = min(self._apart_s(stamp_ns), default=(math.inf, 0))
        return self._messages[index][1] if apart_s <= tolerance_s else None

    def _passed(self, stamp_ns: int, tolerance_s: float) -> bool:
        """Whether the newest message is later than any that would fit, so that none will come."""
        return bool(self._messages) and self._messages[-1][0] - stamp_ns > tolerance_s * 1e9

    def _why_none(self, stamp_ns: int, tolerance_s: float) -> DepthProblem:
        if not self._messages:
            return DepthMissing(f"no depth has come; remap `{self._prefix}depth` or `{self._prefix}points` to the "
                                "camera's topic")
        if self.silent_s() > _SILENT_S:
            return DepthMissing(f"no depth for {self.silent_s():.1f} s; check that the camera still sends it")
        return DepthProblem(
            f"the nearest depth is {min(self._apart_s(stamp_ns))[0]:.3f} s from the image's stamp, more than "
            f"depth_tolerance_s = {tolerance_s:g}; let the driver synchronise both streams, or raise it")


@dataclass(frozen=True, eq=False)
class DepthRequest:
    """The image that depth is asked about."""

    stamp_ns: int
    frame_id: str  # of the image's header
    camera_frame: str  # optical frame of the camera
    intrinsics: PinholeCamera
    patient: bool = True  # whether depth is waited for, and complained about
    brought: bool = False  # whether the image came with a calibration of its own, not from the stream's camera


class DepthGuide:
    """What depth says about one camera's images. Runs in the worker's thread; `figures` may be asked from any."""

    def __init__(self, store: DepthStore, lookup: Lookup, status: Complaints) -> None:
        self._store, self._lookup, self._status = store, lookup, status
        self._plane: tuple[int, SupportPlane] | None = None  # the newest one, with its image's stamp
        self._figures: dict[str, str] = {}
        self.trouble = ""  # what was wrong with the depth of the image that was last asked about

    def figures(self) -> dict[str, str]:
        """Quality of the newest plane, and what was refined, for the diagnostics; empty while there is no depth."""
        return self._figures

    def points(self, request: DepthRequest, settings: Settings) -> np.ndarray | None:
        """Points (N, 3) in the optical frame that belong to an image; None where there are none."""
        self.trouble = ""
        if settings.depth_source == "none":
            return None
        try:
            if request.brought:
                raise DepthMissing("what depth there is belongs to the stream's camera")
            message = self._store.nearest(request.stamp_ns, settings.depth_tolerance_s,
                                          settings.depth_timeout_s if request.patient else 0.0)
            # By what it is: what waits may be of another source than the settings have changed to.
            read = _from_image if hasattr(message, "encoding") else self._from_cloud
            return read(message, request, settings)
        except (DepthProblem, DepthError, ImageMessageError, CloudMessageError) as error:
            self.trouble = str(error)
            if request.patient:
                self._figures = {}
                self._status.failed("depth", getattr(error, "level", WARN), str(error))
            return None

    def view(self, stated: CameraView, points: np.ndarray, stamp_ns: int,
             settings: Settings) -> tuple[CameraView, np.ndarray | None]:
        """The image's view by the settings, and the points where they agree with it, so that they may refine objects.

        `stated` is the view as TF or the parameters have it, without a plane where they say nothing.
        """
        if settings.plane_by == "depth":
            return self._measured(stated, points, stamp_ns)
        if not len(points):
            self._complain("depth shows 0 points where the image is looked at; is the scene within the sensor's range, "
                           "and not hidden by roi or mask? The frame goes on without depth")
            return stated, None
        plane = rated(SupportPlane.of(stated), points)
        agrees = plane.inlier_ratio >= PlaneConfig().min_inlier_ratio
        if not agrees:
            self._complain(f"only {plane.inlier_ratio:.0%} of the depth points lie on the support plane as "
                           f"{settings.plane_by} has it, so that depth refines nothing; correct it, or set "
                           "plane_source to depth")
        self._note(plane, settings.plane_by, stated)
        return stated, points if agrees else None

    def _measured(self, stated: CameraView, points: np.ndarray,
                  stamp_ns: int) -> tuple[CameraView, np.ndarray | None]:
        """As `view`, with the plane that the points show."""
        try:
            plane = find_plane(points, Expected.of(stated) or self._earlier(stamp_ns))
            found = plane.view(stated.intrinsics)
        except (PlaneNotFoundError, PlaneNotVisibleError) as error:
            self._complain(f"{error}; the frame goes on without depth")
            return stated, None
        self._plane = (stamp_ns, plane)
        self._note(plane, "depth", found)
        if stated.world_T_plane is None:
            return found, points
        world_T_optical = stated.world_T_plane @ stated.plane_T_optical()
        return replace(found, world_T_plane=world_T_optical @ found.plane_T_optical().inverse()), points

    def refined(self, scene: Scene, view: CameraView, points: np.ndarray) -> Scene:
        """The scene in the plane frame of `view`, with what depth says of its objects."""
        outcome = refine(scene, view, points)
        if self._figures:  # since this frame was prepared, the next one may have been left without depth
            self._figures = {**self._figures, **_refinement_figures(outcome)}
        return outcome.scene

    def _from_cloud(self, message: Any, request: DepthRequest, settings: Settings) -> np.ndarray:
        points = points_from_msg(message, _MOST_OF_A_CLOUD, settings.max_image_megapixels * 1e6)
        source = message.header.frame_id
        if source != request.camera_frame:
            try:
                pose = self._lookup(request.camera_frame, source, request.stamp_ns, settings.tf_timeout_s)
            except TransformError as error:
                raise DepthProblem(f"the cloud is in the frame '{source}': {error}") from error
            points = pose.apply(points)
        return thinned(shown_points(points, request.intrinsics, None))  # a lidar also sees what is behind the camera

    def _earlier(self, stamp_ns: int) -> Expected | None:
        """What an earlier image's plane says is up, while that is not too long ago."""
        if self._plane is None or not 0 <= stamp_ns - self._plane[0] <= _PLANE_HOLDS_NS:
            return None
        return Expected(self._plane[1].normal)

    def _complain(self, message: str) -> None:
        self.trouble, self._figures = message, {}
        self._status.failed("depth", WARN, message)

    def _note(self, plane: SupportPlane, source: str, view: CameraView) -> None:
        angle = "-" if plane.angle_rad is None else f"{math.degrees(plane.angle_rad):.1f}"
        self._figures = {
            **self._figures, "plane from": source, "plane distance [m]": f"{view.plane.distance_m:.3f}",
            "plane elevation [deg]": f"{math.degrees(view.plane.elevation_rad):.1f}",
            "plane inliers [%]": f"{100 * plane.inlier_ratio:.0f}", "plane rms [mm]": f"{1000 * plane.rms_m:.1f}",
            "plane off expected up [deg]": angle}


def _from_image(message: Any, request: DepthRequest, settings: Settings) -> np.ndarray:
    if message.header.frame_id not in ("", request.frame_id):
        raise DepthProblem(f"the depth image is of frame '{message.header.frame_id}' and the picture of "
                           f"'{request.frame_id}'; give the depth that is registered to the picture "
                           "(aligned_depth_to_color, depth_registered)")
    return points_from_depth(depth_from_msg(message, settings.max_image_megapixels * 1e6), request.intrinsics)


def _refinement_figures(outcome: RefinedScene) -> dict[str, str]:
    reasons = sorted({r.why_not for r in outcome.refinements if r.why_not})
    return {"objects refined by depth": f"{outcome.refined} of {len(outcome.scene)}",
            "not refined by depth": "; ".join(reasons) or "-"}

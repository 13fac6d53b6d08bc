"""What can be set about a memory, and the errors that it raises."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from kyvo_ros.scene.field import YawPeriods
from kyvo_ros.scene.types import SceneError

#: Whose left and right the relations speak of: the newest frame's camera, or somebody who looks along +y of the frame.
VIEWPOINTS = ("camera", "frame")

_LENGTHS = ("position_sigma_m", "calibration_sigma_m", "move_radius_m", "near_gap_m", "relation_margin_m")


class MemoryConfigError(ValueError):
    """A setting of a memory is out of its range."""


class MemoryInputError(SceneError):
    """A scene, a view or a request cannot be used; the memory is as it was before."""


class MemoryTimeError(MemoryInputError):
    """A camera's time went backwards; `rewind` keeps the objects, `reset` forgets them."""


class MemoryRecordError(SceneError):
    """A record of a memory is of another version, or malformed."""


@dataclass(frozen=True)
class MemoryConfig:
    """Settings of a SceneMemory; the lengths suit CLEVR's objects at a metre a unit, see `scaled`."""

    position_sigma_m: float = 0.1  # standard deviation of a detection that brings no covariance, each axis
    calibration_sigma_m: float = 0.05  # added to every detection, each axis: errors of camera pose and support plane
    move_radius_m: float = 2.0  # how far an object may be put elsewhere and still be taken for the same
    expected_recall: float = 0.7  # share of visible objects found; misses in a row are not independent, so stay low
    confirm_sightings: int = 3  # before an object enters the graph
    near_gap_m: float = 0.3  # two objects are near each other when the gap between them is smaller
    relation_margin_m: float = 0.2  # offset that makes an object left of another (CLEVR's epsilon), or off the plane
    plane_height_m: float | None = 0.0  # z of the support plane in the memory's frame; None: nothing stands on it
    viewpoint: str = "camera"  # of left, right, front and behind; one of VIEWPOINTS
    yaw: YawPeriods = YawPeriods()  # after which turn an object looks the same
    max_objects: int = 256  # candidates and lost objects included; the least useful are forgotten first
    forget_after_s: float | None = None  # an object unseen for longer is forgotten; None: never

    def __post_init__(self) -> None:
        for name in _LENGTHS:
            _require(getattr(self, name) > 0 and math.isfinite(getattr(self, name)), name, "positive metres", self)
        _require(0 < self.expected_recall < 1, "expected_recall", "in (0, 1)", self)
        _require(self.confirm_sightings >= 1, "confirm_sightings", "at least 1", self)
        _require(self.max_objects >= 1, "max_objects", "at least 1", self)
        _require(self.viewpoint in VIEWPOINTS, "viewpoint", f"one of {VIEWPOINTS}", self)
        _require(self.plane_height_m is None or math.isfinite(self.plane_height_m), "plane_height_m", "finite", self)
        _require(self.forget_after_s is None or self.forget_after_s > 0, "forget_after_s", "positive seconds", self)

    def scaled(self, metres_per_unit: float) -> MemoryConfig:
        """The same for objects of another size: lengths times `metres_per_unit`, the plane where it is."""
        return replace(self, **{name: getattr(self, name) * metres_per_unit for name in _LENGTHS})


def _require(holds: bool, name: str, expected: str, config: MemoryConfig) -> None:
    if not holds:
        raise MemoryConfigError(f"{name} must be {expected}, got {getattr(config, name)}")

"""What a camera should have seen: how much of a known object lies in its view and behind nothing nearer.

Objects are boxes turned about z. The visible share is that of a grid of points in the box; a box hides what lies
behind it as a whole, so that a ball hides a little more than it does in truth, and fewer misses count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kyvo_ros.scene.camera import CameraView, PinholeCamera
from kyvo_ros.scene.distortion import distort
from kyvo_ros.scene.field import RecognizedField
from kyvo_ros.scene.memory.config import MemoryInputError
from kyvo_ros.scene.memory.track import Track
from kyvo_ros.scene.transforms import Transform

#: Points along each axis of a box, in half extents.
_GRID = np.stack(np.meshgrid(*[(-0.7, 0.0, 0.7)] * 3), axis=-1).reshape(-1, 3)
#: Two boxes nearer than this, in the sum of their least half widths, cannot both be there.
_ONE_PLACE = 0.8
#: An axis steeper than this (sine of its elevation) takes its "behind" from the image's up direction.
_STEEP = 0.95


@dataclass(frozen=True, eq=False)
class Window:
    """The part of what an image shows in which a recogniser finds objects (see `RecognizedField`)."""

    intrinsics: PinholeCamera  # of a level image along the same axis
    frame_T_level: Transform  # pose of its optical frame in the memory's frame
    frame_T_plane: Transform  # pose of the support-plane frame
    reach_m: float = math.inf  # largest |x| and |y| there

    def holds(self, points_m: np.ndarray) -> np.ndarray:
        """Whether points (..., 3) in the memory's frame lie in it."""
        ground = self.frame_T_plane.inverse().apply(points_m)[..., :2]
        near = (np.abs(ground) <= self.reach_m).all(axis=-1)
        return near & _falls_on(self.intrinsics, self.frame_T_level.inverse().apply(points_m))


@dataclass(frozen=True, eq=False)
class Viewpoint:
    """The part of the world that the recogniser looked at, from where."""

    intrinsics: PinholeCamera  # of the image
    frame_T_optical: Transform  # pose of the optical frame in the memory's frame
    range_m: float = math.inf  # distance up to which the recogniser finds objects
    window: Window | None = None  # the part of the image that the recogniser used; None: all of it
    mask: np.ndarray | None = None  # (height, width) bool of the image, True where it was looked at; None: everywhere
    away: np.ndarray | None = None  # (3,) in the memory's frame, away from the camera along the plane; None: unknown

    @classmethod
    def of(cls, view: CameraView, frame_T_plane: Transform, range_m: float = math.inf,
           field: RecognizedField | None = None, unit_m: float = 1.0, mask: np.ndarray | None = None) -> Viewpoint:
        """From a view over the support plane, and what the recogniser can tell of it where a model unit is `unit_m`.

        Raises PlaneNotVisibleError where the view's plane is unknown.
        """
        optical, away = frame_T_plane @ view.plane_T_optical(), frame_T_plane.rotation[:, 1]
        if field is None:
            return cls(view.intrinsics, optical, range_m, mask=mask, away=away)
        level = frame_T_plane @ view.plane.plane_T_optical()
        window = Window(field.intrinsics, level, frame_T_plane, field.reach_units * unit_m)
        return cls(view.intrinsics, optical, range_m, window, mask, away)

    def __post_init__(self) -> None:
        if not self.range_m > 0:
            raise MemoryInputError(f"the range of a viewpoint must be positive metres, got {self.range_m}")
        shape = (self.intrinsics.height, self.intrinsics.width)
        if self.mask is not None and self.mask.shape != shape:
            raise MemoryInputError(f"the mask of a viewpoint must be of the image's {shape} pixels, got "
                                   f"{self.mask.shape}")

    def behind_rad(self) -> float:
        """Direction away from the camera in the ground plane, as an angle from +x of the frame."""
        rotation = self.frame_T_optical.rotation
        away = rotation[:, 2] if self.away is None else self.away
        if abs(away[2]) > _STEEP:  # looking down, the image's up is away; looking up, its down
            away = rotation[:, 1] * math.copysign(1.0, away[2])
        return math.atan2(away[1], away[0])

    def sees(self, points_m: np.ndarray) -> np.ndarray:
        """Whether the recogniser looked at points (..., 3) in the memory's frame, whatever stands before them."""
        optical = self.frame_T_optical.inverse().apply(points_m)
        seen = _falls_on(self.intrinsics, optical, self.mask) & (np.linalg.norm(optical, axis=-1) <= self.range_m)
        return seen if self.window is None else seen & self.window.holds(points_m)


def _falls_on(camera: PinholeCamera, optical: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Whether points (..., 3) in the optical frame fall on the image, where it has a mask on what is not masked."""
    pixels = distort(optical.reshape(-1, 3), camera).reshape(*optical.shape[:-1], 2)
    with np.errstate(invalid="ignore"):
        inside = ((pixels >= 0) & (pixels <= (camera.width, camera.height))).all(axis=-1)
    if mask is None:
        return inside
    columns, rows = np.where(inside[..., None], pixels, 0.0).astype(int).clip(
        0, (camera.width - 1, camera.height - 1)).T
    return inside & mask[rows, columns].T


def visible_share(target: Track, others: Sequence[Track], viewpoint: Viewpoint) -> float:
    """Share, 0 to 1, of the target that the camera should have seen; `others` may hide it (itself does not)."""
    points = _pose(target).apply(_GRID * _half_extents(target))
    seen = viewpoint.sees(points)
    eye = viewpoint.frame_T_optical.translation
    if seen.any():
        for other in _before(target, others, eye):
            seen &= ~_box_blocks(other, eye, points)
    return float(seen.mean())


def _before(target: Track, others: Sequence[Track], eye: np.ndarray) -> list[Track]:
    """Those of `others` nearer to `eye` (3,) than the target, whose bounding sphere meets its line of sight."""
    along = target.position.mean_m - eye
    centres = np.array([o.position.mean_m for o in others]).reshape(-1, 3) - eye
    radii = np.array([np.linalg.norm(_half_extents(o)) for o in others])
    aside = np.linalg.norm(np.cross(centres, along), axis=-1) / max(np.linalg.norm(along), 1e-9)
    near = (aside <= radii + np.linalg.norm(_half_extents(target))) & ((centres**2).sum(axis=-1) < along @ along)
    return [others[i] for i in np.flatnonzero(near) if not at_one_place(target, others[i])]


def _box_blocks(track: Track, eye: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Whether the lines from `eye` (3,) to `points` (N, 3) pass through the object's box (slab method)."""
    box_T_frame = _pose(track).inverse()
    start, half = box_T_frame.apply(eye), _half_extents(track)
    along = box_T_frame.apply(points) - start
    along = np.where(np.abs(along) < 1e-12, 1e-12, along)
    crossings = np.stack([(-half - start) / along, (half - start) / along])
    enters, leaves = crossings.min(axis=0).max(axis=-1), crossings.max(axis=0).min(axis=-1)
    return (enters < leaves) & (leaves > 0) & (enters < 1)


def at_one_place(one: Track, other: Track) -> bool:
    """Whether two objects would stand in each other: two opinions on one object, of which neither hides the other."""
    reach = _half_extents(one)[:2].min() + _half_extents(other)[:2].min()
    apart = np.linalg.norm((one.position.mean_m - other.position.mean_m)[:2])
    return bool(apart <= _ONE_PLACE * reach)


def _pose(track: Track) -> Transform:
    return Transform.from_yaw(track.yaw.yaw_rad if track.yaw else 0.0, track.position.mean_m)


def _half_extents(track: Track) -> np.ndarray:
    """(3,) metres; a point where the size is unknown."""
    return np.zeros(3) if track.size_m is None else track.size_m / 2

"""The support plane in a cloud of points: RANSAC, then least squares over what lies on it, with its quality.

The largest plane that may carry objects is taken: the camera looks down on it, and its normal lies near the direction
that is known to be up. A wall is none. Deterministic for the same points.
Source: Fischler and Bolles 1981 for RANSAC; Torr and Zisserman 2000 (MSAC) for the score of a hypothesis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from kyvo_ros.scene import CameraView, PinholeCamera, Transform, view_from_pose
from kyvo_ros.scene.camera import MAX_ELEVATION_RAD, MIN_ELEVATION_RAD

_REFITS = 6


class PlaneNotFoundError(ValueError):
    """No plane of the cloud can be the support plane; the message says why and what to do."""


@dataclass(frozen=True)
class PlaneConfig:
    """When a plane is believed, and how much is computed to find it."""

    tolerance: float = 0.01  # distance from the plane that a point on it may have, as a share of its range
    least_tolerance_m: float = 0.004  # the same, for points that are near
    min_points: int = 200  # of the cloud
    min_inlier_ratio: float = 0.2  # share of the cloud's points that must lie on the plane
    max_tilt_rad: float = math.radians(15.0)  # between the normal and the direction that is expected to be up
    max_distance_ratio: float = 1.35  # between the distance along the optical axis and the expected one
    max_roll_rad: float = math.radians(60.0)  # of the camera, where nothing is expected
    hypotheses: int = 500  # planes through three points that are tried
    scored_points: int = 800  # against which they are tried
    seed: int = 0

    def __post_init__(self) -> None:
        ranges = {name: (0.0, math.inf) for name in ("tolerance", "least_tolerance_m", "max_tilt_rad", "max_roll_rad")}
        ranges |= {name: (2, math.inf) for name in ("min_points", "hypotheses", "scored_points")}
        ranges |= {"min_inlier_ratio": (0.0, 1.0), "max_distance_ratio": (1.0, math.inf)}
        for name, (above, below) in ranges.items():
            if not above < getattr(self, name) < below:
                raise ValueError(f"{name} must be between {above:g} and {below:g}, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class Expected:
    """What is known of the plane beforehand."""

    up: np.ndarray  # (3,) in the optical frame
    distance_m: float | None = None  # along the optical axis, roughly; None: unknown

    @classmethod
    def of(cls, view: CameraView) -> Expected | None:
        """From a view whose plane is roughly known; None where it has none."""
        if view.plane is None:
            return None
        return cls(view.plane_T_optical().rotation[2], view.plane.distance_m)


@dataclass(frozen=True, eq=False)
class SupportPlane:
    """A plane in the optical frame, and how good it is."""

    normal: np.ndarray  # (3,) unit vector, up: towards the camera's side
    height_m: float  # of the optical centre over the plane
    inlier_ratio: float = 0.0  # share of the cloud's points that lie on it
    rms_m: float = 0.0  # of their distances from it
    angle_rad: float | None = None  # between the normal and the expected up; None where nothing was expected

    @classmethod
    def of(cls, view: CameraView) -> SupportPlane:
        """The plane of a view, of unknown quality. Raises PlaneNotVisibleError where it has none. Inverse of `view`."""
        pose = view.plane_T_optical()
        return cls(pose.rotation[2], float(pose.translation[2]))

    def heights_m(self, points: np.ndarray) -> np.ndarray:
        """Heights (N,) over the plane of points (N, 3) in the optical frame."""
        return points @ self.normal + self.height_m

    def view(self, intrinsics: PinholeCamera) -> CameraView:
        """The view of a camera over this plane; where it stands in the world stays unknown.

        Raises PlaneNotVisibleError where the optical axis does not meet the plane at a usable tilt.
        """
        sideways = np.cross(self.normal, np.eye(3)[np.argmin(np.abs(self.normal))])
        sideways /= np.linalg.norm(sideways)
        rotation = np.stack([sideways, np.cross(self.normal, sideways), self.normal])
        view = view_from_pose(intrinsics, Transform(rotation, np.array([0.0, 0.0, self.height_m])))
        return replace(view, world_T_plane=None)


def find_plane(points: np.ndarray, expected: Expected | None = None,
               config: PlaneConfig = PlaneConfig()) -> SupportPlane:
    """The support plane of points (N, 3) in the optical frame, metres. Raises PlaneNotFoundError."""
    if len(points) < config.min_points:
        raise PlaneNotFoundError(f"depth shows {len(points)} points, a plane needs {config.min_points}; is the sensor "
                                 "within its range, and is it this camera's?")
    tolerances = _tolerances_m(points, config)
    plane = _best_hypothesis(points, tolerances, expected, config)
    for _ in range(_REFITS):
        inliers = np.abs(plane.heights_m(points)) < tolerances
        if inliers.sum() < 3:
            break
        plane = _least_squares(points[inliers], tolerances[inliers])
    plane = rated(plane, points, expected, config)
    if not _may_carry(plane.normal[None], np.array([plane.height_m]), expected, config)[0]:
        raise PlaneNotFoundError(_nothing_fits(expected, config))
    if plane.inlier_ratio < config.min_inlier_ratio:
        raise PlaneNotFoundError(f"only {plane.inlier_ratio:.0%} of the depth points lie on the best plane, "
                                 f"{config.min_inlier_ratio:.0%} are needed; let the camera see more of the table")
    return plane


def rated(plane: SupportPlane, points: np.ndarray, expected: Expected | None = None,
          config: PlaneConfig = PlaneConfig()) -> SupportPlane:
    """A plane with its quality in points (N, 3); without points all of it is 0."""
    heights = plane.heights_m(points)
    inliers = np.abs(heights) < _tolerances_m(points, config)
    angle = None if expected is None else math.acos(float(np.clip(plane.normal @ expected.up, -1.0, 1.0)))
    if not inliers.any():
        return replace(plane, inlier_ratio=0.0, rms_m=0.0, angle_rad=angle)
    return replace(plane, inlier_ratio=float(inliers.mean()), rms_m=float(np.sqrt(np.mean(heights[inliers] ** 2))),
                   angle_rad=angle)


def _tolerances_m(points: np.ndarray, config: PlaneConfig) -> np.ndarray:
    """(N,) how far points may be from a plane that they lie on."""
    return np.maximum(config.tolerance * np.linalg.norm(points, axis=-1), config.least_tolerance_m)


def _best_hypothesis(points: np.ndarray, tolerances: np.ndarray, expected: Expected | None,
                     config: PlaneConfig) -> SupportPlane:
    """The plane through three points that most points lie near, among those that may carry objects."""
    rng = np.random.default_rng(config.seed)
    rows = rng.integers(0, len(points), size=config.scored_points)
    a, b, c = np.moveaxis(points[rng.integers(0, len(points), size=(config.hypotheses, 3))], 1, 0)
    normals = np.cross(b - a, c - a)
    lengths = np.linalg.norm(normals, axis=-1)
    normals, a = normals[lengths > 1e-12] / lengths[lengths > 1e-12, None], a[lengths > 1e-12]
    heights = -(normals * a).sum(axis=-1)
    normals, heights = normals * np.sign(heights)[:, None], np.abs(heights)
    believed = _may_carry(normals, heights, expected, config)
    if not believed.any():
        raise PlaneNotFoundError(_nothing_fits(expected, config))
    normals, heights = normals[believed], heights[believed]
    residuals = (points[rows] @ normals.T + heights) / tolerances[rows, None]
    best = int(np.minimum(residuals**2, 1.0).sum(axis=0).argmin())
    return SupportPlane(normals[best], float(heights[best]))


def _least_squares(points: np.ndarray, tolerances: np.ndarray) -> SupportPlane:
    """The plane nearest to points (N, 3), each weighted by its tolerance."""
    weights = tolerances**-2 / (tolerances**-2).sum()
    centre = weights @ points
    apart = points - centre
    normal = np.linalg.eigh((weights[:, None] * apart).T @ apart)[1][:, 0]
    height = -float(normal @ centre)
    return SupportPlane(normal * math.copysign(1.0, height), abs(height))


def _may_carry(normals: np.ndarray, heights: np.ndarray, expected: Expected | None, config: PlaneConfig) -> np.ndarray:
    """(H,) whether planes of normals (H, 3) at heights (H,) under the camera can be the support plane."""
    elevation = np.arcsin(np.clip(-normals[:, 2], -1.0, 1.0))
    fits = (heights > 0) & (elevation >= MIN_ELEVATION_RAD) & (elevation <= MAX_ELEVATION_RAD)
    if expected is None:
        roll = np.arctan2(np.abs(normals[:, 0]), -normals[:, 1])
        return fits & (roll <= config.max_roll_rad)
    fits &= normals @ expected.up >= math.cos(config.max_tilt_rad)
    if expected.distance_m is not None:
        ratio = heights / np.maximum(np.sin(elevation), 1e-9) / expected.distance_m
        fits &= (ratio <= config.max_distance_ratio) & (ratio >= 1 / config.max_distance_ratio)
    return fits


def _nothing_fits(expected: Expected | None, config: PlaneConfig) -> str:
    if expected is None:
        return ("no plane in the depth points is one that the camera looks down on; tilt the camera, or tell what is "
                "up (plane_frame, or plane_distance_m and plane_elevation_rad)")
    near = "" if expected.distance_m is None else f" and about {expected.distance_m:.2f} m away"
    return (f"no plane in the depth points is within {math.degrees(config.max_tilt_rad):.0f} degrees of what is "
            f"expected to be level{near}; check the camera's pose and what was said of the plane")

"""Pinhole cameras and the support-plane frame tied to a camera.

The support-plane frame (`PLANE_FRAME`): origin where the optical axis meets the plane, x to the right of the
camera, y away from it, z up. A camera over a plane is, up to its roll, a distance along the optical axis and an
elevation of that axis, so this frame needs nothing that an image cannot show (see `../shared/trial.md`: in world
coordinates the azimuth of the camera is unobservable). Roll is removed by turning the image.

Source: pinhole model and `plumb_bob` distortion as in sensor_msgs/CameraInfo and OpenCV.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kyvo_ros.scene.transforms import Transform

#: Elevation of the optical axis under which no useful plane is seen.
MIN_ELEVATION_RAD = math.radians(8.0)
#: Above this the direction "away from the camera" is undefined.
MAX_ELEVATION_RAD = math.radians(85.0)
#: Images whose width per height differs by more than this part are not one image at two sizes.
_SAME_SHAPE = 0.01


class PlaneNotVisibleError(ValueError):
    """The camera does not see the support plane at a usable tilt."""


@dataclass(frozen=True)
class PinholeCamera:
    """Intrinsics of a raw image, in pixels; the image spans [0, width] x [0, height].

    `distortion` holds OpenCV's coefficients in the order of `sensor_msgs/CameraInfo.d`.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()
    distortion_model: str = "plumb_bob"  # or rational_polynomial, equidistant

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f"image size must be positive, got {self.width}x{self.height}")
        values = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if not all(math.isfinite(v) for v in values) or self.fx <= 0 or self.fy <= 0:
            raise ValueError(f"focal lengths must be positive and all values finite, got {values}; "
                             "is the camera calibrated?")

    def matrix(self) -> np.ndarray:
        """K (3, 3)."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def has_shape_of(self, width: int, height: int) -> bool:
        """Whether an image of that size can be this camera's own at another number of pixels."""
        return abs(width * self.height / (height * self.width) - 1) <= _SAME_SHAPE

    def resized(self, width: int, height: int) -> PinholeCamera:
        """The same camera with another number of pixels over the same field of view."""
        sx, sy = width / self.width, height / self.height
        return PinholeCamera(width, height, self.fx * sx, self.fy * sy, self.cx * sx, self.cy * sy,
                             self.distortion, self.distortion_model)

    def project(self, points_optical: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of points (..., 3) in the optical frame, without distortion; NaN behind the camera."""
        p = np.asarray(points_optical, dtype=np.float64)
        z = np.where(p[..., 2] > 1e-9, p[..., 2], np.nan)
        return np.stack([self.fx * p[..., 0] / z + self.cx, self.fy * p[..., 1] / z + self.cy], axis=-1)

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """Directions (..., 3) in the optical frame with z = 1, of pixels (..., 2), without distortion."""
        p = np.asarray(pixels, dtype=np.float64)
        right, down = (p[..., 0] - self.cx) / self.fx, (p[..., 1] - self.cy) / self.fy
        return np.stack([right, down, np.ones_like(right)], axis=-1)


#: A distance to the plane that differs by more than this factor from what a model knows means another scale.
_PLAUSIBLE_SCALE = 1.5


@dataclass(frozen=True)
class PlaneCamera:
    """Where a camera without roll stands over the support plane."""

    distance_m: float  # from the optical centre to the plane along the optical axis
    elevation_rad: float  # angle of the optical axis under the horizon, in (0, pi/2)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.distance_m) and self.distance_m > 0):
            raise PlaneNotVisibleError(
                f"the support plane must lie in front of the camera, got a distance of {self.distance_m} m along the "
                "optical axis; check the camera's pose")
        if not MIN_ELEVATION_RAD <= self.elevation_rad <= MAX_ELEVATION_RAD:
            raise PlaneNotVisibleError(
                f"the optical axis must look down on the support plane by {math.degrees(MIN_ELEVATION_RAD):.0f} to "
                f"{math.degrees(MAX_ELEVATION_RAD):.0f} degrees, got {math.degrees(self.elevation_rad):.1f}; "
                "tilt the camera or check its pose")

    def height_m(self) -> float:
        """Height of the optical centre over the plane."""
        return self.distance_m * math.sin(self.elevation_rad)

    def plane_T_optical(self) -> Transform:
        c, s = math.cos(self.elevation_rad), math.sin(self.elevation_rad)
        rotation = np.array([[1.0, 0.0, 0.0], [0.0, -s, c], [0.0, -c, -s]])
        return Transform(rotation, np.array([0.0, -self.distance_m * c, self.distance_m * s]))

    def is_about_as_far_as(self, nominal: PlaneCamera) -> bool:
        """Whether a model for cameras as far away as `nominal` sees objects of about the size that it knows."""
        return 1 / _PLAUSIBLE_SCALE < self.distance_m / nominal.distance_m < _PLAUSIBLE_SCALE

    def scaled(self, factor: float) -> PlaneCamera:
        return PlaneCamera(self.distance_m * factor, self.elevation_rad)

    def plane_points(self, intrinsics: PinholeCamera, pixels: np.ndarray, height_m: float = 0.0) -> np.ndarray:
        """Points (..., 3) at `height_m` over the plane that pixels (..., 2) see; NaN at and above the horizon."""
        pose = self.plane_T_optical()
        rays = intrinsics.rays(pixels) @ pose.rotation.T
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (height_m - pose.translation[2]) / rays[..., 2]
        t = np.where((rays[..., 2] < -1e-9) & (t > 0), t, np.nan)
        return pose.translation + rays * t[..., None]


@dataclass(frozen=True, eq=False)
class CameraView:
    """One image's camera: intrinsics, and where it stands over the plane when that is known.

    `world_T_plane` places the support-plane frame in the data set's or robot's world; None when unknown.
    """

    intrinsics: PinholeCamera
    plane: PlaneCamera | None = None
    roll_rad: float = 0.0  # turn of the image about the optical axis that must be undone
    world_T_plane: Transform | None = None

    def plane_T_optical(self) -> Transform:
        """Pose of the real (rolled) optical frame in the support-plane frame.

        Raises PlaneNotVisibleError when the plane is unknown.
        """
        if self.plane is None:
            raise PlaneNotVisibleError("the camera's pose over the support plane is unknown")
        return self.plane.plane_T_optical() @ Transform(_rotation_about_z(self.roll_rad), np.zeros(3))


def _rotation_about_z(angle_rad: float) -> np.ndarray:
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def view_from_pose(intrinsics: PinholeCamera, world_T_optical: Transform, plane_height_m: float = 0.0) -> CameraView:
    """The view of a camera whose pose in a world with z up is known; the plane is z = `plane_height_m`.

    Raises PlaneNotVisibleError where the optical axis does not meet the plane at a usable tilt.
    """
    axis = world_T_optical.rotation[:, 2]
    elevation = math.asin(float(np.clip(-axis[2], -1.0, 1.0)))
    if elevation < MIN_ELEVATION_RAD:
        PlaneCamera(1.0, elevation)  # raises with the reason
    distance = (world_T_optical.translation[2] - plane_height_m) / math.sin(elevation)
    plane = PlaneCamera(distance, elevation)
    origin = world_T_optical.translation + distance * axis
    y_axis = np.array([axis[0], axis[1], 0.0]) / math.hypot(axis[0], axis[1])
    z_axis = np.array([0.0, 0.0, 1.0])
    rotation = np.stack([np.cross(y_axis, z_axis), y_axis, z_axis], axis=1)
    world_T_plane = Transform(rotation, origin)
    level_R_optical = plane.plane_T_optical().rotation.T @ rotation.T @ world_T_optical.rotation
    roll = math.atan2(level_R_optical[1, 0], level_R_optical[0, 0])
    return CameraView(intrinsics, plane, roll, world_T_plane)

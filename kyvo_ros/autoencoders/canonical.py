"""The canonical camera: the one pinhole camera without roll that a model knows, and the warp of any image to it.

An image keeps its rays: distortion is undone, roll is turned out, and the focal length and principal point become the
canonical ones (a homography, so no depth is needed). A camera that stands farther away than the nominal one is seen
through a longer lens (`seen_from`), so that objects look about as large as the model knows them; what else distance and
elevation do, the model learns. Pixel coordinates span: pixel i covers [i, i + 1], so the centre of
the first pixel is at 0.5. Numpy and OpenCV only.

Source: `sensor_msgs/CameraInfo` distortion models as OpenCV defines them; the numbers are CLEVR's Blender camera
(lens 35, sensor 32, so fx = 35/32 of the width) at 128x96 without 10 rows of background above and 6 rows below.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from kyvo_ros.scene.camera import CameraView, PinholeCamera, PlaneCamera
from kyvo_ros.scene.distortion import distort, is_distorted
from kyvo_ros.scene.transforms import Transform

#: Height over the plane, in model units, at which cells are put on the ground (between small and large centres).
CELL_HEIGHT = 0.4
#: Ground coordinates of cells are clipped to this, in model units; cells at and above the horizon end there.
CELL_LIMIT = 8.0
#: Roll under which a turn moves no pixel of a canonical image by a hundredth.
_NO_ROLL_RAD = 1e-4
_MAX_OVERSAMPLING = 4
_OUTSIDE = -1e4  # map coordinate of a ray that the distortion model does not reach


class CanonicalError(ValueError):
    """An image and its camera do not fit each other or cannot be warped."""


@dataclass(frozen=True)
class CanonicalCamera:
    """Size and intrinsics of the images a model sees, in pixels, and the pose it saw most, in model units."""

    width: int = 128
    height: int = 80
    fx: float = 140.0
    fy: float = 140.0
    cx: float = 64.0
    cy: float = 38.0
    nominal_distance: float = 11.267  # from the optical centre to the plane along the optical axis, model units
    nominal_elevation_rad: float = 0.4948  # of the optical axis under the horizon
    #: Lenses differ by powers of this; 1 means the same lens for every distance. CLEVR's own cameras, within 8 % of the
    #: nominal distance, share one.
    zoom_step: float = 1.2

    def __post_init__(self) -> None:
        self.intrinsics()  # raises ValueError with the offending values
        self.nominal_plane()
        if not self.zoom_step >= 1.0:
            raise ValueError(f"zoom_step must be at least 1, got {self.zoom_step}")

    def to_dict(self) -> dict:
        """For config.json; inverse of `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> CanonicalCamera:
        """From config.json; inverse of `to_dict`."""
        return cls(**values)

    def intrinsics(self) -> PinholeCamera:
        return PinholeCamera(self.width, self.height, self.fx, self.fy, self.cx, self.cy)

    def nominal_plane(self) -> PlaneCamera:
        """The nominal pose, in model units."""
        return PlaneCamera(self.nominal_distance, self.nominal_elevation_rad)

    def zoom(self, plane: PlaneCamera | None) -> float:
        """How much longer the lens is for a camera that stands there, in model units; 1 where nobody knows."""
        if plane is None or self.zoom_step == 1.0:
            return 1.0
        return self.zoom_step ** round(math.log(plane.distance_m / self.nominal_distance, self.zoom_step))

    def zoomed(self, factor: float) -> CanonicalCamera:
        """The same camera with a lens so much longer."""
        return self if factor == 1.0 else replace(self, fx=self.fx * factor, fy=self.fy * factor)

    def seen_from(self, plane: PlaneCamera | None) -> CanonicalCamera:
        """This camera with the lens for where it stands, see `zoom`."""
        return self.zoomed(self.zoom(plane))

    def assumed_camera(self, width: int, height: int) -> PinholeCamera:
        """The camera of an image of which nothing is known but its size.

        An image of the canonical aspect is taken as a canonical image at another resolution; one of 4:3 to 3:2 as
        the whole frame of the same lens with the principal point in its middle (CLEVR's 320x240 and 480x320); its
        pixels are square, whether or not the canonical ones are.
        Raises CanonicalError for other aspects.
        """
        if abs(width * self.height - height * self.width) <= max(self.width, self.height):
            return self.intrinsics().resized(width, height)
        if 1.32 <= width / height <= 1.51:
            return PinholeCamera(width, height, self.fx / self.width * width, self.fx / self.width * width,
                                 width / 2, height / 2)
        common = math.gcd(self.width, self.height)
        raise CanonicalError(
            f"nothing is known of the camera of a {width}x{height} image: expected the aspect "
            f"{self.width // common}:{self.height // common}, 4:3 or 3:2; give the camera's intrinsics")

    def cells(self, plane: PlaneCamera | None, grid: tuple[int, int]) -> np.ndarray:
        """Ground coordinates (h*w, 2) float32 of the centres of a grid of image cells, raster order.

        `plane` is in model units, None means the nominal camera; `grid` is (h, w). Coordinates are (x right, y away)
        in the support-plane frame where the cell's ray passes CELL_HEIGHT over the plane, clipped to +-CELL_LIMIT.
        """
        rows, columns = grid
        v, u = np.meshgrid((np.arange(rows) + 0.5) * self.height / rows,
                           (np.arange(columns) + 0.5) * self.width / columns, indexing="ij")
        pixels = np.stack([u, v], axis=-1).reshape(-1, 2)
        ground = (plane or self.nominal_plane()).plane_points(self.intrinsics(), pixels, CELL_HEIGHT)[:, :2]
        horizon = np.stack([np.copysign(CELL_LIMIT, pixels[:, 0] - self.cx), np.full(len(pixels), CELL_LIMIT)], axis=-1)
        return np.clip(np.where(np.isfinite(ground), ground, horizon), -CELL_LIMIT, CELL_LIMIT).astype(np.float32)


def to_canonical(image_rgb: np.ndarray, view: CameraView, canonical: CanonicalCamera,
                 turn: Transform | None = None) -> np.ndarray:
    """The image (H, W, 3) uint8 of a calibrated camera as the canonical camera sees it, (h, w, 3) uint8.

    The canonical camera looks along the image's optical axis, or, with a `turn`, elsewhere: that is `level_T_turned`,
    from the canonical frame along the axis to the turned one, a rotation.

    Shrinking is antialiased. Where the window is a whole number of source pixels (CLEVR) it is a crop and an area
    average; otherwise bilinear samples at about the source's density, then an area average. Pixels that the source
    does not see repeat its border, since the ground usually goes on there.
    Raises CanonicalError where the image is not (H, W, 3) uint8 or not of the camera's size, DistortionError for a
    distortion that is not known.
    """
    camera = view.intrinsics
    if image_rgb.dtype != np.uint8 or image_rgb.ndim != 3 or image_rgb.shape[2] != 3:
        raise CanonicalError(f"expected an RGB image (H, W, 3) of uint8, got {image_rgb.shape} of {image_rgb.dtype}")
    if image_rgb.shape[:2] != (camera.height, camera.width):
        raise CanonicalError(
            f"the image is {image_rgb.shape[1]}x{image_rgb.shape[0]} and its camera {camera.width}x{camera.height} "
            "pixels; resize the calibration with the image (PinholeCamera.resized)")
    distorted = is_distorted(camera)
    if not distorted and turn is None and abs(view.roll_rad) < _NO_ROLL_RAD:
        window = _whole_window(camera, canonical)
        if window is not None:
            left, top, right, bottom = window
            return _shrink_or_grow(image_rgb[top:bottom, left:right], canonical.width, canonical.height)
    image_rgb, camera, oversampling = _near_canonical_density(image_rgb, camera, canonical)
    sampled = canonical.intrinsics().resized(canonical.width * oversampling, canonical.height * oversampling)
    turned = _roll_rotation(view.roll_rad) @ (np.eye(3) if turn is None else turn.rotation)
    if distorted:
        maps = _distorted_maps(camera, tuple(turned.round(4).ravel().tolist()), sampled)
        warped = cv2.remap(image_rgb, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    else:
        warped = cv2.warpPerspective(image_rgb, _homography(camera, turned, sampled), (sampled.width, sampled.height),
                                     flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
    return _shrink_or_grow(warped, canonical.width, canonical.height)


@lru_cache(maxsize=64)
def _whole_window(camera: PinholeCamera, canonical: CanonicalCamera) -> tuple[int, int, int, int] | None:
    """(left, top, right, bottom) of the canonical image in the source, where these are whole pixels inside it."""
    sx, sy = camera.fx / canonical.fx, camera.fy / canonical.fy
    left, top = camera.cx - sx * canonical.cx, camera.cy - sy * canonical.cy
    edges = np.array([left, top, left + sx * canonical.width, top + sy * canonical.height])
    whole = np.rint(edges)
    inside = whole[0] >= 0 and whole[1] >= 0 and whole[2] <= camera.width and whole[3] <= camera.height
    return tuple(int(e) for e in whole) if inside and np.abs(edges - whole).max() < 1e-3 else None


def _shrink_or_grow(image: np.ndarray, width: int, height: int) -> np.ndarray:
    if image.shape[:2] == (height, width):
        return np.ascontiguousarray(image)
    shrinks = image.shape[1] >= width and image.shape[0] >= height
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _near_canonical_density(
        image: np.ndarray, camera: PinholeCamera, canonical: CanonicalCamera) -> tuple[np.ndarray, PinholeCamera, int]:
    """The source, shrunk by a whole factor where it is far denser than needed, and the oversampling for the rest."""
    density = max(camera.fx / canonical.fx, camera.fy / canonical.fy)
    factor = int(density / 3.0)
    if factor > 1:
        width, height = round(camera.width / factor), round(camera.height / factor)
        image, camera = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), camera.resized(width, height)
        density /= factor
    return image, camera, min(max(math.ceil(density - 1e-6), 1), _MAX_OVERSAMPLING)


def _roll_rotation(roll_rad: float) -> np.ndarray:
    """`optical_R_level` (3, 3)."""
    c, s = math.cos(roll_rad), math.sin(roll_rad)
    return np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])


def _homography(camera: PinholeCamera, optical_R_sampled: np.ndarray, sampled: PinholeCamera) -> np.ndarray:
    """(3, 3) from indices of the sampled image to indices of the source; for a turn about the centre this is exact."""
    half = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])  # index to span
    return np.linalg.inv(half) @ camera.matrix() @ optical_R_sampled @ np.linalg.inv(sampled.matrix()) @ half


@lru_cache(maxsize=32)
def _distorted_maps(camera: PinholeCamera, optical_R_sampled: tuple[float, ...],
                    sampled: PinholeCamera) -> tuple[np.ndarray, np.ndarray]:
    """Fixed-point maps for cv2.remap from the sampled (canonical) image to the raw image of a lens with distortion.

    The rotation comes as its nine rounded entries, row by row, so that maps can be kept.
    """
    v, u = np.meshgrid(np.arange(sampled.height) + 0.5, np.arange(sampled.width) + 0.5, indexing="ij")
    rays = sampled.rays(np.stack([u, v], axis=-1)).reshape(-1, 3) @ np.reshape(optical_R_sampled, (3, 3)).T
    reached = np.nan_to_num(distort(rays, camera), nan=_OUTSIDE)
    indices = (reached - 0.5).astype(np.float32).reshape(sampled.height, sampled.width, 2)
    return cv2.convertMaps(indices, None, cv2.CV_16SC2)

"""A data set's images as another camera at the same place would have taken them: other lens, resolution and roll.

Cameras that share an optical centre see the same rays, so no depth is needed and the ground truth stays true. This is
the opposite of the canonical warp (raw images are made, distortion and all) and shares only the lens model with it.
The second sampling blurs a little, as no camera does, so what a model loses on these images is rather too much.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

from kyvo_ros.scene import CameraView, PinholeCamera
from kyvo_ros.scene.distortion import undistort

_MAX_OVERSAMPLING = 4
_OUTSIDE = -1e4  # map coordinate of a pixel that sees no ray


def other_cameras(camera: PinholeCamera) -> dict[str, tuple[PinholeCamera, float]]:
    """Cameras that differ from a data set's in one thing each, and one in all: name -> (camera, roll in radians)."""
    w, h, f = camera.width, camera.height, camera.fx

    def lens(width: int, height: int, focal: float, distortion: tuple[float, ...] = (), model: str = "plumb_bob",
             centre: tuple[float, float] = (0.5, 0.5)) -> PinholeCamera:
        return PinholeCamera(width, height, focal, focal, centre[0] * width, centre[1] * height, distortion, model)

    return {
        "half the resolution": (camera.resized(w // 2, h // 2), 0.0),
        "twice the resolution": (camera.resized(2 * w, 2 * h), 0.0),
        "focal length x 0.7": (lens(w, h, 0.7 * f), 0.0),
        "focal length x 1.3": (lens(w, h, 1.3 * f), 0.0),
        "aspect 16:9": (lens(2 * w, 2 * w * 9 // 16, 2 * f), 0.0),
        "square, oblong pixels, off-centre": (PinholeCamera(w, w, 0.9 * f, 1.2 * f, 0.46 * w, 0.55 * w), 0.0),
        "roll 10 deg": (camera, math.radians(10)),
        "roll -25 deg": (camera, math.radians(-25)),
        "roll 25 deg, focal length x 0.7": (lens(w, h, 0.7 * f), math.radians(25)),
        "plumb_bob, barrel": (lens(2 * w, 2 * h, 1.8 * f, (-0.3, 0.1, 0.002, -0.001, 0.0)), 0.0),
        "plumb_bob, pincushion": (lens(2 * w, 2 * h, 1.8 * f, (0.2, 0.0, 0.0, 0.0, 0.0)), 0.0),
        "equidistant": (lens(2 * w, 2 * h, 1.8 * f, (0.02, -0.01, 0.0, 0.0), "equidistant"), 0.0),
        "equidistant, 16:10, roll 15 deg, off-centre": (
            lens(2 * w, 2 * w * 10 // 16, 1.4 * f, (0.02, -0.01, 0.0, 0.0), "equidistant", (0.53, 0.47)),
            math.radians(15)),
    }


def with_camera(view: CameraView, camera: PinholeCamera, roll_rad: float) -> CameraView:
    """The view of another camera in the place of one, rolled by `roll_rad` against it."""
    return replace(view, intrinsics=camera, roll_rad=view.roll_rad + roll_rad)


def reprojected(image_rgb: np.ndarray, source: PinholeCamera, camera: PinholeCamera, roll_rad: float) -> np.ndarray:
    """The raw image (h, w, 3) uint8 of `camera`, rolled by `roll_rad` against the undistorted camera of an image
    (H, W, 3) uint8.

    Shrinking is antialiased; what the source does not show repeats its border.
    """
    factor = min(max(math.ceil(max(source.fx / camera.fx, source.fy / camera.fy) - 1e-6), 1), _MAX_OVERSAMPLING)
    maps = _maps(source, camera.resized(camera.width * factor, camera.height * factor), roll_rad)
    image = cv2.remap(image_rgb, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return image if factor == 1 else cv2.resize(image, (camera.width, camera.height), interpolation=cv2.INTER_AREA)


@lru_cache(maxsize=16)
def _maps(source: PinholeCamera, camera: PinholeCamera, roll_rad: float) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows (h, w) float32 of the source that the pixels of `camera` see, as indices for cv2.remap."""
    v, u = np.meshgrid(np.arange(camera.height) + 0.5, np.arange(camera.width) + 0.5, indexing="ij")
    rays = undistort(np.stack([u, v], axis=-1).reshape(-1, 2), camera)
    c, s = math.cos(roll_rad), math.sin(roll_rad)
    rays = rays @ np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]).T  # source_R_camera
    indices = np.nan_to_num(source.project(rays) - 0.5, nan=_OUTSIDE)
    columns, rows = indices.astype(np.float32).reshape(camera.height, camera.width, 2).transpose(2, 0, 1)
    return np.ascontiguousarray(columns), np.ascontiguousarray(rows)

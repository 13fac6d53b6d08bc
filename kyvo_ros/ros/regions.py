"""The part of an image that is looked at: a mask and a region of interest. Knows nothing of ROS or models.

The calibration is that of the whole image; cutting moves its principal point.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from kyvo_ros.ros.settings import Settings
from kyvo_ros.scene import PinholeCamera
from kyvo_ros.scene.distortion import distort
from kyvo_ros.scene.memory import PathError, path_below

_WHITE = 128  # and above is looked at


class RegionError(ValueError):
    """A region or a mask cannot be used; the message says why and what to do."""


def default_mask_folder() -> str:
    """Where masks are looked for unless mask_folder says otherwise: in the folder of ROS's own files."""
    return os.path.join(os.environ.get("ROS_HOME") or os.path.join("~", ".ros"), "kyvo_masks")


def load_mask(path: str | Path) -> np.ndarray:
    """(H, W) bool, True where it is looked at, of a grey picture of 8 bits. Raises RegionError."""
    try:
        data = np.frombuffer(Path(path).read_bytes() if Path(path).is_file() else b"", np.uint8)
    except OSError as error:
        raise RegionError(f"cannot read the mask {path}: {error.strerror}") from error
    picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if picture is None:
        raise RegionError(f"the mask {path} is no picture that can be read; give the path of a PNG")
    if picture.ndim != 2 or picture.dtype != np.uint8:
        raise RegionError(f"the mask {path} must be grey with 8 bits, got {_kind(picture)}; save it without colours")
    if picture.max() < _WHITE:
        raise RegionError(f"the mask {path} is black everywhere; paint white what is to be looked at")
    return picture >= _WHITE


def _kind(picture: np.ndarray) -> str:
    channels = picture.shape[2] if picture.ndim == 3 else 1
    return f"{channels} channel(s) of {8 * picture.dtype.itemsize} bits"


def mask_path(settings: Settings) -> Path:
    """The file of the settings' mask. Raises RegionError where it is not below mask_folder."""
    if os.path.isabs(settings.mask):
        return Path(settings.mask)
    try:
        return path_below(Path(settings.mask_folder or default_mask_folder()).expanduser(), settings.mask)
    except PathError as error:
        raise RegionError(f"mask: {error}; the parameter mask_folder names the folder") from error


def check_mask(settings: Settings) -> None:
    """Raises RegionError where the settings name a mask that cannot be used."""
    if settings.mask:
        load_mask(mask_path(settings))


class Region:
    """Mask and region of one camera; a mask's file is read anew when it has changed."""

    def __init__(self) -> None:
        self._file: tuple[Path, int] | None = None
        self._mask = np.ones((0, 0), bool)

    def cut(self, image: np.ndarray, settings: Settings) -> tuple[np.ndarray, np.ndarray | None]:
        """What the settings leave of an image (H, W, 3) uint8, and (H, W) bool of what is not masked in it, None
        without a mask. Raises RegionError.
        """
        height, width = image.shape[:2]
        left, top, right, bottom = _corners(settings.roi, width, height)
        image = image[top:bottom, left:right]
        if not settings.mask:
            return image, None
        mask = self._current(mask_path(settings))
        if mask.shape != (height, width):
            raise RegionError(f"the mask {settings.mask} has {mask.shape[1]}x{mask.shape[0]} pixels and the image "
                              f"{width}x{height}; make it as large as the camera's image")
        mask = mask[top:bottom, left:right]
        if not mask.any():
            raise RegionError(f"the mask {settings.mask} is black everywhere in roi {list(settings.roi)}; let them "
                              "overlap")
        return _filled(image, mask), mask

    def _current(self, path: Path) -> np.ndarray:
        try:
            file = path, path.stat().st_mtime_ns
        except OSError as error:
            raise RegionError(f"cannot read the mask {path}: {error.strerror}") from error
        if file != self._file:
            self._mask, self._file = load_mask(path), file
        return self._mask


def _filled(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image with the mean colour of what is looked at everywhere else."""
    filled = image.copy()
    filled[~mask] = np.round(cv2.mean(filled, np.ascontiguousarray(mask).view(np.uint8))[:3])
    return filled


def cut_lens(camera: PinholeCamera, roi: tuple[int, ...]) -> PinholeCamera:
    """The lens of what `Region.cut` leaves of an image. Raises RegionError."""
    left, top, right, bottom = _corners(roi, camera.width, camera.height)
    return replace(camera, width=right - left, height=bottom - top, cx=camera.cx - left, cy=camera.cy - top)


def shown_points(points: np.ndarray, camera: PinholeCamera, mask: np.ndarray | None) -> np.ndarray:
    """Those of points (N, 3) in the optical frame that lie where an image is looked at: `camera` is the lens of what
    `Region.cut` leaves of it, `mask` (H, W) bool what is not masked in that.
    """
    raw = distort(points, camera)
    inside = np.flatnonzero(((raw >= 0) & (raw < (camera.width, camera.height))).all(axis=-1))
    if mask is not None:
        columns, rows = raw[inside].astype(int).T
        inside = inside[mask[rows, columns]]
    return points[inside]


def _corners(roi: tuple[int, ...], width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a region in an image."""
    x, y, wide, high = roi
    right, bottom = x + wide if wide else width, y + high if high else height
    if not (x < right <= width and y < bottom <= height):
        raise RegionError(f"roi {list(roi)} does not lie in the image of {width}x{height} pixels; it is x, y, width "
                          "and height of a part of it")
    return x, y, right, bottom

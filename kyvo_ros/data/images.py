"""Image files to and from RGB arrays (OpenCV)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


class ImageFileError(ValueError):
    """An image file is missing or cannot be read or written."""


def read_rgb(path: str | Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an image file; inverse of `write_rgb`. Raises ImageFileError."""
    if not Path(path).is_file():
        raise ImageFileError(f"no image file at {path}")
    try:  # not imread, which fills up the picture of a file that was cut off
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:  # a header that claims more pixels than OpenCV takes
        raise ImageFileError(f"{path} cannot be read: {error.err}") from error
    if image is None:
        raise ImageFileError(f"{path} is not a whole image that OpenCV reads (JPEG, PNG, ...)")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def write_rgb(path: str | Path, image_rgb: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB, in the format that the suffix names; inverse of `read_rgb`. Raises ImageFileError."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        written = cv2.imwrite(str(path), cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))
    except cv2.error as error:
        raise ImageFileError(f"cannot write {path}: {error.err}; use a suffix such as .png or .jpg") from error
    if not written:
        raise ImageFileError(f"cannot write {path}; is its folder writable?")

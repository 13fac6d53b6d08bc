"""How alike two images are: PSNR, SSIM and L2.

Images are (H, W, 3) floats in [0, 1]. Pixel metrics hide lost small objects; read them beside a picture.
Source: SSIM, Wang et al. 2004, with the usual 7x7 uniform window of scikit-image.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter

_WINDOW = 7
_K1, _K2 = 0.01, 0.03


def l2(image: np.ndarray, truth: np.ndarray) -> float:
    """Mean squared difference; zero for equal images."""
    _check(image, truth)
    return float(np.mean((np.asarray(image, np.float64) - truth) ** 2))


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal to noise ratio in dB; infinite for equal images."""
    error = l2(image, truth)
    return float("inf") if error == 0 else -10 * float(np.log10(error))


def ssim(image: np.ndarray, truth: np.ndarray, data_range: float = 1.0) -> float:
    """Structural similarity, mean over pixels and channels, in [-1, 1]; `data_range` is that of the values."""
    _check(image, truth)
    x, y = (np.asarray(v, np.float64) for v in (image, truth))
    mean_x, mean_y = _local_mean(x), _local_mean(y)
    sample = _WINDOW**2 / (_WINDOW**2 - 1)  # unbiased variance
    var_x = sample * (_local_mean(x * x) - mean_x**2)
    var_y = sample * (_local_mean(y * y) - mean_y**2)
    covariance = sample * (_local_mean(x * y) - mean_x * mean_y)
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    value = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    edge = _WINDOW // 2
    return float(value[edge:-edge, edge:-edge].mean())


def _local_mean(x: np.ndarray) -> np.ndarray:
    return uniform_filter(x, size=(_WINDOW, _WINDOW, 1))


def _check(image: np.ndarray, truth: np.ndarray) -> None:
    if image.shape != truth.shape or image.ndim != 3 or min(image.shape[:2]) < _WINDOW:
        raise ValueError(f"expected two images (H, W, C) of one size of at least {_WINDOW} pixels, "
                         f"got {image.shape} and {truth.shape}")

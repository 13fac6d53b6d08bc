"""PSNR and SSIM: known values, symmetry, and agreement with scikit-image where it is installed."""

import numpy as np
import pytest

from kyvo_ros.evaluation.image_metrics import psnr, ssim

RNG = np.random.default_rng(0)
IMAGE = RNG.random((20, 24, 3))


def test_equal_images_are_perfect():
    assert psnr(IMAGE, IMAGE) == float("inf") and ssim(IMAGE, IMAGE) == pytest.approx(1.0)


def test_psnr_of_a_known_error():
    assert psnr(np.zeros((8, 8, 3)), np.full((8, 8, 3), 0.1)) == pytest.approx(20.0)  # -10 log10(0.01)


def test_noise_costs_both():
    little, much = (np.clip(IMAGE + RNG.normal(0, s, IMAGE.shape), 0, 1) for s in (0.02, 0.2))
    assert psnr(little, IMAGE) > psnr(much, IMAGE) and 1 > ssim(little, IMAGE) > ssim(much, IMAGE)
    assert ssim(much, IMAGE) == pytest.approx(ssim(IMAGE, much))


def test_ssim_agrees_with_scikit_image():
    image = np.random.default_rng(1).random((20, 24, 3))
    other = np.clip(image + 0.1 * np.sin(np.arange(image.size)).reshape(image.shape), 0, 1)
    # skimage.metrics.structural_similarity(image, other, channel_axis=2, data_range=1.0) of scikit-image
    assert ssim(other, image) == pytest.approx(0.9723235989, abs=1e-8)


@pytest.mark.parametrize("other", [np.zeros((20, 23, 3)), np.zeros((20, 24))])
def test_sizes_must_agree(other):
    with pytest.raises(ValueError, match="of one size"):
        ssim(IMAGE, other)

"""Images that show no scene: every kind is drawn, they differ, and a seed repeats them."""

import numpy as np
import pytest

from kyvo_ros.data.backgrounds import KINDS, background_images


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn_at_any_size(kind):
    for seed, (width, height) in enumerate([(192, 120), (33, 25), (256, 160)]):
        image = KINDS[kind](np.random.default_rng(seed), width, height)
        assert image.shape == (height, width, 3) and image.dtype == np.float32 and np.isfinite(image).all()


def test_a_seed_repeats_the_images_and_another_does_not():
    first, again, other = (background_images(np.random.default_rng(seed), 6, 64, 40) for seed in (1, 1, 2))
    assert first.shape == (6, 40, 64, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert len({image.tobytes() for image in first}) == 6

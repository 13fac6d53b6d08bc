"""The image autoencoder: shapes, inverse pairs, and the rejection of what does not fit."""

import numpy as np
import pytest
import torch

from kyvo_ros.autoencoders.image_tokenizer import (
    ImageTokenizer, ImageTokenizerConfig, images_to_tensor, tensor_to_images,
)

TINY = ImageTokenizerConfig(width=16, height=8, widths=(4, 8), blocks=(0, 1), codebook_size=12, code_dim=4)


@pytest.fixture
def tokenizer() -> ImageTokenizer:
    torch.manual_seed(0)
    return ImageTokenizer(TINY).eval()


def test_grid_follows_from_size_and_stride(tokenizer):
    codes = tokenizer.encode(torch.rand(3, 3, 8, 16))
    assert tokenizer.grid == (2, 4) and codes.shape == (3, 2, 4)
    assert 0 <= codes.min() and codes.max() < 12
    drawn = tokenizer.decode(codes)
    assert drawn.shape == (3, 3, 8, 16) and drawn.abs().max() <= 1


def test_an_image_has_the_same_codes_alone_and_in_a_batch(tokenizer):
    images = torch.rand(4, 3, 8, 16)
    together = tokenizer.encode(images)
    assert torch.equal(together, torch.cat([tokenizer.encode(i[None]) for i in images]))


def test_bad_input_is_named(tokenizer):
    with pytest.raises(ValueError, match=r"expected images \(B, 3, 8, 16\), got \(1, 3, 16, 8\)"):
        tokenizer.encode(torch.rand(1, 3, 16, 8))
    with pytest.raises(ValueError, match=r"expected codes \(B, 2, 4\)"):
        tokenizer.decode(torch.zeros(1, 4, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="must lie in"):
        tokenizer.decode(torch.full((1, 2, 4), 12))


@pytest.mark.parametrize("wrong", [{"width": 18}, {"blocks": (1,)}, {"widths": (), "blocks": ()}])
def test_configuration_refuses_sizes_that_do_not_fit(wrong):
    with pytest.raises(ValueError):
        ImageTokenizerConfig(**{**TINY.to_dict(), **wrong})


def test_configuration_round_trip():
    assert ImageTokenizerConfig.from_dict(TINY.to_dict()) == TINY


def test_pixels_to_tensor_and_back():
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 16, 3), dtype=np.uint8)
    assert np.array_equal(tensor_to_images(images_to_tensor(images)), images)

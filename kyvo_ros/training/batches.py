"""Batches of images: real renders and synthetic scenes by a ratio, mirrored and with another exposure at random."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kyvo_ros.autoencoders.image_tokenizer import images_to_tensor
from kyvo_ros.data.examples import ExampleSet


class ImageBatches:
    """Draws batches; an empty set of one kind leaves the other.

    The images lie on `device`, so that a GPU does not wait for them.
    """

    def __init__(self, synthetic: ExampleSet | None, renders: ExampleSet | None, render_ratio: float, batch_size: int,
                 device: torch.device) -> None:
        """`render_ratio` is the share of renders in a batch where both kinds exist."""
        sizes = [round(render_ratio * batch_size), batch_size - round(render_ratio * batch_size)]
        kinds = [(kind, size) for kind, size in zip((renders, synthetic), sizes) if kind is not None and len(kind)]
        if not kinds:
            raise ValueError("no training images: expected synthetic scenes, --renders DIR, or both")
        if len(kinds) == 1:
            kinds = [(kinds[0][0], batch_size)]
        self.device = device
        self._kinds = [(kind.without_images(), torch.as_tensor(kind.images).to(device), size) for kind, size in kinds]

    def draw(self, rng: np.random.Generator, varied: bool = True) -> tuple[ExampleSet, Tensor]:
        """A batch of examples without their pixels, and its images (B, 3, H, W) in [-1, 1], half of them mirrored;
        `varied` also changes their look.
        """
        examples, images = [], []
        for truth, pixels, size in self._kinds:
            rows = rng.integers(len(truth), size=size)
            chosen, half = truth[rows], size // 2
            examples += [chosen[:half].mirrored(), chosen[half:]]
            drawn = pixels[torch.as_tensor(rows, device=self.device)]
            images += [drawn[:half].flip(2), drawn[half:]]
        batch = images_to_tensor(torch.cat(images))
        return ExampleSet.concatenate(examples), vary_look(batch, rng) if varied else batch


def vary_look(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Other exposure, white balance, contrast and noise for each image (B, 3, H, W) in [-1, 1]; geometry stays."""
    b, device = len(images), images.device
    gain = rng.uniform(0.85, 1.15, (b, 1, 1, 1)) * rng.uniform(0.96, 1.04, (b, 3, 1, 1))
    gamma = rng.uniform(0.9, 1.1, (b, 1, 1, 1))
    noise = rng.uniform(0.0, 0.03, (b, 1, 1, 1))
    gain, gamma, noise = (torch.as_tensor(v, dtype=images.dtype, device=device) for v in (gain, gamma, noise))
    generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
    grain = torch.randn(images.shape, generator=generator, device=device)
    light = images.add(1).div(2).clamp(min=1e-3).pow(gamma) * gain
    return (2 * light - 1 + grain * noise).clamp(-1, 1)

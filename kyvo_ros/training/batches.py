"""Batches of images: real renders and synthetic scenes by a ratio, mirrored and with another exposure at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kyvo_ros.autoencoders.image_tokenizer import images_to_tensor
from kyvo_ros.data.examples import ExampleSet


@dataclass(frozen=True, eq=False)
class ImageBatches:
    """Draws batches; an empty set of one kind leaves the other."""

    synthetic: ExampleSet | None
    renders: ExampleSet | None
    render_ratio: float  # share of renders in a batch where both kinds exist
    batch_size: int
    device: torch.device

    def __post_init__(self) -> None:
        if not len(self.synthetic or ()) and not len(self.renders or ()):
            raise ValueError("no training images: expected synthetic scenes, --renders DIR, or both")

    def draw(self, rng: np.random.Generator) -> tuple[ExampleSet, Tensor]:
        """A batch of examples and its augmented images (B, 3, H, W) in [-1, 1]."""
        real = 0 if self.renders is None else round(self.render_ratio * self.batch_size)
        real = self.batch_size if not len(self.synthetic or ()) else real
        parts = [source[rng.integers(len(source), size=size)]
                 for source, size in ((self.renders, real), (self.synthetic, self.batch_size - real)) if size]
        turned = [half for p in parts for half in (p[: len(p) // 2].mirrored(), p[len(p) // 2:]) if len(half)]
        examples = ExampleSet.concatenate(turned)
        return examples, vary_look(images_to_tensor(examples.images).to(self.device), rng)


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

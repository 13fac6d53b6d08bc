"""What a VQGAN adds to the loss of its pictures: a discriminator that has to be fooled, and a perceptual distance.

The discriminator judges patches (PatchGAN, arXiv 1611.07004) by a hinge loss and learns in the same step as the image
decoder: the decoder's term passes through a copy of its weights that takes no gradient. The weight of that term is
adapted so that its gradient at the decoder's last layer is as large as that of the rest (VQGAN, arXiv 2012.09841).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from kyvo_ros.autoencoders.image_tokenizer import ImageCodec
from kyvo_ros.training.perceptual import PerceptualDistance, PerceptualSettings

#: Largest factor by which the adversarial term may be adapted.
_LARGEST_FACTOR = 1e4


@dataclass(frozen=True)
class PictureSettings(PerceptualSettings):
    """Terms beside the errors of pixels; none by default."""

    adversarial: float = 0.0  # weight of the discriminator's opinion, before it is adapted; 0 leaves it out
    adversarial_from: int = 0  # step at which the discriminator begins to learn and to count
    discriminator_channels: int = 64  # of its first layer
    discriminator_halvings: int = 3  # of the resolution; a patch of 3 halvings is 70 pixels wide

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.adversarial, self.adversarial_from) < 0:
            raise ValueError(f"weights and steps of picture terms must not be negative, got {self}")
        if min(self.discriminator_channels, self.discriminator_halvings) < 1:
            raise ValueError(f"a discriminator needs channels and halvings, got {self}")

    @property
    def wanted(self) -> bool:
        """Whether there is any term."""
        return self.adversarial > 0 or self.perceptual > 0


class PatchDiscriminator(nn.Sequential):
    """(B, 3, H, W) -> (B, 1, h, w): high where a patch looks like one of a real picture."""

    def __init__(self, channels: int, halvings: int) -> None:
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        before = channels
        for number in range(1, halvings + 1):
            after = channels * min(2**number, 8)
            stride = 2 if number < halvings else 1
            layers += [nn.Conv2d(before, after, 4, stride=stride, padding=1, bias=False), nn.BatchNorm2d(after),
                       nn.LeakyReLU(0.2)]
            before = after
        super().__init__(*layers, nn.Conv2d(before, 1, 4, padding=1))


class PictureTerms(nn.Module):
    """The terms of the settings, for an image tokenizer's decoder; what they learn is in their state."""

    def __init__(self, settings: PictureSettings, distance: PerceptualDistance | None, parts: int) -> None:
        """`parts` is how many times a step calls them."""
        super().__init__()
        self.settings = settings
        self.discriminator = (PatchDiscriminator(settings.discriminator_channels, settings.discriminator_halvings)
                              if settings.adversarial > 0 else None)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self._distance, self._parts = distance, parts

    def forward(self, images: Tensor, drawn: Tensor, rest: Tensor, last: Tensor) -> tuple[Tensor, dict[str, float]]:
        """What to add to the loss, and the numbers to log.

        Args:
            images, drawn: (B, 3, H, W) in [-1, 1].
            rest: () the loss without these terms.
            last: weights of the last layer that draws.
        """
        total, numbers = torch.zeros_like(rest), {}
        if self._distance is not None:
            distance = self._distance(drawn, images)
            total, numbers["perceptual"] = self.settings.perceptual * distance, float(distance.detach())
        if self.discriminator is not None:
            if self.calls >= self.settings.adversarial_from * self._parts:
                added, more = self._adversarial(images, drawn, rest + total, last)
                total, numbers = total + added, {**numbers, **more}
            self.calls += 1
        return total, numbers

    def _adversarial(self, images: Tensor, drawn: Tensor, rest: Tensor,
                     last: Tensor) -> tuple[Tensor, dict[str, float]]:
        frozen = {name: parameter.detach() for name, parameter in self.discriminator.named_parameters()}
        fooled = -functional_call(self.discriminator, frozen, (drawn,)).mean()
        factor = adapted_factor(rest, fooled, last)
        judged = 0.5 * (F.relu(1 - self.discriminator(images)).mean()
                        + F.relu(1 + self.discriminator(drawn.detach())).mean())
        numbers = {"fooled": float(fooled.detach()), "judged": float(judged.detach()), "factor": float(factor)}
        return self.settings.adversarial * factor * fooled + judged, numbers


def adapted_factor(rest: Tensor, fooled: Tensor, last: Tensor) -> Tensor:
    """() by how much longer the gradient of one loss is than that of the other, at `last`."""
    ours, theirs = (torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (rest, fooled))
    return (ours / (theirs + 1e-4)).clamp(0.0, _LARGEST_FACTOR).detach()


class PictureModel(nn.Module):
    """An image tokenizer with the terms that train its decoder."""

    def __init__(self, tokenizer: ImageCodec, settings: PictureSettings, folder: Path, parts: int = 1) -> None:
        """`folder` is where paths of weights begin. Raises PerceptualError."""
        super().__init__()
        self.tokenizer = tokenizer
        device = next(tokenizer.parameters()).device
        self.terms = PictureTerms(settings, settings.distance(folder, device), parts).to(device)

    def added(self, images: Tensor, drawn: Tensor, rest: Tensor) -> tuple[Tensor, dict[str, float]]:
        """As `PictureTerms`."""
        last = [layer for layer in self.tokenizer.decoder.modules() if isinstance(layer, nn.Conv2d)][-1]
        return self.terms(images, drawn, rest, last.weight)

"""Perceptual distance of pictures (LPIPS, arXiv 1801.03924): how far apart the features of a VGG-16 are.

The weights are the user's, in files of tensors: torchvision's VGG-16 (`features.N.weight`), and LPIPS' weights of
channels (`lin0.model.1.weight` .. `lin4.model.1.weight`), without which all channels of a level count alike. LPIPS' own
names of the network (`net.slice1.0.weight`) are read too. It is never trained here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from kyvo_ros.model.checkpoint import read_tensor_file

#: Output channels of the convolutions of each level; between levels the resolution halves.
_LEVELS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
#: Of the images that VGG was trained on, for values in [-1, 1].
_MEAN, _SPREAD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_CONVOLUTION = re.compile(r"(?:net\.)?(?:features|slice\d)\.(\d+)\.(weight|bias)$")
_CHANNELS = re.compile(r"lin(\d)\.model\.\d+\.weight$")


class PerceptualError(ValueError):
    """Files do not hold the weights of a VGG-16; the message names the tensors."""


@dataclass(frozen=True)
class PerceptualSettings:
    """The distance as a term of a loss; none by default."""

    perceptual: float = 0.0  # weight of the perceptual distance; 0 leaves it out
    perceptual_weights: tuple[str, ...] = ()  # files of the weights; paths are relative to the recipe

    def __post_init__(self) -> None:
        files = self.perceptual_weights
        object.__setattr__(self, "perceptual_weights", (files,) if isinstance(files, str) else tuple(files))
        if self.perceptual < 0:
            raise ValueError(f"the weight of the perceptual distance must not be negative, got {self.perceptual}")
        if (self.perceptual > 0) != bool(self.perceptual_weights):
            raise ValueError("perceptual and perceptual_weights belong together: a weight, and the files of a VGG-16 "
                             f"(the package has none), got {self.perceptual} and {list(self.perceptual_weights)}")

    def distance(self, folder: Path, device: torch.device) -> PerceptualDistance | None:
        """What the files hold, if there are any; `folder` is where their paths begin. Raises as `read_perceptual`."""
        files = [folder / file for file in self.perceptual_weights]
        return read_perceptual(files).to(device) if files else None


def convolution_shapes() -> dict[str, tuple[int, ...]]:
    """Names in torchvision's order, such as `features.0.weight`, and shapes."""
    shapes, number, before = {}, 0, 3
    for level in _LEVELS:
        for channels in level:
            shapes |= {f"features.{number}.weight": (channels, before, 3, 3), f"features.{number}.bias": (channels,)}
            before, number = channels, number + 2  # a convolution and its ReLU
        number += 1  # the pooling
    return shapes


def read_perceptual(files: Sequence[Path]) -> PerceptualDistance:
    """The distance whose weights lie in one or several files (.safetensors, or what `torch.save` wrote).

    Raises PerceptualError, PublishedCheckpointError for a file that holds more than tensors.
    """
    found = {}
    for file in files:
        found |= _read(file)
    named, channels = {}, {}
    for name, tensor in found.items():
        if match := _CONVOLUTION.search(name):
            named[f"features.{match[1]}.{match[2]}"] = tensor.float()
        elif match := _CHANNELS.search(name):
            channels[int(match[1])] = tensor.float().flatten()
    _check(named, channels, ", ".join(map(str, files)))
    return PerceptualDistance(named, [channels[i] for i in sorted(channels)])


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise PerceptualError(f"there is no file {file}; perceptual_weights names files of a VGG-16's weights")
    if file.suffix != ".safetensors":
        return read_tensor_file(file)
    try:
        return load_file(file)
    except SafetensorError as error:
        raise PerceptualError(f"{file} is not a whole safetensors file ({error}); copy it again") from error


def _check(named: dict[str, Tensor], channels: dict[int, Tensor], files: str) -> None:
    expected = convolution_shapes()
    faults = [f"{name} is missing" for name in expected if name not in named]
    faults += [f"{name} has shape {tuple(named[name].shape)}, expected {shape}" for name, shape in expected.items()
               if name in named and tuple(named[name].shape) != shape]
    sizes = {i: level[-1] for i, level in enumerate(_LEVELS)}
    if channels and {i: len(weight) for i, weight in channels.items()} != sizes:
        faults.append(f"lin0 .. lin4 must weigh {list(sizes.values())} channels")
    if faults:
        raise PerceptualError(f"{files}: no VGG-16 as torchvision or LPIPS name its weights: {'; '.join(faults)}")


class PerceptualDistance:
    """The distance of pairs of pictures."""

    def __init__(self, weights: dict[str, Tensor], channels: Sequence[Tensor] = ()) -> None:
        """`weights` as `convolution_shapes` names them; `channels` (C,) of each level, or none."""
        order = list(convolution_shapes())
        self._convolutions = [(weights[w], weights[b]) for w, b in zip(order[::2], order[1::2])]
        self._channels = list(channels) or [torch.full((level[-1],), 1 / level[-1]) for level in _LEVELS]
        self._range = torch.tensor([_MEAN, _SPREAD]).view(2, 1, 3, 1, 1)

    def to(self, device: torch.device) -> PerceptualDistance:
        """Move the weights; returns itself."""
        self._convolutions = [(w.to(device), b.to(device)) for w, b in self._convolutions]
        self._channels = [c.to(device) for c in self._channels]
        self._range = self._range.to(device)
        return self

    def __call__(self, one: Tensor, other: Tensor) -> Tensor:
        """(B, 3, H, W) twice, in [-1, 1] -> () the mean distance."""
        levels = zip(self._features(one), self._features(other), self._channels)
        return sum(((a - b).square() * c.view(-1, 1, 1)).sum(1).mean() for a, b, c in levels)

    def _features(self, images: Tensor) -> list[Tensor]:
        """At the end of each level, of unit length at every place."""
        mean, spread = self._range
        x, convolutions, found = (images - mean) / spread, iter(self._convolutions), []
        for number, level in enumerate(_LEVELS):
            if number:
                x = F.max_pool2d(x, 2)
            for _ in level:
                weight, bias = next(convolutions)
                x = F.relu(F.conv2d(x, weight, bias, padding=1))
            found.append(F.normalize(x, dim=1, eps=1e-10))
        return found

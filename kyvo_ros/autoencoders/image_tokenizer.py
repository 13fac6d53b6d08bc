"""VQGAN-style image autoencoder: image <-> a grid of codes.

A convolutional encoder, a vector quantiser and a convolutional decoder. How it is trained (with an auxiliary dense
head on ground-truth objects, which the paper's VQGAN does not have) is the training room's business. It does not know
cameras: images arrive in the canonical view. Source: VQGAN (arXiv 2012.09841); batch normalisation in place of group
normalisation because it folds into the convolutions, which a CPU on a robot thanks us for.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kyvo_ros.autoencoders.quantizer import VectorQuantizer


@dataclass(frozen=True)
class ImageTokenizerConfig:
    """Sizes of the autoencoder; the stride is 2 to the number of `widths`."""

    width: int = 128  # pixels of the canonical image
    height: int = 80
    widths: tuple[int, ...] = (32, 64, 128)  # channels after each halving of the resolution
    blocks: tuple[int, ...] = (0, 2, 2)  # residual blocks after each halving
    codebook_size: int = 1024
    code_dim: int = 64  # dimensions of a codebook vector

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "blocks", tuple(self.blocks))
        if len(self.widths) != len(self.blocks) or not self.widths:
            raise ValueError(f"widths and blocks must name the same levels, got {self.widths} and {self.blocks}")
        if self.width % self.stride or self.height % self.stride:
            raise ValueError(f"image size {self.width}x{self.height} must be a multiple of the stride {self.stride}")

    @property
    def stride(self) -> int:
        return 2 ** len(self.widths)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of codes."""
        return self.height // self.stride, self.width // self.stride

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> ImageTokenizerConfig:
        return cls(**values)


class ResidualBlock(nn.Module):
    """x + conv(act(conv(x))), each convolution 3x3 with batch normalisation; (B, C, H, W) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels),
        )
        nn.init.zeros_(self.body[-1].weight)  # starts as the identity

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x + self.body(x))


class Encoder(nn.Module):
    """(B, 3, H, W) in [-1, 1] -> (B, C, h, w) continuous latents."""

    def __init__(self, config: ImageTokenizerConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width, blocks in zip(config.widths, config.blocks):
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.SiLU()]
            layers += [ResidualBlock(width) for _ in range(blocks)]
            before = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, config.code_dim, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class Decoder(nn.Module):
    """(B, C, h, w) codebook vectors -> (B, 3, H, W) in [-1, 1]."""

    def __init__(self, config: ImageTokenizerConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(config.code_dim, config.widths[-1], 3, padding=1), nn.SiLU()]
        levels = list(zip(config.widths, (3, *config.widths), config.blocks))
        for width, finer, blocks in reversed(levels):
            layers += [ResidualBlock(width) for _ in range(blocks)]
            layers += [nn.Conv2d(width, 4 * finer, 3, padding=1), nn.PixelShuffle(2)]
            layers += [nn.SiLU()] if finer != 3 else [nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, vectors: Tensor) -> Tensor:
        return self.layers(vectors)


class ImageCodec(nn.Module):
    """Image <-> codes by an encoder, a quantiser and a decoder, whatever these are.

    `encode` and `decode` are the inverse pair (up to quantisation). `config` tells width, height, grid (h, w) and
    codebook_size; the quantiser has `codebook` (K, C), `encode` (..., C) -> codes and `decode` back to vectors.
    """

    def __init__(self, config: Any, encoder: nn.Module, quantizer: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.quantizer = quantizer
        self.decoder = decoder
        self.to(memory_format=torch.channels_last)

    @property
    def grid(self) -> tuple[int, int]:
        return self.config.grid

    @property
    def codebook(self) -> Tensor:
        """(K, C) codebook vectors."""
        return self.quantizer.codebook

    def latents(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, h, w, C) before quantisation.

        Raises ValueError where the size differs from the canonical image.
        """
        expected = (3, self.config.height, self.config.width)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise ValueError(f"expected images (B, {', '.join(map(str, expected))}), got {tuple(images.shape)}")
        return self.encoder(images.contiguous(memory_format=torch.channels_last)).permute(0, 2, 3, 1)

    def pixels(self, vectors: Tensor) -> Tensor:
        """(B, h, w, C) codebook vectors -> (B, 3, H, W) in [-1, 1]."""
        return self.decoder(vectors.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last))

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> codes (B, h, w) int64."""
        return self.quantizer.encode(self.latents(images))

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, h, w) -> images (B, 3, H, W) in [-1, 1].

        Raises ValueError for codes of another grid or outside the codebook.
        """
        if codes.ndim != 3 or tuple(codes.shape[1:]) != self.grid:
            raise ValueError(f"expected codes (B, {self.grid[0]}, {self.grid[1]}), got {tuple(codes.shape)}")
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < self.config.codebook_size:
            raise ValueError(f"codes must lie in [0, {self.config.codebook_size})")
        return self.pixels(self.quantizer.decode(codes))


class ImageTokenizer(ImageCodec):
    """The autoencoder that this package trains."""

    def __init__(self, config: ImageTokenizerConfig) -> None:
        super().__init__(config, Encoder(config), VectorQuantizer(config.codebook_size, config.code_dim),
                         Decoder(config))


def images_to_tensor(images: np.ndarray | Tensor) -> Tensor:
    """uint8 RGB (B, H, W, 3) -> float32 (B, 3, H, W) in [-1, 1]; inverse of `tensor_to_images`."""
    return torch.as_tensor(images).permute(0, 3, 1, 2).float().div(127.5).sub(1.0)


def tensor_to_images(images: Tensor) -> np.ndarray:
    """float (B, 3, H, W) in [-1, 1] -> uint8 RGB (B, H, W, 3)."""
    return images.float().add(1.0).mul(127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()

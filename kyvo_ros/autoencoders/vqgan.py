"""The VQGAN of taming-transformers: the architecture of the published Kyvo's image tokenizers, written anew.

Residual blocks with group normalisation at several resolutions, attention over all positions where the image is
small, and the nearest codebook vector by Euclidean distance. It knows sizes and tensors; what the parts are called in
a checkpoint is `taming`'s business, and both follow from one plan, `encoder_plan` and `decoder_plan`.
Source: VQGAN (arXiv 2012.09841) and the shapes in its checkpoints (CompVis/taming-transformers).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kyvo_ros.autoencoders.image_tokenizer import ImageCodec

#: Channels come in this many groups, each normalised on its own.
_GROUPS = 32

#: Names of layers in a checkpoint, with the layers in the order in which they run.
Plan = Iterator[tuple[str, nn.Module]]


@dataclass(frozen=True)
class VqganConfig:
    """Sizes of the autoencoder, which takes square images; the stride is 2 to the number of `multipliers` less one."""

    resolution: int = 256  # pixels of a side
    channels: int = 128  # at full resolution
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)  # of the channels, at each halving of the resolution
    blocks: int = 2  # residual blocks at each resolution; the decoder has one more
    attention_at: tuple[int, ...] = (16,)  # resolutions with attention behind every block
    latent_dim: int = 256  # channels between the body and the code vectors
    code_dim: int = 256  # dimensions of a codebook vector
    codebook_size: int = 1024

    def __post_init__(self) -> None:
        object.__setattr__(self, "multipliers", tuple(self.multipliers))
        object.__setattr__(self, "attention_at", tuple(self.attention_at))
        sizes = (self.resolution, self.channels, self.blocks, self.latent_dim, self.code_dim, self.codebook_size,
                 *self.multipliers)
        if not self.multipliers or min(sizes) < 1:
            raise ValueError(f"all sizes of a VQGAN must be positive, got {self}")
        if self.resolution % self.stride:
            raise ValueError(f"resolution {self.resolution} must be a multiple of the stride {self.stride}")
        if self.channels % _GROUPS:
            raise ValueError(f"channels must be a multiple of {_GROUPS}, got {self.channels}")

    @property
    def stride(self) -> int:
        return 2 ** (len(self.multipliers) - 1)

    @property
    def width(self) -> int:
        return self.resolution

    @property
    def height(self) -> int:
        return self.resolution

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of codes."""
        return self.resolution // self.stride, self.resolution // self.stride

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> VqganConfig:
        return cls(**values)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels, eps=1e-6)


class Residual(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))); (B, C, H, W) -> (B, C', H, W)."""

    def __init__(self, before: int, channels: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(before), nn.Conv2d(before, channels, 3, padding=1)
        self.norm2, self.conv2 = _norm(channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = nn.Conv2d(before, channels, 1) if before != channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(F.silu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(inner)))


class Attention(nn.Module):
    """x + what every position reads at all others, one head; (B, C, H, W) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.query, self.key, self.value, self.out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        normalised = self.norm(x)
        query, key, value = (part(normalised).flatten(2).transpose(1, 2).unsqueeze(1)
                             for part in (self.query, self.key, self.value))  # (B, 1, H*W, C)
        read = F.scaled_dot_product_attention(query, key, value)
        return x + self.out(read.squeeze(1).transpose(1, 2).unflatten(2, tuple(x.shape[2:])))


class Shrink(nn.Module):
    """Half the resolution; faithful to the original, which pads on the right and below alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Grow(nn.Module):
    """Twice the resolution: every pixel repeated, then smoothed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def _middle(part: str, channels: int) -> Plan:
    yield f"{part}.mid.block_1", Residual(channels, channels)
    yield f"{part}.mid.attn_1", Attention(channels)
    yield f"{part}.mid.block_2", Residual(channels, channels)


def encoder_plan(config: VqganConfig) -> Plan:
    """The layers from (B, 3, H, W) in [-1, 1] to (B, code_dim, h, w)."""
    yield "encoder.conv_in", nn.Conv2d(3, config.channels, 3, padding=1)
    before, resolution = config.channels, config.resolution
    for level, multiplier in enumerate(config.multipliers):
        channels = config.channels * multiplier
        for block in range(config.blocks):
            yield f"encoder.down.{level}.block.{block}", Residual(before, channels)
            before = channels
            if resolution in config.attention_at:
                yield f"encoder.down.{level}.attn.{block}", Attention(channels)
        if level < len(config.multipliers) - 1:
            yield f"encoder.down.{level}.downsample", Shrink(channels)
            resolution //= 2
    yield from _middle("encoder", before)
    yield "encoder.norm_out", _norm(before)
    yield "", nn.SiLU()
    yield "encoder.conv_out", nn.Conv2d(before, config.latent_dim, 3, padding=1)
    yield "quant_conv", nn.Conv2d(config.latent_dim, config.code_dim, 1)


def decoder_plan(config: VqganConfig) -> Plan:
    """The layers from (B, code_dim, h, w) to (B, 3, H, W)."""
    before, resolution = config.channels * config.multipliers[-1], config.grid[0]
    yield "post_quant_conv", nn.Conv2d(config.code_dim, config.latent_dim, 1)
    yield "decoder.conv_in", nn.Conv2d(config.latent_dim, before, 3, padding=1)
    yield from _middle("decoder", before)
    for level, multiplier in reversed(list(enumerate(config.multipliers))):
        channels = config.channels * multiplier
        for block in range(config.blocks + 1):
            yield f"decoder.up.{level}.block.{block}", Residual(before, channels)
            before = channels
            if resolution in config.attention_at:
                yield f"decoder.up.{level}.attn.{block}", Attention(channels)
        if level:
            yield f"decoder.up.{level}.upsample", Grow(channels)
            resolution *= 2
    yield "decoder.norm_out", _norm(before)
    yield "", nn.SiLU()
    yield "decoder.conv_out", nn.Conv2d(before, 3, 3, padding=1)


class NearestVector(nn.Module):
    """K vectors of C dimensions; a code is the nearest of them by Euclidean distance."""

    def __init__(self, codes: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("codebook", torch.empty(codes, dim).uniform_(-1 / codes, 1 / codes))

    def encode(self, vectors: Tensor) -> Tensor:
        """(..., C) -> codes (...); inverse, up to quantisation, of `decode`."""
        return (vectors @ self.codebook.T - self.codebook.square().sum(-1) / 2).argmax(dim=-1)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (...) -> vectors (..., C)."""
        return self.codebook[codes]


class Vqgan(ImageCodec):
    """Square images to codes and back, by a VQGAN that was trained elsewhere."""

    def __init__(self, config: VqganConfig) -> None:
        layers = [nn.Sequential(*(layer for _, layer in plan(config))) for plan in (encoder_plan, decoder_plan)]
        super().__init__(config, layers[0], NearestVector(config.codebook_size, config.code_dim), layers[1])

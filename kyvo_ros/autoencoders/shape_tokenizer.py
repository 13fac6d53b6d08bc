"""3D VQ-VAE: slat <-> 8^3 codes, one for each block of 8^3 voxels.

Blocks without a surface have two codes of their own, OUTSIDE and INSIDE, that are never learned: all capacity, and all
time, goes to the blocks that a surface passes. Layers that look at single blocks run on those only; in between,
convolutions over the 8^3 grid of blocks let each see its neighbours. Source: the 3D VQ-VAE of Kyvo (arXiv 2506.08002,
section 3.2), with blocks in place of strided convolutions over 64^3, which a CPU does not train in an hour.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kyvo_ros.autoencoders.quantizer import Quantized, VectorQuantizer
from kyvo_ros.autoencoders.slats import COLOR, DISTANCE, FEATURES, NORMAL, OPENNESS

#: Codes of blocks in which nothing is, and which are all within the solid.
OUTSIDE, INSIDE = 0, 1
_RESERVED = 2
#: Of the codebook's running means: of 8,192 codes each is seen once in several steps.
_DECAY = 0.95
#: Sub-blocks along each side of a block: the first and the last layer are local to them.
_PARTS = 2


@dataclass(frozen=True)
class ShapeTokenizerConfig:
    """Sizes of the autoencoder."""

    resolution: int = 64  # voxels along each side of the grid
    block: int = 8  # voxels along each side of a block, which one code describes
    width: int = 192  # channels on the grid of blocks
    part_width: int = 96  # channels of each eighth of a block
    layers: int = 3  # of mixing between blocks, in the encoder and in the decoder each
    codebook_size: int = 8192  # with the two codes of blocks without a surface
    code_dim: int = 128  # dimensions of a codebook vector

    def __post_init__(self) -> None:
        if min(asdict(self).values()) < 1 or self.codebook_size <= _RESERVED:
            raise ValueError(f"sizes must be positive and the codebook larger than {_RESERVED}, got {self}")
        if self.resolution % self.block or self.block % _PARTS:
            raise ValueError(f"resolution {self.resolution} must be a multiple of block {self.block}, and that even")

    @property
    def grid(self) -> int:
        """Blocks along each side."""
        return self.resolution // self.block

    @property
    def length(self) -> int:
        """Codes of a shape."""
        return self.grid**3

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> ShapeTokenizerConfig:
        return cls(**values)


class Mixing(nn.Module):
    """x + mlp(depthwise 3^3 convolution of x); (B, g, g, g, C) -> the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spatial = nn.Conv3d(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        # The permuted view is what channels_last_3d means, in which depthwise convolutions are three times as fast.
        near = self.spatial(x.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)
        return x + self.mlp(self.norm(near))


class ShapeTokenizer(nn.Module):
    """Feature grids (B, 8, R, R, R) <-> codes (B, g^3). `encode` and `decode` are the inverse pair.

    A block comes as 2^3 parts with the voxels of each: (parts, 8, voxels). M counts the blocks that a surface passes.
    """

    def __init__(self, config: ShapeTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        voxels = len(FEATURES) * (config.block // _PARTS) ** 3  # numbers of a part of a block
        parts, width = _PARTS**3 * config.part_width, config.width
        self.read_parts = nn.Sequential(nn.Linear(voxels, config.part_width), nn.GELU())
        self.read_block = nn.Linear(parts, width)
        self.encoder = nn.Sequential(*(Mixing(width) for _ in range(config.layers)))
        self.to_code = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, config.code_dim))
        # Most blocks have one colour. Beside the surface it is too little to be learned on the way of everything else.
        self.read_color, self.write_color = nn.Linear(3, config.code_dim), nn.Linear(config.code_dim, 3)
        self.quantizer = VectorQuantizer(config.codebook_size - _RESERVED, config.code_dim, _DECAY)
        self.empty_blocks = nn.Parameter(F.normalize(torch.randn(_RESERVED, config.code_dim), dim=-1))
        self.place = nn.Parameter(torch.zeros(*(config.grid,) * 3, width))
        self.from_code = nn.Linear(config.code_dim, width)
        self.decoder = nn.Sequential(*(Mixing(width) for _ in range(config.layers)))
        self.write_block = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, parts), nn.GELU())
        self.write_parts = nn.Sequential(nn.Linear(config.part_width, 2 * config.part_width), nn.GELU(),
                                         nn.Linear(2 * config.part_width, voxels))

    @property
    def codebook(self) -> Tensor:
        """(K, C) vectors of all codes, OUTSIDE and INSIDE first."""
        return torch.cat([F.normalize(self.empty_blocks.detach(), dim=-1), self.quantizer.codebook])

    @torch.no_grad()
    def block_colors(self) -> Tensor:
        """(K, 3) in [0, 1], about the mean colour of the surface in a block of each code; what surrounds it adds little."""
        return torch.sigmoid(self.write_color(self.codebook.float() * self.config.code_dim**0.5))

    def split(self, grids: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 8, R, R, R) -> blocks that a surface passes (M, parts, 8, voxels), and kinds (B, g, g, g) int64.

        A kind is OUTSIDE, INSIDE, or -1 for those blocks. Raises ValueError for grids of another size. Inverse of
        `assemble`.
        """
        expected = (len(FEATURES), *(self.config.resolution,) * 3)
        if grids.ndim != 5 or tuple(grids.shape[1:]) != expected:
            raise ValueError(f"expected grids (B, {', '.join(map(str, expected))}), got {tuple(grids.shape)}")
        blocks = self._by_block(grids)
        distance = blocks[..., DISTANCE, :, :, :]
        active = (distance.abs() < 1).flatten(4).any(-1)
        kinds = torch.where(active, -1, torch.where(distance.flatten(4).mean(-1) < 0, INSIDE, OUTSIDE))
        return blocks[active].reshape(-1, _PARTS**3, len(FEATURES), self._side**3), kinds

    def assemble(self, blocks: Tensor, kinds: Tensor) -> Tensor:
        """Blocks (M, parts, 8, voxels) of kind -1 and kinds (B, g, g, g) -> grids (B, 8, R, R, R)."""
        grids = blocks.new_zeros(len(kinds), len(FEATURES), *(self.config.resolution,) * 3)
        view = self._by_block(grids)
        view[..., DISTANCE, :, :, :] = torch.where(kinds == INSIDE, -1.0, 1.0)[(..., *[None] * 6)]
        view[kinds < 0] = blocks.reshape(-1, *(_PARTS,) * 3, len(FEATURES), *(self._side,) * 3)
        return grids

    def latents(self, blocks: Tensor, kinds: Tensor) -> Tensor:
        """What `split` returns -> vectors (M, C) before quantisation."""
        active = kinds < 0
        near = (blocks[..., DISTANCE:DISTANCE + 1, :].abs() < 1).to(blocks.dtype)
        blocks = _centred(blocks, near)
        x = self.place.expand(*active.shape, -1).clone()
        x[active] = x[active] + self.read_block(self.read_parts(blocks.flatten(2)).flatten(1))
        color = blocks[..., COLOR, :].sum((1, 3)) / near.sum((1, 3)).clamp(min=1)
        return self.to_code(self.encoder(x)[active]) + self.read_color(color)

    def blocks(self, vectors: Tensor, kinds: Tensor) -> Tensor:
        """Code vectors (M, C) of the blocks of kind -1 and kinds (B, g, g, g) -> blocks (M, parts, 8, voxels)."""
        active = kinds < 0
        codes = F.normalize(self.empty_blocks, dim=-1)[kinds.clamp(min=0)]
        codes[active] = vectors.to(codes.dtype)
        # Vectors of unit length have too little in each of their many dimensions to be heard beside biases.
        codes = codes * self.config.code_dim**0.5
        x = self.write_block(self.decoder(self.from_code(codes) + self.place)[active])
        raw = self.write_parts(x.unflatten(-1, (_PARTS**3, -1))).unflatten(-1, (len(FEATURES), -1))
        color = F.pad(self.write_color(codes[active]), (COLOR.start, len(FEATURES) - COLOR.stop))
        return _ranged(raw + color[:, None, :, None])

    def forward(self, blocks: Tensor, kinds: Tensor, quantise: bool = True) -> tuple[Tensor, Quantized | None]:
        """What `split` returns -> the blocks as the codes hold them, and what the quantiser said.

        Without quantisation the vectors pass as they are, which bounds what any codebook can reach.
        """
        vectors = self.latents(blocks, kinds)
        quantized = self.quantizer(vectors) if quantise else None
        return self.blocks(F.normalize(vectors, dim=-1) if quantized is None else quantized.vectors, kinds), quantized

    @torch.no_grad()
    def encode(self, grids: Tensor) -> Tensor:
        """(B, 8, R, R, R) -> codes (B, g^3) int64, x slowest."""
        blocks, kinds = self.split(grids)
        codes = kinds.clone()
        codes[kinds < 0] = self.quantizer.encode(self.latents(blocks, kinds)) + _RESERVED
        return codes.flatten(1)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, g^3) -> grids (B, 8, R, R, R). Raises ValueError for another number of codes or unknown ones."""
        if codes.ndim != 2 or codes.shape[1] != self.config.length:
            raise ValueError(f"expected codes (B, {self.config.length}), got {tuple(codes.shape)}")
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < self.config.codebook_size:
            raise ValueError(f"codes must lie in [0, {self.config.codebook_size})")
        codes = codes.unflatten(1, (self.config.grid,) * 3)
        kinds = torch.where(codes < _RESERVED, codes, -1)
        vectors = self.quantizer.decode(codes[kinds < 0] - _RESERVED)
        return self.assemble(self.blocks(vectors, kinds), kinds)

    @property
    def _side(self) -> int:
        """Voxels along each side of a part."""
        return self.config.block // _PARTS

    def _by_block(self, grids: Tensor) -> Tensor:
        """A view (B, g, g, g, parts x, y, z, 8, voxels x, y, z) of grids."""
        g, side = self.config.grid, self._side
        return grids.view(len(grids), -1, *(g, _PARTS, side) * 3).permute(0, 2, 5, 8, 3, 6, 9, 1, 4, 7, 10)


def _centred(blocks: Tensor, near: Tensor) -> Tensor:
    """Blocks (M, parts, 8, voxels) with what lies in [0, 1] brought to [-1, 1], and 0 where no surface is `near` (M,
    parts, 1, voxels): as the signed features are. A colour that is heard only beside its mean is never learned.
    """
    unit = slice(COLOR.start, OPENNESS + 1)
    return torch.cat([blocks[..., :unit.start, :], (2 * blocks[..., unit, :] - 1) * near], dim=-2)


def _ranged(raw: Tensor) -> Tensor:
    """Raw outputs (M, parts, 8, voxels) in the ranges of the features; the distance is free beyond the truncation."""
    return torch.cat([raw[..., DISTANCE:NORMAL.start, :], torch.tanh(raw[..., NORMAL, :]),
                      torch.sigmoid(raw[..., COLOR.start:OPENNESS + 1, :])], dim=-2)

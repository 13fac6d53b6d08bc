"""Outlines: what the decoder must know of an object's shape before the first of its codes is written.

Five hundred codes tell each other most of what they are, so that little is learned from them of where a shape begins:
its class, its place in the image. In training alone, a head therefore reads the states of the last token of every object
of a layout, from where the codes of its shape will be written: which blocks a surface passes, what it looks like there on
the whole, and its mean colour. A batch of layouts holds dozens of objects, a batch of shapes as long as that holds a few.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kyvo_ros.autoencoders.shape_tokenizer import INSIDE

#: Directions of codebook vectors in which looks are told; what is left differs little.
LOOK_AXES = 16
#: Parts along each axis of the cube in which looks are told.
LOOK_PARTS = 2
#: Weights of the blocks and colours beside the looks; the mean over blocks, most of which are empty, is small, and so are
#: squares of errors of colours.
_BLOCKS, _COLORS = 8.0, 30.0


@dataclass(frozen=True, eq=False)
class ToldOutlines:
    """What an `OutlineHead` tells of N objects."""

    blocks: Tensor  # (N, L) logits of those that a surface passes
    looks: Tensor  # (N, parts, axes)
    colors: Tensor  # (N, 3) in [0, 1], but for errors


class OutlineHead(nn.Module):
    """States (N, D) to what they tell; at first nothing, so that a new head does no damage to the states that it learns
    to read. Colours are read from states divided by the root of their width, see `YawHead`.
    """

    def __init__(self, dim: int, outlines: Outlines) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(dim)
        self.blocks = nn.Linear(dim, outlines.passed.shape[1])
        self.looks = nn.Linear(dim, outlines.looks[0].numel())
        self._shrink = dim**-0.5
        self.colors = nn.Linear(dim, 3)
        self._shape = outlines.looks.shape[1:]
        for layer in (self.blocks, self.looks, self.colors):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, states: Tensor) -> ToldOutlines:
        states = self.norm(states)
        return ToldOutlines(self.blocks(states).float(), self.looks(states).float().unflatten(-1, self._shape),
                            0.5 + self.colors(states * self._shrink).float())


@dataclass(frozen=True, eq=False)
class Outlines:
    """Of K shapes, whose codes stand for blocks of a cube."""

    passed: Tensor  # (K, L) float32, 1 where a surface passes a block
    looks: Tensor  # (K, parts, axes) float32, mean of the codebook vectors there, scaled
    shown: Tensor  # (K, parts) float32, 1 where a part of the cube holds a surface
    colors: Tensor  # (K, 3) float32 in [0, 1], the mean over the blocks there

    @classmethod
    def of(cls, codes: np.ndarray, codebook: Tensor, colors: Tensor) -> Outlines:
        """Of codes (K, L) of a codebook (C, D) whose blocks have the mean `colors` (C, 3). Raises ValueError where L is no
        cube that falls into LOOK_PARTS.
        """
        side = round(codes.shape[1] ** (1 / 3))
        if side**3 != codes.shape[1] or side % LOOK_PARTS:
            raise ValueError(f"expected codes of a cube of an even number of blocks a side, got {codes.shape[1]}")
        ids = torch.from_numpy(codes.astype(np.int64)).to(codebook.device)
        passed = (ids > INSIDE).float()
        used = ids[passed > 0]
        vectors = codebook[used]
        mean = vectors.mean(dim=0)
        _, _, axes = torch.linalg.svd((vectors - mean)[:1 << 16], full_matrices=False)
        table = (codebook - mean) @ axes[:LOOK_AXES].T
        table = table / table[used].square().sum(dim=-1).mean().sqrt().clamp_min(1e-6)
        part = torch.arange(side, device=ids.device) // (side // LOOK_PARTS)
        parts = ((part[:, None, None] * LOOK_PARTS + part[:, None]) * LOOK_PARTS + part).flatten()  # (L,)
        member = F.one_hot(parts, LOOK_PARTS**3).float()  # (L, parts)
        count = passed @ member
        sums = torch.stack([(passed * table[ids, axis]) @ member for axis in range(table.shape[1])], dim=-1)
        paint = torch.stack([(passed * channel[ids]).sum(1) for channel in colors.to(ids.device).T], dim=-1)
        return cls(passed, sums / count.clamp_min(1).unsqueeze(-1), (count > 0).float(),
                   paint / passed.sum(1, keepdim=True).clamp_min(1))

    def loss(self, told: ToldOutlines, names: Tensor) -> Tensor:
        """Of what is told of N objects whose shapes are `names` (N,), rows of this."""
        if not len(names):  # images without objects
            return told.blocks.sum() + told.looks.sum() + told.colors.sum()
        passed = F.binary_cross_entropy_with_logits(told.blocks, self.passed[names])
        shown = self.shown[names]
        apart = ((told.looks - self.looks[names]).square().sum(-1) * shown).sum() / shown.sum().clamp_min(1)
        return _BLOCKS * passed + apart + _COLORS * (told.colors - self.colors[names]).square().sum(-1).mean()

    def overlap(self, told: ToldOutlines, names: Tensor) -> tuple[int, int]:
        """Blocks that surfaces pass by both, and by either."""
        found, there = told.blocks > 0, self.passed[names] > 0
        return int((found & there).sum()), int((found | there).sum())

    def color_errors(self, told: ToldOutlines, names: Tensor) -> Tensor:
        """(N,) absolute errors of mean colours, mean over channels."""
        return (told.colors - self.colors[names]).abs().mean(-1)

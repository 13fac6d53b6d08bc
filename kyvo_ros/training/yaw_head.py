"""Yaws: what the decoder must know of an object once it has written the mark of its pose.

A yaw is one of a hundred numbers, and labels of a hundred numbers pull in no direction while none of them is likelier
than the others: what is said stays a guess for thousands of steps, though the image tokens know the yaw in the middle
of the body. In training alone, a linear head therefore reads cosine and sine of the yaw from the state that the number
is said from, and the body learns to look. What it has brought there the rows of numbers, which hold sines and cosines
of their own, soon say.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class YawHead(nn.Module):
    """States (N, D) to cosine and sine of K multiples of the yaw (N, K, 2).

    It does not begin at zero: states that say nothing yet would teach it nothing, nor it them. States are divided by the
    root of their width, without which the gradient of these few weights is several times that of the whole decoder, and
    what is clipped is the norm of all together.
    """

    def __init__(self, dim: int, multiples: Sequence[int]) -> None:
        """`multiples` are those of `dense_head.yaw_multiples`."""
        super().__init__()
        self.multiples = tuple(multiples)
        self._shrink = dim**-0.5
        self.directions = nn.Linear(dim, 2 * len(self.multiples))
        nn.init.uniform_(self.directions.weight, -1.0, 1.0)

    def forward(self, states: Tensor) -> Tensor:
        return self.directions(states * self._shrink).float().unflatten(-1, (-1, 2))

    def loss(self, states: Tensor, yaws: Tensor, turns: Tensor) -> Tensor:
        """Squared error of the directions, the mean over objects, the sum over multiples.

        Args:
            states: (N, D). yaws: (N,) radians.
            turns: (N,) how often each object looks the same in a whole turn, at least 1. A multiple counts for those
                objects that look the same whenever it does.
        """
        told = self(states)
        total = told.sum() * 0.0  # batches without objects teach nothing, and touch every weight
        for i, multiple in enumerate(self.multiples):
            counts = torch.remainder(torch.full_like(turns, multiple), turns) == 0
            angle = multiple * yaws[counts]
            true = torch.stack([angle.cos(), angle.sin()], dim=-1)
            total = total + (told[counts, i] - true).square().sum() / counts.sum().clamp_min(1)
        return total

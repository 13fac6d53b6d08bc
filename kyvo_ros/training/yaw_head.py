"""Yaws: what the decoder must know of an object once it has written the mark of its pose.

A yaw is one of a hundred numbers, and labels of a hundred numbers pull in no direction while none of them is likelier
than the others: what is said stays a guess for thousands of steps, though the image tokens know the yaw in the middle
of the body. In training alone, a head therefore reads cosine and sine of the yaw from the state that the number is said
from, and the body learns to look. What it has brought there the rows of numbers, which hold sines and cosines of their
own, soon say. What attention brings it takes from single cells, so in the middle of the body the head asks those on which
objects stand for the same, each for itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kyvo_ros.training.dense_head import direction_loss


class YawHead(nn.Module):
    """States (..., D) to cosine and sine of K multiples of the yaw (..., K, 2), each linearly.

    It does not begin at zero: states that say nothing yet would teach it nothing, nor it them. States are divided by the
    root of their width, without which the gradient of these few weights is several times that of the whole decoder, and
    what is clipped is the norm of all together.
    """

    def __init__(self, dim: int, multiples: Sequence[int]) -> None:
        """`multiples` are those of `dense_head.yaw_multiples`."""
        super().__init__()
        self.multiples = tuple(multiples)
        self.said, self.seen = (nn.Linear(dim, 2 * len(self.multiples)) for _ in range(2))
        self.norm = nn.RMSNorm(dim)
        self._shrink = dim**-0.5
        for layer in (self.said, self.seen):
            nn.init.uniform_(layer.weight, -1.0, 1.0)

    def forward(self, states: Tensor) -> Tensor:
        """Of normalised states that a yaw is said from."""
        return self.said(states * self._shrink).float().unflatten(-1, (-1, 2))

    def of_cells(self, states: Tensor) -> Tensor:
        """Of states of cells in the middle of the body."""
        return self.seen(self.norm(states) * self._shrink).float().unflatten(-1, (-1, 2))

    def loss(self, states: Tensor, yaws: Tensor, turns: Tensor) -> Tensor:
        """Squared error of the directions that are said, the mean over objects, the sum over multiples.

        Args:
            states: (N, D). yaws: (N,) radians.
            turns: (N,) how often each object looks the same in a whole turn, at least 1. A multiple counts for those
                objects that look the same whenever it does.
        """
        angles = yaws[:, None] * torch.tensor(self.multiples, device=yaws.device)
        counts = torch.stack([torch.remainder(torch.full_like(turns, k), turns) == 0 for k in self.multiples], dim=-1)
        return direction_loss(self(states), torch.stack([angles.cos(), angles.sin()], dim=-1), counts)

    def loss_of_cells(self, states: Tensor, directions: Tensor, weight: Tensor) -> Tensor:
        """The same of states (B, h, w, D), directions (B, h, w, K, 2) and their weight (B, h, w, K), as `dense_targets` has
        them.
        """
        return direction_loss(self.of_cells(states), directions, weight)

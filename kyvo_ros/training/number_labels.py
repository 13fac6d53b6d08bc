"""Labels of numbers: a bell over the neighbouring numbers round the true value.

So near misses cost little, and the expectation over neighbours falls between the grid's steps. Yaws may have a wider one:
an image tells them less sharply than places, and a label that is narrower than what can be known is mostly noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kyvo_ros.tokens.grid import NumberGrid
from kyvo_ros.tokens.schema import SceneSchema

#: Spread of hard labels, in steps of the grid.
_HARD = 1e-3


@dataclass(frozen=True)
class NumberLabels:
    """Probabilities of the numbers of a grid as labels, by how far they may miss."""

    grid: NumberGrid
    schema: SceneSchema
    sigma: float  # in steps of the grid; 0 for hard labels
    yaw_sigma: float | None = None  # the same of yaws; None: sigma

    def of(self, values: Tensor, turns: Tensor) -> Tensor:
        """(N,) true values and, of yaws, how often their objects look alike in a whole turn, 0 of round ones, NaN of all
        other numbers -> (N, numbers) probabilities. Those of yaws lie round all that look alike in the schema's span; the
        yaw of round objects, which nobody sees, is 0, so that a model says the same always.
        """
        numbers = torch.as_tensor(self.grid.values(), dtype=torch.float32, device=values.device)
        is_yaw = ~turns[:, None].isnan()
        gap = numbers - values.masked_fill(turns == 0, 0.0)[:, None]
        outside = torch.zeros_like(gap, dtype=torch.bool)
        if self.schema.yaw is not None:
            period = 2 * torch.pi / turns[:, None].clamp_min(1)
            low, end = self.schema.yaw.span_rad
            gap = torch.where(is_yaw, (gap + period / 2) % period - period / 2, gap)
            outside = is_yaw & ((numbers < low - 1e-6) | (numbers >= end))
        own, of_yaws = (max(sigma, _HARD) * self.grid.step
                        for sigma in (self.sigma, self.sigma if self.yaw_sigma is None else self.yaw_sigma))
        return (-0.5 * (gap / torch.where(is_yaw, of_yaws, own)) ** 2).masked_fill(outside, -torch.inf).softmax(-1)

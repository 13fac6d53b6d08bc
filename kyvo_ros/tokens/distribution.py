"""The probabilities that a model gave to the tokens it could choose from, and what follows from them for a number.

Knows nothing of scenes or of the decoder that made the probabilities. numpy only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class TokenDistribution:
    """Probabilities (K,) of the token ids (K,) that were allowed at one position; ids ascend."""

    ids: np.ndarray
    probabilities: np.ndarray

    def __post_init__(self) -> None:
        if self.ids.shape != self.probabilities.shape or self.ids.ndim != 1:
            raise ValueError(
                f"expected as many ids as probabilities, got shapes {self.ids.shape} and {self.probabilities.shape}")

    def probability_of(self, token_id: int) -> float:
        """Probability of one token; 0 where it was not allowed."""
        index = int(np.searchsorted(self.ids, token_id))
        if index == len(self.ids) or self.ids[index] != token_id:
            return 0.0
        return float(self.probabilities[index])


@dataclass(frozen=True)
class NumberEstimate:
    """A number read from a distribution over a grid, in the units of the grid."""

    mean: float  # expectation within the window
    variance: float  # of the distribution within the window, without that of rounding to the grid
    mass: float  # probability near the chosen number


def estimate_number(values: np.ndarray, probabilities: np.ndarray, chosen: float, *, window: float, near: float,
                    period: float | None = None) -> NumberEstimate:
    """Expectation over the grid numbers within `window` of the chosen one.

    The window keeps a second hypothesis far away from pulling the mean into the void between. `mass` counts what lies
    within `near` of the chosen number. With a `period`, distances and the mean are circular and the mean is in
    [0, period).

    Args:
        values: (K,) grid numbers. probabilities: (K,) of them. chosen: the number that was emitted.
    """
    offset = values - chosen
    if period is not None:
        offset = (offset + period / 2) % period - period / 2
    distance = np.abs(offset)
    mass = min(float(probabilities[distance <= near + 1e-9].sum()), 1.0)
    weights = np.where(distance <= window + 1e-9, probabilities, 0.0)
    total = float(weights.sum())
    if total <= 0.0:
        return NumberEstimate(chosen, 0.0, mass)
    weights = weights / total
    shift = float(weights @ offset)
    variance = float(weights @ (offset - shift) ** 2)
    mean = chosen + shift
    return NumberEstimate(mean if period is None else math.fmod(mean + period, period), variance, mass)

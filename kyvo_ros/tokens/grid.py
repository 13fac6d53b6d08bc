"""The numbers that a model can write, one token each: evenly spaced ones, or a list.

Knows nothing of ids or of what a number means (a coordinate in model units, a yaw in radians).
Source: Kyvo (arXiv 2506.08002), section on 3D tokenisation: numbers rounded to a 0.05 grid, one token a value. The
published code for Objectron has finer steps near zero than far away, hence the list.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

#: What happens to a value outside a grid.
OUT_OF_RANGE_POLICIES = ("error", "clamp")


class OutOfRangeError(ValueError):
    """A number lies outside the grid."""


@dataclass(frozen=True)
class NumberGrid:
    """`minimum, minimum + step, ..., maximum`; `step` must divide the range."""

    minimum: float
    maximum: float
    step: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.minimum, self.maximum, self.step))) or self.step <= 0:
            raise ValueError(f"a number grid needs finite bounds and a positive step, got {self}")
        steps = (self.maximum - self.minimum) / self.step
        if steps < 0 or abs(steps - round(steps)) > 1e-6:
            raise ValueError(f"the step must divide the range from minimum to maximum, got {self}")

    @cached_property
    def count(self) -> int:
        return round((self.maximum - self.minimum) / self.step) + 1

    def values(self) -> np.ndarray:
        """(count,) all values, ascending, float64."""
        return self.value_of(np.arange(self.count))

    def step_at(self, value: float) -> float:
        """The distance between neighbours near a value: everywhere the same."""
        return self.step

    def index_of(self, values: np.ndarray, out_of_range: str = "error") -> np.ndarray:
        """Index (...) of the nearest grid value of each of `values` (...); inverse of `value_of` within half a step.

        Values more than half a step outside are an error or go to the nearest end ("clamp"). Raises OutOfRangeError
        for them, and for NaN under either policy.
        """
        if out_of_range not in OUT_OF_RANGE_POLICIES:
            raise ValueError(f"out_of_range must be one of {OUT_OF_RANGE_POLICIES}, got {out_of_range!r}")
        values = np.asarray(values, dtype=np.float64)
        nearest = np.rint((values - self.minimum) / self.step)
        inside = (nearest >= 0) & (nearest < self.count)
        if np.isnan(values).any() or (out_of_range == "error" and not inside.all()):
            bad = values[~inside].ravel()[0]
            raise OutOfRangeError(
                f"expected numbers from {self.minimum} to {self.maximum}, got {bad}; use a wider grid or "
                "out_of_range='clamp'")
        return np.clip(nearest, 0, self.count - 1).astype(np.int64)

    def value_of(self, index: np.ndarray) -> np.ndarray:
        """Value (...) of each index (...), float64; inverse of `index_of`. Raises OutOfRangeError."""
        index = np.asarray(index)
        if index.size and not ((index >= 0) & (index < self.count)).all():
            raise OutOfRangeError(f"expected grid indices from 0 to {self.count - 1}, got {index}")
        return np.round(self.minimum + index * self.step, 9)  # rounded, so that 0.7 is 0.7 and not 0.7000000000000002


@dataclass(frozen=True)
class NumberList:
    """Any ascending values; a number is written as the nearest of them."""

    entries: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", tuple(map(float, self.entries)))
        if len(self.entries) < 2 or not all(a < b for a, b in zip(self.entries, self.entries[1:])):
            raise ValueError(f"a number list needs at least two ascending values, got {self.entries}")
        if not all(map(math.isfinite, self.entries)):
            raise ValueError(f"a number list needs finite values, got {self.entries}")

    @property
    def count(self) -> int:
        return len(self.entries)

    def values(self) -> np.ndarray:
        """(count,) all values, ascending, float64."""
        return np.array(self.entries)

    def step_at(self, value: float) -> float:
        """The larger of the distances to both neighbours of the entry nearest to a value."""
        index = int(self.index_of(value, "clamp"))
        return float(np.diff(self.values()[max(index - 1, 0):index + 2]).max())

    def index_of(self, values: np.ndarray, out_of_range: str = "error") -> np.ndarray:
        """Index (...) of the nearest entry of each of `values` (...), the lower one of two; inverse of `value_of`.

        Values further outside than half the step at that end are an error or go to the end, as in `NumberGrid`.
        """
        if out_of_range not in OUT_OF_RANGE_POLICIES:
            raise ValueError(f"out_of_range must be one of {OUT_OF_RANGE_POLICIES}, got {out_of_range!r}")
        values, entries = np.asarray(values, dtype=np.float64), self.values()
        middles = (entries[1:] + entries[:-1]) / 2
        inside = (values >= 2 * entries[0] - middles[0]) & (values <= 2 * entries[-1] - middles[-1])
        if np.isnan(values).any() or (out_of_range == "error" and not inside.all()):
            bad = values[~inside].ravel()[0]
            raise OutOfRangeError(f"expected numbers from {entries[0]} to {entries[-1]}, got {bad}; "
                                  "use out_of_range='clamp'")
        return np.searchsorted(middles, values).astype(np.int64)

    def value_of(self, index: np.ndarray) -> np.ndarray:
        """Value (...) of each index (...), float64; inverse of `index_of`. Raises OutOfRangeError."""
        index = np.asarray(index)
        if index.size and not ((index >= 0) & (index < self.count)).all():
            raise OutOfRangeError(f"expected indices from 0 to {self.count - 1}, got {index}")
        return self.values()[index]

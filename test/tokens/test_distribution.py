"""Numbers from distributions over the grid, by hand-worked examples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kyvo_ros.tokens import TokenDistribution
from kyvo_ros.tokens.distribution import estimate_number

VALUES = np.round(np.arange(0.0, 2.0, 0.05), 9)


def _probabilities(**weights: float) -> np.ndarray:
    out = np.zeros(len(VALUES))
    for index, weight in weights.items():
        out[int(index[1:])] = weight
    return out


def test_probability_of_a_token() -> None:
    distribution = TokenDistribution(np.array([3, 7, 9]), np.array([0.2, 0.7, 0.1]))
    assert distribution.probability_of(7) == 0.7
    assert distribution.probability_of(8) == 0.0 and distribution.probability_of(99) == 0.0
    with pytest.raises(ValueError, match="as many ids as probabilities"):
        TokenDistribution(np.array([1, 2]), np.array([1.0]))


def test_mean_and_variance_of_neighbours() -> None:
    estimate = estimate_number(VALUES, _probabilities(i10=0.5, i11=0.5), 0.5, window=0.15, near=0.25)
    assert estimate.mean == pytest.approx(0.525)
    assert estimate.variance == pytest.approx(0.025 ** 2)
    assert estimate.mass == pytest.approx(1.0)


def test_a_far_hypothesis_counts_against_the_mass_and_not_in_the_mean() -> None:
    estimate = estimate_number(VALUES, _probabilities(i10=0.6, i15=0.1, i35=0.3), 0.5, window=0.15, near=0.25)
    assert estimate.mean == pytest.approx(0.5) and estimate.variance == pytest.approx(0.0)
    assert estimate.mass == pytest.approx(0.7)  # 0.75 is exactly `near` away and counts


def test_the_window_includes_its_edge() -> None:
    estimate = estimate_number(VALUES, _probabilities(i10=0.5, i13=0.5), 0.5, window=0.15, near=0.25)
    assert estimate.mean == pytest.approx(0.575)


def test_circular_mean_across_the_end_of_the_period() -> None:
    period = math.pi / 2
    yaws = VALUES[VALUES < period]
    probabilities = np.zeros(len(yaws))
    probabilities[[0, -1]] = 0.5  # 0.00 and 1.55 are 0.0208 apart
    estimate = estimate_number(yaws, probabilities, 0.0, window=0.15, near=0.25, period=period)
    assert estimate.mean == pytest.approx(period - (period - 1.55) / 2)
    assert estimate.variance == pytest.approx(((period - 1.55) / 2) ** 2)
    assert 0.0 <= estimate.mean < period


def test_no_probability_in_the_window_leaves_the_chosen_number() -> None:
    estimate = estimate_number(VALUES, _probabilities(i35=1.0), 0.5, window=0.15, near=0.25)
    assert (estimate.mean, estimate.variance, estimate.mass) == (0.5, 0.0, 0.0)

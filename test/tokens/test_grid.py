"""The number grid: round trip, ends, policies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kyvo_ros.tokens import NumberGrid, NumberList, OutOfRangeError

GRID = NumberGrid(-4.25, 4.25, 0.05)


def test_values_are_exact_decimals() -> None:
    assert GRID.count == 171
    assert GRID.values()[[0, 85, 99, 170]].tolist() == [-4.25, 0.0, 0.7, 4.25]


@settings(deadline=None)
@given(st.floats(-4.275, 4.275, exclude_min=True, exclude_max=True))
def test_numbers_survive_within_half_a_step(number: float) -> None:
    assert abs(GRID.value_of(GRID.index_of(number)) - number) <= GRID.step / 2 + 1e-9


def test_grid_values_survive_exactly() -> None:
    np.testing.assert_array_equal(GRID.index_of(GRID.values()), np.arange(GRID.count))
    np.testing.assert_array_equal(GRID.value_of(GRID.index_of(GRID.values())), GRID.values())


@pytest.mark.parametrize("number", [4.3, -4.3, 1e9, math.inf, -math.inf])
def test_numbers_outside_are_an_error_or_clamp_as_asked(number: float) -> None:
    with pytest.raises(OutOfRangeError, match=r"from -4.25 to 4.25, got .*clamp"):
        GRID.index_of([0.0, number])
    assert GRID.value_of(GRID.index_of([0.0, number], "clamp")).tolist() == [0.0, math.copysign(4.25, number)]


@pytest.mark.parametrize("policy", ["error", "clamp"])
def test_nan_is_an_error_under_either_policy(policy: str) -> None:
    with pytest.raises(OutOfRangeError, match="nan"):
        GRID.index_of([0.0, math.nan], policy)


def test_bad_use_is_rejected() -> None:
    with pytest.raises(ValueError, match="out_of_range must be one of"):
        GRID.index_of(0.0, "ignore")
    with pytest.raises(OutOfRangeError, match="indices from 0 to 170"):
        GRID.value_of(171)
    with pytest.raises(ValueError, match="divide the range"):
        NumberGrid(0.0, 1.0, 0.3)
    with pytest.raises(ValueError, match="positive step"):
        NumberGrid(0.0, 1.0, 0.0)


LIST = NumberList((-0.2, -0.1, 0.0, 1.0, 5.0))


def test_a_list_takes_the_nearest_entry() -> None:
    assert LIST.count == 5
    assert LIST.index_of(LIST.values()).tolist() == [0, 1, 2, 3, 4]
    assert LIST.value_of(LIST.index_of([-0.14, 0.4, 0.6, 2.9, 3.1])).tolist() == [-0.1, 0.0, 1.0, 1.0, 5.0]
    assert LIST.value_of(LIST.index_of([0.5, 3.0])).tolist() == [0.0, 1.0]  # of two equally near, the lower one


def test_a_list_ends_half_a_step_beyond_its_ends() -> None:
    assert LIST.index_of([-0.24, 6.9]).tolist() == [0, 4]
    for number in (-0.26, 7.1, math.inf):
        with pytest.raises(OutOfRangeError, match="from -0.2 to 5.0, got"):
            LIST.index_of([0.0, number])
    assert LIST.index_of([-9.0, 9.0], "clamp").tolist() == [0, 4]
    with pytest.raises(OutOfRangeError, match="nan"):
        LIST.index_of([math.nan], "clamp")


def test_bad_use_of_a_list_is_rejected() -> None:
    with pytest.raises(ValueError, match="out_of_range must be one of"):
        LIST.index_of(0.0, "ignore")
    with pytest.raises(OutOfRangeError, match="indices from 0 to 4"):
        LIST.value_of([0, 5])
    for entries in ((1.0,), (0.0, 0.0), (1.0, 0.0), (0.0, math.inf), (0.0, math.nan)):
        with pytest.raises(ValueError, match="number list needs"):
            NumberList(entries)

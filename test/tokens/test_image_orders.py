"""Orders of image codes: permutations that begin in the middle, and the published code's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kyvo_ros.tokens import ORDERS, ImageOrderError, place_in_order, written_order

GRIDS = [(1, 1), (1, 5), (4, 1), (2, 3), (5, 8), (10, 16), (16, 16)]
PUBLISHED = json.loads((Path(__file__).parents[1] / "reference" / "image_order.json").read_text())


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", ORDERS)
def test_orders_are_permutations_with_inverses(name: str, grid: tuple[int, int]) -> None:
    order, place = written_order(name, grid), place_in_order(name, grid)
    cells = np.arange(grid[0] * grid[1])
    assert np.array_equal(np.sort(order), cells)
    assert np.array_equal(order[place], cells) and np.array_equal(place[order], cells)


@pytest.mark.parametrize("count", PUBLISHED)
def test_alternating_is_the_published_order(count: str) -> None:
    side = round(int(count) ** 0.5)
    assert written_order("alternating", (side, side)).tolist() == PUBLISHED[count]["order"]
    assert place_in_order("alternating", (side, side)).tolist() == PUBLISHED[count]["inverse"]


def test_alternating_goes_left_and_right_along_the_raster() -> None:
    assert written_order("alternating", (2, 4)).tolist() == [2, 1, 3, 0, 4, 5, 6, 7]


def test_a_spiral_goes_round_the_middle() -> None:
    assert written_order("spiral", (3, 3)).tolist() == [4, 5, 8, 7, 6, 3, 0, 1, 2]
    assert written_order("spiral", (2, 4)).tolist() == [1, 2, 6, 5, 4, 0, 3, 7]  # what lies outside is left out


@pytest.mark.parametrize("grid", GRIDS)
def test_a_spiral_never_comes_nearer_by_more_than_a_ring(grid: tuple[int, int]) -> None:
    rows, columns = np.divmod(written_order("spiral", grid), grid[1])
    ring = np.maximum(abs(rows - rows[0]), abs(columns - columns[0]))
    assert ring[0] == 0 and (np.diff(np.maximum.accumulate(ring)) >= 0).all()
    assert (ring >= np.maximum.accumulate(ring) - 1).all()


def test_an_unknown_order_is_named() -> None:
    with pytest.raises(ImageOrderError, match="raster.*got 'random'"):
        written_order("random", (2, 3))

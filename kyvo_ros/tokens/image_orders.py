"""Orders in which the codes of an image are written: a picture that begins in its middle begins with what it shows.

An order is a permutation of the cells of a grid: entry n is the cell, in raster order, that is written n-th. It knows
no tokens. Source: Kyvo (arXiv 2506.08002, section 4) and its published code, whose order is `alternating`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

#: Turns of a spiral on the screen, as steps of (row, column): right, down, left, up.
_TURNS = ((0, 1), (1, 0), (0, -1), (-1, 0))


class ImageOrderError(ValueError):
    """An order of image tokens is not known."""


def written_order(name: str, grid: tuple[int, int]) -> np.ndarray:
    """(h*w,) int64: the cell that is written n-th, for a grid (h, w); inverse of `place_in_order`.

    `raster` is row by row. `alternating` starts at the cell in the middle and goes one to the left and one to the right
    along the raster in turn, through the ends of rows; where one side has run out the other goes on. `spiral` goes
    round the middle; what of its turns lies outside the grid is left out. Raises ImageOrderError.
    """
    if name not in ORDERS:
        raise ImageOrderError(f"expected an order of image tokens of {tuple(ORDERS)}, got {name!r}")
    return np.array(ORDERS[name](*grid), dtype=np.int64)


def place_in_order(name: str, grid: tuple[int, int]) -> np.ndarray:
    """(h*w,) int64: as which one each cell is written; inverse of `written_order`. Raises ImageOrderError."""
    return np.argsort(written_order(name, grid))


def _raster(rows: int, columns: int) -> list[int]:
    return list(range(rows * columns))


def _alternating(rows: int, columns: int) -> list[int]:
    """On square grids the published code's permutation, which knows no others."""
    middle = rows * columns // 2 - columns // 2
    return sorted(range(rows * columns), key=lambda cell: (abs(cell - middle), cell))


def _spiral(rows: int, columns: int) -> list[int]:
    walk = _steps((rows - 1) // 2, (columns - 1) // 2)
    order: list[int] = []
    while len(order) < rows * columns:
        row, column = next(walk)
        if 0 <= row < rows and 0 <= column < columns:
            order.append(row * columns + column)
    return order


def _steps(row: int, column: int) -> Iterator[tuple[int, int]]:
    """An endless spiral of cells (row, column): one step right, one down, two left, two up, three right, and so on."""
    yield row, column
    turn = 0
    while True:
        down, right = _TURNS[turn % 4]
        for _ in range(turn // 2 + 1):
            row, column = row + down, column + right
            yield row, column
        turn += 1


#: By their names in a recipe and in config.json.
ORDERS: dict[str, Callable[[int, int], list[int]]] = {
    "raster": _raster, "alternating": _alternating, "spiral": _spiral}

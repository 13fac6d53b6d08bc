"""Rows that worker processes make, a part of the work each at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

from tqdm import tqdm

Part, Row = TypeVar("Part"), TypeVar("Row")


def rows_of_parts(make: Callable[[Part], Iterable[Row]], parts: Sequence[Part], workers: int, desc: str, unit: str
                  ) -> list[Row]:
    """What `make`, which has to travel to other processes, gives of all parts, in their order; here, where there is one
    worker or one part.
    """
    bar = partial(tqdm, total=len(parts), desc=desc, unit=unit, mininterval=5)
    if workers < 2 or len(parts) < 2:
        return [row for part in bar(parts) for row in make(part)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return [row for rows in bar(pool.map(make, parts)) for row in rows]

"""The static cache of keys and values: allocated once for a generation, written in place.

Knows slots and rows, not tokens. Keys arrive already rotated.
"""

from __future__ import annotations

from copy import copy
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kyvo_ros.model.config import DecoderConfig
from kyvo_ros.model.places import RunningPlaces


class LayerMemory(NamedTuple):
    """What one block sees of the cache; views, so that what is written shows in what is read."""

    slots: Tensor  # (2 * kv_heads, rows * length, head_dim), where keys and values are written
    keys: Tensor  # (rows, kv_heads, n, head_dim) of the first n positions
    values: Tensor  # the same

    def write(self, slots: Tensor, keys_values: Tensor) -> None:
        """Put (N, 2 * kv_heads, head_dim), keys before values, into `slots` (N,) = row * length + position."""
        self.slots.index_copy_(1, slots, keys_values.transpose(0, 1))


class KVCache:
    """Keys and values of every block for `rows` sequences of up to `length` tokens."""

    def __init__(self, config: DecoderConfig, rows: int, length: int, *, dtype: torch.dtype,
                 device: torch.device) -> None:
        self.length = length
        self.places: RunningPlaces | None = None  # of the tokens to come, once a prompt has been read
        self._kv_heads = config.kv_heads
        self._columns: np.ndarray | None = None
        # Zeros, because what lies behind the end of a row is read (and weighted with zero).
        self._data = torch.zeros(config.layers, 2 * config.kv_heads, rows, length, config.head_dim, dtype=dtype,
                                 device=device)

    def read(self, length: int) -> list[LayerMemory]:
        """Each block's memory of the first `length` positions, to read and to write."""
        self._columns = None
        keys, values = self._data[:, :, :, :length].transpose(1, 2).split(self._kv_heads, dim=2)
        return list(map(LayerMemory, self._data.flatten(2, 3).unbind(), keys.unbind(), values.unbind()))

    def array(self) -> np.ndarray:
        """(layers, 2 * kv_heads, rows, length, head_dim), keys before values: the memory itself, on the CPU."""
        return self._data.numpy()

    def key_columns(self) -> np.ndarray:
        """(layers, rows, kv_heads, head_dim, length): a copy of the keys, positions last, until `read`.

        Who writes to `array` writes here as well.
        """
        if self._columns is None:
            self._columns = np.ascontiguousarray(self.array()[:, :self._kv_heads].transpose(0, 2, 1, 4, 3))
        return self._columns

    def of_rows(self, rows: Tensor) -> KVCache:
        """A cache of its own for the rows `rows` (int64 indices): some left out, or one many times."""
        taken = copy(self)
        taken._data, taken._columns = self._data[:, :, rows], None
        taken.places = self.places and self.places.of_rows(rows)
        return taken

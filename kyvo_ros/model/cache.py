"""The static cache of keys and values: allocated once for a generation, written in place.

Knows slots and rows, not tokens. Keys arrive already rotated.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kyvo_ros.model.config import DecoderConfig
from kyvo_ros.model.places import RunningPlaces


class LayerMemory(NamedTuple):
    """What one block sees of the cache; views, so that what is written shows in what is read."""

    slots: Tensor  # (rows * length, 2 * kv_heads, head_dim), where keys and values are written
    keys: Tensor  # (rows, kv_heads, n, head_dim) of the first n positions
    values: Tensor  # the same

    def write(self, slots: Tensor, keys_values: Tensor) -> None:
        """Put (N, 2 * kv_heads, head_dim), keys before values, into `slots` (N,) = row * length + position."""
        self.slots.index_copy_(0, slots, keys_values)


class KVCache:
    """Keys and values of every block for `rows` sequences of up to `length` tokens."""

    def __init__(self, config: DecoderConfig, rows: int, length: int, *, dtype: torch.dtype,
                 device: torch.device) -> None:
        self.length = length
        self.places: RunningPlaces | None = None  # of the tokens to come, once a prompt has been read
        self._kv_heads = config.kv_heads
        # Zeros, because what lies behind the end of a row is read (and weighted with zero).
        self._data = torch.zeros(config.layers, rows, length, 2 * config.kv_heads, config.head_dim, dtype=dtype,
                                 device=device)

    def read(self, length: int) -> list[LayerMemory]:
        """Each block's memory of the first `length` positions."""
        keys, values = self._data[:, :, :length].transpose(2, 3).split(self._kv_heads, dim=2)
        return list(map(LayerMemory, self._data.flatten(1, 2).unbind(), keys.unbind(), values.unbind()))

    def array(self) -> np.ndarray:
        """(layers, rows, length, 2 * kv_heads, head_dim), keys before values: the memory itself, on the CPU."""
        return self._data.numpy()

    def keep(self, rows: Tensor) -> None:
        """Put the rows `rows` (int64 indices) in place of all: some dropped, or one many times."""
        self._data = self._data[:, rows]
        if self.places is not None:
            self.places.keep(rows)

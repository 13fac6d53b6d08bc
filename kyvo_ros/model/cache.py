"""The static cache of keys and values: allocated once for a generation, written in place.

Knows slots and rows, not tokens. Keys arrive already rotated.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kyvo_ros.model.config import DecoderConfig


class KVCache:
    """Keys and values of every block for `rows` sequences of up to `length` tokens."""

    def __init__(self, config: DecoderConfig, rows: int, length: int, *, dtype: torch.dtype, device: torch.device) -> None:
        self.length = length
        self.kv_heads = config.kv_heads
        # Zeros, because what lies behind the end of a row is read (and weighted with zero).
        self._hold(torch.zeros(config.layers, rows, length, 2 * config.kv_heads, config.head_dim, dtype=dtype,
                               device=device))

    def _hold(self, data: Tensor) -> None:
        self._data, self._slots = data, data.flatten(1, 2).unbind()

    def write(self, layer: int, slots: Tensor, keys_values: Tensor) -> None:
        """Put (N, 2 * kv_heads, head_dim), keys before values, into `slots` (N,) = row * length + position."""
        self._slots[layer].index_copy_(0, slots, keys_values)

    def read(self, length: int) -> list[tuple[Tensor, Tensor]]:
        """For each layer views (rows, kv_heads, length, head_dim) of the keys and values of the first positions.

        Views: what is written later shows in them.
        """
        keys, values = self._data[:, :, :length].transpose(2, 3).split(self.kv_heads, dim=2)
        return list(zip(keys.unbind(), values.unbind()))

    def keep(self, rows: Tensor) -> None:
        """Drop every row but `rows` (int64 indices)."""
        self._hold(self._data[:, rows])

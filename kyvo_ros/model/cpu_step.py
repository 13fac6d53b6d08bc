"""A step of a single row on the CPU: torch multiplies and attends, numpy does all between.

Such a step computes so little that torch spends most of it between its hundred tiny operations; numpy's cost half as
much. Products stay with torch, whose threads we can set: OpenBLAS behind numpy 1.26 shares even these among threads,
which takes ten times as long. The numbers are those of `CachedDecoder.step`, which the tests check.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kyvo_ros.model.cache import KVCache, LayerMemory
from kyvo_ros.model.config import DecoderConfig


class SingleRowStep:
    """Further tokens for one row whose prompt is in the cache; float32, one call at a time."""

    def __init__(self, config: DecoderConfig, table: Tensor, blocks: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]],
                 norm: Tensor, rope: Tensor) -> None:
        """
        Args:
            table: (V, D) embeddings. norm: (D,) gain of the last norm.
            blocks: qkv, out, gate_up and down of each block, (inputs, outputs), the norms' gains folded in.
            rope: (positions, heads + 2 * kv_heads, head_dim / 2) complex turns; ones for values.
        """
        self._table, self._blocks, self._norm = table.numpy(), blocks, norm.numpy()
        self._rope = rope.flatten(1).numpy()
        self._config, self._dim, self._ffn_dim, self._epsilon = config, config.dim, config.ffn_dim, config.norm_eps
        self._query_shape = (config.kv_heads, config.heads // config.kv_heads, config.head_dim)
        self._buffers: dict[int, _Buffers] = {}

    def __call__(self, tokens: Sequence[int], length: int, cache: KVCache, places: Tensor | None = None) -> Tensor:
        """(m,) ids behind the `length` tokens that the cache holds -> (D,) hidden state of the last one.

        `places` (1, m, D): what they carry for their places in an image, see `RunningPlaces`.
        """
        end = length + len(tokens)
        x, rope, mask = self._table[tokens], self._rope[length:end], self._mask(length, end)
        if places is not None:
            x = x + places[0].numpy()
        buffers = self._buffers_for(len(tokens))
        with np.errstate(over="ignore"):  # in `_feed_forward`
            for block, memory in zip(self._blocks, cache.read(end)):
                qkv, out, gate_up, down = block
                self._project(x, qkv, rope, buffers)
                memory.slots.numpy()[length:end] = buffers.keys_values
                query = buffers.query
                if block is self._blocks[-1]:  # it needs the keys and values of all tokens, but the last state alone
                    x, query, mask, buffers = x[-1:], query[-1:], None, self._buffers_for(1)
                torch.mm(self._attend(query, memory, mask), out, out=buffers.added.tensor)
                x = x + buffers.added.array
                self._feed_forward(x, gate_up, down, buffers)
                x += buffers.added.array
        self._normalise(x, buffers)
        return torch.from_numpy(buffers.normalised.array[0] * self._norm)

    @torch.inference_mode(False)  # buffers outlive the call
    def _buffers_for(self, width: int) -> _Buffers:
        if width not in self._buffers:
            self._buffers[width] = _Buffers(self._config, width)
        return self._buffers[width]

    def _project(self, x: np.ndarray, qkv: Tensor, rope: np.ndarray, buffers: _Buffers) -> None:
        """Turned queries and keys, and values, of (m, D) into the buffers."""
        self._normalise(x, buffers)
        torch.mm(buffers.normalised.tensor, qkv, out=buffers.projected.tensor)
        buffers.pairs *= rope

    def _feed_forward(self, x: np.ndarray, gate_up: Tensor, down: Tensor, buffers: _Buffers) -> None:
        """What the feed-forward adds to (m, D); where exp(-gate) overflows, the gate is shut as it should be."""
        self._normalise(x, buffers)
        torch.mm(buffers.normalised.tensor, gate_up, out=buffers.gate_up.tensor)
        gate, up = buffers.gate_up.array[:, :self._ffn_dim], buffers.gate_up.array[:, self._ffn_dim:]
        np.multiply(gate / (1.0 + np.exp(-gate)), up, out=buffers.gated.array)
        torch.mm(buffers.gated.tensor, down, out=buffers.added.tensor)

    def _mask(self, length: int, end: int) -> Tensor | None:
        """(m, 1, groups, n) additive mask of the last m of n tokens; None for one token, which sees all."""
        if end == length + 1:
            return None
        hidden = np.arange(end) > np.arange(length, end)[:, np.newaxis]
        mask = torch.from_numpy(np.where(hidden, np.float32(-math.inf), np.float32(0.0)))
        return mask[:, None, None].expand(-1, -1, self._query_shape[1], -1)

    def _attend(self, query: Tensor, memory: LayerMemory, mask: Tensor | None) -> Tensor:
        """(m, kv_heads, groups, head_dim) -> (m, D): tokens are a batch, heads that share keys rows of one product."""
        keys, values = memory.keys, memory.values
        if mask is not None:
            keys, values = (x.expand(mask.shape[0], -1, -1, -1) for x in (keys, values))
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=mask).reshape(-1, self._dim)

    def _normalise(self, x: np.ndarray, buffers: _Buffers) -> None:
        """(m, D) / its root mean square, without gain, into its buffer."""
        for row, target in zip(x, buffers.normalised.array):
            np.multiply(row, 1.0 / math.sqrt(np.dot(row, row) / self._dim + self._epsilon), out=target)


class _Shared:
    """A matrix that torch and numpy both write to."""

    def __init__(self, rows: int, columns: int) -> None:
        self.tensor = torch.empty(rows, columns)
        self.array = self.tensor.numpy()


class _Buffers:
    """The results of a step of `width` tokens, the same memory for every block."""

    def __init__(self, config: DecoderConfig, width: int) -> None:
        kv_heads, head_dim = config.kv_heads, config.head_dim
        self.normalised, self.added = _Shared(width, config.dim), _Shared(width, config.dim)
        self.projected = _Shared(width, config.dim + 2 * kv_heads * head_dim)
        self.gate_up, self.gated = _Shared(width, 2 * config.ffn_dim), _Shared(width, config.ffn_dim)
        self.pairs = self.projected.array.view(np.complex64)  # components that turn together
        self.query = self.projected.tensor[:, :config.dim].view(width, kv_heads, -1, head_dim)
        self.keys_values = self.projected.array[:, config.dim:].reshape(width, 2 * kv_heads, head_dim)

"""A step of a few rows on the CPU, compiled: all blocks in one call, each row on its own.

A step of a small model computes so little that torch spends most of it between its hundred tiny operations; one
compiled loop over the same weights takes a sixth of the time and lets go of Python's lock meanwhile. Numba compiles it
when a decoder is first laid out (seconds), and keeps the result beside this file or in the user's cache. Without numba,
`CachedDecoder` takes torch's way. The numbers are those of `CachedDecoder.step`, which the tests check.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from kyvo_ros.model.cache import KVCache
from kyvo_ros.model.config import DecoderConfig

try:
    from numba import njit
except ImportError:  # optional: a robot's own Python may lack it
    njit = None

#: Weights that one core still reads faster than torch shares them among several: about what caches hold.
LARGEST_WEIGHTS = 16_000_000
#: What the compiler may change about floating point numbers; not that they are finite, since a gate may overflow.
_REORDER = {"reassoc", "contract", "nsz", "arcp"}


def _compiled(function: Callable) -> Callable:
    if njit is None:
        return function
    try:
        return njit(nogil=True, fastmath=_REORDER, cache=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written to
        return njit(nogil=True, fastmath=_REORDER)(function)


@_compiled
def _multiply(x, weight, out, first):
    """(m, K) times (K, N) into (m, N), four rows of the weight at a time; K % 4 == 0. Leaves out rows before `first`.
    """
    out[:] = 0.0
    for k in range(0, weight.shape[0], 4):
        w0, w1, w2, w3 = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
        for row in range(first, x.shape[0]):
            a, b, c, d = x[row, k], x[row, k + 1], x[row, k + 2], x[row, k + 3]
            target = out[row]
            for n in range(weight.shape[1]):
                target[n] += a * w0[n] + b * w1[n] + c * w2[n] + d * w3[n]


@_compiled
def _normalise(x, epsilon, out, first):
    """(m, D) by its root mean square, without gain."""
    for row in range(first, x.shape[0]):
        total = np.float32(0.0)
        for k in range(x.shape[1]):
            total += x[row, k] * x[row, k]
        scale = np.float32(1.0) / np.sqrt(total / np.float32(x.shape[1]) + epsilon)
        for k in range(x.shape[1]):
            out[row, k] = x[row, k] * scale


@_compiled
def _turn(projected, rope, start):
    """Turn the pairs of queries and keys of (m, E) by (positions, E / 2, 2) cosines and sines, in place."""
    for row in range(projected.shape[0]):
        turns = rope[start + row]
        for pair in range(turns.shape[0]):
            real, imaginary = projected[row, 2 * pair], projected[row, 2 * pair + 1]
            projected[row, 2 * pair] = real * turns[pair, 0] - imaginary * turns[pair, 1]
            projected[row, 2 * pair + 1] = real * turns[pair, 1] + imaginary * turns[pair, 0]


@_compiled
def _attend(projected, memory, start, first, groups, weights, out):
    """Queries, the first of (m, E), at `start` on over (length, 2 * kv_heads, head_dim) -> (m, D)."""
    kv_heads, head_dim = memory.shape[1] // 2, memory.shape[2]
    scale = np.float32(1.0) / np.sqrt(np.float32(head_dim))
    for row in range(first, out.shape[0]):
        for head in range(kv_heads * groups):
            query = projected[row, head * head_dim:(head + 1) * head_dim]
            result = out[row, head * head_dim:(head + 1) * head_dim]
            _attend_head(query, memory, head // groups, start + row + 1, scale, weights, result)


@_compiled
def _attend_head(query, memory, kv_head, end, scale, weights, result):
    """One query (head_dim,) over the first `end` positions of the cache."""
    largest = np.float32(-np.inf)
    for position in range(end):
        key, score = memory[position, kv_head], np.float32(0.0)
        for k in range(query.shape[0]):
            score += query[k] * key[k]
        weights[position] = score * scale
        largest = max(largest, weights[position])
    total = np.float32(0.0)
    result[:] = 0.0
    for position in range(end):
        weight = np.exp(weights[position] - largest)
        value = memory[position, memory.shape[1] // 2 + kv_head]
        for k in range(query.shape[0]):
            result[k] += weight * value[k]
        total += weight
    for k in range(query.shape[0]):
        result[k] /= total


@_compiled
def _gate(both, out, first):
    """SwiGLU of (m, 2 * F), gates before values, into (m, F); where exp overflows the gate is shut, as it should be."""
    size = out.shape[1]
    for row in range(first, out.shape[0]):
        for k in range(size):
            gate = both[row, k]
            out[row, k] = gate / (np.float32(1.0) + np.exp(-gate)) * both[row, size + k]


@_compiled
def _advance(x, start, cache, row, qkv, out, gate_up, down, rope, epsilon):
    """Run (m, D) embeddings of the tokens at `start` on through every block, in place.

    cache: (layers, rows, length, 2 * kv_heads, head_dim), of which `row` holds what comes before `start` and takes what
    is new. qkv, out, gate_up, down: (layers, inputs, outputs), the norms' gains folded in. rope: (positions, pairs, 2).
    Of the last block only the last token's state is computed to its end.
    """
    layers, _, length, kv_pairs, head_dim = cache.shape
    width, dim, ffn_dim = x.shape[0], x.shape[1], down.shape[1]
    groups = 2 * dim // (kv_pairs * head_dim)
    normalised, added = np.empty((width, dim), np.float32), np.empty((width, dim), np.float32)
    projected, attended = np.empty((width, qkv.shape[2]), np.float32), np.empty((width, dim), np.float32)
    both, gated = np.empty((width, 2 * ffn_dim), np.float32), np.empty((width, ffn_dim), np.float32)
    weights, first = np.empty(length, np.float32), 0
    for layer in range(layers):
        memory = cache[layer, row]
        _normalise(x, epsilon, normalised, 0)
        _multiply(normalised, qkv[layer], projected, 0)
        _turn(projected, rope, start)
        for i in range(width):
            memory[start + i] = projected[i, dim:].reshape(kv_pairs, head_dim)
        if layer == layers - 1:
            first = width - 1
        _attend(projected, memory, start, first, groups, weights, attended)
        _multiply(attended, out[layer], added, first)
        x += added
        _normalise(x, epsilon, normalised, first)
        _multiply(normalised, gate_up[layer], both, first)
        _gate(both, gated, first)
        _multiply(gated, down[layer], added, first)
        x += added


class CompiledStep:
    """Further tokens for rows whose prompts are in the cache; float32."""

    def __init__(self, config: DecoderConfig, table: Tensor, blocks: Sequence[Tensor], norm: Tensor,
                 rope: Tensor) -> None:
        """
        Args:
            table: (V, D) embeddings. norm: (D,) gain of the last norm.
            blocks: qkv, out, gate_up and down, each (layers, inputs, outputs), the norms' gains folded in.
            rope: (positions, heads + kv_heads, head_dim / 2) complex turns of queries and keys.
        """
        self._table, self._norm = table.numpy(), norm.numpy()
        self._blocks = [block.numpy() for block in blocks]
        self._rope = torch.view_as_real(rope.flatten(1)).contiguous().numpy()
        self._epsilon = np.float32(config.norm_eps)
        # The first call compiles, or loads what an earlier process compiled: better now than in the first frame.
        memory = np.zeros((config.layers, 1, 1, 2 * config.kv_heads, config.head_dim), np.float32)
        self._row(self._table[[0]], 0, memory, 0)

    @classmethod
    def serves(cls, config: DecoderConfig, table: Tensor) -> bool:
        """Whether there is a compiler, and a small model in float32 on the CPU."""
        kv_dim = config.kv_heads * config.head_dim
        weights = config.layers * config.dim * (2 * config.dim + 2 * kv_dim + 3 * config.ffn_dim)
        return (njit is not None and table.device.type == "cpu" and table.dtype == torch.float32
                and weights <= LARGEST_WEIGHTS and not (config.dim % 4 or config.ffn_dim % 4))

    def __call__(self, tokens: Sequence[Sequence[int]], lengths: Sequence[int], cache: KVCache,
                 places: Tensor | None = None) -> Tensor:
        """Further ids of each row, behind the tokens that the cache holds of it -> (B, D) states of each row's last.

        `places` (B, m, D): what they carry for their places in an image, see `RunningPlaces`.
        """
        memory = cache.array()
        vectors = [self._table[own] for own in tokens]
        if places is not None:
            vectors = [x + own[:len(x)].numpy() for x, own in zip(vectors, places)]
        states = [self._row(x, length, memory, row) for row, (x, length) in enumerate(zip(vectors, lengths))]
        return torch.from_numpy(np.stack(states))

    def _row(self, x: np.ndarray, length: int, memory: np.ndarray, row: int) -> np.ndarray:
        """State (D,) behind (m, D) embeddings, which are overwritten."""
        _advance(x, length, memory, row, *self._blocks, self._rope, self._epsilon)
        last = x[-1]
        return last * (self._norm / np.sqrt(np.dot(last, last) / np.float32(len(last)) + self._epsilon))

"""A step of a few rows on the CPU, compiled: all blocks in one call.

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
#: What the compiler may change about floating point numbers; not that they are finite, since a score may overflow.
_REORDER = {"reassoc", "contract", "nsz", "arcp"}


def _compiled(function: Callable) -> Callable:
    if njit is None:
        return function
    try:
        return njit(nogil=True, fastmath=_REORDER, cache=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written to
        return njit(nogil=True, fastmath=_REORDER)(function)


@_compiled
def _multiply(x, weight, out):
    """(m, K) times (K, N) into (m, N)."""
    _multiply_part(x, 0, weight, weight.shape[1], out)


@_compiled
def _multiply_part(x, place, weight, end, out):
    """K columns of x (m, E) from `place` on, times the first `end` columns of (K, N), into those of (m, N); four rows of
    the weight at a time.
    """
    out[:, :end] = 0.0
    fours = weight.shape[0] // 4 * 4
    for k in range(0, fours, 4):
        w0, w1, w2, w3 = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
        for row in range(x.shape[0]):
            own, target = x[row], out[row]
            a, b, c, d = own[place + k], own[place + k + 1], own[place + k + 2], own[place + k + 3]
            for n in range(end):
                target[n] += a * w0[n] + b * w1[n] + c * w2[n] + d * w3[n]
    for k in range(fours, weight.shape[0]):
        for row in range(x.shape[0]):
            for n in range(end):
                out[row, n] += x[row, place + k] * weight[k, n]


@_compiled
def _normalise(x, epsilon, out):
    """(m, D) by its root mean square, without gain."""
    for row in range(x.shape[0]):
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
def _exponential(x, size):
    """exp of the first `size` of (n,) float32 in place, to 6e-7 of itself: unlike `np.exp`, many at a time.

    Arguments are clipped to [-87, 88]. It is 2 to the nearest whole power, written into the exponent's bits, times a
    polynomial of what remains.
    """
    for i in range(size):
        power = min(max(x[i], np.float32(-87.0)), np.float32(88.0)) * np.float32(1.44269504)
        whole = np.floor(power + np.float32(0.5))
        rest = (power - whole) * np.float32(0.69314718)
        series = np.float32(1 / 720)
        series = series * rest + np.float32(1 / 120)
        series = series * rest + np.float32(1 / 24)
        series = series * rest + np.float32(1 / 6)
        series = series * rest + np.float32(0.5)
        series = series * rest + np.float32(1.0)
        series = series * rest + np.float32(1.0)
        x[i] = series * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)


@_compiled
def _attend(projected, keys, memory, own, start, scores, out):
    """Queries, the first of (m, E), at `start` on over keys (kv_heads, head_dim, length) and the values behind the
    keys of a memory (2 * kv_heads, rows, length, head_dim), its row `own` -> (m, D). scores: (m, length), to work in.

    Queries go head by head, so that all of them find the keys and values of a head in the processor's cache.
    """
    kv_heads, head_dim, _ = keys.shape
    width, heads = out.shape[0], out.shape[1] // head_dim
    scale = np.float32(1.0) / np.sqrt(np.float32(head_dim))
    for head in range(heads):
        place, kv_head = head * head_dim, head * kv_heads // heads
        _multiply_part(projected, place, keys[kv_head], start + width, scores)
        for row in range(width):
            _soften(scores[row], start + row + 1, start + width, scale)
        _weigh(scores, memory[kv_heads + kv_head, own], start + width, out, place)


@_compiled
def _weigh(weights, values, end, out, place):
    """(m, length) weights times the first `end` of values (length, head_dim) into (m, D) from `place` on."""
    head_dim, fours = values.shape[1], end // 4 * 4
    for row in range(out.shape[0]):
        own, target = weights[row], out[row, place:place + head_dim]
        target[:] = 0.0
        for n in range(0, fours, 4):
            a, b, c, d = own[n], own[n + 1], own[n + 2], own[n + 3]
            v0, v1, v2, v3 = values[n], values[n + 1], values[n + 2], values[n + 3]
            for k in range(head_dim):
                target[k] += a * v0[k] + b * v1[k] + c * v2[k] + d * v3[k]
        for n in range(fours, end):
            for k in range(head_dim):
                target[k] += own[n] * values[n, k]


@_compiled
def _soften(scores, seen, end, scale):
    """Softmax of `scale` times the first `seen` of (length,) scores, in place; nothing for the rest up to `end`."""
    largest = _largest(scores, seen)
    for i in range(seen):
        scores[i] = (scores[i] - largest) * scale
    _exponential(scores, seen)
    total = np.float32(0.0)
    for i in range(seen):
        total += scores[i]
    share = np.float32(1.0) / total
    for i in range(seen):
        scores[i] *= share
    for i in range(seen, end):
        scores[i] = 0.0


@_compiled
def _largest(x, size):
    """Of the first `size` of (n,), eight at a time."""
    eights = size // 8 * 8
    lanes = np.full(8, x[0], np.float32)
    for i in range(0, eights, 8):
        for lane in range(8):
            lanes[lane] = x[i + lane] if x[i + lane] > lanes[lane] else lanes[lane]
    largest = x[0]
    for lane in range(8):
        largest = max(largest, lanes[lane])
    for i in range(eights, size):
        largest = max(largest, x[i])
    return largest


@_compiled
def _gate(both, out):
    """SwiGLU of (m, 2 * F), gates before values, into (m, F)."""
    size = out.shape[1]
    for row in range(out.shape[0]):
        own, result = both[row], out[row]
        for k in range(size):
            result[k] = -own[k]
        _exponential(result, size)
        for k in range(size):
            result[k] = own[k] / (np.float32(1.0) + result[k]) * own[size + k]


@_compiled
def _advance(x, begins, starts, cache, columns, qkv, out, gate_up, down, rope, epsilon):
    """Run the embeddings of further tokens of some rows through every block -> (rows, D), each row's last, no norm.

    x: (m, D), overwritten: those of row r are x[begins[r]:begins[r + 1]] and stand at `starts[r]` on. Products with
    weights are of all of them at once, so that the weights are read once for all rows.
    cache: (layers, 2 * kv_heads, rows, length, head_dim), which holds what comes before and takes what is new. columns:
    its keys once more, (layers, rows, kv_heads, head_dim, length). qkv, out, gate_up, down: (layers, inputs, outputs),
    the norms' gains folded in. rope: (positions, pairs, 2).
    Of the last block only the states of the last tokens are computed to their end.
    """
    layers, kv_pairs, _, length, head_dim = cache.shape
    rows, width, dim, ffn_dim = len(starts), x.shape[0], x.shape[1], down.shape[1]
    kv_heads = kv_pairs // 2
    normalised, added = np.empty((width, dim), np.float32), np.empty((width, dim), np.float32)
    projected, attended = np.empty((width, qkv.shape[2]), np.float32), np.empty((width, dim), np.float32)
    both, gated = np.empty((width, 2 * ffn_dim), np.float32), np.empty((width, ffn_dim), np.float32)
    scores = np.empty((width, length), np.float32)
    for layer in range(layers):
        _normalise(x, epsilon, normalised)
        _multiply(normalised, qkv[layer], projected)
        for row in range(rows):
            _keep(projected[begins[row]:begins[row + 1]], starts[row], rope, cache[layer], columns[layer], row)
        if layer == layers - 1:
            for row in range(rows):
                x[row], projected[row] = x[begins[row + 1] - 1], projected[begins[row + 1] - 1]
                starts[row] += begins[row + 1] - begins[row] - 1
            width, begins, x = rows, np.arange(rows + 1), x[:rows]
        for row in range(rows):
            own = slice(begins[row], begins[row + 1])
            _attend(projected[own], columns[layer, row], cache[layer], row, starts[row], scores[own], attended[own])
        _multiply(attended[:width], out[layer], added[:width])
        x += added[:width]
        _normalise(x, epsilon, normalised[:width])
        _multiply(normalised[:width], gate_up[layer], both[:width])
        _gate(both[:width], gated[:width])
        _multiply(gated[:width], down[layer], added[:width])
        x += added[:width]
    return x


@_compiled
def _keep(projected, start, rope, memory, columns, row):
    """Turn the queries and keys of (m, E), at `start` on, and write keys and values into a row of the memory of a layer
    (2 * kv_heads, rows, length, head_dim), the keys into (rows, kv_heads, head_dim, length) as well.
    """
    _turn(projected, rope, start)
    kv_pairs, _, _, head_dim = memory.shape
    dim = projected.shape[1] - kv_pairs * head_dim
    for i in range(projected.shape[0]):
        new = projected[i, dim:].reshape(kv_pairs, head_dim)
        memory[:, row, start + i], columns[row, :, :, start + i] = new, new[:kv_pairs // 2]


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
        memory = np.zeros((config.layers, 2 * config.kv_heads, 1, 1, config.head_dim), np.float32)
        columns = np.zeros((config.layers, 1, config.kv_heads, config.head_dim, 1), np.float32)
        self._states([self._table[[0]]], [0], memory, columns)

    @classmethod
    def serves(cls, config: DecoderConfig, table: Tensor) -> bool:
        """Whether there is a compiler, and a small model in float32 on the CPU."""
        kv_dim = config.kv_heads * config.head_dim
        weights = config.layers * config.dim * (2 * config.dim + 2 * kv_dim + 3 * config.ffn_dim)
        return (njit is not None and table.device.type == "cpu" and table.dtype == torch.float32
                and weights <= LARGEST_WEIGHTS)

    def __call__(self, tokens: Sequence[Sequence[int]], lengths: Sequence[int], cache: KVCache,
                 places: Tensor | None = None) -> Tensor:
        """Further ids of each row, behind the tokens that the cache holds of it -> (B, D) states of each row's last.

        `places` (B, m, D): what they carry for their places in an image, see `RunningPlaces`.
        """
        vectors = [self._table[own] for own in tokens]
        if places is not None:
            vectors = [x + own[:len(x)].numpy() for x, own in zip(vectors, places)]
        return torch.from_numpy(self._states(vectors, lengths, cache.array(), cache.key_columns()))

    def _states(self, vectors: Sequence[np.ndarray], lengths: Sequence[int], memory: np.ndarray,
                columns: np.ndarray) -> np.ndarray:
        """States (B, D) behind embeddings (m, D) of each row."""
        begins = np.cumsum([0, *map(len, vectors)])
        last = _advance(np.concatenate(vectors), begins, np.array(lengths), memory, columns, *self._blocks, self._rope,
                        self._epsilon)
        square = np.einsum("rd,rd->r", last, last) / np.float32(last.shape[1])
        return last * (self._norm / np.sqrt(square + self._epsilon)[:, None])

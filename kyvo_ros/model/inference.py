"""The decoder token by token: prefill and step over a static KV cache, for generation.

A snapshot of a decoder's weights, laid out for short inputs: norm gains folded into the projection behind them,
matrices transposed and contiguous, the embedding table summed up. A step of few rows in float32 on the CPU goes the
shorter way of `cpu_step`. A large decoder's matrices can be used where they lie instead, since a second copy of them
may not fit into memory. The numbers are those of `Decoder.hidden`, which the tests check.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kyvo_ros.model.cache import KVCache, LayerMemory
from kyvo_ros.model.cpu_step import CompiledStep
from kyvo_ros.model.decoder import Block, Decoder, rope_table
from kyvo_ros.model.places import RunningPlaces

_LOG = logging.getLogger(__name__)

#: Rows that the compiled step takes, one after the other; more of them share their products better.
COMPILED_ROWS = 8


class _BlockWeights(NamedTuple):
    """One block, or all of them stacked, as right-hand factors: (inputs, outputs)."""

    qkv: Tensor
    out: Tensor
    gate_up: Tensor
    down: Tensor
    attention_gain: Tensor | None = None  # of the norm before qkv; None where it is folded in
    ffn_gain: Tensor | None = None  # of the norm before gate_up

    @classmethod
    def shared(cls, block: Block) -> _BlockWeights:
        """Views of a block's own weights."""
        return cls(block.qkv.weight.T, block.out.weight.T, block.gate_up.weight.T, block.down.weight.T,
                   block.attention_norm.weight, block.ffn_norm.weight)

    @classmethod
    def stacked(cls, blocks: Sequence[Block], dtype: torch.dtype) -> _BlockWeights:
        """(layers, inputs, outputs) each, the gains of the norms folded in."""
        def laid_out(weights: Sequence[tuple[Tensor, Tensor | float]]) -> Tensor:
            rows, columns = weights[0][0].T.shape
            result = weights[0][0].new_empty((len(weights), rows, columns), dtype=dtype)
            for target, (weight, gain) in zip(result, weights):
                target.copy_((weight * gain).T)
            return result
        return cls(laid_out([(b.qkv.weight, b.attention_norm.weight) for b in blocks]),
                   laid_out([(b.out.weight, 1.0) for b in blocks]),
                   laid_out([(b.gate_up.weight, b.ffn_norm.weight) for b in blocks]),
                   laid_out([(b.down.weight, 1.0) for b in blocks]))


class CachedDecoder:
    """Prefill and step for the weights that `decoder` has now; later training does not reach this snapshot.

    `dtype` is that of the body; None takes the decoder's own. Logits are float32 in any case. `shared` uses the
    decoder's own matrices instead of copies, in its own dtype; it must then stay as it is.
    """

    @torch.no_grad()
    def __init__(self, decoder: Decoder, dtype: torch.dtype | None = None, shared: bool = False) -> None:
        self.decoder = decoder
        self.shared = shared
        self.config = config = decoder.config
        table = decoder.embedding.table()
        self.dtype, self.device = dtype or table.dtype, table.device
        self.table = table.to(self.dtype)
        if shared and self.dtype != decoder.norm.weight.dtype:
            raise ValueError(f"shared weights are {decoder.norm.weight.dtype}, so dtype cannot be {self.dtype}")
        self.norm = decoder.norm.weight.detach().to(self.dtype, copy=True)
        self._head = None if shared else decoder.head_table().detach().clone()
        self._open, self._shut = torch.tensor([0.0, -math.inf], dtype=self.dtype, device=self.device)
        self._epsilon = torch.full((1, 1, 1), config.norm_eps, dtype=self.dtype, device=self.device)
        self._rope = self._full_rope()
        self._mean = 1.0 / config.dim
        self._heads, self._heads_written, self._head_dim = config.heads, 2 * config.kv_heads, config.head_dim
        self._groups = config.heads // config.kv_heads
        self._head_rows: dict[bytes, Tensor] = {}
        self._compiled: CompiledStep | None = None
        if shared:
            self.blocks = list(map(_BlockWeights.shared, decoder.blocks))
        else:
            weights = _BlockWeights.stacked(decoder.blocks, self.dtype)
            self.blocks = [_BlockWeights(*block) for block in zip(*weights[:4])]
            self._compiled = self._compiled_step(weights)

    @property
    def steps_alone(self) -> bool:
        """Whether a step of few rows takes one core alone, and lets go of Python's lock meanwhile."""
        return self._compiled is not None

    def _compiled_step(self, weights: _BlockWeights) -> CompiledStep | None:
        """The faster way for few rows, where there is one."""
        if not CompiledStep.serves(self.config, self.table):
            return None
        turned = self._rope[:, :self._heads + self._heads_written // 2]
        try:
            return CompiledStep(self.config, self.table, weights[:4], self.norm, turned)
        except Exception as error:  # whatever keeps numba from compiling, or from reading what it kept, torch can do it
            _LOG.warning("steps run in torch, which takes longer, since numba fails (%s: %s); removing its cache may "
                         "help: %s", type(error).__name__, error, Path(__file__).parent / "__pycache__")
            return None

    def _full_rope(self) -> Tensor:
        """(max_length + 1, heads + 2 * kv_heads, head_dim / 2): turns for queries and keys, ones for values."""
        config = self.config
        turns = rope_table(config.max_length + 1, config.head_dim, config.rope_theta).unsqueeze(1)
        turns = torch.cat((turns.expand(-1, config.heads + config.kv_heads, -1),
                           torch.ones_like(turns).expand(-1, config.kv_heads, -1)), dim=1)
        return turns.to(self.device)

    def new_cache(self, rows: int, length: int) -> KVCache:
        """An empty cache; one slot more than `length` takes what padding writes."""
        return KVCache(self.config, rows, length + 1, dtype=self.dtype, device=self.device)

    def prefill(self, token_ids: Tensor, cache: KVCache, *, cells: Tensor | None = None,
                prefix_length: int = 0) -> Tensor:
        """(B, S) ids into an empty cache -> (B, D) hidden states of the last position; see `Decoder.hidden`."""
        rows, length = token_ids.shape
        embedding = self.decoder.embedding
        x = embedding(token_ids, cells, self.table).to(self.dtype)
        if embedding.image_positions is not None:
            cache.places = RunningPlaces(embedding, token_ids, cells, self.table)
        positions = torch.arange(length, device=self.device)
        visible = positions <= positions.unsqueeze(1)
        if not self.config.causal_prompt:
            visible[:prefix_length, :prefix_length] = True
        mask = self._additive(visible.unsqueeze(0))
        starts = torch.arange(rows, device=self.device)
        slots = starts.unsqueeze(1) * cache.length + positions
        return self._run(x, positions.repeat(rows), slots.flatten(), mask, length, (starts + 1) * length - 1, cache)

    def step(self, tokens: Sequence[Sequence[int]], lengths: Sequence[int], cache: KVCache) -> Tensor:
        """One or more further tokens for each row -> (B, D) hidden states of each row's last one.

        `lengths`: how many tokens of each row the cache holds already. Rows may differ in both.
        """
        places = cache.places and cache.places.of_next(tokens)
        if len(tokens) <= COMPILED_ROWS and self._compiled is not None:
            return self._compiled(tokens, lengths, cache, places)
        width, spare = max(map(len, tokens)), cache.length - 1
        padded = [[*row, *[0] * (width - len(row))] for row in tokens]
        positions = [[min(n + i, spare) for i in range(width)] for n in lengths]
        slots = [[row * cache.length + p for p in own] for row, own in enumerate(positions)]
        ids, positions, slots = torch.tensor([padded, positions, slots], device=self.device)
        end = max(n + len(row) for row, n in zip(tokens, lengths))
        mask = self._additive(torch.arange(end, device=self.device) <= positions.unsqueeze(-1))
        last = torch.tensor([i * width + len(row) - 1 for i, row in enumerate(tokens)], device=self.device)
        x = F.embedding(ids, self.table)
        if places is not None:
            x += places.to(x)
        return self._run(x, positions.flatten(), slots.flatten(), mask, end, last, cache)

    def head_rows(self, ids: np.ndarray) -> Tensor:
        """(K, D) float32 rows of the head on the CPU: `head_rows(ids) @ hidden` are the logits of `ids` (K,) alone. Of
        torch, since numpy's products take more threads than torch is allowed.

        Kept for every set of ids that was ever asked for; a grammar has a few dozen.
        """
        key = ids.tobytes()
        if key not in self._head_rows:
            wanted = torch.tensor(ids, device=self.device)
            rows = self.decoder.head_rows(wanted) if self._head is None else self._head[wanted]
            self._head_rows[key] = rows.detach().cpu()
        return self._head_rows[key]

    def _additive(self, visible: Tensor) -> Tensor:
        """(B, m, n) bool -> (B, 1, groups * m, n): 0 where visible, -inf elsewhere, for the heads of a group."""
        return torch.where(visible, self._open, self._shut).unsqueeze(1).repeat(1, 1, self._groups, 1)

    def _run(self, x: Tensor, positions: Tensor, slots: Tensor, mask: Tensor, end: int, last: Tensor,
             cache: KVCache) -> Tensor:
        """(B, m, D) embeddings at `positions` (B * m,) through every block -> (B, D) at the flat indices `last`.

        Keys and values go to `slots` (B * m,) of the cache; attention reads its first `end` positions under `mask`.
        The last block needs the keys and values of all tokens but the output of the last ones alone.
        """
        rows, width, _ = x.shape
        rope = self._rope[positions]
        x = x.flatten(0, 1)
        for block, memory in zip(self.blocks, cache.read(end)):
            qkv = (self._normalised(x, block.attention_gain) @ block.qkv).float()
            torch.view_as_complex(qkv.view(*rope.shape, 2)).mul_(rope)  # as `decoder.rotate`, in place
            qkv = qkv.view(rope.shape[0], -1, self._head_dim).to(self.dtype)
            query, keys_values = qkv.split((self._heads, self._heads_written), dim=1)
            memory.write(slots, keys_values)
            if block is self.blocks[-1] and width > 1:
                x, query, mask = x[last], query[last], self._last_rows(mask, last, rows, width)
                width = 1
            x.addmm_(self._attend(query, rows, width, mask, memory), block.out)
            gate, up = (self._normalised(x, block.ffn_gain) @ block.gate_up).chunk(2, dim=-1)
            x.addmm_(F.silu(gate).mul_(up), block.down)
        return F.rms_norm(x, self.norm.shape, self.norm, self.config.norm_eps)

    def _last_rows(self, mask: Tensor, last: Tensor, rows: int, width: int) -> Tensor:
        """The rows of an additive mask (1 or B, 1, groups * m, n) that belong to the queries `last` (B,)."""
        per_token = mask.expand(rows, -1, -1, -1)[:, 0, :width].flatten(0, 1)
        return per_token[last].view(rows, 1, 1, -1).expand(-1, -1, self._groups, -1)

    def _attend(self, query: Tensor, rows: int, width: int, mask: Tensor, memory: LayerMemory) -> Tensor:
        """(B * m, heads, head_dim) queries -> (B * m, D); the heads that share keys are rows of one product."""
        groups, head_dim = self._groups, self._head_dim
        query = query.view(rows, width, -1, groups, head_dim).permute(0, 2, 3, 1, 4).flatten(2, 3)
        result = F.scaled_dot_product_attention(query, memory.keys, memory.values, attn_mask=mask)
        return result.view(rows, -1, groups, width, head_dim).permute(0, 3, 1, 2, 4).reshape(rows * width, -1)

    def _normalised(self, x: Tensor, gain: Tensor | None) -> Tensor:
        """(N, D) / its root mean square, times a gain (D,) where there is one; mean square plus epsilon in one product.
        """
        if gain is not None:
            return F.rms_norm(x, gain.shape, gain, self.config.norm_eps)
        square = torch.baddbmm(self._epsilon, x.unsqueeze(1), x.unsqueeze(2), alpha=self._mean)
        return x * square.rsqrt_().view(-1, 1)

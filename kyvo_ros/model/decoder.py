"""The decoder: a Llama body over the unified embedding, with an untied head over the whole vocabulary.

RMSNorm, SwiGLU, rotary positions and grouped-query attention as in Llama; the prompt's prefix (an image) may attend to
itself both ways. This file is the forward pass over whole sequences, for training; `cache.py` runs the same weights
token by token. Knows ids and vectors, not what they mean.
Source: Llama (arXiv 2302.13971, 2307.09288); tested against `transformers`' LlamaModel on the same weights.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kyvo_ros.model.config import DecoderConfig, ScaledRope
from kyvo_ros.model.embedding import INIT_STD, UnifiedEmbedding


class SequenceError(ValueError):
    """A token sequence that the decoder cannot read: wrong shape, unknown ids, or too long."""


def rope_table(length: int, head_dim: int, theta: float | ScaledRope) -> Tensor:
    """(length, head_dim / 2) complex numbers of size one: position n turns the i-th pair of components by its angle."""
    scaled = isinstance(theta, ScaledRope)
    base = theta.theta if scaled else theta
    # On the CPU also where a decoder is built on the meta device, to be filled from a file.
    frequencies = base ** (-torch.arange(0, head_dim, 2, device="cpu").double() / head_dim)
    if scaled:
        frequencies = _slowed(frequencies, theta)
    angles = torch.outer(torch.arange(length, device="cpu").double(), frequencies)
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)


def _slowed(frequencies: Tensor, scaled: ScaledRope) -> Tensor:
    """Radians a token -> the same with long wavelengths slowed, see `ScaledRope`."""
    turns = scaled.original_length * frequencies / (2 * math.pi)  # within the original context
    kept = (turns - scaled.low_freq_factor) / (scaled.high_freq_factor - scaled.low_freq_factor)
    slowest = 1 / scaled.factor
    return frequencies * (slowest + (1 - slowest) * kept.clamp(0, 1))


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """(..., S, heads, head_dim) turned by a table (S, 1, head_dim / 2): neighbours are the parts of a complex number.

    Llama's own order of components; `transformers` keeps the halves of a head apart instead, which is a permutation
    of the rows of the query and key weights. One complex product costs half as much as sines and cosines apart.
    """
    pairs = torch.view_as_complex(x.float().view(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * rope).flatten(-2).type_as(x)


class Block(nn.Module):
    """Attention and feed-forward, each before its residual connection; projections that share an input are one."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        kv_dim = config.kv_heads * config.head_dim
        self.attention_norm = nn.RMSNorm(config.dim, eps=config.norm_eps)
        self.qkv = nn.Linear(config.dim, config.dim + 2 * kv_dim, bias=False)
        self.out = nn.Linear(config.dim, config.dim, bias=False)
        self.ffn_norm = nn.RMSNorm(config.dim, eps=config.norm_eps)
        self.gate_up = nn.Linear(config.dim, 2 * config.ffn_dim, bias=False)
        self.down = nn.Linear(config.ffn_dim, config.dim, bias=False)
        for layer in (self.qkv, self.gate_up):
            nn.init.normal_(layer.weight, std=INIT_STD)
        for layer in (self.out, self.down):  # the residual stream sums 2 * layers of these
            nn.init.normal_(layer.weight, std=INIT_STD / math.sqrt(2 * config.layers))

    def forward(self, x: Tensor, rope: Tensor, mask: Tensor, start: int = 0) -> Tensor:
        """(B, S, D) -> (B, S - start, D): positions before `start` are attended to but not computed further."""
        x = x[:, start:] + self.out(self._attend(self.attention_norm(x), rope, mask, start))
        gate, up = self.gate_up(self.ffn_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)

    def _attend(self, x: Tensor, rope: Tensor, mask: Tensor, start: int) -> Tensor:
        """(B, S, D) -> (B, S - start, D), before the output projection."""
        qkv = self.qkv(x).unflatten(-1, (-1, self.head_dim))
        turned, value = qkv.split((self.heads + self.kv_heads, self.kv_heads), dim=2)
        query, key = rotate(turned, rope).split((self.heads, self.kv_heads), dim=2)
        groups = self.heads // self.kv_heads
        if x.is_cuda and groups > 1:  # the fast kernels for a mask know no grouped queries there
            key, value = key.repeat_interleave(groups, dim=2), value.repeat_interleave(groups, dim=2)
        result = F.scaled_dot_product_attention(
            query[:, start:].transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2),
            attn_mask=mask, enable_gqa=key.shape[2] < self.heads)
        return result.transpose(1, 2).flatten(2)


class Decoder(nn.Module):
    """Token ids to a distribution over the next id.

    `codebook` (K, code_dim) is the image tokenizer's, kept as a buffer and not trained.
    """

    def __init__(self, config: DecoderConfig, codebook: Tensor) -> None:
        super().__init__()
        self.config = config
        self.embedding = UnifiedEmbedding(config, codebook)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.dim, eps=config.norm_eps)
        self.head = nn.Linear(config.dim, config.vocabulary.size, bias=False)
        nn.init.normal_(self.head.weight, std=INIT_STD)
        self.number_head = nn.Parameter(torch.zeros(config.dim, config.dim)) if config.number_head else None
        # No buffer: a module that is cast to another dtype would cast it too, and lose its imaginary part.
        self._rope = rope_table(config.max_length, config.head_dim, config.rope_theta).unsqueeze(1)
        self._mask: Tensor | None = None
        self._mask_key: tuple | None = None

    def forward(self, token_ids: Tensor, *, cells: Tensor | None = None, prefix_length: int = 0) -> Tensor:
        """(B, S) ids -> (B, S, V) float32 logits; arguments as in `hidden`."""
        return self.logits(self.hidden(token_ids, cells=cells, prefix_length=prefix_length))

    def hidden(self, token_ids: Tensor, *, cells: Tensor | None = None, prefix_length: int = 0,
               start: int = 0) -> Tensor:
        """(B, S) ids -> (B, S - start, D) normalised hidden states of the positions from `start` on.

        Tokens before `prefix_length` attend to each other both ways (unless prompts are causal by the configuration),
        the rest to themselves and what came before; padding on the right therefore changes nothing. A `start` above
        zero saves work in the last block where the states of the first positions are not needed (a prompt that carries
        no loss).
        `cells` (B, h*w, 2): ground points of the image's cells, see `UnifiedEmbedding`. Raises SequenceError.
        """
        self.check(token_ids)
        length = token_ids.shape[1]
        if not 0 <= prefix_length <= length or not 0 <= start < length:
            raise SequenceError(
                f"prefix_length and start must lie within {length} tokens, got {prefix_length} and {start}")
        x = self.embedding(token_ids, cells)
        mask = self._attention_mask(length, 0 if self.config.causal_prompt else prefix_length, x)
        rope = self._rope_on(x.device)[:length]
        for block in self.blocks[:-1]:
            x = block(x, rope, mask)
        return self.norm(self.blocks[-1](x, rope, mask[start:], start))

    def logits(self, hidden: Tensor, among: range | None = None) -> Tensor:
        """(..., D) hidden states -> (..., V) logits, in float32 whatever the dtype of the body; of the ids `among` which
        the grammar leaves a choice alone, where these are given.
        """
        with torch.autocast(hidden.device.type, enabled=False):
            table = self.head_table()
            return F.linear(hidden.float(), table if among is None else table[among.start:among.stop])

    def head_table(self) -> Tensor:
        """(V, D) float32: the row that scores each id.

        Numbers share what their sin-cos features have in common, so that a state which has found a point of the plane
        can say any coordinate, also one that was rarely seen.
        """
        table = self.head.weight.float()
        if self.number_head is None:
            return table
        numbers = self.config.vocabulary.range("numbers")
        shared = self._shared_rows(self.embedding.number_features)
        return table + F.pad(shared, (0, 0, numbers.start, len(table) - numbers.stop))

    def head_rows(self, ids: Tensor) -> Tensor:
        """(K, D) float32: `head_table()[ids]` for ids (K,), without making the table."""
        rows = self.head.weight[ids].float()
        if self.number_head is None:
            return rows
        numbers = self.config.vocabulary.range("numbers")
        number = (ids >= numbers.start) & (ids < numbers.stop)
        rows[number] += self._shared_rows(self.embedding.number_features[ids[number] - numbers.start])
        return rows

    def _shared_rows(self, features: Tensor) -> Tensor:
        """(K, D) features of numbers -> (K, D) float32: what the head's rows of numbers share."""
        # Over dim: a step of the optimizer moves all entries of the projection at once, and their effects add up.
        return (features / self.config.dim).float() @ self.number_head.float()

    def check(self, token_ids: Tensor) -> None:
        """Raise SequenceError unless `token_ids` is (B, S) of integers, not too long, and known ids."""
        if token_ids.ndim != 2 or token_ids.numel() == 0:
            raise SequenceError(f"token ids must be (B, S) and not empty, got shape {tuple(token_ids.shape)}")
        if token_ids.dtype not in (torch.int64, torch.int32):
            raise SequenceError(f"token ids must be integers, got {token_ids.dtype}")
        if token_ids.shape[1] > self.config.max_length:
            raise SequenceError(f"{token_ids.shape[1]} tokens are more than max_length {self.config.max_length}")
        if self.config.unknown_ids_are_zero:
            return
        low, high = (int(v) for v in token_ids.aminmax())
        if low < 0 or high >= self.config.vocabulary.size:
            raise SequenceError(f"token ids must be in [0, {self.config.vocabulary.size}), got {low}..{high}")

    # Tables are kept between calls, so they must not be born as inference tensors, which training cannot use.

    @torch.inference_mode(False)
    def _rope_on(self, device: torch.device) -> Tensor:
        """(max_length, 1, head_dim / 2) rotations, see `rotate`."""
        self._rope = self._rope.to(device)
        return self._rope

    @torch.inference_mode(False)
    def _attention_mask(self, length: int, prefix_length: int, like: Tensor) -> Tensor:
        """(S, S) additive mask: 0 where a row may look, -inf elsewhere; kept for the next batch of the same shape."""
        key = (length, prefix_length, like.dtype, like.device)
        if self._mask_key != key:
            mask = torch.full((length, length), -math.inf, dtype=like.dtype, device=like.device).triu(1)
            mask[:prefix_length, :prefix_length] = 0.0
            self._mask, self._mask_key = mask, key
        return self._mask

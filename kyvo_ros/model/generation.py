"""Generation under a grammar: a prompt goes in, the tokens of a valid scene and their probabilities come out.

Only tokens that the grammar allows are scored, and where a single one is possible nothing is sampled: such forced
tokens ride along with the forward pass of the token before them. Rows of a batch advance on their own, each by as
many tokens as its grammar forces, and leave the batch when their scene ends. It does not know what tokens mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from kyvo_ros.autoencoders.shape_tokenizer import INSIDE, OUTSIDE
from kyvo_ros.model.decoder import Decoder, SequenceError
from kyvo_ros.model.inference import CachedDecoder
from kyvo_ros.tokens.distribution import TokenDistribution

#: Rows from which a step is work enough to share among CPU threads. Below, threads that wait for each other cost more
#: than they save: on two cores that other processes want as well, steps on two threads took ten to thirty times as long
#: as on one. A prompt is enough at any rate: on two idle cores one takes three quarters of the time it takes on one.
SHARED_FROM = 8


class Grammar(Protocol):
    """What `generate` asks of a grammar; see `tokens.scene_grammar.SceneGrammar`."""

    max_length: int

    def start(self) -> int: ...
    def advance(self, state: int, token_id: int) -> int: ...
    def allowed(self, state: int) -> np.ndarray: ...
    def forced_run(self, state: int) -> tuple[list[int], int]: ...
    def is_end(self, state: int) -> bool: ...


@dataclass(frozen=True, eq=False)
class Generation:
    """The target of one row: its tokens, and for each the probabilities it was chosen by (None where forced).

    Probabilities are the model's own among the allowed tokens, whatever the temperature of sampling.
    """

    token_ids: list[int]
    distributions: list[TokenDistribution | None]


def generate(decoder: Decoder | CachedDecoder, prompt: Tensor, *, grammar: Grammar, cells: Tensor | None = None,
             prefix_length: int = 0, skip_forced: bool = True, temperature: float = 0.0, top_k: int | None = None,
             seed: int | np.random.SeedSequence | None = None, streams: Sequence[int] | None = None,
             shape_temperature: float | None = None) -> list[Generation]:
    """Complete each row of `prompt` (B, S) by a sentence of `grammar`.

    Args:
        decoder: a `CachedDecoder` saves its set-up where many prompts meet the same weights.
        cells: (B, h*w, 2), prefix_length: as in `Decoder.hidden`.
        skip_forced: False feeds forced tokens one by one: the same result, slower.
        temperature: 0 takes the likeliest token; above, samples from softmax(logits / temperature).
        top_k: samples among so many of the likeliest tokens alone; None among all that are allowed.
        seed: of the sampling; row i draws from its own stream (seed, i), whatever else is in the batch.
        streams: numbers of the rows' streams, where the batch is a part of another; None: 0, 1, ...
        shape_temperature: for codes of shapes, which are then taken by `choose_shape`; None: as all other tokens.

    Raises SequenceError for a prompt that is malformed or leaves no room for the longest sentence.
    """
    check_sampling(temperature, top_k)
    with torch.inference_mode():
        cached = decoder if isinstance(decoder, CachedDecoder) else CachedDecoder(decoder)
        _check_prompt(cached, prompt, prefix_length, grammar)
        numbers = range(len(prompt)) if streams is None else streams
        sampler = _Sampler(cached, grammar, temperature, top_k, shape_temperature)
        rows = [_Row(sampler, prompt.shape[1], stream) for stream in streams_of(seed, numbers)]
        _decode(cached, prompt.to(cached.device), cells, prefix_length, rows, skip_forced, grammar.max_length)
    return [Generation(row.token_ids, row.distributions) for row in rows]


def streams_of(seed: int | np.random.SeedSequence | None, numbers: Iterable[int]) -> list[np.random.Generator]:
    """The streams of random numbers (seed, i) for each of `numbers`."""
    root = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    return [np.random.default_rng(np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, number)))
            for number in numbers]


def check_sampling(temperature: float, top_k: int | None) -> None:
    """Raises ValueError for what `generate` does not take."""
    if not temperature >= 0:
        raise ValueError(f"temperature must not be negative, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1 or None, got {top_k}")


def _check_prompt(cached: CachedDecoder, prompt: Tensor, prefix_length: int, grammar: Grammar) -> None:
    cached.decoder.check(prompt)
    longest = prompt.shape[1] + grammar.max_length
    if longest > cached.config.max_length:
        raise SequenceError(f"a prompt of {prompt.shape[1]} tokens and a target of up to {grammar.max_length} are more "
                            f"than max_length {cached.config.max_length}")
    if not 0 <= prefix_length <= prompt.shape[1]:
        raise SequenceError(f"prefix_length must lie within the {prompt.shape[1]} tokens, got {prefix_length}")


def _decode(cached: CachedDecoder, prompt: Tensor, cells: Tensor | None, prefix_length: int, rows: list[_Row],
            skip_forced: bool, room: int) -> None:
    """Run every row to its end."""
    cache = cached.new_cache(len(rows), prompt.shape[1] + room)
    width = None if skip_forced else 1
    # All rows start alike, so that what is forced at the start can join the prompt.
    first = torch.tensor([row.feed(width) for row in rows], dtype=torch.int64, device=prompt.device)
    hidden = cached.prefill(torch.cat((prompt, first), dim=1), cache, cells=cells, prefix_length=prefix_length)
    active = rows
    with threads_of_steps(cached, len(rows)):
        while True:
            for row, state in zip(active, hidden.float().cpu().numpy()):
                row.choose(state)
            going = [index for index, row in enumerate(active) if not row.done]
            if not going:
                return
            if len(going) < len(active):
                cache = cache.of_rows(torch.tensor(going, device=cached.device))
                active = [active[index] for index in going]
            lengths = [row.length for row in active]
            hidden = cached.step([row.feed(width) for row in active], lengths, cache)


@contextmanager
def threads_of_steps(cached: CachedDecoder, rows: int) -> Iterator[None]:
    """As many of torch's CPU threads as a step is worth, in the thread that calls: one for few rows, unless each has a
    large model to pass.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(before if cached.shared or rows >= SHARED_FROM else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Row:
    """One sentence as it grows: what was chosen, what of it the decoder has read, and where the grammar stands."""

    def __init__(self, sampler: _Sampler, length: int, stream: np.random.Generator) -> None:
        self.token_ids: list[int] = []
        self.distributions: list[TokenDistribution | None] = []
        self.length = length  # tokens in the cache once the last feed has run, the prompt's included
        self._sampler, self._stream = sampler, stream
        self._state = sampler.grammar.start()
        self._fed = 0
        self._append_forced()

    @property
    def done(self) -> bool:
        """Whether the sentence is complete; tokens that the decoder has not read then need no reading."""
        return self._sampler.grammar.is_end(self._state)

    def feed(self, width: int | None) -> list[int]:
        """The tokens that the decoder reads next: all that it has not read, or at most `width`."""
        tokens = self.token_ids[self._fed:][:width]
        self._fed += len(tokens)
        self.length += len(tokens)
        return tokens

    def choose(self, hidden: np.ndarray) -> None:
        """Sample the next token from the state (D,) behind the last one read, unless forced ones wait to be read."""
        if self.done or self._fed < len(self.token_ids):
            return
        token_id, distribution = self._sampler.pick(hidden, self._state, self._stream)
        self.token_ids.append(token_id)
        self.distributions.append(distribution)
        self._state = self._sampler.grammar.advance(self._state, token_id)
        self._append_forced()

    def _append_forced(self) -> None:
        run, self._state = self._sampler.grammar.forced_run(self._state)
        self.token_ids += run
        self.distributions += [None] * len(run)


class _Sampler:
    """Scores the tokens allowed at a state and picks one."""

    def __init__(self, cached: CachedDecoder, grammar: Grammar, temperature: float, top_k: int | None,
                 shape_temperature: float | None) -> None:
        self.grammar = grammar
        self._cached, self._temperature, self._top_k = cached, temperature, top_k
        self._shape_temperature, self._shapes = shape_temperature, cached.config.vocabulary.range("shape")

    def pick(self, hidden: np.ndarray, state: int, stream: np.random.Generator) -> tuple[int, TokenDistribution]:
        """A token for hidden state (D,), and the distribution over all that were possible."""
        ids = self.grammar.allowed(state)
        logits = torch.mv(self._cached.head_rows(ids), torch.from_numpy(hidden)).numpy()
        if self._shape_temperature is not None and len(ids) == len(self._shapes) and ids[0] == self._shapes.start:
            chosen = choose_shape(logits, self._shape_temperature, self._top_k, stream)
        else:
            chosen = choose(logits, self._temperature, self._top_k, stream)
        return int(ids[chosen]), TokenDistribution(ids, _softmax(logits))


def choose(logits: np.ndarray, temperature: float, top_k: int | None, stream: np.random.Generator) -> int:
    """The index of one of logits (K,); arguments as in `generate`."""
    if temperature == 0.0:
        return int(logits.argmax())
    if top_k is not None and top_k < len(logits):
        logits = np.where(logits < np.partition(logits, -top_k)[-top_k], -np.inf, logits)
    cumulative = _softmax(logits / temperature).cumsum()
    choice = np.searchsorted(cumulative, stream.random() * cumulative[-1], side="right")
    return min(int(choice), len(logits) - 1)


def choose_shape(logits: np.ndarray, temperature: float, top_k: int | None, stream: np.random.Generator) -> int:
    """The index of one of the logits of all codes of shapes (K,).

    First whether a block is outside, inside, or one that a surface passes, then which surface it is. For the thousands
    of codes of surfaces share the probability of theirs: the likeliest code alone is that of outside nearly everywhere,
    and a shape that has not begun where it might goes on not to begin.
    """
    shares = _softmax(logits)
    with np.errstate(divide="ignore"):
        kinds = np.log([shares[OUTSIDE], shares[INSIDE], shares[INSIDE + 1:].sum()])
    kind = choose(kinds, temperature, None, stream)
    return kind if kind <= INSIDE else kind + choose(logits[kind:], temperature, top_k, stream)


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()

"""The step of a single row against the general step on the same cache."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.inference import CachedDecoder

PROMPT = torch.arange(12).unsqueeze(0)
STEPS = [[5], [9, 3], [7, 1, 2], [8], [4, 6, 11, 13, 2]]


def states(cached: CachedDecoder, rows: int) -> torch.Tensor:
    """(steps, D) states of the first of `rows` equal rows; more than one row take the general step."""
    found = []
    with torch.inference_mode():
        cache = cached.new_cache(rows, 40)
        cached.prefill(PROMPT.repeat(rows, 1), cache, prefix_length=8)
        length = PROMPT.shape[1]
        for tokens in STEPS:
            found.append(cached.step([tokens] * rows, [length] * rows, cache)[0])
            length += len(tokens)
    return torch.stack(found)


def without_general_step(cached: CachedDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the general way fail once the prompt has been read."""
    run, calls = cached._run, []

    def once(*args):
        assert not calls, "the general step ran"
        calls.append(None)
        return run(*args)

    monkeypatch.setattr(cached, "_run", once)


@pytest.mark.parametrize("sizes", [{}, {"kv_heads": 4}, {"kv_heads": 1}, {"heads": 2, "layers": 1}])
def test_as_the_general_step(make_decoder: Callable[..., Decoder], monkeypatch, sizes: dict[str, int]) -> None:
    cached = CachedDecoder(make_decoder(**sizes))
    expected = states(cached, 2)
    without_general_step(cached, monkeypatch)
    assert torch.allclose(states(cached, 1), expected, atol=2e-5)


def test_results_outlive_the_next_step(decoder: Decoder) -> None:
    cached = CachedDecoder(decoder)
    with torch.inference_mode():
        cache = cached.new_cache(1, 40)
        cached.prefill(PROMPT, cache)
        first = cached.step([[5]], [12], cache)
        kept = first.clone()
        cached.step([[6]], [13], cache)
    assert torch.equal(first, kept)


def test_a_gate_that_overflows_is_shut(make_decoder: Callable[..., Decoder], recwarn) -> None:
    decoder = make_decoder()
    with torch.no_grad():
        for block in decoder.blocks:
            block.gate_up.weight *= 100.0
    cached = CachedDecoder(decoder)
    found = states(cached, 1)
    assert found.isfinite().all() and not recwarn
    assert torch.allclose(found, states(cached, 2), atol=1e-3)


def test_bfloat16_takes_the_general_step(decoder: Decoder, monkeypatch) -> None:
    cached = CachedDecoder(decoder, torch.bfloat16)
    without_general_step(cached, monkeypatch)
    with pytest.raises(AssertionError, match="the general step ran"):
        states(cached, 1)

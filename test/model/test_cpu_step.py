"""The compiled step against the general step on the same cache."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kyvo_ros.model import cpu_step
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.inference import COMPILED_ROWS, CachedDecoder

PROMPT = torch.arange(12).unsqueeze(0)
STEPS = [[5], [9, 3], [7, 1, 2], [8], [4, 6, 11, 13, 2]]


def states(cached: CachedDecoder, rows: int) -> torch.Tensor:
    """(steps, D) states of the last of `rows` rows that start alike; many rows take the general step."""
    found = []
    with torch.inference_mode():
        cache = cached.new_cache(rows, 40)
        cached.prefill(PROMPT.repeat(rows, 1), cache, prefix_length=8)
        lengths = [PROMPT.shape[1]] * rows
        for tokens in STEPS:
            fed = [*[tokens[:1]] * (rows - 1), tokens]  # the others fall behind
            found.append(cached.step(fed, lengths, cache)[-1])
            lengths = [length + len(own) for length, own in zip(lengths, fed)]
    return torch.stack(found)


def without_general_step(cached: CachedDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the general way fail once the prompt has been read."""
    run, calls = cached._run, []

    def once(*args):
        assert not calls, "the general step ran"
        calls.append(None)
        return run(*args)

    monkeypatch.setattr(cached, "_run", once)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("sizes", [{}, {"kv_heads": 4}, {"kv_heads": 1}, {"heads": 2, "layers": 1},
                                   {"dim": 24, "heads": 4, "kv_heads": 2, "ffn_dim": 45}])  # no multiples of four
def test_as_the_general_step(make_decoder: Callable[..., Decoder], monkeypatch, sizes: dict[str, int],
                             rows: int) -> None:
    cached = CachedDecoder(make_decoder(**sizes))
    expected = states(cached, COMPILED_ROWS + 1)
    without_general_step(cached, monkeypatch)
    assert torch.allclose(states(cached, rows), expected, atol=2e-5)


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
    assert torch.allclose(found, states(cached, COMPILED_ROWS + 1), atol=1e-3)


def test_bfloat16_takes_the_general_step(decoder: Decoder, monkeypatch) -> None:
    cached = CachedDecoder(decoder, torch.bfloat16)
    without_general_step(cached, monkeypatch)
    with pytest.raises(AssertionError, match="the general step ran"):
        states(cached, 1)


def test_without_a_compiler_the_general_step_does_it(decoder: Decoder, monkeypatch) -> None:
    expected = states(CachedDecoder(decoder), 1)
    monkeypatch.setattr(cpu_step, "njit", None)
    cached = CachedDecoder(decoder)
    assert torch.allclose(states(cached, 1), expected, atol=2e-5)
    without_general_step(cached, monkeypatch)
    with pytest.raises(AssertionError, match="the general step ran"):
        states(cached, 1)


def test_a_cache_that_cannot_be_read_keeps_no_model_from_loading(decoder: Decoder, monkeypatch, caplog) -> None:
    expected = states(CachedDecoder(decoder), 1)

    def damaged(*arguments: object) -> None:
        raise EOFError("Ran out of input")
    monkeypatch.setattr(cpu_step, "_advance", damaged)
    cached = CachedDecoder(decoder)
    assert torch.allclose(states(cached, 1), expected, atol=2e-5)
    assert "EOFError: Ran out of input" in caplog.text and "__pycache__" in caplog.text


def test_large_models_share_their_products_among_threads(make_decoder: Callable[..., Decoder], monkeypatch) -> None:
    monkeypatch.setattr(cpu_step, "LARGEST_WEIGHTS", 1000)
    cached = CachedDecoder(make_decoder())
    without_general_step(cached, monkeypatch)
    with pytest.raises(AssertionError, match="the general step ran"):
        states(cached, 1)


def test_compiles_where_nothing_can_be_kept(tmp_path: Path) -> None:
    """A package folder and a home that cannot be written to: a robot's read-only image."""
    module = tmp_path / "cpu_step.py"
    module.write_text(Path(cpu_step.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    code = (f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import numba.core.caching as caching\n"
            "class Nowhere:\n    @classmethod\n    def from_function(cls, *args): return None\n"
            "caching.CacheImpl._locator_classes = [Nowhere]\n"
            "import numpy as np, cpu_step; out = np.zeros((1, 4), np.float32)\n"
            "cpu_step._multiply(np.ones((1, 4), np.float32), np.ones((4, 4), np.float32), out); print(out.sum())")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert run.stdout.strip() == "16.0", run.stderr

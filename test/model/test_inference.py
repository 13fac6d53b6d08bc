"""Prefill and step against the forward pass over whole sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.inference import CachedDecoder
from kyvo_ros.tokens import Vocabulary

VOCABULARY = Vocabulary.small()
PROMPT, PREFIX = 10, 9


def sentences(rows: int, length: int = 40) -> torch.Tensor:
    ids = torch.randint(0, VOCABULARY.range("image").start, (rows, length), generator=torch.Generator().manual_seed(5))
    image = VOCABULARY.range("image")
    ids[:, 2:8] = torch.randint(image.start, image.stop, (rows, 6), generator=torch.Generator().manual_seed(6))
    return ids


def worst_difference(decoder: Decoder, ids: torch.Tensor, cells: torch.Tensor | None, widths: Sequence[Sequence[int]],
                     dtype: torch.dtype | None = None) -> float:
    """Read a prompt, then `widths[i]` tokens of each row in step i; compare with the states of the whole sequence."""
    device = decoder.head.weight.device
    with torch.inference_mode():
        whole = decoder.hidden(ids, cells=cells, prefix_length=PREFIX)
        cached = CachedDecoder(decoder, dtype)
        cache = cached.new_cache(len(ids), ids.shape[1])
        state = cached.prefill(ids[:, :PROMPT].to(device), cache, cells=cells, prefix_length=PREFIX)
        worst = (state - whole[:, PROMPT - 1]).abs().max()
        lengths = [PROMPT] * len(ids)
        for step in widths:
            tokens = [ids[row, n:n + width].tolist() for row, (n, width) in enumerate(zip(lengths, step))]
            state = cached.step(tokens, lengths, cache)
            lengths = [n + width for n, width in zip(lengths, step)]
            expected = torch.stack([whole[row, n - 1] for row, n in enumerate(lengths)])
            worst = torch.maximum(worst, (state - expected).abs().max())
    return worst.item()


def test_one_row_token_by_token(decoder: Decoder, cells: torch.Tensor) -> None:
    assert worst_difference(decoder, sentences(1), cells[:1], [[1]] * 30) < 2e-5


def test_one_row_several_tokens_a_step(decoder: Decoder, cells: torch.Tensor) -> None:
    assert worst_difference(decoder, sentences(1), cells[:1], [[3], [1], [5], [2], [19]]) < 2e-5


def test_rows_of_different_length(decoder: Decoder, cells: torch.Tensor) -> None:
    """Padding of the shorter rows leaves no trace in what is read later."""
    steps = [[1, 4, 2], [3, 1, 1], [1, 1, 6], [5, 2, 1], [1, 2, 5]]
    assert worst_difference(decoder, sentences(3), cells[:3], steps) < 2e-5


@pytest.mark.parametrize("heads", [{"heads": 4, "kv_heads": 4}, {"heads": 4, "kv_heads": 1}, {"heads": 2, "layers": 1}])
def test_other_shapes_of_the_body(make_decoder: Callable[..., Decoder], heads: dict[str, int]) -> None:
    assert worst_difference(make_decoder(**heads), sentences(2), None, [[1, 2], [3, 1], [1, 1]]) < 2e-5


def test_a_row_that_fills_its_cache(decoder: Decoder) -> None:
    """The other row's padding then has nowhere to go but the spare slot."""
    assert worst_difference(decoder, sentences(2), None, [[26, 2], [1, 4], [3, 1]]) < 2e-5


def test_rows_can_leave(decoder: Decoder, cells: torch.Tensor) -> None:
    ids = sentences(3)
    with torch.inference_mode():
        whole = decoder.hidden(ids, cells=cells[:3], prefix_length=PREFIX)
        cached = CachedDecoder(decoder)
        cache = cached.new_cache(3, 40)
        cached.prefill(ids[:, :PROMPT], cache, cells=cells[:3], prefix_length=PREFIX)
        cached.step([ids[row, PROMPT:PROMPT + 3].tolist() for row in range(3)], [PROMPT] * 3, cache)
        cache = cache.of_rows(torch.tensor([0, 2]))
        state = cached.step([ids[row, PROMPT + 3:PROMPT + 5].tolist() for row in (0, 2)], [PROMPT + 3] * 2, cache)
    assert torch.allclose(state, whole[[0, 2], PROMPT + 4], atol=2e-5)


@pytest.mark.parametrize("number_head", [True, False])
def test_head_rows_give_the_logits_of_their_ids(make_decoder: Callable[..., Decoder], number_head: bool) -> None:
    decoder = make_decoder(number_head=number_head)
    ids, hidden = VOCABULARY.number_ids([-1.0, 0.0, 2.5]), torch.randn(32)
    rows = CachedDecoder(decoder).head_rows(ids)
    assert rows @ hidden.numpy() == pytest.approx(decoder.logits(hidden)[ids].detach().numpy(), rel=1e-4, abs=1e-4)


def test_a_snapshot_does_not_follow_its_decoder(make_decoder: Callable[..., Decoder]) -> None:
    decoder, ids = make_decoder(number_head=False), sentences(1)
    cached = CachedDecoder(decoder)

    def state() -> torch.Tensor:
        with torch.inference_mode():
            return cached.prefill(ids, cached.new_cache(1, 40))

    before, scores = state(), cached.head_rows(np.array([3, 4]))
    with torch.no_grad():
        for block in decoder.blocks:
            block.qkv.weight.zero_()
            block.out.weight.zero_()
            block.down.weight.zero_()
        decoder.embedding.learned.weight.zero_()
        decoder.norm.weight.zero_()
        decoder.head.weight.zero_()
    assert torch.equal(state(), before)
    assert np.array_equal(CachedDecoder(decoder).head_rows(np.array([3, 4])), np.zeros((2, 32)))
    assert scores.any() and cached.head_rows(np.array([5])).any()


def test_bfloat16_is_near(decoder: Decoder, cells: torch.Tensor) -> None:
    worst = worst_difference(decoder, sentences(2), cells[:2], [[1, 3], [2, 1]], dtype=torch.bfloat16)
    assert 1e-4 < worst < 0.5


@pytest.mark.cuda
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 5e-3), (torch.bfloat16, 0.5)])
def test_cuda(make_decoder: Callable[..., Decoder], cells: torch.Tensor, dtype: torch.dtype, tolerance: float) -> None:
    steps = [[1, 4, 2], [3, 1, 1], [1, 1, 6]]
    decoder = make_decoder().cuda()
    assert worst_difference(decoder, sentences(3).cuda(), cells[:3].cuda(), steps, dtype) < tolerance


def test_what_is_written_of_objects_knows_where_they_stand(
        make_decoder: Callable[..., Decoder], cells: torch.Tensor) -> None:
    """Rows whose objects begin at different times, one of them within its prompt, and tokens outside of objects."""
    decoder = make_decoder(written_context=True, object_context=True)
    named, number = VOCABULARY.structure_id, VOCABULARY.range("numbers").start
    ids = torch.randint(0, VOCABULARY.text_size, (3, 40), generator=torch.Generator().manual_seed(5))
    ids[:, 2:8] = sentences(3)[:, 2:8]
    ids[:, 0] = named("[OUTPUT-SEP]")
    for row, begins in enumerate(((8, 24), (11, 20), (14, 30))):
        for begin in begins:
            ids[row, begin:begin + 8] = torch.tensor([
                named("[OBJECT-START]"), 5, named("[LOCATION]"), number + 60, number + 90 + row + begin, number + 70,
                named("[POSE]"), number + 3])
            ids[row, begin + 8] = named("[OBJECT-END]")
    assert worst_difference(decoder, ids[:1], cells[:1], [[1]] * 28) < 2e-5
    assert worst_difference(decoder, ids[:1], cells[:1], [[3], [1], [5], [9]]) < 2e-5
    steps = [[1, 4, 2], [3, 1, 1], [1, 5, 6], [5, 2, 1], [1, 2, 5], [9, 9, 9]]
    assert worst_difference(decoder, ids, cells[:3], steps) < 2e-5
    plain = make_decoder(object_context=True)
    with torch.inference_mode():
        states = [one.hidden(ids, cells=cells[:3], prefix_length=1) for one in (decoder, plain)]
    assert torch.equal(states[0][0, :12], states[1][0, :12]) and not torch.allclose(states[0][0, 12], states[1][0, 12])


def test_images_that_are_written_stand_in_their_places(
        make_decoder: Callable[..., Decoder], cells: torch.Tensor) -> None:
    """Rows that begin their image at different times, one of them after another image, and rows that leave."""
    decoder = make_decoder(image_order="spiral")
    named, image = VOCABULARY.structure_id, VOCABULARY.range("image")
    ids = sentences(3)
    ids[:, PROMPT - 1] = named("[OUTPUT-SEP]")
    codes = torch.randint(image.start, image.stop, (3, 6), generator=torch.Generator().manual_seed(7))
    for row, begin in enumerate((10, 14, 12)):
        ids[row, begin] = named("[IMAGE-START]")
        ids[row, begin + 1:begin + 7] = codes[row]
    assert worst_difference(decoder, ids[:1], cells[:1], [[1]] * 25) < 2e-5
    assert worst_difference(decoder, ids[:1], cells[:1], [[3], [1], [5], [9]]) < 2e-5
    assert worst_difference(decoder, ids, cells[:3], [[1, 4, 2], [3, 1, 1], [1, 5, 6], [5, 2, 1], [1, 2, 5]]) < 2e-5
    with torch.inference_mode():
        whole = decoder.hidden(ids, cells=cells[:3], prefix_length=PREFIX)
        cached = CachedDecoder(decoder)
        cache = cached.new_cache(3, 40)
        cached.prefill(ids[:, :PROMPT], cache, cells=cells[:3], prefix_length=PREFIX)
        cached.step(ids[:, 10:13].tolist(), [10] * 3, cache)
        cache = cache.of_rows(torch.tensor([0, 2]))
        state = cached.step(ids[[0, 2], 13:16].tolist(), [13] * 2, cache)
    assert torch.allclose(state, whole[[0, 2], 15], atol=2e-5)

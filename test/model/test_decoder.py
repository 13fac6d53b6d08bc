"""The decoder's body: what each token sees, agreement with its shortcuts, and refusals."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from kyvo_ros.model.decoder import Decoder, SequenceError
from kyvo_ros.tokens import Vocabulary

VOCABULARY = Vocabulary.small()
LENGTH, PREFIX = 20, 9


@pytest.fixture()
def ids() -> torch.Tensor:
    return torch.randint(0, VOCABULARY.size, (2, LENGTH), generator=torch.Generator().manual_seed(3))


def reach_of(decoder: Decoder, ids: torch.Tensor, position: int, prefix_length: int) -> set[int]:
    """Positions whose hidden state changes with the token at one position of row 0; row 1 must not change."""
    other = ids.clone()
    other[0, position] = (ids[0, position] + 1) % VOCABULARY.text_size
    with torch.no_grad():
        change = decoder.hidden(other, prefix_length=prefix_length) - decoder.hidden(ids, prefix_length=prefix_length)
    assert not change[1].any()
    return set(torch.nonzero(change[0].abs().amax(-1) > 1e-6).flatten().tolist())


@pytest.mark.parametrize("position", [0, 7, LENGTH - 1])
def test_without_a_prefix_a_token_reaches_only_what_follows(decoder: Decoder, ids: torch.Tensor, position: int) -> None:
    assert reach_of(decoder, ids, position, prefix_length=0) == set(range(position, LENGTH))


def test_a_prefix_sees_itself_both_ways_and_nothing_behind(decoder: Decoder, ids: torch.Tensor) -> None:
    assert reach_of(decoder, ids, PREFIX - 1, PREFIX) == set(range(LENGTH))
    assert reach_of(decoder, ids, PREFIX, PREFIX) == set(range(PREFIX, LENGTH))


def test_right_padding_changes_nothing(decoder: Decoder, ids: torch.Tensor) -> None:
    padded = torch.cat((ids, torch.full((2, 5), VOCABULARY.structure_id("[PAD]"))), dim=1)
    with torch.no_grad():
        assert torch.allclose(decoder.hidden(padded, prefix_length=PREFIX)[:, :LENGTH],
                              decoder.hidden(ids, prefix_length=PREFIX), atol=1e-5)


@pytest.mark.parametrize("start", [1, PREFIX, LENGTH - 1])
def test_start_leaves_out_the_first_states_alone(decoder: Decoder, ids: torch.Tensor, start: int) -> None:
    with torch.no_grad():
        whole = decoder.hidden(ids, prefix_length=PREFIX)
        assert torch.allclose(decoder.hidden(ids, prefix_length=PREFIX, start=start), whole[:, start:], atol=1e-5)


def test_gradients_agree_with_and_without_start(make_decoder: Callable[..., Decoder], ids: torch.Tensor) -> None:
    gradients = []
    for start in (0, PREFIX):
        decoder = make_decoder()
        decoder.hidden(ids, prefix_length=PREFIX, start=start)[:, PREFIX - start:].sum().backward()
        gradients.append(decoder.blocks[0].qkv.weight.grad)
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-4 * gradients[0].abs().max().item())


def test_two_runs_are_equal(make_decoder: Callable[..., Decoder], ids: torch.Tensor) -> None:
    with torch.no_grad():
        assert torch.equal(make_decoder()(ids, prefix_length=4), make_decoder()(ids, prefix_length=4))


def test_logits_are_float32_of_the_whole_vocabulary_under_autocast(decoder: Decoder, ids: torch.Tensor) -> None:
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = decoder(ids, prefix_length=PREFIX)
    assert logits.dtype == torch.float32 and logits.shape == (2, LENGTH, VOCABULARY.size)
    with torch.no_grad():
        exact = decoder(ids, prefix_length=PREFIX)
    assert torch.corrcoef(torch.stack((logits.flatten(), exact.flatten())))[0, 1] > 0.99


def test_numbers_share_a_projection_of_their_features(make_decoder: Callable[..., Decoder]) -> None:
    decoder, numbers = make_decoder(), VOCABULARY.range("numbers")
    shared = decoder.head_table() - decoder.head.weight
    expected = decoder.embedding.number_features @ decoder.number_head / decoder.config.dim
    assert torch.allclose(shared[numbers.start:numbers.stop], expected, atol=1e-5) and expected.abs().max() > 1e-3
    assert not shared[:numbers.start].any() and not shared[numbers.stop:].any()


def test_the_projection_is_optional_and_starts_at_zero(make_decoder: Callable[..., Decoder], ids: torch.Tensor) -> None:
    without = make_decoder(number_head=False)
    assert torch.equal(without.head_table(), without.head.weight)
    fresh = Decoder(make_decoder().config, torch.randn(1024, 8))
    assert torch.equal(fresh.head_table(), fresh.head.weight)
    fresh(ids).logsumexp(-1).sum().backward()
    assert fresh.number_head.grad.abs().sum() > 0


def test_training_goes_on_after_inference_mode(make_decoder: Callable[..., Decoder], ids: torch.Tensor) -> None:
    decoder = make_decoder()
    with torch.inference_mode():
        decoder.hidden(ids, prefix_length=PREFIX)
    decoder.hidden(ids, prefix_length=PREFIX).sum().backward()
    assert decoder.blocks[0].qkv.weight.grad.isfinite().all()


def test_a_few_steps_of_training_learn_a_sentence(make_decoder: Callable[..., Decoder], ids: torch.Tensor) -> None:
    decoder = Decoder(make_decoder().config, torch.randn(1024, 8))
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(decoder(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert 7.0 < losses[0] < 8.5  # near log of the vocabulary's size
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(("bad", "message"), [
    (torch.zeros(5, dtype=torch.long), r"must be \(B, S\)"),
    (torch.zeros(1, 0, dtype=torch.long), "not empty"),
    (torch.zeros(1, 129, dtype=torch.long), "129 tokens are more than max_length 128"),
    (torch.tensor([[0, VOCABULARY.size]]), rf"token ids must be in \[0, {VOCABULARY.size}\), got 0..{VOCABULARY.size}"),
    (torch.tensor([[-1, 3]]), "got -1..3"),
    (torch.zeros(1, 3), "integers, got torch.float32"),
])
def test_bad_ids_are_refused(decoder: Decoder, bad: torch.Tensor, message: str) -> None:
    with pytest.raises(SequenceError, match=message):
        decoder(bad)


@pytest.mark.parametrize("limits", [{"prefix_length": 21}, {"prefix_length": -1}, {"start": 20}, {"start": -1}])
def test_bad_limits_are_refused(decoder: Decoder, ids: torch.Tensor, limits: dict[str, int]) -> None:
    with pytest.raises(SequenceError, match="must lie within 20 tokens"):
        decoder.hidden(ids, **limits)


@pytest.mark.cuda
def test_cuda_agrees_with_the_cpu(make_decoder: Callable[..., Decoder], ids: torch.Tensor) -> None:
    decoder = make_decoder()
    with torch.no_grad():
        expected = decoder(ids, prefix_length=PREFIX)
        found = decoder.cuda()(ids.cuda(), prefix_length=PREFIX).cpu()
    assert torch.allclose(found, expected, atol=1e-3 * expected.abs().max().item())


def test_logits_of_some_ids_are_a_part_of_all(decoder: Decoder, ids: torch.Tensor) -> None:
    hidden, numbers = decoder.hidden(ids, prefix_length=PREFIX), VOCABULARY.range("numbers")
    some = decoder.logits(hidden, numbers)
    assert torch.allclose(some, decoder.logits(hidden)[..., numbers.start:numbers.stop], atol=1e-6)

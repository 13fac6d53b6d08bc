"""Generation under the grammar: valid, and the same however it is computed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from kyvo_ros.model.decoder import Decoder, SequenceError
from kyvo_ros.model.generation import Generation, generate
from kyvo_ros.model.inference import CachedDecoder
from kyvo_ros.tokens import SceneGrammar

Run = Callable[..., list[Generation]]
PREFIX = 9  # of the 10 tokens of a prompt


@pytest.fixture(scope="module")
def run(decoder: Decoder, grammar: SceneGrammar, prompts: torch.Tensor, cells: torch.Tensor) -> Run:
    """`generate` for some of the prompts."""
    def call(rows: slice = slice(None), **options) -> list[Generation]:
        return generate(decoder, prompts[rows], grammar=grammar, cells=cells[rows], prefix_length=PREFIX, **options)
    return call


def assert_same(found: Generation, expected: Generation) -> None:
    assert found.token_ids == expected.token_ids
    for one, other in zip(found.distributions, expected.distributions, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert np.array_equal(one.ids, other.ids)
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


def uncached(decoder: Decoder, grammar: SceneGrammar, prompt: torch.Tensor, cells: torch.Tensor) -> Generation:
    """The plainest greedy decoding: a whole forward pass a token, all logits, no forced runs."""
    ids, state, distributions = prompt, grammar.start(), []
    while not grammar.is_end(state):
        allowed = grammar.allowed(state)
        with torch.no_grad():
            logits = decoder(ids, cells=cells, prefix_length=prompt.shape[1] - 1)[0, -1, torch.tensor(allowed)]
        token_id = int(allowed[logits.argmax()])
        forced = len(allowed) == 1
        distributions.append(None if forced else (allowed, logits.softmax(-1).numpy()))
        ids = torch.cat((ids, torch.tensor([[token_id]])), dim=1)
        state = grammar.advance(state, token_id)
    return Generation(ids[0, prompt.shape[1]:].tolist(), distributions)


def test_scenes_are_valid_and_of_different_length(run, grammar: SceneGrammar) -> None:
    generations = run()
    for generation in generations:
        scene = grammar.decode_scene(generation.token_ids, generation.distributions)
        assert len(generation.token_ids) == len(generation.distributions)
        assert len(scene) <= grammar.schema.max_objects
        assert [d is not None for d in generation.distributions] == grammar.loss_positions(generation.token_ids)
    assert len({len(generation.token_ids) for generation in generations}) > 2, "the other tests need variety"


def test_equal_to_decoding_without_a_cache(run, decoder, grammar, prompts, cells) -> None:
    for row, generation in enumerate(run()):
        plain = uncached(decoder, grammar, prompts[row:row + 1], cells[row:row + 1])
        assert generation.token_ids == plain.token_ids
        for found, expected in zip(generation.distributions, plain.distributions, strict=True):
            assert (found is None) == (expected is None)
            if found is not None:
                assert np.array_equal(found.ids, expected[0])
                assert found.probabilities == pytest.approx(expected[1], abs=1e-4)


def test_a_full_scene_ends_by_force(decoder, grammar, text_tokenizer, prompts, cells) -> None:
    single = SceneGrammar(grammar.vocabulary, text_tokenizer, replace(grammar.schema, max_objects=1))
    for skip_forced in (True, False):
        generation = generate(decoder, prompts[:1], grammar=single, cells=cells[:1], prefix_length=PREFIX,
                              skip_forced=skip_forced)[0]
        assert generation.token_ids == uncached(decoder, single, prompts[:1], cells[:1]).token_ids
        assert len(single.decode_scene(generation.token_ids)) == 1
        assert generation.distributions[-2:] == [None, None]  # [OBJECT-END] [SCENE-END]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_forced_tokens_one_by_one_change_nothing(run, temperature: float) -> None:
    options = {"temperature": temperature, "seed": 4}
    for found, expected in zip(run(skip_forced=False, **options), run(**options)):
        assert_same(found, expected)


def test_batches_change_nothing(run) -> None:
    together = run()
    for row, expected in enumerate(together):
        assert_same(run(slice(row, row + 1))[0], expected)
    for found, expected in zip(run(slice(1, 4)), together[1:4]):
        assert_same(found, expected)


def test_a_row_samples_from_its_own_stream(run) -> None:
    assert_same(run(slice(0, 1), temperature=1.0, seed=7)[0], run(temperature=1.0, seed=7)[0])


def test_seeds_decide_samples(run) -> None:
    first, again, other = (run(temperature=1.0, seed=seed) for seed in (1, 1, 2))
    assert [g.token_ids for g in first] == [g.token_ids for g in again]
    assert [g.token_ids for g in first] != [g.token_ids for g in other]


def test_greedy_takes_the_likeliest_and_probabilities_sum_to_one(run) -> None:
    for generation in run():
        for token_id, distribution in zip(generation.token_ids, generation.distributions):
            if distribution is not None:
                assert token_id == distribution.ids[distribution.probabilities.argmax()]
                assert distribution.probabilities.sum() == pytest.approx(1.0, abs=1e-5)


def test_temperature_flattens_the_choice_but_not_the_reported_probabilities(run) -> None:
    def likelihood(temperature: float) -> float:
        """Mean probability, by the model, of the chosen tokens over that of the likeliest."""
        rows = [row for seed in range(4) for row in run(slice(0, 2), temperature=temperature, seed=seed)]
        return float(np.mean([d.probability_of(i) / d.probabilities.max()
                              for g in rows for i, d in zip(g.token_ids, g.distributions) if d is not None]))

    assert likelihood(0.02) > likelihood(1.0) + 0.05 > likelihood(50.0) + 0.1


def test_a_snapshot_serves_many_prompts(run, decoder, grammar, prompts, cells) -> None:
    cached = CachedDecoder(decoder)
    for _ in range(2):
        found = generate(cached, prompts, grammar=grammar, cells=cells, prefix_length=PREFIX)
        for one, expected in zip(found, run()):
            assert_same(one, expected)


def test_what_a_prompt_says_matters(run, decoder, grammar, prompts, cells) -> None:
    def probabilities(cells, prefix_length) -> np.ndarray:
        generation = generate(decoder, prompts[:1], grammar=grammar, cells=cells, prefix_length=prefix_length)[0]
        return generation.distributions[1].probabilities

    usual = probabilities(cells[:1], PREFIX)
    for changed in ((None, PREFIX), (cells[:1], 0), (cells[1:2], PREFIX)):
        assert np.abs(usual - probabilities(*changed)).max() > 1e-4


def test_bad_prompts_are_refused(decoder, grammar, prompts, cells, make_decoder) -> None:
    with pytest.raises(SequenceError, match=r"token ids must be in"):
        generate(decoder, prompts + 9999, grammar=grammar)
    message = rf"10 tokens and a target of up to {grammar.max_length} are more than max_length 20"
    with pytest.raises(SequenceError, match=message):
        generate(make_decoder(max_length=20), prompts, grammar=grammar)
    with pytest.raises(SequenceError, match="prefix_length must lie within the 10 tokens, got 11"):
        generate(decoder, prompts, grammar=grammar, prefix_length=11)
    with pytest.raises(ValueError, match=r"cells must be \(B, 6, 2\)"):
        generate(decoder, prompts, grammar=grammar, cells=cells[:, :3])
    with pytest.raises(ValueError, match="temperature must not be negative, got -1"):
        generate(decoder, prompts, grammar=grammar, temperature=-1)


@pytest.mark.parametrize("rows", [1, 8])
def test_few_rows_take_one_thread_and_give_it_back(decoder, grammar, text_tokenizer, prompts, rows: int) -> None:
    single = SceneGrammar(grammar.vocabulary, text_tokenizer, replace(grammar.schema, max_objects=1))
    seen, before = [], torch.get_num_threads()
    cached = CachedDecoder(decoder)
    step = cached.step
    cached.step = lambda *args: seen.append(torch.get_num_threads()) or step(*args)
    torch.set_num_threads(2)
    try:
        generate(cached, prompts[:1].repeat(rows, 1), grammar=single, prefix_length=PREFIX, temperature=1.0, seed=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1 if rows == 1 else 2}


@pytest.mark.cuda
def test_cuda_writes_the_same_scenes(run, decoder, grammar, prompts, cells) -> None:
    on_gpu = copy.deepcopy(decoder).cuda()
    found = generate(on_gpu, prompts.cuda(), grammar=grammar, cells=cells.cuda(), prefix_length=PREFIX)
    for one, expected in zip(found, run()):
        assert one.token_ids == expected.token_ids

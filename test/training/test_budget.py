"""What a dry run counts, against hand-worked numbers and what a step of training really holds; frozen tables."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from test_full import SMALL, TEXT
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kyvo_ros.model.decoder import Decoder
from kyvo_ros.training import distributed
from kyvo_ros.training.adaptation import adapt, freeze_text
from kyvo_ros.training.budget import budget_of, most_scored
from kyvo_ros.training.full_recipe import FullRecipe

#: Weights of SMALL: two blocks of 8 x (8 + 2 * 4) + 8 x 8 + 8 x 32 + 16 x 8 and two norms, and the head of 129,477 ids.
BLOCKS, HEAD = 2 * (128 + 64 + 256 + 128 + 16), 129_477 * 8


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of what operations make and somebody still holds, `existing` tensors left out; `peak` is the
    most at a time.
    """

    def __init__(self, existing: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._existing = [tensor.untyped_storage() for tensor in existing]
        self._known = {id(storage) for storage in self._existing}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and id(leaf.untyped_storage()) not in self._known:
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        self._known.add(id(storage))
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, id(storage), storage.nbytes())

    def _forget(self, number: int, size: int) -> None:
        self._known.discard(number)
        self.now -= size


def held_by_a_step(recipe: FullRecipe) -> int:
    """Bytes beside weights and optimizer at most, of a batch of sequences of full length, one after the other."""
    config = recipe.decoder_config()
    decoder, ids = Decoder(config, torch.randn(6, 4)), torch.arange(config.max_length).unsqueeze(0)
    adapt(decoder, recipe)
    scored = most_scored(recipe.task, config)
    with LiveBytes([*decoder.parameters(), *decoder.buffers(), ids]) as live:
        for _ in range(recipe.run.accumulate):
            hidden = decoder.hidden(ids[:, :-1])
            F.cross_entropy(decoder.logits(hidden[0, -scored:]), ids[0, -scored:]).backward()
    return live.peak


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("frozen", [True, False])
def test_a_step_holds_what_the_budget_says(frozen: bool, parts: int) -> None:
    """Of sequences with two tokens worth a loss, so that tables weigh more than logits."""
    recipe = replace(SMALL, freeze_text=frozen, run=replace(SMALL.run, batch_size=parts, accumulate=parts),
                     sizes=replace(SMALL.sizes, max_length=262))
    budget, held = budget_of(recipe), held_by_a_step(recipe)
    expected = budget.memory - budget.weights - budget.optimizer
    assert 0.75 * expected < held < 1.25 * expected
    table = 4 * 8 * recipe.decoder_config().vocabulary.size
    assert (budget.passing < 0.1 * table) if frozen else (budget.passing == (2 + parts) * table)


@pytest.mark.parametrize(("layout", "kind"), [("clevr", "both"), ("clevr", "learned"), ("clevr", "fixed"),
                                              ("objectron", "both")])
def test_frozen_text_changes_no_vector_and_no_gradient(layout: str, kind: str) -> None:
    recipe = replace(SMALL, layout=layout, sizes=replace(SMALL.sizes, number_embedding=kind))
    config = recipe.decoder_config()
    torch.manual_seed(0)
    decoder, size = Decoder(config, torch.randn(6, 4)), config.vocabulary.size
    ids = torch.tensor([[0, TEXT - 1, TEXT, TEXT + 50, config.vocabulary.range("numbers").stop, size - 7, size - 6,
                         size - 1, size, -1]])
    factors, gradients, vectors = torch.randn(1, ids.shape[1], 8), [], []
    for frozen in (False, True):
        if frozen:
            freeze_text(decoder)
        decoder.zero_grad()
        vectors.append(decoder.embedding(ids))
        (vectors[-1] * factors).sum().backward()
        learned = decoder.embedding.learned
        gradients.append((learned.free.weight.grad if frozen else learned.weight.grad[TEXT:],
                          decoder.embedding.code_projection.weight.grad.clone()))
    assert torch.equal(*vectors) and not vectors[1][0, -2:].any(), "ids that nobody knows are zero"
    for plain, apart in zip(*gradients):
        assert torch.allclose(apart, plain, atol=1e-6) and plain.any()


def test_the_head_costs_for_the_tokens_worth_a_loss() -> None:
    budget = budget_of(SMALL)
    assert (budget.token_operations, budget.scored_operations) == (6 * BLOCKS, 6 * HEAD)
    assert (budget.tokens, budget.scored) == (6 * 300, 6 * 40)
    assert budget.operations == 6 * 300 * 6 * BLOCKS + 6 * 40 * 6 * HEAD


@pytest.mark.parametrize(("task", "most"), [("I->3", 300 - 260), ("3->I", 256 + 3), ("I+T->T", 300 - 260),
                                            ("3+T->3", 300 - 2)])
def test_most_tokens_worth_a_loss(task: str, most: int) -> None:
    """Of 300: an image takes 258, [BOS] and the separator two, [EOS] one."""
    assert most_scored(task, SMALL.decoder_config()) == most


def test_of_several_tasks_the_longest_decides_memory_and_all_the_arithmetic() -> None:
    both = budget_of(replace(SMALL, task={"I->3": 3, "3->I": 1}))
    assert both.scored == math.ceil(6 * (0.75 * 40 + 0.25 * 259))
    assert both.activations == budget_of(replace(SMALL, task="3->I")).activations


def test_what_a_shared_model_gathers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside the blocks: the head and its gradient, the embedding, of which 1,221 rows and a projection of 4 x 8 are
    trained, and the last norm.
    """
    recipe = replace(SMALL, shard=True)
    assert budget_of(recipe).gathered == 0
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    budget = budget_of(recipe)
    outside, trained = 2 * HEAD + 4 * 8 + 8, HEAD + 1221 * 8 + 4 * 8 + 8
    assert budget.gathered == 4 * (outside + trained + 2 * BLOCKS)
    assert "gathered" in budget.report() and "gathered" not in budget_of(SMALL).report()

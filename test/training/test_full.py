"""Training at full size, proven small: what the recipes say, what adaptations change, and what a dry run counts."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kyvo_ros.cli import main
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.folder import save_converted
from kyvo_ros.training.adaptation import adapt, checkpoint_activations, freeze_text, whole_state
from kyvo_ros.training.budget import budget_of
from kyvo_ros.training.full import starting_decoder
from kyvo_ros.training.full_recipe import FullRecipe, FullSizes, LoraSettings, load_full_recipe
from kyvo_ros.training.recipe import RecipeError
from kyvo_ros.training.token_weights import LossSettings
from kyvo_ros.training.trainer import RunSettings, TrainingError

RECIPES = sorted((Path(__file__).parents[2] / "recipes" / "full").glob("*.yaml"))
SMALL = FullRecipe("small", RunSettings(steps=3, batch_size=2), sizes=FullSizes(
    dim=8, layers=2, heads=2, kv_heads=1, ffn_dim=16, max_length=300, code_dim=4, codes=6))
TEXT = 128256


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(0)
    return Decoder(SMALL.decoder_config(), torch.randn(6, 4))


def gradients(decoder: Decoder) -> dict[str, torch.Tensor]:
    """By name, after one loss on a few ids of every kind."""
    ids = torch.tensor([[5, 700, TEXT + 3, TEXT + 1205, SMALL.decoder_config().vocabulary.range("image").start]])
    decoder.zero_grad()
    decoder(ids).logsumexp(-1).sum().backward()
    return {name: p.grad.clone() for name, p in decoder.named_parameters() if p.grad is not None}


def test_activations_computed_twice_give_the_same_gradients(decoder: Decoder) -> None:
    calls = []
    decoder.blocks[0].register_forward_hook(lambda *_: calls.append("outer"))
    decoder.blocks[0].qkv.register_forward_hook(lambda *_: calls.append("inner"))
    before = gradients(decoder)
    assert calls == ["inner", "outer"]
    checkpoint_activations(decoder)
    after = gradients(decoder)
    assert calls[2:] == ["inner", "outer", "inner"]  # once more in the backward pass
    assert before.keys() == after.keys() and all(torch.allclose(after[n], g, atol=1e-6) for n, g in before.items())


def test_frozen_text_has_no_gradient_and_the_rest_has(decoder: Decoder) -> None:
    before, state = gradients(decoder), {n: t.clone() for n, t in decoder.state_dict().items()}
    freeze_text(decoder)
    after = gradients(decoder)
    assert torch.equal(after.pop("embedding.learned.free.weight"), before.pop("embedding.learned.weight")[TEXT:])
    assert "embedding.learned.frozen" not in after
    assert all(torch.allclose(after[name], gradient, atol=1e-6) for name, gradient in before.items())
    whole = whole_state(decoder)
    assert whole.keys() == state.keys() and all(torch.equal(whole[name], tensor) for name, tensor in state.items())


def test_lora_begins_as_the_model_and_adds_up_to_one(decoder: Decoder) -> None:
    pytest.importorskip("peft", reason="optional: pip install peft")
    ids = torch.tensor([[5, TEXT + 3, TEXT + 1205]])
    with torch.no_grad():
        expected = decoder(ids)
        adapt(decoder, replace(SMALL, method="lora", lora=LoraSettings(rank=2, alpha=4.0)))
        assert torch.allclose(decoder(ids), expected, atol=1e-5)
        for name, parameter in decoder.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
        plain = Decoder(decoder.config, decoder.embedding.codebook)
        plain.load_state_dict(whole_state(decoder))
        assert torch.allclose(plain(ids), decoder(ids), atol=1e-5) and not torch.allclose(plain(ids), expected)
    learning = {name for name, p in decoder.named_parameters() if p.requires_grad}
    assert not any("base_layer" in name or "norm" in name for name in learning)
    assert {"head.weight", "embedding.learned.free.weight"} <= learning


def test_without_peft_lora_says_what_to_install(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(TrainingError, match="pip install peft"):
        adapt(decoder, replace(SMALL, method="lora"))


def test_the_budget_counts_what_is_there(decoder: Decoder) -> None:
    budget = budget_of(SMALL)
    adapt(decoder, SMALL)
    sizes = [p.numel() for p in decoder.parameters()]
    assert budget.parameters == sum(sizes) and budget.trained == sum(sizes) - TEXT * 8
    assert (budget.weights, budget.optimizer) == (4 * sum(sizes), 8 * budget.trained)
    assert budget.tokens == 3 * 2 * 300
    assert budget_of(replace(SMALL, activation_checkpointing=True)).activations < budget.activations
    halves = replace(SMALL, run=replace(SMALL.run, accumulate=2))
    assert budget_of(halves).activations == budget.activations / 2
    free = replace(SMALL, freeze_text=False)
    assert budget_of(free).trained == budget.parameters


def test_a_dry_run_of_a_billion(capsys: pytest.CaptureFixture[str]) -> None:
    path = next(path for path in RECIPES if path.stem == "llama-1b")
    assert main(["train", "full", "--recipe", str(path), "--dry-run", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    # Llama-3.2-1B's body 973,146,112, two tables of 130,495 rows and the projection of codes; all in rows of 2048.
    assert f"parameters  {973_146_112 + 2 * 130_495 * 2048 + 2048 * 256:,}" in out
    assert "memory" in out and "tokens      360,448,000" in out


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes(path: Path) -> None:
    recipe = load_full_recipe(path)
    ids = {"clevr": 130495, "objectron": 129396}
    assert recipe.name == path.stem and recipe.decoder_config().vocabulary.size == ids[recipe.layout]


def test_drawing_is_trained_as_the_published_configuration_has_it() -> None:
    recipe = load_full_recipe(next(path for path in RECIPES if path.stem == "llama-1b-drawing"))
    assert recipe.tasks == {"3->I": 1.0} and recipe.reorder
    assert recipe.loss == LossSettings("published", first_tokens=5, first_weight=10.0)
    assert load_full_recipe(next(path for path in RECIPES if path.stem == "llama-1b")).loss == LossSettings()


def test_shares_of_tasks_add_up_to_one() -> None:
    assert replace(SMALL, task={"I->3": 1, "3->I": 3}).tasks == {"I->3": 0.25, "3->I": 0.75}


@pytest.mark.parametrize("kind", ["learned", "fixed"])
@pytest.mark.parametrize("method", ["full", "scratch"])
def test_other_number_embeddings_need_a_folder_that_has_them(tmp_path: Path, method: str, kind: str) -> None:
    sizes = replace(SMALL.sizes, number_embedding=kind)
    recipe = replace(SMALL, method=method, freeze_text=method == "full", sizes=sizes)
    kept = Decoder(recipe.decoder_config(), torch.randn(6, 4))
    save_converted(tmp_path, "start", kept.config, kept.state_dict())
    numbers = gradients(starting_decoder(recipe, tmp_path))["embedding.learned.weight"][TEXT + 3]
    assert numbers.any() == (kind == "learned")
    with pytest.raises(RecipeError, match=f"number_embedding is {kind}, in the recipe both.*--number-embedding"):
        starting_decoder(SMALL, tmp_path)


@pytest.mark.parametrize(("line", "message"), [
    ("method: half", "method must be one of"), ("task: I->4", "task must be one of"), ("held_out: 0", "held_out"),
    ("method: scratch", "switch it off"), ("lora: {rank: 0}", "rank and alpha"),
    ("optimizer: sgd", "optimizer must be one of"), ("shard: true\noptimizer: adamw8bit", "choose one of the two"),
    ("shard: true\nrun: {steps: 1, average: 0.9}", "a running mean of the weights"),
    ("task: {I->3: 0}", "the share of a task must be a positive number"),
    ("task: {}", "task must be one of .* got none"), ("task: {I->3: 1, I->4: 1}", "task must be one of .* got 'I->4'"),
    ("loss: {first_tokens: 5}", "belong together"), ("loss: {colour: red}", "loss has no setting colour"),
    ("loss: {first_tokens: 5, first_weight: 10.0}", "I->3 writes none"),
    ("task: 3->I-first3output\nloss: {first_tokens: 5, first_weight: 10.0}", "or has them given"),
    ("colour: red", "has no setting colour"), ("sizes: {dim: 100}", "dim 100 is not a multiple of heads 32")])
def test_wrong_entries_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("name: wrong\n" + ("" if "run:" in line else "run: {steps: 1}\n") + line)
    with pytest.raises(RecipeError, match=message):
        load_full_recipe(path)


def test_training_needs_a_start_and_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "full", "--recipe", str(RECIPES[0]), "--device", "cpu", "--out",
                 str(tmp_path / "out")]) == 2
    assert "needs --from" in capsys.readouterr().err

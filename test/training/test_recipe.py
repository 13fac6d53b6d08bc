"""Recipes: the shipped ones load, and every wrong entry is named."""

import json
from pathlib import Path

import pytest

from kyvo_ros.tokens.schema import CLEVR_SCHEMA, ExtentTable, LocationAttribute, SceneSchema, WordAttribute
from kyvo_ros.training.recipe import RecipeError, load_recipe

RECIPES = sorted(path for path in (Path(__file__).resolve().parents[2] / "recipes").rglob("*.yaml")
                 if path.parent.name not in ("full", "shapes", "cookbook"))  # of other kinds, with tests of their own
_OWN = SceneSchema("own", (WordAttribute("shape", "[SHAPE]", ("cube", "cone")), LocationAttribute()),
                   ExtentTable(("shape",), ((("cube",), (1, 1, 1)), (("cone",), (1, 1, 2)))))
_MINIMAL = "name: x\nencoder: {steps: 1}\ncodes: {steps: 1}\npixels: {steps: 1}\ndecoder: {steps: 1}\n"


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_shipped_recipes_load(path):
    recipe = load_recipe(path)
    assert recipe.name and recipe.decoder.total_steps > 0


def test_there_are_shipped_recipes():
    assert RECIPES


def _write(tmp_path, text: str) -> Path:
    (tmp_path / "recipe.yaml").write_text(text)
    return tmp_path / "recipe.yaml"


def test_defaults_fill_what_is_left_out(tmp_path):
    recipe = load_recipe(_write(tmp_path, _MINIMAL + "sizes: {dim: 64}\n"))
    assert recipe.sizes.dim == 64 and recipe.sizes.layers == 6 and recipe.decoder.steps == 1


@pytest.mark.parametrize("text,message", [
    (_MINIMAL + "colour: red\n", "recipe has no setting colour"),
    (_MINIMAL.replace("decoder: {steps: 1}", "decoder: {steps: 1, lr: 2}"), "decoder has no setting lr"),
    (_MINIMAL + "render_ratio: 2\n", r"render_ratio must lie in \[0, 1\], got 2"),
    (_MINIMAL + "rendering_ratio: 0.9\n", "together must be at most 1, got 0.15, 0.9 and 0.0"),
    (_MINIMAL + "modality_order: text_first\n", "modality_order must be one of .* got 'text_first'"),
    (_MINIMAL + "answer_ratio: 0.2\nexamples: {questions: 0}\n", "answer_ratio needs examples with questions"),
    (_MINIMAL + "sentence_ratio: 0.1\nschema: own.json\n", "words of CLEVR.*set sentence_ratio: 0 and answer_ratio: 0"),
    (_MINIMAL + "numbers: {embedding: none}\n", "embedding must be one of .* got 'none'"),
    (_MINIMAL + "numbers: {step: 0.3}\n", "must divide the range"),
    (_MINIMAL + "yaw_weight: -1\n", "yaw_weight must not be negative, got -1"),
    (_MINIMAL + "sentence_ratio: 0\nyaw_weight: 1\nschema: own.json\n", "have no yaws to learn; set yaw_weight: 0"),
    (_MINIMAL + "image_order: random\n", "image_order must be one of .* got 'random'"),
    (_MINIMAL + "first_codes: {weight: 0}\n", "positive weight"),
    (_MINIMAL + "tokenizer: {width: 100}\n", "must be a multiple of the stride"),
    (_MINIMAL + "sizes: 3\n", "sizes must be a mapping"),
    ("name: x\n", "encoder"),
    ("- a\n", "must hold a mapping"),
    ("a: [\n", "not valid YAML"),
])
def test_wrong_entries_are_named(tmp_path, text, message):
    (tmp_path / "own.json").write_text(json.dumps(_OWN.to_dict()))
    with pytest.raises(RecipeError, match=message):
        load_recipe(_write(tmp_path, text))


def test_a_schema_beside_the_recipe_brings_own_objects(tmp_path):
    (tmp_path / "own.json").write_text(json.dumps(_OWN.to_dict()))
    assert load_recipe(_write(tmp_path, _MINIMAL + "sentence_ratio: 0\nschema: own.json\n")).schema == _OWN
    assert load_recipe(_write(tmp_path, _MINIMAL)).schema == CLEVR_SCHEMA


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"name": "own"}), None])
def test_a_broken_schema_is_named(tmp_path, text):
    if text is not None:
        (tmp_path / "own.json").write_text(text)
    with pytest.raises(RecipeError, match="own.json is no schema of objects"):
        load_recipe(_write(tmp_path, _MINIMAL + "schema: own.json\n"))


def test_a_missing_recipe_says_where_to_look(tmp_path):
    with pytest.raises(RecipeError, match="shipped ones are in recipes/"):
        load_recipe(tmp_path / "none.yaml")

"""Parity with the published code's tokens, task layouts and scene text (`test/reference`)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kyvo_ros.scene import Scene, SceneObject
from kyvo_ros.tokens import (
    CLEVR_SCHEMA, TASKS, LocationAttribute, SceneGrammar, SequenceBuilder, TextTokenizer, Vocabulary)

PUBLISHED = Vocabulary.published_clevr()
#: The published schema has no yaw, and z is free.
SCHEMA = replace(CLEVR_SCHEMA, attributes=(*CLEVR_SCHEMA.words, LocationAttribute(resting=False)), order="as_given")


def clevr_scene(size: str, color: str, shape: str, position: list[float]) -> Scene:
    return Scene((SceneObject({"size": size, "color": color, "material": "metal", "shape": shape}, position),))


FIELDS = {
    "image_codes": np.array([1, 2, 3, 4]), "target_image_codes": np.array([5, 6, 7, 8]),
    "scene": clevr_scene("large", "cyan", "cube", [-0.55, 0.05, 0.7]),
    "target_scene": clevr_scene("small", "red", "sphere", [1.2, 0.0, 0.35]),
    "instruction": "move the cyan cube", "question": "is there a cube?", "answer": "yes",
}


@pytest.fixture(scope="module")
def behaviours() -> Path:
    return Path(__file__).parents[1] / "reference"


@pytest.fixture(scope="module")
def grammar(text_tokenizer: TextTokenizer) -> SceneGrammar:
    return SceneGrammar(PUBLISHED, text_tokenizer, SCHEMA)


def test_added_tokens_have_the_published_ids(behaviours: Path) -> None:
    published = json.loads((behaviours / "tokens.json").read_text())["clevr_and_objaworld"]
    ours = {"[OUTPUT-START]": "[OUTPUT-SEP]"}
    for text, token_id in published["added"]:
        if text.startswith("["):
            assert PUBLISHED.structure_id(ours.get(text, text)) == token_id
        else:
            assert int(PUBLISHED.number_ids(float(text))) == token_id
            assert float(PUBLISHED.numbers_of(token_id)) == float(text)
    constants = published["model_constants"]
    assert PUBLISHED.range("numbers") == range(
        constants["added_tokens_offset"], constants["added_tokens_offset"] + constants["sin_cos_numbers_offset"])
    assert len(PUBLISHED.range("structure")) == constants["added_embedding_rows"]
    assert PUBLISHED.range("image").start == constants["image_token_offset"]
    assert PUBLISHED.size == constants["output_rows"]


def test_added_tokens_of_objectron_have_the_published_ids(behaviours: Path) -> None:
    vocabulary = Vocabulary.published_objectron()
    published = json.loads((behaviours / "tokens.json").read_text())["objectron"]
    for text, token_id in published["added"]:
        if text.startswith("["):
            assert vocabulary.structure_id(text.replace("OUTPUT-START", "OUTPUT-SEP")) == token_id
        else:
            assert int(vocabulary.number_ids(float(text))) == token_id
            assert float(vocabulary.numbers_of(token_id)) == float(text)
    constants = published["model_constants"]
    assert vocabulary.numbers.count == published["number_count"] == constants["sin_cos_numbers_offset"] - 1
    assert len(vocabulary.structure) == constants["added_embedding_rows"] + 1
    assert vocabulary.range("image").start == constants["image_token_offset"]
    assert vocabulary.size == constants["output_rows"]


def test_the_paper_vocabulary_has_the_published_size(behaviours: Path) -> None:
    check = json.loads((behaviours / "tokens.json").read_text())["paper_vocabulary_check"]
    assert Vocabulary.paper().size == check["value"]
    assert Vocabulary.paper().numbers.count == check["numbers_at_0.05"]


#: Tasks that the published code does not have: with programs, and with codes of shapes.
OURS = ("Q->P", "T->E", "I->S", "S->I")


def test_all_15_published_layouts_are_tasks(behaviours: Path) -> None:
    published = json.loads((behaviours / "task_layouts.json").read_text())["tasks"]
    assert {t.replace("->", "-") for t in TASKS if t not in OURS} == set(published) and len(published) == 15


@pytest.mark.parametrize("task", [t for t in TASKS if t not in OURS])
def test_task_layouts_and_masks(
        behaviours: Path, grammar: SceneGrammar, text_tokenizer: TextTokenizer, task: str) -> None:
    published = json.loads((behaviours / "task_layouts.json").read_text())
    template = published["tasks"][task.replace("->", "-")]["segments"]
    ids = published["ids"]["CLEVR/ObjaWorld"]
    builder = SequenceBuilder(PUBLISHED, grammar, text_tokenizer, (2, 2))
    sequence = builder.build(task, **{s.field: FIELDS[s.field] for s in TASKS[task]})

    expected_ids, expected_mask, fields = [], [], {s.modality + s.role: FIELDS[s.field] for s in TASKS[task]}
    after_separator = False
    for name, loss in template:
        role = "target" if after_separator else "prompt"
        if name in ids:
            piece = [ids[name]]
        elif name.startswith("image"):
            piece = [code + ids["image_token_offset"] for code in fields["image" + role].tolist()]
        elif name.startswith("three_d"):
            piece = grammar.encode_scene(fields["scene" + role])
        else:
            text = text_tokenizer.encode(fields["text" + role])
            piece = [PUBLISHED.structure_id("[TEXT-START]"), *text, PUBLISHED.structure_id("[TEXT-END]")]
        after_separator |= name == "OUTSEP"
        expected_ids += piece
        masked = 3 if loss == "masked_first_3" else 0 if loss == "loss" else len(piece)
        expected_mask += [False] * masked + [True] * (len(piece) - masked)

    assert sequence.token_ids.tolist() == expected_ids
    # The published loss lies on all that follows the separator and is not given; ours within, where there is a choice.
    given = sum(s.given for s in TASKS[task])
    assert (np.arange(len(sequence)) >= sequence.prompt_length + given).tolist() == expected_mask
    assert not (sequence.loss_mask & ~np.array(expected_mask)).any()


def test_a_scene_reads_as_the_published_text(
        behaviours: Path, grammar: SceneGrammar, text_tokenizer: TextTokenizer) -> None:
    published = json.loads((behaviours / "scene_parsing.json").read_text())["decoded_example_CLEVR"]
    names = dict(zip(PUBLISHED.range("structure"), PUBLISHED.structure))

    def text_of(token_id: int) -> str:
        if token_id in names:
            return names[token_id]
        if token_id in PUBLISHED.range("numbers"):
            return f"{PUBLISHED.numbers_of(token_id):.3f}"
        return f" {text_tokenizer.decode([token_id])}"

    assert "".join(map(text_of, grammar.encode_scene(FIELDS["scene"]))) == published

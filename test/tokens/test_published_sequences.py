"""Sequences of published tokens: parity with the published layouts, masks and order of codes (`test/reference`)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kyvo_ros.tokens import TASKS, Vocabulary
from kyvo_ros.tokens.image_orders import written_order
from kyvo_ros.tokens.published_sequences import PublishedSequences
from kyvo_ros.tokens.sequences import TaskError
from kyvo_ros.tokens.vocabulary import VocabularyError

REFERENCE = Path(__file__).parents[1] / "reference"
LAYOUTS = json.loads((REFERENCE / "task_layouts.json").read_text())
#: The published names of what the fields hold.
SOURCES = {"image_codes": "image_source", "target_image_codes": "image_target", "scene": "three_d_source",
           "target_scene": "three_d_target", "instruction": "text_source", "question": "text_source",
           "answer": "text_target"}
#: Tasks that the published code does not have: with programs, and with codes of shapes.
OURS = ("Q->P", "T->E", "I->S", "S->I")


@pytest.mark.parametrize("layout", ["CLEVR", "Objectron"])
@pytest.mark.parametrize("task", [t for t in TASKS if t not in OURS])
def test_layouts_and_masks(task: str, layout: str) -> None:
    vocabulary = {"CLEVR": Vocabulary.published_clevr, "Objectron": Vocabulary.published_objectron}[layout]()
    fields = {s.field: np.array(LAYOUTS["sentinels"][SOURCES[s.field]]) for s in TASKS[task]}
    sequence = PublishedSequences(vocabulary).build(task, **fields)
    published = LAYOUTS["tasks"][task.replace("->", "-")]
    assert sequence.token_ids.tolist() == published[f"example_tokens_{layout}"]
    labels = np.where(sequence.loss_mask, sequence.token_ids, -100)
    assert labels.tolist() == published[f"example_labels_{layout}"]


def test_only_images_that_are_drawn_are_reordered() -> None:
    vocabulary = Vocabulary.published_clevr()
    codes, sequences = np.arange(16), PublishedSequences(vocabulary, reorder=True)
    drawn = sequences.build("3->I", scene=np.array([7]), image_codes=codes).token_ids
    seen = sequences.build("I->3", scene=np.array([7]), image_codes=codes).token_ids
    start = vocabulary.range("image").start
    assert (drawn[drawn >= start] - start).tolist() == written_order("alternating", (4, 4)).tolist()
    assert (seen[seen >= start] - start).tolist() == codes.tolist()


def test_what_does_not_fit_is_refused() -> None:
    vocabulary = Vocabulary.published_clevr()
    with pytest.raises(TaskError, match="square images only, got one of 15 codes"):
        PublishedSequences(vocabulary, reorder=True).build("3->I", scene=np.array([7]), image_codes=np.arange(15))
    sequences = PublishedSequences(vocabulary)
    with pytest.raises(TaskError, match=r"task 'I->3' cannot be made of \['scene'\]"):
        sequences.build("I->3", scene=np.array([7]))
    with pytest.raises(VocabularyError, match="codes from 0 to 1023"):
        sequences.build("I->3", scene=np.array([7]), image_codes=np.array([1024]))
    with pytest.raises(VocabularyError, match="ids from 0 to 130494"):
        sequences.build("I->3", scene=np.array([130495]), image_codes=np.array([3]))

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


#: By the published code's rule for `reorder`: whether the images of a task, in the order of the sequence, are reordered.
REORDERED = {
    "3->I": [True], "3->I-first3output": [True], "I->3": [True], "I+Q->A": [True], "I+3+Q->A": [True],
    "3+I+Q->A": [True], "I+T->T": [True], "I+3+T->T": [True], "I+3+T->3": [True], "I+T->3": [True], "3+T->3": [],
    "I+T->I": [True, True], "I+T->I+3": [True, True], "I+3+T->I+3": [False, True], "3+I+T->3+I": [False, True]}


@pytest.mark.parametrize("task", REORDERED)
def test_images_are_reordered_as_the_published_code_does(task: str) -> None:
    vocabulary, codes = Vocabulary.published_clevr(), np.arange(16)
    fields = {s.field: codes if s.modality == "image" else np.array([7]) for s in TASKS[task]}
    ids = PublishedSequences(vocabulary, reorder=True).build(task, **fields).token_ids
    start = vocabulary.range("image").start
    images = (ids[ids >= start] - start).reshape(-1, 16).tolist()
    order = written_order("alternating", (4, 4)).tolist()
    assert images == [order if reordered else codes.tolist() for reordered in REORDERED[task]]


def test_the_order_is_known_for_every_published_task() -> None:
    assert set(REORDERED) == {task for task in TASKS if task not in OURS}


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

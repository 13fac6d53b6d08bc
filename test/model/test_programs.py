"""Sentences to programs: always well formed, with a probability, and bad sentences named."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st
from tiny_model import tiny_bundle

from kyvo_ros.model.inference import CachedDecoder
from kyvo_ros.model.programs import ProgramWriter, SentenceError, readable
from kyvo_ros.model.tasks import UntrainedTaskError
from kyvo_ros.questions import Program


@pytest.fixture(scope="module")
def writer() -> ProgramWriter:
    bundle = tiny_bundle()
    return ProgramWriter(CachedDecoder(bundle.decoder), bundle.builder, bundle.programs, bundle.tasks)


def test_any_sentence_becomes_a_well_typed_program(writer: ProgramWriter) -> None:
    for task, sentence in (("Q->P", "How many cubes are there?"), ("Q->P", "wo ist der Ball?"), ("T->E", "remove it")):
        program, probability = writer.write(task, sentence)
        assert isinstance(program, Program) and 0 < probability <= 1  # a Program checks its types itself
        assert (program.type == "edit") == (task == "T->E")


@settings(deadline=None, max_examples=15)
@given(text=st.text(max_size=30))
def test_whatever_is_typed_is_a_program_or_named(writer: ProgramWriter, text: str) -> None:
    try:
        program, _ = writer.write("Q->P", text)
    except SentenceError:
        return
    assert program.type != "edit"


@pytest.mark.parametrize("sentence,message", [
    ("", "the question is empty"), (" \n\t\x00", "the question is empty"),
    ("what is " * 400, "tokens, more than .*; say it shorter"),
    ("a" * 4001, "4001 characters, more than 4000; say it shorter"),
    (None, "expected the question as text, got NoneType")])
def test_bad_sentences_are_named(writer: ProgramWriter, sentence, message: str) -> None:
    with pytest.raises(SentenceError, match=message):
        writer.write("Q->P", sentence)


def test_control_characters_are_spaces() -> None:
    assert readable("how\x00many\n\tcubes\u200b?", "question") == "how many cubes ?"


def test_a_model_that_was_not_trained_for_a_task_says_so() -> None:
    bundle = tiny_bundle()
    writer = ProgramWriter(CachedDecoder(bundle.decoder), bundle.builder, bundle.programs, ("I->3", "Q->P"))
    writer.write("Q->P", "how many cubes are there?")
    with pytest.raises(UntrainedTaskError, match="not trained for task T->E"):
        writer.write("T->E", "remove the cube")

"""Task sequences: the layout of recognition, prompts as prefixes, masks, and bad input."""

from __future__ import annotations

import numpy as np
import pytest

from kyvo_ros.questions import ANSWER, EDIT, RULES
from kyvo_ros.scene import Scene, SceneObject
from kyvo_ros.tokens import (
    TASKS, GrammarError, ProgramGrammar, SceneGrammar, SequenceBuilder, TaskError, TextTokenizer, Vocabulary,
    VocabularyError)

GRID = (2, 3)
FIELDS = {
    "image_codes": np.arange(6).reshape(GRID),
    "target_image_codes": np.arange(6) + 100,
    "scene": Scene((SceneObject(
        {"size": "small", "color": "red", "material": "metal", "shape": "sphere"}, [1.0, -2.0, 0.35]),)),
    "target_scene": Scene(),
    "instruction": "remove the red ball", "question": "is there a red ball?", "answer": "yes",
    "program": ("exist", "red", "sphere", "scene"), "edit": ("remove", "unique", "red", "sphere", "scene"),
}


@pytest.fixture(scope="module")
def builder(vocabulary: Vocabulary, grammar: SceneGrammar, text_tokenizer: TextTokenizer) -> SequenceBuilder:
    programs = {modality: ProgramGrammar(vocabulary, text_tokenizer, RULES, start)
                for modality, start in (("program", ANSWER), ("edit", EDIT))}
    return SequenceBuilder(vocabulary, grammar, text_tokenizer, GRID, programs)


def fields_of(task: str, role: str | None = None) -> dict:
    return {s.field: FIELDS[s.field] for s in TASKS[task] if role in (None, s.role)}


def test_the_layout_of_recognition(builder: SequenceBuilder, vocabulary: Vocabulary, grammar: SceneGrammar) -> None:
    sequence = builder.build("I->3", image_codes=FIELDS["image_codes"], scene=FIELDS["scene"])
    named = vocabulary.structure_id
    scene_ids = grammar.encode_scene(FIELDS["scene"])
    assert sequence.token_ids.tolist() == [
        named("[BOS]"), named("[IMAGE-START]"), *vocabulary.image_ids(np.arange(6)), named("[IMAGE-END]"),
        named("[OUTPUT-SEP]"), *scene_ids, named("[EOS]")]
    assert sequence.token_ids.dtype == np.int64 and sequence.loss_mask.dtype == bool
    assert sequence.token_ids[sequence.prefix_length - 1] == named("[IMAGE-END]")
    assert sequence.token_ids[sequence.prompt_length - 1] == named("[OUTPUT-SEP]")
    assert sequence.loss_mask[sequence.prompt_length:].tolist() == [*grammar.loss_positions(scene_ids), False]
    assert not sequence.loss_mask[:sequence.prompt_length].any()


@pytest.mark.parametrize("task", [task for task in TASKS if "S" not in task])  # of shapes: test_shape_grammar.py
def test_prompts_are_what_training_sequences_begin_with(builder: SequenceBuilder, task: str) -> None:
    whole, prompt = builder.build(task, **fields_of(task)), builder.prompt(task, **fields_of(task, "prompt"))
    assert len(prompt) == prompt.prompt_length == whole.prompt_length == whole.prefix_length + 1
    np.testing.assert_array_equal(prompt.token_ids, whole.token_ids[:whole.prompt_length])
    assert not prompt.loss_mask.any() and whole.loss_mask.any()


def test_text_and_images_are_targets_but_their_forced_brackets_are_not(
        builder: SequenceBuilder, vocabulary: Vocabulary) -> None:
    answer = builder.build("I+Q->A", **fields_of("I+Q->A"))
    assert answer.loss_mask[answer.prompt_length:].tolist() == [False, True, True, False]  # start, yes, end, [EOS]
    image = builder.build("3->I", **fields_of("3->I"))
    assert image.loss_mask[image.prompt_length:].tolist() == [False, *[True] * 6, False, False]


def test_programs_are_targets_where_their_grammar_leaves_a_choice(
        builder: SequenceBuilder, vocabulary: Vocabulary, text_tokenizer: TextTokenizer) -> None:
    sequence = builder.build("Q->P", **fields_of("Q->P"))
    grammar = ProgramGrammar(vocabulary, text_tokenizer, RULES, ANSWER)
    ids = sequence.token_ids[sequence.prompt_length:-1].tolist()
    assert grammar.decode_program(ids) == list(FIELDS["program"])
    assert sequence.loss_mask[sequence.prompt_length:-1].tolist() == grammar.loss_positions(ids)
    with pytest.raises(GrammarError):
        builder.build("Q->P", question="is there a red ball?", program=("red", "count"))


def test_a_task_with_programs_needs_their_grammar(
        vocabulary: Vocabulary, grammar: SceneGrammar, text_tokenizer: TextTokenizer) -> None:
    bare = SequenceBuilder(vocabulary, grammar, text_tokenizer, GRID)
    with pytest.raises(TaskError, match="Q->P needs the grammar of modality 'program'"):
        bare.build("Q->P", **fields_of("Q->P"))


def test_codes_may_be_flat_or_a_grid(builder: SequenceBuilder) -> None:
    grid, flat = FIELDS["image_codes"], FIELDS["image_codes"].ravel()
    np.testing.assert_array_equal(
        builder.prompt("I->3", image_codes=grid).token_ids, builder.prompt("I->3", image_codes=flat).token_ids)


def test_bad_input_is_named(builder: SequenceBuilder) -> None:
    codes = FIELDS["image_codes"]
    for call, error, message in (
            (lambda: builder.build("I->4", image_codes=codes), TaskError, "expected a task of .* got 'I->4'"),
            (lambda: builder.build("I->3", image_codes=codes), TaskError, r"needs \['image_codes', 'scene'\], got"),
            (lambda: builder.build("I->3", image_codes=codes, scene=None), TaskError, "needs"),
            (lambda: builder.prompt("I->3", image_codes=codes, scene=Scene()), TaskError, "the prompt of I->3 needs"),
            (lambda: builder.prompt("I->3", image_codes=codes.T), GrammarError, r"of shape \(2, 3\), got \(3, 2\)"),
            (lambda: builder.prompt("I->3", image_codes=codes + 1020), VocabularyError, "image codes from 0 to 1023")):
        with pytest.raises(error, match=message):
            call()

"""The grammar of images: round trips, what may come next, and bad input."""

from __future__ import annotations

import numpy as np
import pytest

from kyvo_ros.scene import Scene
from kyvo_ros.tokens import (
    ORDERS, GrammarError, ImageGrammar, SceneGrammar, SequenceBuilder, TextTokenizer, Vocabulary, VocabularyError,
    written_order)

GRID = (2, 3)
CODES = np.array([[7, 11, 0], [1023, 5, 7]])


@pytest.mark.parametrize("order", ORDERS)
def test_codes_round_trip(vocabulary: Vocabulary, order: str) -> None:
    grammar = ImageGrammar(vocabulary, GRID, order)
    ids = grammar.encode_image(CODES)
    assert np.array_equal(grammar.decode_image(ids), CODES)
    assert ids == grammar.encode_image(CODES.ravel()) and len(ids) == grammar.max_length
    assert vocabulary.image_codes_of(ids[1:-1]).tolist() == CODES.ravel()[written_order(order, GRID)].tolist()


def test_what_may_come_next(vocabulary: Vocabulary) -> None:
    grammar, image = ImageGrammar(vocabulary, GRID), vocabulary.range("image")
    run, state = grammar.forced_run(grammar.start())
    assert run == [vocabulary.structure_id("[IMAGE-START]")]
    for _ in range(6):
        assert np.array_equal(grammar.allowed(state), np.arange(image.start, image.stop))
        assert grammar.forced_run(state) == ([], state)
        state = grammar.advance(state, image.start + 3)
    run, state = grammar.forced_run(state)
    assert run == [vocabulary.structure_id("[IMAGE-END]")] and grammar.is_end(state) and not len(grammar.allowed(state))


def test_images_of_targets_are_written_in_order_and_those_of_prompts_read_row_by_row(
        vocabulary: Vocabulary, grammar: SceneGrammar, text_tokenizer: TextTokenizer) -> None:
    builder = SequenceBuilder(vocabulary, grammar, text_tokenizer, GRID, image_order="spiral")
    written = builder.build("3->I", scene=Scene(), image_codes=CODES)
    target = written.token_ids[written.prompt_length:-1]
    assert np.array_equal(builder.image_grammar.decode_image(target), CODES)
    assert target[1] == vocabulary.image_ids(CODES)[0, 1]  # the middle
    read = builder.prompt("I->3", image_codes=CODES).token_ids
    assert np.array_equal(read[2:8], vocabulary.image_ids(CODES).ravel())


def test_bad_input_is_named(vocabulary: Vocabulary) -> None:
    grammar = ImageGrammar(vocabulary, GRID)
    ids = grammar.encode_image(CODES)
    for call, error, message in (
            (lambda: grammar.encode_image(CODES.T), GrammarError, r"of shape \(2, 3\), got \(3, 2\)"),
            (lambda: grammar.encode_image(CODES + 1), VocabularyError, "image codes from 0 to 1023"),
            (lambda: grammar.decode_image(ids[:-1]), GrammarError, "takes 8 tokens, got 7"),
            (lambda: grammar.decode_image([*ids, 3]), GrammarError, "token 3 cannot be number 8"),
            (lambda: grammar.decode_image([ids[0], 3, *ids[2:]]), GrammarError, "token 3 cannot be number 1")):
        with pytest.raises(error, match=message):
            call()

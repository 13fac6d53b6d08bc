"""The program grammar: random walks, round trips, bounded length, and tokenizers that split words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from kyvo_ros.questions.linear import ANSWER, EDIT, RULES, program_of, symbols_of
from kyvo_ros.questions.program import Program
from kyvo_ros.tokens import (
    CLEVR_SCHEMA, GrammarError, ProgramGrammar, TextTokenizer, Vocabulary, train_text_tokenizer)

RED = Program("filter_color", (Program("scene"),), ("red",))


@pytest.fixture(scope="module", params=["single words", "spelt words"])
def grammar(request: pytest.FixtureRequest, vocabulary: Vocabulary, text_tokenizer: TextTokenizer) -> ProgramGrammar:
    """Over a tokenizer that knows every word, and over one that spells out most of them."""
    spelt = train_text_tokenizer([], CLEVR_SCHEMA.vocabulary_words())
    return ProgramGrammar(vocabulary, text_tokenizer if request.param == "single words" else spelt, RULES, ANSWER)


def random_walk(grammar: ProgramGrammar, rng: np.random.Generator) -> list[int]:
    """Ids as a generator draws them: forced runs ride along."""
    ids, state = grammar.forced_run(grammar.start())
    while not grammar.is_end(state):
        allowed = grammar.allowed(state)
        assert len(allowed) > 1 and (np.diff(allowed) > 0).all()
        ids.append(int(rng.choice(allowed)))
        run, state = grammar.forced_run(grammar.advance(state, ids[-1]))
        ids += run
    return ids


def test_every_walk_is_a_well_typed_program_within_the_bound(grammar: ProgramGrammar) -> None:
    rng = np.random.default_rng(0)
    functions, longest = set(), 0
    for _ in range(60):
        ids = random_walk(grammar, rng)
        program = program_of(grammar.decode_program(ids))  # type-checks as it is built
        assert len(ids) <= grammar.max_length
        assert grammar.encode_program(symbols_of(program)) == ids
        functions |= {part.function for part in program.walk()}
        longest = max(longest, len(ids))
    assert longest == grammar.max_length and len(functions) > 20


@pytest.mark.parametrize("start", [ANSWER, EDIT])
def test_walks_under_a_tight_bound_still_end(
        vocabulary: Vocabulary, text_tokenizer: TextTokenizer, start: str) -> None:
    rng = np.random.default_rng(1)
    for max_length in (6, 7, 12):
        grammar = ProgramGrammar(vocabulary, text_tokenizer, RULES, start, max_length)
        walks = [random_walk(grammar, rng) for _ in range(30)]
        assert all(len(ids) <= max_length for ids in walks) and len({tuple(ids) for ids in walks}) > 5
        for ids in walks:
            assert program_of(grammar.decode_program(ids), start).length > 0


def test_known_words_are_one_token_each(vocabulary: Vocabulary, text_tokenizer: TextTokenizer) -> None:
    grammar = ProgramGrammar(vocabulary, text_tokenizer, RULES, ANSWER)
    ids = grammar.encode_program(["query color", "farthest", "camera", "within", "12", 0.35, "unique", "red", "scene"])
    words = "query color farthest camera within 12".split()
    assert ids[1:7] == [text_tokenizer.word_id(word) for word in words]
    assert ids[7] == int(vocabulary.number_ids(0.35)) and len(ids) == 12
    assert ids[0] == vocabulary.structure_id("[PROGRAM-START]") and ids[-1] == vocabulary.structure_id("[PROGRAM-END]")


def test_forced_tokens_bear_no_loss(vocabulary: Vocabulary, text_tokenizer: TextTokenizer) -> None:
    grammar = ProgramGrammar(vocabulary, text_tokenizer, RULES, EDIT)
    ids = grammar.encode_program(["remove", "unique", "scene"])
    assert grammar.loss_positions(ids) == [False, True, True, True, False]


def test_states_are_small_and_equal_where_the_rest_is(grammar: ProgramGrammar) -> None:
    red, blue = (grammar.states(grammar.encode_program(["count", word, "scene"])) for word in ("red", "gray"))
    assert hash(red[-2]) == hash(blue[-2]) and red[-1] == blue[-1] and grammar.is_end(red[-1])
    assert len(grammar.allowed(red[-1])) == 0 and grammar.forced_run(red[-1]) == ([], red[-1])


def test_bad_programs_are_named(vocabulary: Vocabulary, text_tokenizer: TextTokenizer) -> None:
    grammar = ProgramGrammar(vocabulary, text_tokenizer, RULES, ANSWER, max_length=10)
    with pytest.raises(GrammarError, match="token 2 of 4: expected one of the ids"):
        grammar.encode_program(["count", "unique"])
    with pytest.raises(GrammarError, match="not complete after 2 tokens"):
        grammar.decode_program(grammar.encode_program(["count", "scene"])[:2])
    with pytest.raises(GrammarError, match="at most 10 tokens, got 13"):
        grammar.encode_program(["exist"] + ["left", "unique"] * 5)
    with pytest.raises(GrammarError, match="the shortest program takes 5 tokens, got 4"):
        ProgramGrammar(vocabulary, text_tokenizer, RULES, EDIT, max_length=4)


@dataclass(frozen=True)
class Choice:
    symbol: str
    then: tuple[str, ...] = ()


def test_ambiguous_rules_are_refused(vocabulary: Vocabulary, text_tokenizer: TextTokenizer) -> None:
    for rules, message in (
            ({"s": [Choice("red"), Choice("red", ("s",))]}, "two symbols of the same tokens"),
            ({"s": [Choice("red", ("t",)), Choice("red cube")], "t": [Choice("cube")]}, "cannot tell apart"),
            ({"s": [Choice("red", ("s",))]}, "never ending")):
        with pytest.raises(GrammarError, match=message):
            ProgramGrammar(vocabulary, text_tokenizer, rules, "s")

"""The grammar of answers where words are several tokens, as numbers behind a space are to Llama's tokenizer."""

from __future__ import annotations

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from kyvo_ros.tokens import GrammarError, TextTokenizer, Vocabulary
from kyvo_ros.tokens.answer_grammar import AnswerGrammar

VOCABULARY = Vocabulary.published_clevr()


@pytest.fixture(scope="module")
def like_llama() -> TextTokenizer:
    """Bytes, and "no" with and without a space; a digit never joins a space."""
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "no", "Ġno"]
    numbers = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = tokenizers.Tokenizer(models.BPE(numbers, [("n", "o"), ("Ġ", "no")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return TextTokenizer(tokenizer)


def test_every_spelling_of_a_word_is_that_word(like_llama: TextTokenizer) -> None:
    words = ("no", "1", "10")
    grammar = AnswerGrammar(VOCABULARY, like_llama, words)
    start, end = map(VOCABULARY.structure_id, ("[TEXT-START]", "[TEXT-END]"))
    spellings = {text: like_llama.encode(text) for word in words for text in (word, f" {word}")}
    tokens = {text: len(ids) for text, ids in spellings.items()}
    assert tokens == {"no": 1, " no": 1, "1": 1, " 1": 2, "10": 2, " 10": 3}
    for text, ids in spellings.items():
        assert grammar.decode_answer([start, *ids, end]) == text.strip()
    assert grammar.max_length == 5


def test_the_walk_offers_what_goes_on_and_forces_what_must(like_llama: TextTokenizer) -> None:
    grammar = AnswerGrammar(VOCABULARY, like_llama, ("no", "1", "10"))
    start, end = map(VOCABULARY.structure_id, ("[TEXT-START]", "[TEXT-END]"))
    (one,), (zero,), (space,) = map(like_llama.encode, ("1", "0", " "))
    run, state = grammar.forced_run(grammar.start())
    assert run == [start]
    assert grammar.allowed(state).tolist() == sorted([space, one, *like_llama.encode("no"), *like_llama.encode(" no")])
    state = grammar.advance(state, one)
    assert grammar.allowed(state).tolist() == sorted([zero, end]) and grammar.forced_run(state) == ([], state)
    run, state = grammar.forced_run(grammar.advance(state, zero))
    assert run == [end] and grammar.is_end(state) and not len(grammar.allowed(state))
    with pytest.raises(GrammarError, match="cannot come next"):
        grammar.decode_answer([start, one, space])
    with pytest.raises(GrammarError, match="got 2 tokens"):
        grammar.decode_answer([start, one])

"""The text tokenizer: round trip, single-id words, determinism, broken files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kyvo_ros.tokens import CLEVR_SCHEMA, LANGUAGE_WORDS, TextTokenizer, TextTokenizerError
from kyvo_ros.tokens import corpus_from_questions, train_text_tokenizer


@settings(deadline=None, max_examples=50)
@given(text=st.text(max_size=40).filter(lambda t: not t.startswith(" ")))
def test_any_text_survives(text_tokenizer: TextTokenizer, text: str) -> None:
    assert text_tokenizer.decode(text_tokenizer.encode(text)) == text


def test_words_are_single_ids_wherever_they_stand(text_tokenizer: TextTokenizer) -> None:
    for word in (*CLEVR_SCHEMA.vocabulary_words(), *LANGUAGE_WORDS):
        assert text_tokenizer.encode(word) == [text_tokenizer.word_id(word)]
        assert text_tokenizer.encode(f"the {word}")[-1] == text_tokenizer.word_id(word)
    with pytest.raises(TextTokenizerError, match="'dodecahedron' to be a single text token, got"):
        text_tokenizer.word_id("dodecahedron")


def test_further_words_become_single_ids_and_move_none(text_tokenizer: TextTokenizer, tmp_path: Path) -> None:
    grown = text_tokenizer.with_words(("dodecahedron", "cube", "teapot"))
    new = [grown.word_id(word) for word in ("dodecahedron", "teapot")]
    assert min(new) >= text_tokenizer.size and grown.word_id("cube") == text_tokenizer.word_id("cube")
    assert grown.encode("teapot") == [new[1]] and grown.encode("a teapot")[-1] == new[1]
    text = "is the large cube behind the ball?"
    assert grown.encode(text) == text_tokenizer.encode(text)
    assert grown.decode(grown.encode("a red teapot or a cube")) == "a red teapot or a cube"
    grown.save(tmp_path / "tokenizer.json")
    assert TextTokenizer.load(tmp_path / "tokenizer.json").word_id("teapot") == new[1]
    assert text_tokenizer.with_words(("cube",)) is text_tokenizer


@pytest.mark.parametrize("word", ["coffee_mug", "t-shirt", "cup2", "two words"])
def test_a_word_that_no_merge_can_join_is_named(text_tokenizer: TextTokenizer, word: str) -> None:
    with pytest.raises(TextTokenizerError, match=f"'{word}' cannot be a single text token.*letters only"):
        text_tokenizer.with_words((word,))


def test_saving_and_loading(text_tokenizer: TextTokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    text_tokenizer.save(path)
    loaded = TextTokenizer.load(path)
    text = "How many large red cubes are left of the tiny metal ball?"
    assert loaded.encode(text) == text_tokenizer.encode(text) and loaded.decode(loaded.encode(text)) == text
    assert loaded.size == text_tokenizer.size


def test_training_is_deterministic_and_fills_no_more_than_its_size() -> None:
    corpus = ["is there a shiny thing?", "there is a matte thing behind the shiny one"]
    first, second = (train_text_tokenizer(corpus, ["red", "cube"], size=300) for _ in range(2))
    assert first.size <= 300
    assert first.encode(corpus[0]) == second.encode(corpus[0])


def test_words_stay_single_ids_beside_a_rich_corpus() -> None:
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz "))
    corpus = ["".join(rng.choice(letters, 200)) for _ in range(100)]
    words = CLEVR_SCHEMA.vocabulary_words()
    trained = train_text_tokenizer(corpus, words, size=400)
    assert trained.size == 400 and len({trained.word_id(word) for word in words}) == len(words)


def test_corpus_of_a_questions_file(tmp_path: Path) -> None:
    path = tmp_path / "questions.json"
    path.write_text(json.dumps({"questions": [{"question": "Is there a cube?", "answer": "no", "program": []}]}))
    assert corpus_from_questions(path) == ["Is there a cube?", "no"]


def test_a_size_too_small_for_the_words_is_rejected() -> None:
    with pytest.raises(TextTokenizerError, match="single text token"):
        train_text_tokenizer([], CLEVR_SCHEMA.vocabulary_words(), size=260)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(TextTokenizerError, match="tokenizer.json is not a tokenizer.json"):
        TextTokenizer.load(path)
    with pytest.raises(FileNotFoundError):
        TextTokenizer.load(tmp_path / "absent.json")

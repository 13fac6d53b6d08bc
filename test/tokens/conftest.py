"""A small language for the tests: the shipped vocabulary and schema, and a text tokenizer that knows their words."""

from __future__ import annotations

import pytest

from kyvo_ros.tokens import CLEVR_SCHEMA, LANGUAGE_WORDS, SceneGrammar, TextTokenizer, Vocabulary, train_text_tokenizer


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return Vocabulary.small()


@pytest.fixture(scope="session")
def text_tokenizer() -> TextTokenizer:
    return train_text_tokenizer([], [*CLEVR_SCHEMA.vocabulary_words(), *LANGUAGE_WORDS])


@pytest.fixture(scope="session")
def grammar(vocabulary: Vocabulary, text_tokenizer: TextTokenizer) -> SceneGrammar:
    return SceneGrammar(vocabulary, text_tokenizer, CLEVR_SCHEMA)

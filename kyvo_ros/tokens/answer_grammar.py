"""Answers of one word to tokens and back, and which token may come next: [TEXT-START] word [TEXT-END].

The words are a closed list, each a single text token, so that a model can only say what is an answer. It offers what
`kyvo_ros.model.generation` asks of a grammar, and knows no questions.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from kyvo_ros.tokens.automaton import GrammarError
from kyvo_ros.tokens.text import TextTokenizer
from kyvo_ros.tokens.vocabulary import Vocabulary


class AnswerGrammar:
    """The language of answers of one vocabulary; a state is the number of tokens written."""

    max_length = 3

    def __init__(self, vocabulary: Vocabulary, text_tokenizer: TextTokenizer, words: Collection[str]) -> None:
        """Raises TextTokenizerError for a word of several tokens."""
        self._words = {text_tokenizer.word_id(word): word for word in words}
        start, end = map(vocabulary.structure_id, ("[TEXT-START]", "[TEXT-END]"))
        choices = ([start], sorted(self._words), [end], [])
        self._allowed = [np.array(ids, dtype=np.int64) for ids in choices]

    def start(self) -> int:
        return 0

    def is_end(self, state: int) -> bool:
        return state == self.max_length

    def allowed(self, state: int) -> np.ndarray:
        """Ids that may come next, ascending; none at the end."""
        return self._allowed[state]

    def advance(self, state: int, token_id: int) -> int:
        """The state behind a token. Raises GrammarError where it may not come."""
        if token_id not in self._allowed[state]:
            raise GrammarError(f"token {token_id} cannot be number {state} of an answer")
        return state + 1

    def forced_run(self, state: int) -> tuple[list[int], int]:
        """The tokens that must come next, up to where there is a choice or the end, and the state behind them."""
        run = []
        while len(self._allowed[state]) == 1:
            run.append(int(self._allowed[state][0]))
            state += 1
        return run, state

    def decode_answer(self, ids: Sequence[int]) -> str:
        """The word. Raises GrammarError for tokens that are no answer."""
        state = self.start()
        for token_id in ids:
            state = self.advance(state, token_id)
        if not self.is_end(state):
            raise GrammarError(f"an answer takes {self.max_length} tokens, got {len(ids)}")
        return self._words[ids[1]]

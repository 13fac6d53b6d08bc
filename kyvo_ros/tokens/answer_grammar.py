"""Answers of one word to tokens and back, and which token may come next: [TEXT-START] word [TEXT-END].

The words are a closed list, so that a model can only say what is an answer. A word is written as it stands at the start
of a text or as behind a space, which are the same tokens in this package's text tokenizers; Llama's tells them apart,
and writes a number behind a space as two. It offers what `kyvo_ros.model.generation` asks of a grammar, and knows no
questions.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from kyvo_ros.tokens.automaton import GrammarError
from kyvo_ros.tokens.text import TextTokenizer
from kyvo_ros.tokens.vocabulary import Vocabulary

# Nodes of the tree outside of words; nodes inside follow.
_START, _WORD, _END = range(3)


class AnswerGrammar:
    """The language of answers of one vocabulary; a state is a node of the tree of all words' tokens."""

    def __init__(self, vocabulary: Vocabulary, text_tokenizer: TextTokenizer, words: Collection[str]) -> None:
        start, stop = map(vocabulary.structure_id, ("[TEXT-START]", "[TEXT-END]"))
        self._words = {tuple(text_tokenizer.encode(text)): word for word in words for text in (word, f" {word}")}
        self._edges: list[dict[int, int]] = [{start: _WORD}, {}, {}]
        for ids in self._words:
            self._edges[self._node(ids)][stop] = _END
        self._allowed = [np.array(sorted(edges), dtype=np.int64) for edges in self._edges]
        self.max_length = 2 + max(map(len, self._words))

    def _node(self, ids: Sequence[int]) -> int:
        """The node behind the tokens of a word, made where there is none yet."""
        node = _WORD
        for token_id in ids:
            following = self._edges[node].setdefault(token_id, len(self._edges))
            if following == len(self._edges):
                self._edges.append({})
            node = following
        return node

    def start(self) -> int:
        return _START

    def is_end(self, state: int) -> bool:
        return state == _END

    def allowed(self, state: int) -> np.ndarray:
        """Ids that may come next, ascending; none at the end."""
        return self._allowed[state]

    def advance(self, state: int, token_id: int) -> int:
        """The state behind a token. Raises GrammarError where it may not come."""
        if token_id not in self._edges[state]:
            raise GrammarError(f"token {token_id} cannot come next in an answer")
        return self._edges[state][token_id]

    def forced_run(self, state: int) -> tuple[list[int], int]:
        """The tokens that must come next, up to where there is a choice or the end, and the state behind them."""
        run = []
        while len(self._edges[state]) == 1:
            ((token_id, state),) = self._edges[state].items()
            run.append(token_id)
        return run, state

    def decode_answer(self, ids: Sequence[int]) -> str:
        """The word. Raises GrammarError for tokens that are no answer."""
        state = self.start()
        for token_id in ids:
            state = self.advance(state, token_id)
        if not self.is_end(state):
            raise GrammarError(f"an answer ends with its word and [TEXT-END], got {len(ids)} tokens without")
        return self._words[tuple(ids[1:-1])]

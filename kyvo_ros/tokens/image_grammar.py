"""Images to tokens and back, and which token may come next: the grammar of an image that a model writes.

As many image codes as the grid has cells, between [IMAGE-START] and [IMAGE-END], in one of the orders of
`image_orders`. It offers what `kyvo_ros.model.generation` asks of a grammar, and knows no pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kyvo_ros.tokens.automaton import GrammarError
from kyvo_ros.tokens.image_orders import place_in_order, written_order
from kyvo_ros.tokens.vocabulary import Vocabulary


class ImageGrammar:
    """The language of images of one vocabulary, grid (h, w) and order; a state is the number of tokens written."""

    def __init__(self, vocabulary: Vocabulary, grid: tuple[int, int], order: str = "raster") -> None:
        """Raises ImageOrderError for an order that is not known."""
        self.grid = tuple(grid)
        self._vocabulary = vocabulary
        self.order = written_order(order, self.grid)  # (h*w,) cells in raster numbering
        self._places = place_in_order(order, self.grid)
        image = vocabulary.range("image")
        self._codes = np.arange(image.start, image.stop)
        self._start = np.array([vocabulary.structure_id("[IMAGE-START]")])
        self._end = np.array([vocabulary.structure_id("[IMAGE-END]")])
        self.max_length = len(self.order) + 2

    def start(self) -> int:
        return 0

    def is_end(self, state: int) -> bool:
        return state == self.max_length

    def allowed(self, state: int) -> np.ndarray:
        """Ids that may come next, ascending; none at the end."""
        if self.is_end(state):
            return self._codes[:0]
        return self._start if state == 0 else self._end if state == self.max_length - 1 else self._codes

    def advance(self, state: int, token_id: int) -> int:
        """The state behind a token. Raises GrammarError where it may not come."""
        allowed = self.allowed(state)
        if not len(allowed) or not allowed[0] <= token_id <= allowed[-1]:
            raise GrammarError(f"token {token_id} cannot be number {state} of an image of {self.grid} codes")
        return state + 1

    def forced_run(self, state: int) -> tuple[list[int], int]:
        """The tokens that must come next, up to where there is a choice or the end, and the state behind them."""
        run = []
        while len(self.allowed(state)) == 1:
            run.append(int(self.allowed(state)[0]))
            state += 1
        return run, state

    def encode_image(self, codes: np.ndarray) -> list[int]:
        """Ids of codes (h, w) or (h*w,) in raster order; inverse of `decode_image`. Raises GrammarError."""
        codes = np.asarray(codes)
        if codes.shape not in (self.grid, (len(self.order),)):
            raise GrammarError(f"expected image codes of shape {self.grid}, got {codes.shape}")
        ids = self._vocabulary.image_ids(codes.ravel()[self.order]).tolist()
        return [int(self._start[0]), *ids, int(self._end[0])]

    def decode_image(self, ids: Sequence[int]) -> np.ndarray:
        """Codes (h, w) of the ids of an image; inverse of `encode_image`. Raises GrammarError."""
        state = self.start()
        for token_id in ids:
            state = self.advance(state, token_id)
        if not self.is_end(state):
            raise GrammarError(f"an image of {self.grid} codes takes {self.max_length} tokens, got {len(ids)}")
        return self._vocabulary.image_codes_of(np.asarray(ids[1:-1]))[self._places].reshape(self.grid)

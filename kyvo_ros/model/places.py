"""What the tokens behind a prompt carry for their place in the image or shape being written, and for the object that is
written or whose shape it is; see `UnifiedEmbedding`.

The forward pass over a whole sequence finds all this by itself; token by token it must be counted and kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from kyvo_ros.model.embedding import UnifiedEmbedding


class RunningPlaces:
    """Counts the image and shape tokens of every row of a batch, from its prompt (B, S) on, and keeps what its object
    says where tokens carry that; `cells` and `table` as in `UnifiedEmbedding`.
    """

    def __init__(self, embedding: UnifiedEmbedding, prompt: Tensor, cells: Tensor | None, table: Tensor) -> None:
        self._embedding, self._cells, self._vectors = embedding, cells, table
        self._table: Tensor | None = None  # most targets hold no image
        self._image, self._count = embedding.image_ids, embedding.config.cells
        image = (prompt >= self._image.start) & (prompt < self._image.stop)
        self._seen: list[int] = image.sum(dim=1).tolist()  # image tokens of each row so far
        self._shape, self._length = embedding.shape_ids, embedding.config.shape_length
        self._shaped: list[int] = (prompt >= self._shape.start).sum(dim=1).tolist()  # shape tokens of each row so far
        self._written: list[bool] = (prompt == embedding.separator).any(dim=1).tolist()  # behind [OUTPUT-SEP]
        self._rows = torch.arange(len(prompt))  # of the prompt
        self._keeps_objects = embedding.config.shape_context or embedding.config.written_context
        self._objects: list[list[int]] = [[] for _ in prompt]  # of each row the ids of its last object so far
        self._contexts: list[Tensor | None] = [None] * len(prompt)  # what its tokens carry by now
        self.stand_behind(prompt.tolist() if self._keeps_objects else ())

    def of_rows(self, rows: Tensor) -> RunningPlaces:
        """Counts of their own for the rows `rows` (int64 indices)."""
        taken = copy(self)
        taken._rows = self._rows[rows.cpu()]
        taken._seen, taken._shaped, taken._written = (
            [old[row] for row in rows.tolist()] for old in (self._seen, self._shaped, self._written))
        taken._objects, taken._contexts = (
            [old[row] for row in rows.tolist()] for old in (self._objects, self._contexts))
        return taken

    def stand_behind(self, texts: Sequence[Sequence[int]]) -> None:
        """Have what comes next be of the last object of these ids, a text for each row."""
        if not self._keeps_objects:
            return
        for row, text in enumerate(texts):
            self._objects[row], self._contexts[row] = [], None
            for token in text:
                self._keep(row, token)

    def of_next(self, tokens: Sequence[Sequence[int]]) -> Tensor | None:
        """(B, m, D) of the next up to m tokens of each row, zero for those that stand in no image and no shape and carry
        nothing of an object; None where all are such.
        """
        places = [[self._next(row, token) for token in own] for row, own in enumerate(tokens)]
        contexts = [[self._keep(row, token) for token in own] for row, own in enumerate(tokens)
                    ] if self._keeps_objects else []
        nowhere = self._embedding.nowhere
        nothing = all(place == nowhere for own in places for place in own)
        if nothing and all(context is None for own in contexts for context in own):
            return None
        if self._table is None:
            self._table = self._embedding.place_table(self._cells)
        width = max(map(len, places))
        index = torch.tensor([own + [nowhere] * (width - len(own)) for own in places])
        if self._table.shape[0] > 1:
            index += self._table.shape[1] * self._rows.unsqueeze(1)
        carried = F.embedding(index.to(self._table.device), self._table.flatten(0, 1))
        for row, own in enumerate(contexts):
            for i, context in enumerate(own):
                if context is not None:
                    carried[row, i] += context.to(carried)
        return carried

    def _keep(self, row: int, token: int) -> Tensor | None:
        """What the next token of a row carries of its object, which it may be a part of."""
        embedding, config = self._embedding, self._embedding.config
        begins, ends, location = embedding.object_marks
        if config.shape_context and (token == embedding.shape_mark or token in self._shape):
            if token == embedding.shape_mark and self._objects[row]:
                self._contexts[row] = embedding.object_context(self._objects[row], self._vectors)
            return self._contexts[row]
        if token == begins:
            self._objects[row], self._contexts[row] = [], None
        if token == begins or self._objects[row]:
            self._objects[row] = [*self._objects[row], token]
        if config.written_context and self._written[row] and self._objects[row][-3:-2] == [location]:
            self._contexts[row] = embedding.object_context(self._objects[row], self._vectors)
        carried = self._contexts[row] if config.written_context else None
        if token == ends:
            self._objects[row], self._contexts[row] = [], None
        return carried

    def _next(self, row: int, token: int) -> int:
        """The entry of the table for the next token of a row."""
        if token in self._image:
            number = self._seen[row] % self._count
            self._seen[row] += 1
            return number + (self._count + 1) * self._written[row]
        if self._length and token in self._shape:
            number = self._shaped[row] % self._length
            self._shaped[row] += 1
            return self._embedding.nowhere + 1 + number
        if token == self._embedding.separator:
            self._written[row] = True
        return self._count if self._written[row] and token == self._embedding.image_start else self._embedding.nowhere

"""What the tokens behind a prompt carry for their place in the image or shape being written; see `UnifiedEmbedding`.

The forward pass over a whole sequence finds the places by itself; token by token they must be counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from kyvo_ros.model.embedding import UnifiedEmbedding


class RunningPlaces:
    """Counts the image and shape tokens of every row of a batch, from its prompt (B, S) on; `cells` as in
    `UnifiedEmbedding`.
    """

    def __init__(self, embedding: UnifiedEmbedding, prompt: Tensor, cells: Tensor | None) -> None:
        self._embedding, self._cells = embedding, cells
        self._table: Tensor | None = None  # most targets hold no image
        self._image, self._count = embedding.image_ids, embedding.config.cells
        image = (prompt >= self._image.start) & (prompt < self._image.stop)
        self._seen: list[int] = image.sum(dim=1).tolist()  # image tokens of each row so far
        self._shape, self._length = embedding.shape_ids, embedding.config.shape_length
        self._shaped: list[int] = (prompt >= self._shape.start).sum(dim=1).tolist()  # shape tokens of each row so far
        self._written: list[bool] = (prompt == embedding.separator).any(dim=1).tolist()  # behind [OUTPUT-SEP]
        self._rows = torch.arange(len(prompt))  # of the prompt

    def of_rows(self, rows: Tensor) -> RunningPlaces:
        """Counts of their own for the rows `rows` (int64 indices)."""
        taken = copy(self)
        taken._rows = self._rows[rows.cpu()]
        taken._seen, taken._shaped, taken._written = (
            [old[row] for row in rows.tolist()] for old in (self._seen, self._shaped, self._written))
        return taken

    def of_next(self, tokens: Sequence[Sequence[int]]) -> Tensor | None:
        """(B, m, D) of the next up to m tokens of each row, zero for all but those of images and shapes; None where
        there are no such.
        """
        places = [[self._next(row, token) for token in own] for row, own in enumerate(tokens)]
        nowhere = self._embedding.nowhere
        if all(place == nowhere for own in places for place in own):
            return None
        if self._table is None:
            self._table = self._embedding.place_table(self._cells)
        width = max(map(len, places))
        index = torch.tensor([own + [nowhere] * (width - len(own)) for own in places])
        if self._table.shape[0] > 1:
            index += self._table.shape[1] * self._rows.unsqueeze(1)
        return F.embedding(index.to(self._table.device), self._table.flatten(0, 1))

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

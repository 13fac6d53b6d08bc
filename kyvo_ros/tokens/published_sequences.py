"""Sequences of the published Kyvo code from tokens that it has made: its layouts, its loss, its order of image codes.

Scenes and texts come as ids with their own brackets, images as bare codes. The layouts are those of `sequences.TASKS`;
the loss lies on all that follows the separator, as in the published code. It knows no files.
Source: the published code's layouts (reference outputs of AadSah/kyvo, commit be438d3).
"""

from __future__ import annotations

import math

import numpy as np

from kyvo_ros.tokens.image_orders import written_order
from kyvo_ros.tokens.sequences import TASKS, Sequence, TaskError
from kyvo_ros.tokens.vocabulary import Vocabulary


class PublishedSequences:
    """Builds the sequences of TASKS from ids; `reorder` writes images that are drawn, which are square in the published
    data, in the published order.
    """

    def __init__(self, vocabulary: Vocabulary, reorder: bool = False) -> None:
        self._vocabulary = vocabulary
        self._reorder = reorder

    def build(self, task: str, **fields: np.ndarray) -> Sequence:
        """The whole sequence of a task.

        Args:
            fields: what the task's segments name, each (N,) of int: raster image codes, or token ids.

        Raises TaskError for an unknown task or a missing field, VocabularyError for codes and ids that do not exist.
        """
        if task not in TASKS or {s.field for s in TASKS[task]} != set(fields):
            raise TaskError(f"task {task!r} cannot be made of {sorted(fields)}; the tasks are {tuple(TASKS)}")
        parts = {role: [self._segment(s.modality, role, fields[s.field]) for s in TASKS[task] if s.role == role]
                 for role in ("prompt", "target")}
        prompt = np.concatenate([self._ids("[BOS]"), *parts["prompt"], self._ids("[OUTPUT-SEP]")])
        token_ids = np.concatenate([prompt, *parts["target"], self._ids("[EOS]")])
        self._vocabulary.modality_of(token_ids)  # refuses what is no id
        return Sequence(token_ids, np.arange(len(token_ids)) >= len(prompt), len(prompt) - 1, len(prompt))

    def _segment(self, modality: str, role: str, tokens: np.ndarray) -> np.ndarray:
        tokens = np.asarray(tokens, dtype=np.int64)
        if modality != "image":
            return tokens
        if self._reorder and role == "target":
            side = math.isqrt(len(tokens))
            if side * side != len(tokens):
                raise TaskError(f"the published order knows square images only, got one of {len(tokens)} codes")
            tokens = tokens[written_order("alternating", (side, side))]
        return np.concatenate([self._ids("[IMAGE-START]"), self._vocabulary.image_ids(tokens),
                               self._ids("[IMAGE-END]")])

    def _ids(self, name: str) -> np.ndarray:
        return np.array([self._vocabulary.structure_id(name)])

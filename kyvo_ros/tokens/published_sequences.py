"""Sequences of the published Kyvo code from tokens that it has made: its layouts, its loss, its order of image codes.

Scenes and texts come as ids with their own brackets, images as bare codes. The layouts are those of `sequences.TASKS`;
the loss lies on all that follows the separator and is not given, as in the published code. It knows no files.
Source: the published code's layouts (reference outputs of AadSah/kyvo, commit be438d3).
"""

from __future__ import annotations

import math

import numpy as np

from kyvo_ros.tokens.image_orders import written_order
from kyvo_ros.tokens.sequences import TASKS, Segment, Sequence, TaskError
from kyvo_ros.tokens.vocabulary import Vocabulary

#: In which the published configurations of drawing and editing write images (`image_orders`).
DRAWN_ORDER = "alternating"
#: Faithful to the published code, which leaves the image that is edited as it is in these tasks, and in no others.
_RASTER_SOURCES = ("I+3+T->I+3", "3+I+T->3+I")


class PublishedSequences:
    """Builds the sequences of TASKS from ids.

    `reorder` writes images, which are square in the published data, in the published order: those in targets, and, but
    for _RASTER_SOURCES, those in prompts too. The published configurations have it for drawing and editing, not for
    recognition and answering.
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
        parts = {role: [self._segment(task, s, fields[s.field]) for s in TASKS[task] if s.role == role]
                 for role in ("prompt", "target")}
        prompt = np.concatenate([self._ids("[BOS]"), *parts["prompt"], self._ids("[OUTPUT-SEP]")])
        token_ids = np.concatenate([prompt, *parts["target"], self._ids("[EOS]")])
        self._vocabulary.modality_of(token_ids)  # refuses what is no id
        given = sum(s.given for s in TASKS[task])  # of the only segment of a target
        return Sequence(token_ids, np.arange(len(token_ids)) >= len(prompt) + given, len(prompt) - 1, len(prompt))

    def _segment(self, task: str, segment: Segment, tokens: np.ndarray) -> np.ndarray:
        tokens = np.asarray(tokens, dtype=np.int64)
        if segment.modality != "image":
            return tokens
        if self._reorder and (segment.role == "target" or task not in _RASTER_SOURCES):
            tokens = _reordered(tokens)
        return np.concatenate([self._ids("[IMAGE-START]"), self._vocabulary.image_ids(tokens),
                               self._ids("[IMAGE-END]")])

    def _ids(self, name: str) -> np.ndarray:
        return np.array([self._vocabulary.structure_id(name)])


def _reordered(codes: np.ndarray) -> np.ndarray:
    """Raster codes (N,) in the published order. Raises TaskError where they make no square."""
    side = math.isqrt(len(codes))
    if side * side != len(codes):
        raise TaskError(f"the published order knows square images only, got one of {len(codes)} codes")
    return codes[written_order(DRAWN_ORDER, (side, side))]

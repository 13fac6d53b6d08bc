"""Scenes to the codes of a picture by the model (3->I, or S->I where the objects' shapes are given).

The model writes codes under a grammar, so every picture is whole; the image tokenizer makes pixels of them. Scenes and
ground points are in the model's units.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch

from kyvo_ros.model.generation import generate
from kyvo_ros.model.inference import CachedDecoder
from kyvo_ros.model.tasks import check_trained
from kyvo_ros.scene import Scene
from kyvo_ros.tokens.sequences import SequenceBuilder

TASK = "3->I"


class ImageWriter:
    """A model's decoder as one who draws; `tasks` are those that it was trained for."""

    def __init__(self, decoder: CachedDecoder, builder: SequenceBuilder, tasks: Collection[str]) -> None:
        self._decoder, self._builder, self._tasks = decoder, builder, tasks

    def write(self, scenes: Sequence[Scene], cells: np.ndarray, temperature: float = 0.0, top_k: int | None = None,
              seed: int | None = None, task: str = TASK) -> np.ndarray:
        """(B, h, w) int64 codes of B scenes; `cells` (B, h*w, 2) float32 are the ground points of the picture's cells.

        `task` is 3->I or S->I. `temperature`, `top_k` and `seed` are those of `generate`. Raises UntrainedTaskError,
        GrammarError and OutOfRangeError for a scene that the model's language cannot say.
        """
        check_trained(task, self._tasks)
        prompts = [self._builder.prompt(task, scene=scene) for scene in scenes]
        codes = np.zeros((len(prompts), *self._builder.image_grid), np.int64)
        lengths = np.array([len(prompt) for prompt in prompts], np.int64)
        for length in np.unique(lengths):  # prompts of one length share a prefix
            rows = np.flatnonzero(lengths == length)
            ids = torch.from_numpy(np.stack([prompts[row].token_ids for row in rows]))
            written = generate(self._decoder, ids.to(self._decoder.device), grammar=self._builder.image_grammar,
                               cells=torch.from_numpy(cells[rows]).to(self._decoder.device),
                               prefix_length=int(length) - 1, temperature=temperature, top_k=top_k, seed=seed,
                               streams=rows.tolist())
            for row, image in zip(rows, written):
                codes[row] = self._builder.image_grammar.decode_image(image.token_ids)
        return codes

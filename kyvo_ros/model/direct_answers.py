"""Questions about an image and its scene to a word by the model itself, without a program: (I, 3, Q) -> A.

In which order image and scene stand before the question is the model's, as the task says that its folder lists. The
answer is one of a closed list of words, whatever is asked: a premise that fails is not noticed on this route.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import cached_property

import numpy as np
import torch

from kyvo_ros.model.generation import generate
from kyvo_ros.model.inference import CachedDecoder
from kyvo_ros.model.programs import SentenceError, readable
from kyvo_ros.model.tasks import check_trained
from kyvo_ros.scene import Scene
from kyvo_ros.tokens.answer_grammar import AnswerGrammar
from kyvo_ros.tokens.schema import SceneSchema
from kyvo_ros.tokens.sequences import ANSWER_TASKS, SequenceBuilder

#: Tokens of a question, with its brackets and the answer's, that a decoder has room for behind image and scene.
MAX_QUESTION_TOKENS = 72


def answer_words(schema: SceneSchema) -> tuple[str, ...]:
    """All answers: CLEVR's yes, no and counts, and the words of the schema."""
    return "yes", "no", *map(str, range(schema.max_objects + 1)), *schema.vocabulary_words()


class DirectAnswerer:
    """A model's decoder as one that answers at once; `tasks` are those that it was trained for."""

    def __init__(self, decoder: CachedDecoder, builder: SequenceBuilder, schema: SceneSchema,
                 tasks: Collection[str]) -> None:
        self._decoder, self._builder, self._schema, self._tasks = decoder, builder, schema, tasks

    @cached_property
    def _grammar(self) -> AnswerGrammar:
        return AnswerGrammar(self._builder.vocabulary, self._builder.text_tokenizer, answer_words(self._schema))

    def answer(self, question: str, scene: Scene, image_codes: np.ndarray, cells: np.ndarray) -> tuple[str, float]:
        """The word, and its probability among all words.

        Args:
            scene: in the model's units; image_codes: (h, w) of the image it was seen in; cells: (h*w, 2) ground points.

        Raises SentenceError for what is no readable question, UntrainedTaskError; GrammarError and OutOfRangeError for
        a scene that the model's language cannot say.
        """
        task = next((t for t in ANSWER_TASKS.values() if t in self._tasks), ANSWER_TASKS["image_first"])
        check_trained(task, self._tasks)
        prompt = self._builder.prompt(task, image_codes=image_codes, scene=scene,
                                      question=readable(question, "question"))
        most = self._decoder.config.max_length - self._grammar.max_length
        if len(prompt) > most:
            raise SentenceError(f"image, scene and question take {len(prompt)} tokens, more than {most}; say it shorter")
        (written,) = generate(self._decoder, torch.from_numpy(prompt.token_ids[None]).to(self._decoder.device),
                              cells=torch.from_numpy(cells[None]).to(self._decoder.device),
                              prefix_length=prompt.prefix_length, grammar=self._grammar)
        chosen = [choice.probability_of(token) for token, choice in zip(written.token_ids, written.distributions)
                  if choice is not None]
        return self._grammar.decode_answer(written.token_ids), math.prod(chosen)

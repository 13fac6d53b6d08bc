"""Sentences to programs by the model: a question to the program that answers it, an instruction to one that edits.

The model writes tokens under a grammar, so every program is well formed and well typed; what it means for a scene is
`kyvo_ros.questions`' business. A program depends on its sentence alone.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Collection, Mapping

import torch

from kyvo_ros.model.generation import generate
from kyvo_ros.model.inference import CachedDecoder
from kyvo_ros.model.tasks import check_trained
from kyvo_ros.questions import ANSWER, EDIT, RULES, Program, program_of
from kyvo_ros.tokens.program_grammar import ProgramGrammar
from kyvo_ros.tokens.sequences import SequenceBuilder
from kyvo_ros.tokens.text import TextTokenizer
from kyvo_ros.tokens.vocabulary import Vocabulary

#: A sentence of more tokens is refused, or of as many as the decoder has room for; CLEVR's longest take about 60.
MAX_SENTENCE_TOKENS = 160
#: A sentence of more characters is refused unread, since a megabyte takes ten seconds to become tokens.
MAX_SENTENCE_CHARACTERS = 4000
#: What is asked of the builder, the grammar's modality, and the nonterminal, by task.
_TASKS = {"Q->P": ("question", "program", ANSWER), "T->E": ("instruction", "edit", EDIT)}


class SentenceError(ValueError):
    """A question or an instruction cannot be read; the message says why."""


def program_grammars(vocabulary: Vocabulary, text_tokenizer: TextTokenizer) -> dict[str, ProgramGrammar]:
    """By the modalities of `tokens.sequences`: `program` and `edit`."""
    return {modality: ProgramGrammar(vocabulary, text_tokenizer, RULES, start)
            for _, modality, start in _TASKS.values()}


class ProgramWriter:
    """A model's decoder as a translator of sentences."""

    def __init__(self, decoder: CachedDecoder, builder: SequenceBuilder, grammars: Mapping[str, ProgramGrammar],
                 tasks: Collection[str]) -> None:
        """`grammars` as `program_grammars` makes them; `tasks` are those that the decoder was trained for."""
        self._decoder, self._builder, self._grammars, self._tasks = decoder, builder, grammars, tasks

    def write(self, task: str, sentence: str) -> tuple[Program, float]:
        """The program of a question (`Q->P`) or an instruction (`T->E`), and its probability.

        Raises SentenceError for what is no readable sentence, UntrainedTaskError.
        """
        check_trained(task, self._tasks)
        field, modality, start = _TASKS[task]
        grammar, text = self._grammars[modality], readable(sentence, field)
        prompt = self._builder.prompt(task, **{field: text})
        most = min(MAX_SENTENCE_TOKENS, self._decoder.config.max_length - grammar.max_length)
        if len(prompt) > most:
            raise SentenceError(f"the {field} takes {len(prompt)} tokens, more than {most}; say it shorter")
        ids = torch.from_numpy(prompt.token_ids).unsqueeze(0)
        (written,) = generate(self._decoder, ids.to(self._decoder.device), prefix_length=prompt.prefix_length,
                              grammar=grammar)
        chosen = [choice.probability_of(token) for token, choice in zip(written.token_ids, written.distributions)
                  if choice is not None]
        return program_of(grammar.decode_program(written.token_ids), start), math.prod(chosen)


def readable(sentence: str, what: str) -> str:
    """The sentence without control characters and doubled spaces.

    Raises SentenceError where nothing is left, or the sentence is too long.
    """
    if not isinstance(sentence, str):
        raise SentenceError(f"expected the {what} as text, got {type(sentence).__name__}")
    if len(sentence) > MAX_SENTENCE_CHARACTERS:
        raise SentenceError(f"the {what} has {len(sentence)} characters, more than {MAX_SENTENCE_CHARACTERS}; say it "
                            "shorter")
    shown = "".join(" " if unicodedata.category(c).startswith("C") else c for c in sentence)
    text = " ".join(shown.split())
    if not text:
        raise SentenceError(f"the {what} is empty")
    return text

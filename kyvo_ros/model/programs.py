"""The grammars of the programs that a model writes: those that answer questions, and those that edit scenes."""

from __future__ import annotations

from kyvo_ros.questions import ANSWER, EDIT, RULES
from kyvo_ros.tokens.program_grammar import ProgramGrammar
from kyvo_ros.tokens.text import TextTokenizer
from kyvo_ros.tokens.vocabulary import Vocabulary


def program_grammars(vocabulary: Vocabulary, text_tokenizer: TextTokenizer) -> dict[str, ProgramGrammar]:
    """By the modalities of `tokens.sequences`: `program` and `edit`."""
    return {modality: ProgramGrammar(vocabulary, text_tokenizer, RULES, start)
            for modality, start in (("program", ANSWER), ("edit", EDIT))}

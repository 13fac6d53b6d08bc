"""The language of a model: vocabulary, number grids, scene grammar, task sequences (numpy and tokenizers only)."""

from kyvo_ros.tokens.automaton import GrammarError, State
from kyvo_ros.tokens.distribution import TokenDistribution
from kyvo_ros.tokens.grid import NumberGrid, NumberList, OutOfRangeError
from kyvo_ros.tokens.image_grammar import ImageGrammar
from kyvo_ros.tokens.image_orders import ORDERS, ImageOrderError, place_in_order, written_order
from kyvo_ros.tokens.program_grammar import ProgramGrammar, ProgramState
from kyvo_ros.tokens.scene_grammar import SceneGrammar
from kyvo_ros.tokens.schema import (
    CLEVR_SCHEMA, DimensionsAttribute, ExtentTable, LocationAttribute, SceneSchema, SchemaError, ShapeAttribute,
    WordAttribute, YawAttribute)
from kyvo_ros.tokens.sequences import TASKS, Segment, Sequence, SequenceBuilder, TaskError
from kyvo_ros.tokens.text import (
    LANGUAGE_WORDS, TextTokenizer, TextTokenizerError, corpus_from_questions, train_text_tokenizer)
from kyvo_ros.tokens.vocabulary import MODALITIES, Vocabulary, VocabularyError

__all__ = [
    "CLEVR_SCHEMA", "DimensionsAttribute", "ExtentTable", "GrammarError", "ImageGrammar", "ImageOrderError",
    "LANGUAGE_WORDS", "LocationAttribute", "MODALITIES", "NumberGrid", "NumberList", "ORDERS", "OutOfRangeError",
    "ProgramGrammar", "ProgramState", "SceneGrammar", "SceneSchema", "SchemaError", "Segment", "Sequence",
    "SequenceBuilder", "ShapeAttribute", "State", "TASKS", "TaskError", "TextTokenizer", "TextTokenizerError",
    "TokenDistribution", "Vocabulary", "VocabularyError", "WordAttribute", "YawAttribute", "corpus_from_questions",
    "place_in_order", "train_text_tokenizer", "written_order",
]

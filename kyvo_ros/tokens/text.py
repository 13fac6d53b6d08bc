"""Text to ids and back: a thin wrapper of a `tokenizers.Tokenizer`, and the training of a small one.

The small tokenizer is a byte-level BPE, so that no text is unknown to it. Words of the scene language are single ids,
with the same id wherever they stand, because every word carries its leading space (as ` large` does in the
published sequences). Text ids are the first range of the vocabulary, so they need no offset.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

#: How often each single-id word is shown to the trainer, so that its merges come first.
_WORD_REPEATS = 1000

#: Words, besides those of a schema, that questions, instructions, answers and programs are made of.
LANGUAGE_WORDS = tuple(" ".join((
    "big tiny metallic shiny matte block blocks ball balls cubes spheres cylinders object objects thing things",
    "what is are there how many number of the a an any other another same as does do have has it its that which equal",
    "more fewer less than greater or and both either not in on at to side made color size material shape",
    "left right front behind between near nearest far",
    "yes no 0 1 2 3 4 5 6 7 8 9 10",
    "move add remove place put change rotate turn make replace by with from into degrees forward backward",
    "scene filter unique relate count exist query union intersect",
    "camera where distance within extent farthest largest smallest unknown 11 12 13 14 15 16 17 18 19 20",
)).split())


class TextTokenizerError(ValueError):
    """A text tokenizer is broken or does not hold a word as a single id."""


class TextTokenizer:
    """Text to ids and back."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._adds_space = getattr(tokenizer.pre_tokenizer, "add_prefix_space", False)

    @property
    def size(self) -> int:
        """Number of ids, 0 .. size - 1."""
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Ids of a text; inverse of `decode`."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; inverse of `encode`, up to one space at the very start of a text."""
        text = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return text[1:] if self._adds_space and text.startswith(" ") else text

    def word_id(self, word: str) -> int:
        """The single id of a word inside a text. Raises TextTokenizerError where it takes more than one."""
        ids = self.encode(f" {word}")
        if len(ids) != 1:
            raise TextTokenizerError(
                f"expected {word!r} to be a single text token, got {len(ids)}; train the text tokenizer with it")
        return ids[0]

    def with_words(self, words: Iterable[str]) -> TextTokenizer:
        """A copy in which these words are single ids too; new ids follow the old ones, which keep their meaning.

        The pieces of a new word are merged one after the other, behind all older merges. Raises TextTokenizerError
        for a tokenizer that is no BPE, and for a word that its rules take apart before any merge.
        """
        grown = self
        for word in words:
            pieces = grown._pieces(word)
            while len(pieces) > 1:
                grown = grown._merging(pieces[0], pieces[1])
                before, pieces = pieces, grown._pieces(word)
                if len(pieces) >= len(before):
                    raise TextTokenizerError(f"{word!r} cannot be a single text token, since the tokenizer takes it "
                                             f"apart behind {before[0]!r}; use a word of letters only")
        return grown

    def _pieces(self, word: str) -> list[str]:
        return self._tokenizer.encode(f" {word}", add_special_tokens=False).tokens

    def _merging(self, first: str, second: str) -> TextTokenizer:
        """A copy that writes two neighbouring pieces as one."""
        document = json.loads(self._tokenizer.to_str())
        model = document["model"]
        if model["type"] != "BPE":
            raise TextTokenizerError(f"expected a tokenizer of type BPE to add words to, got {model['type']}")
        model["vocab"].setdefault(first + second, self.size)
        model["merges"].append([first, second])
        return TextTokenizer(tokenizers.Tokenizer.from_str(json.dumps(document)))

    def same_as(self, other: TextTokenizer) -> bool:
        """Whether both give the same ids."""
        return self.to_str() == other.to_str()

    def to_str(self) -> str:
        """What tokenizer.json holds."""
        return self._tokenizer.to_str()

    def save(self, path: str | Path) -> None:
        """Write tokenizer.json; inverse of `load`."""
        self._tokenizer.save(str(path))

    @classmethod
    def load(cls, path: str | Path) -> TextTokenizer:
        """Read tokenizer.json; inverse of `save`. Raises FileNotFoundError, TextTokenizerError for a broken file."""
        text = Path(path).read_text(encoding="utf-8")
        try:
            return cls(tokenizers.Tokenizer.from_str(text))
        except Exception as error:  # the library raises bare Exception
            raise TextTokenizerError(f"{path} is not a tokenizer.json: {error}") from error


def train_text_tokenizer(corpus: Iterable[str], words: Sequence[str], size: int = 1024) -> TextTokenizer:
    """A byte-level BPE of at most `size` ids in which each of `words` is a single id.

    Deterministic for the same corpus and words. With an empty corpus it knows the words and spells out the rest.
    Raises TextTokenizerError where `size` is too small for the words.
    """
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    repeated = " ".join(words)
    tokenizer.train_from_iterator(itertools.chain(corpus, itertools.repeat(repeated, _WORD_REPEATS)), trainer)
    trained = TextTokenizer(tokenizer)
    for word in words:
        trained.word_id(word)  # raises
    return trained


def corpus_from_questions(path: str | Path) -> list[str]:
    """The questions and answers of a CLEVR `questions.json`, as a corpus."""
    questions = json.loads(Path(path).read_text(encoding="utf-8"))["questions"]
    return [text for q in questions for text in (q["question"], q["answer"])]

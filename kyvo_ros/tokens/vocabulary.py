"""The one id space of a model: text, numbers, structure tokens, image codes and shape codes tile it in this order.

Nobody else computes an id. A vocabulary knows neither words (see `text`) nor which token may follow which (see
`scene_grammar`). Source: Kyvo (arXiv 2506.08002): 128,256 Llama text ids + 121 numbers + 14 structure tokens + 1,024
image codes + 8,192 shape codes = 137,607.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kyvo_ros.tokens.grid import NumberGrid, NumberList

#: The ranges, in the order in which they tile the id space.
MODALITIES = ("text", "numbers", "structure", "image", "shape")

#: Structure tokens of the small preset; later tasks find theirs reserved, so that nothing is ever renumbered.
_SMALL_STRUCTURE = (
    "[PAD]", "[BOS]", "[EOS]", "[IMAGE-START]", "[IMAGE-END]", "[SCENE-START]", "[SCENE-END]", "[OBJECT-START]",
    "[OBJECT-END]", "[OUTPUT-SEP]", "[SIZE]", "[COLOR]", "[MATERIAL]", "[SHAPE]", "[LOCATION]", "[POSE]", "[TYPE]",
    "[DIMENSIONS]", "[CAMERA]", "[TEXT-START]", "[TEXT-END]", "[PROGRAM-START]", "[PROGRAM-END]", "[SHAPE-START]",
    "[SHAPE-END]", "[QUESTION]", "[ANSWER]", "[INSTRUCTION]", "[MASK]",
)
_SMALL_STRUCTURE_COUNT = 64
#: Of the small preset's numbers, in scene units; the paper's best.
SMALL_NUMBER_STEP = 0.05

#: In the order of the published tokenizer, which calls the last one [OUTPUT-START].
_PAPER_STRUCTURE = (
    "[SCENE-START]", "[SCENE-END]", "[OBJECT-START]", "[OBJECT-END]", "[SIZE]", "[COLOR]", "[MATERIAL]", "[SHAPE]",
    "[LOCATION]", "[IMAGE-START]", "[IMAGE-END]", "[TEXT-START]", "[TEXT-END]", "[OUTPUT-SEP]",
)
#: In the order of the published Objectron tokenizer. No token has the last id; the model has a row for it all the same.
_OBJECTRON_STRUCTURE = (
    "[SCENE-START]", "[SCENE-END]", "[OBJECT-START]", "[OBJECT-END]", "[CATEGORY]", "[CENTER_CAM]", "[DIMENSIONS]",
    "[IMAGE-START]", "[IMAGE-END]", "[TEXT-START]", "[TEXT-END]", "[OUTPUT-SEP]", "[UNUSED]",
)
#: Hundredths of a metre: fine steps near zero, coarse ones far away.
_OBJECTRON_NUMBERS = (*range(-20, 20), *range(20, 300, 5), 300, *range(500, 2000, 250))
#: Llama 3 keeps these among its text ids.
_LLAMA_TEXT_SIZE = 128256
_LLAMA_NAMES = (("[BOS]", 128000), ("[EOS]", 128001), ("[PAD]", 128004))


class VocabularyError(ValueError):
    """An id, code or name does not belong to the vocabulary."""


@dataclass(frozen=True)
class Vocabulary:
    """Sizes and names of the five ranges."""

    text_size: int  # ids of the text tokenizer, 0 .. text_size - 1
    numbers: NumberGrid | NumberList  # values that a model can write
    structure: tuple[str, ...]  # names of the structure tokens, in order of their ids
    image_codes: int  # size of the image codebook
    shape_codes: int = 0  # size of the shape codebook; the last range, so that it can grow without renumbering
    text_names: tuple[tuple[str, int], ...] = ()  # structure tokens that live among the text ids, as Llama's [BOS]

    def __post_init__(self) -> None:
        if self.text_size < 0 or self.image_codes < 0 or self.shape_codes < 0:
            raise VocabularyError(f"sizes of ranges must not be negative, got {self}")
        object.__setattr__(self, "structure", tuple(self.structure))
        object.__setattr__(self, "text_names", tuple((name, int(i)) for name, i in self.text_names))
        names = [*self.structure, *(name for name, _ in self.text_names)]
        if len(names) != len(set(names)):
            raise VocabularyError(f"names of structure tokens must be unique, got {names}")
        if any(not 0 <= i < self.text_size for _, i in self.text_names):
            raise VocabularyError(f"text_names must point into the {self.text_size} text ids, got {self.text_names}")

    @classmethod
    def paper(cls) -> Vocabulary:
        """The paper's 137,607 ids."""
        return cls(_LLAMA_TEXT_SIZE, NumberGrid(-3.0, 3.0, 0.05), _PAPER_STRUCTURE, 1024, 8192, _LLAMA_NAMES)

    @classmethod
    def published_clevr(cls, image_codes: int = 1024) -> Vocabulary:
        """The 130,495 ids of the published CLEVR and ObjaWorld code: numbers in steps of 0.005, no shape codes."""
        return cls(_LLAMA_TEXT_SIZE, NumberGrid(-3.0, 3.0, 0.005), _PAPER_STRUCTURE, image_codes, 0, _LLAMA_NAMES)

    @classmethod
    def published_objectron(cls, image_codes: int = 1024) -> Vocabulary:
        """The 129,396 ids of the published Omni3D-Objectron code: 103 numbers from -0.2 to 17.5 m.

        The published model counts one number too many, which changes how ids are embedded, not which there are.
        """
        numbers = NumberList(tuple(n / 100 for n in _OBJECTRON_NUMBERS))
        return cls(_LLAMA_TEXT_SIZE, numbers, _OBJECTRON_STRUCTURE, image_codes, 0, _LLAMA_NAMES)

    @classmethod
    def small(cls, image_codes: int = 1024, shape_codes: int = 0,
              number_step: float = SMALL_NUMBER_STEP) -> Vocabulary:
        """The one of the shipped models, 2,313 ids with 1,024 image codes and no shape codes.

        CLEVR reaches 4.25 in the support-plane frame; a camera that aims beside its centre reaches further.
        """
        spare = (f"[RESERVED-{i}]" for i in range(len(_SMALL_STRUCTURE), _SMALL_STRUCTURE_COUNT))
        return cls(1024, NumberGrid(-5.0, 5.0, number_step), (*_SMALL_STRUCTURE, *spare), image_codes, shape_codes)

    @cached_property
    def _ranges(self) -> dict[str, range]:
        sizes = (self.text_size, self.numbers.count, len(self.structure), self.image_codes, self.shape_codes)
        stops = np.cumsum(sizes).tolist()
        return {name: range(stop - size, stop) for name, size, stop in zip(MODALITIES, sizes, stops)}

    @cached_property
    def _structure_ids(self) -> dict[str, int]:
        return {**dict(self.text_names), **dict(zip(self.structure, self._ranges["structure"]))}

    @property
    def size(self) -> int:
        """Number of ids."""
        return self._ranges[MODALITIES[-1]].stop

    def range(self, modality: str) -> range:
        """The ids of one of MODALITIES."""
        if modality not in self._ranges:
            raise VocabularyError(f"expected a modality of {MODALITIES}, got {modality!r}")
        return self._ranges[modality]

    def modality_of(self, ids: np.ndarray) -> np.ndarray:
        """The modality's name, array of str (...), of each of `ids` (...). Raises VocabularyError."""
        ids = np.asarray(ids)
        if ids.size and not ((ids >= 0) & (ids < self.size)).all():
            raise VocabularyError(f"expected ids from 0 to {self.size - 1}, got {ids}")
        stops = [self._ranges[name].stop for name in MODALITIES]
        return np.asarray(MODALITIES)[np.searchsorted(stops, ids, side="right")]

    def structure_id(self, name: str) -> int:
        """Id of a structure token by its name, such as `[SCENE-START]`. Raises VocabularyError."""
        if name not in self._structure_ids:
            raise VocabularyError(f"no structure token {name!r}; this vocabulary has {sorted(self._structure_ids)}")
        return self._structure_ids[name]

    def number_ids(self, values: np.ndarray, out_of_range: str = "error") -> np.ndarray:
        """Ids (...) of the grid numbers nearest to `values` (...); inverse of `numbers_of`. Raises OutOfRangeError."""
        return self._ranges["numbers"].start + self.numbers.index_of(values, out_of_range)

    def numbers_of(self, ids: np.ndarray) -> np.ndarray:
        """Values (...) of number ids (...), float64; inverse of `number_ids`. Raises VocabularyError."""
        return self.numbers.value_of(self._offsets(ids, "numbers"))

    def image_ids(self, codes: np.ndarray) -> np.ndarray:
        """Ids (...) of image codes (...); inverse of `image_codes_of`. Raises VocabularyError."""
        return self._shifted(codes, "image")

    def image_codes_of(self, ids: np.ndarray) -> np.ndarray:
        """Image codes (...) of ids (...); inverse of `image_ids`. Raises VocabularyError."""
        return self._offsets(ids, "image")

    def shape_ids(self, codes: np.ndarray) -> np.ndarray:
        """Ids (...) of shape codes (...); inverse of `shape_codes_of`. Raises VocabularyError."""
        return self._shifted(codes, "shape")

    def shape_codes_of(self, ids: np.ndarray) -> np.ndarray:
        """Shape codes (...) of ids (...); inverse of `shape_ids`. Raises VocabularyError."""
        return self._offsets(ids, "shape")

    def _shifted(self, codes: np.ndarray, modality: str) -> np.ndarray:
        codes, ids = np.asarray(codes, dtype=np.int64), self._ranges[modality]
        if codes.size and not ((codes >= 0) & (codes < len(ids))).all():
            raise VocabularyError(f"expected {modality} codes from 0 to {len(ids) - 1}, got {codes}")
        return codes + ids.start

    def _offsets(self, token_ids: np.ndarray, modality: str) -> np.ndarray:
        token_ids, ids = np.asarray(token_ids, dtype=np.int64), self._ranges[modality]
        if token_ids.size and not ((token_ids >= ids.start) & (token_ids < ids.stop)).all():
            raise VocabularyError(f"expected {modality} ids from {ids.start} to {ids.stop - 1}, got {token_ids}")
        return token_ids - ids.start

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; inverse of `from_dict`."""
        return {
            "text_size": self.text_size,
            "numbers": asdict(self.numbers),
            "structure": list(self.structure),
            "image_codes": self.image_codes,
            "shape_codes": self.shape_codes,
            "text_names": [list(pair) for pair in self.text_names],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Vocabulary:
        """Inverse of `to_dict`."""
        kind = NumberList if "entries" in data["numbers"] else NumberGrid
        return cls(**{**data, "numbers": kind(**data["numbers"])})

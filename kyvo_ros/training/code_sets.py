"""What the decoder is trained on: images as codes, their cells, and the target tokens of I->3, encoded once and kept.

Images are encoded once; every further epoch costs the decoder alone. Knows no loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from kyvo_ros.autoencoders.canonical import CanonicalCamera
from kyvo_ros.autoencoders.folding import folded
from kyvo_ros.autoencoders.image_tokenizer import ImageTokenizer, images_to_tensor
from kyvo_ros.data.arrays import write_arrays
from kyvo_ros.data.examples import ExampleSet
from kyvo_ros.scene import Scene, SceneObject
from kyvo_ros.tokens.scene_grammar import SceneGrammar
from kyvo_ros.tokens.schema import Attribute, DimensionsAttribute, LocationAttribute, SceneSchema, YawAttribute
from kyvo_ros.tokens.sequences import SequenceBuilder
from kyvo_ros.tokens.text import TextTokenizer
from kyvo_ros.tokens.vocabulary import Vocabulary
from kyvo_ros.training import distributed
from kyvo_ros.training.dense_head import word_values
from kyvo_ros.training.worker_rows import rows_of_parts

#: Sequences that a worker process writes at a time.
TARGETS_A_TASK = 500


@dataclass(frozen=True, eq=False)
class CodeSet:
    """Sequences of one task, encoded once; L is the longest target."""

    codes: np.ndarray  # (N, cells) int16 image codes
    cells: np.ndarray  # (N, cells, 2) float32 ground points of the cells
    targets: np.ndarray  # (N, L) int16 token ids behind the prompt, padded with [PAD]
    worth: np.ndarray  # (N, L) bool, where another token would have been possible
    values: np.ndarray  # (N, L) float32 true value of each number token, NaN elsewhere
    length: np.ndarray  # (N,) int64 tokens of the target
    truth: ExampleSet  # the examples without their pixels

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: slice | np.ndarray) -> CodeSet:
        return CodeSet(*(getattr(self, f.name)[rows] for f in fields(self)))

    def save(self, path: Path) -> None:
        """Write an .npz; inverse of `load`."""
        own = {name: value for name, value in vars(self).items() if name != "truth"}
        truth = {f"truth_{name}": value for name, value in vars(self.truth).items()}
        write_arrays(path, **own, **truth)

    @classmethod
    def load(cls, path: Path) -> CodeSet:
        with np.load(path) as arrays:
            truth = ExampleSet.from_arrays(arrays, "truth_")
            return cls(**{f.name: arrays[f.name] for f in fields(cls) if f.name != "truth"}, truth=truth)


@dataclass(frozen=True, eq=False)
class TargetWriter:
    """Writes the target tokens of I->3; it travels to worker processes, where it builds its grammar."""

    vocabulary: Vocabulary
    text_tokenizer: TextTokenizer
    schema: SceneSchema

    @cached_property
    def _grammar(self) -> SceneGrammar:
        return SceneGrammar(self.vocabulary, self.text_tokenizer, self.schema)

    def __call__(self, truth: ExampleSet) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """For each example ids (T,), loss mask (T,), and the values (T,) of numbers before rounding, NaN elsewhere."""
        builder = SequenceBuilder(self.vocabulary, self._grammar, self.text_tokenizer, (1, 1))
        words, numbers = word_values(self.schema), self.vocabulary.range("numbers")
        rows = []
        for i in range(len(truth)):
            scene = truth.scene(i, words)
            ids, worth = builder.target("I->3", scene=scene)
            values = np.full(len(ids), np.nan, np.float32)
            values[worth & (ids >= numbers.start) & (ids < numbers.stop)] = number_values(scene, self._grammar)
            rows.append((ids, worth, values))
        return rows


def encode_examples(examples: ExampleSet, tokenizer: ImageTokenizer, writer: TargetWriter,
                    canonical: CanonicalCamera, device: torch.device, workers: int = 1) -> CodeSet:
    """Codes and target tokens of all examples of a set; see `encode_images`."""
    codes = encode_images(examples.images, tokenizer, device)
    return code_set(examples.without_images(), codes, tokenizer.grid, writer, canonical, workers)


def code_set(truth: ExampleSet, codes: np.ndarray, grid: tuple[int, int], writer: TargetWriter,
             canonical: CanonicalCamera, workers: int = 1) -> CodeSet:
    """Of examples without their images, whose codes (N, cells) are known."""
    cells = np.stack([canonical.zoomed(truth.zoom(i)).cells(truth.plane_camera(i), grid) for i in range(len(truth))])
    return CodeSet(codes, cells, truth=truth, **written_targets(truth, writer, workers))


def written_targets(truth: ExampleSet, writer: TargetWriter, workers: int = 1) -> dict[str, np.ndarray]:
    """What a `CodeSet` holds of the targets of its examples, by name."""
    ids, worth, values = zip(*_write_targets(writer, truth, workers))
    return {"targets": _padded(ids, writer.vocabulary.structure_id("[PAD]"), np.int16),
            "worth": _padded(worth, False, bool), "values": _padded(values, np.nan, np.float32),
            "length": np.array([len(row) for row in ids])}


@torch.no_grad()
def encode_images(images: np.ndarray, tokenizer: ImageTokenizer, device: torch.device) -> np.ndarray:
    """(N, h, w, 3) uint8 -> (N, cells) int16 codes. Training processes share the work, so all have to call it, with
    the same images.
    """
    tokenizer, images = folded(tokenizer), images[distributed.own_part(len(images))]
    batch = 4 if device.type == "cpu" else 64  # a CPU's caches hold no more
    codes = np.empty((len(images), math.prod(tokenizer.grid)), np.int16)  # small tensors kept would break up the heap
    for i in tqdm(range(0, len(images), batch), desc="codes", unit="batch", mininterval=5):
        part = np.ascontiguousarray(images[i:i + batch])  # mirrored ones run backwards
        codes[i:i + batch] = tokenizer.encode(images_to_tensor(part).to(device)).flatten(1).cpu().numpy()
    return distributed.gathered(codes)


def _write_targets(writer: TargetWriter, truth: ExampleSet, workers: int) -> list[tuple]:
    parts = [truth[i:i + TARGETS_A_TASK] for i in range(0, len(truth), TARGETS_A_TASK)]
    return rows_of_parts(writer, parts, workers, "sequences", f"{TARGETS_A_TASK} sequences")


def _padded(rows: Sequence[np.ndarray], value: float, dtype: type) -> np.ndarray:
    """(N, L) from rows of up to L entries, `value` behind their ends."""
    out = np.full((len(rows), max(map(len, rows))), value, dtype)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


def number_values(scene: Scene, grammar: SceneGrammar) -> list[float]:
    """The numbers that a scene's tokens stand for, before rounding, in the order of the tokens that have a choice."""
    return [value for item in grammar.schema.sorted_objects(scene) for attribute in grammar.schema.attributes
            for value in _values_of(item, attribute, grammar.schema)]


def _values_of(item: SceneObject, attribute: Attribute, schema: SceneSchema) -> list[float]:
    """The numbers that an attribute says of an object, where there is a choice."""
    if isinstance(attribute, LocationAttribute):
        return (item.position_m / schema.metres_per_unit)[: 2 if attribute.resting else 3].tolist()
    if isinstance(attribute, DimensionsAttribute):
        return (item.size_m / schema.metres_per_unit).tolist()
    if isinstance(attribute, YawAttribute) and schema.shows_yaw(item.attributes):
        low, _ = attribute.span_rad
        return [float((item.yaw_rad - low) % attribute.period_rad + low)]
    return []

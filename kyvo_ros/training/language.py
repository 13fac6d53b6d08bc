"""Training the decoder to read a scene from image codes (I->3), programs from sentences (see `programs`), and to draw
(see `rendering`).

Loss lies only where the grammar leaves a choice. In training alone, a dense head reads the states of the image tokens
in the middle of the body (`dense_head`): what stands in each cell is learned there at once for all objects, so that the
tokens of the scene only have to learn where to look. The label of a number is a bell over the neighbouring numbers
round the true value, so that near misses cost little and the expectation over neighbours falls between the grid's
steps. Images are encoded once; every further epoch costs the decoder alone. It knows no pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from functools import cached_property, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from kyvo_ros.autoencoders.canonical import CanonicalCamera
from kyvo_ros.autoencoders.folding import folded
from kyvo_ros.autoencoders.image_tokenizer import ImageTokenizer, images_to_tensor
from kyvo_ros.data.arrays import write_arrays
from kyvo_ros.data.examples import ExampleSet
from kyvo_ros.evaluation.jaccard import jaccard_index
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.generation import generate
from kyvo_ros.scene import Scene, SceneObject
from kyvo_ros.tokens.program_grammar import ProgramGrammar
from kyvo_ros.tokens.scene_grammar import SceneGrammar
from kyvo_ros.tokens.schema import Attribute, DimensionsAttribute, LocationAttribute, SceneSchema, YawAttribute
from kyvo_ros.tokens.sequences import SequenceBuilder
from kyvo_ros.tokens.text import TextTokenizer
from kyvo_ros.tokens.vocabulary import Vocabulary
from kyvo_ros.training.answering import AnswerLesson
from kyvo_ros.training.dense_head import DenseHead, dense_loss, dense_targets, word_values, yaw_turns
from kyvo_ros.training.programs import SENTENCES_FOR_AN_IMAGE, SentenceSet, exact_programs, sentence_loss
from kyvo_ros.training.rendering import CYCLED, DrawingLesson, cycle_scores, shows_objects
from kyvo_ros.training.shape_lesson import ShapeLesson

#: Sequences of one batch are neighbours in length among this many batches' worth, so that little of it is padding.
BUCKET = 6
#: Sequences that a worker process writes at a time.
TARGETS_A_TASK = 500
#: Cameras whose distance and elevation differ from the nominal ones by less than this share are ordinary.
ORDINARY = 0.15


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
    """Codes and target tokens of all examples of a set."""
    truth = examples.without_images()
    cells = np.stack([canonical.zoomed(truth.zoom(i)).cells(truth.plane_camera(i), tokenizer.grid)
                      for i in range(len(truth))])
    return CodeSet(_encode(examples.images, tokenizer, device), cells, truth=truth,
                   **written_targets(truth, writer, workers))


def written_targets(truth: ExampleSet, writer: TargetWriter, workers: int = 1) -> dict[str, np.ndarray]:
    """What a `CodeSet` holds of the targets of its examples, by name."""
    ids, worth, values = zip(*_write_targets(writer, truth, workers))
    return {"targets": _padded(ids, writer.vocabulary.structure_id("[PAD]"), np.int16),
            "worth": _padded(worth, False, bool), "values": _padded(values, np.nan, np.float32),
            "length": np.array([len(row) for row in ids])}


@torch.no_grad()
def _encode(images: np.ndarray, tokenizer: ImageTokenizer, device: torch.device) -> np.ndarray:
    """(N, h, w, 3) uint8 -> (N, cells) int16 codes."""
    tokenizer = folded(tokenizer)
    batch = 4 if device.type == "cpu" else 64  # a CPU's caches hold no more
    codes = np.empty((len(images), math.prod(tokenizer.grid)), np.int16)  # small tensors kept would break up the heap
    for i in tqdm(range(0, len(images), batch), desc="codes", unit="batch", mininterval=5):
        codes[i:i + batch] = tokenizer.encode(images_to_tensor(images[i:i + batch]).to(device)).flatten(1).cpu().numpy()
    return codes


def _write_targets(writer: TargetWriter, truth: ExampleSet, workers: int) -> list[tuple]:
    parts = [truth[i:i + TARGETS_A_TASK] for i in range(0, len(truth), TARGETS_A_TASK)]
    bar = partial(tqdm, total=len(parts), desc="sequences", unit=f"{TARGETS_A_TASK} sequences", mininterval=5)
    if workers < 2 or len(parts) < 2:
        return [row for part in bar(parts) for row in writer(part)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return [row for rows in bar(pool.map(writer, parts)) for row in rows]


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


class LanguageModel(nn.Module):
    """A decoder with the dense head that helps to train it."""

    def __init__(self, decoder: Decoder, schema: SceneSchema) -> None:
        super().__init__()
        self.decoder = decoder
        self.dense_head = DenseHead(decoder.config.dim, [len(v) for v in word_values(schema).values()], width=48)
        self._middle: list[Tensor] = []
        middle = decoder.blocks[len(decoder.blocks) // 2 - 1]
        middle.register_forward_hook(lambda block, inputs, states: self._middle.append(states))

    def hidden(self, token_ids: Tensor, cells: Tensor, prefix_length: int) -> tuple[Tensor, Tensor]:
        """States (B, S - prefix_length, D) from [OUTPUT-SEP] on, and (B, h, w, D) of the image in mid-body."""
        self._middle.clear()
        hidden = self.decoder.hidden(token_ids, cells=cells, prefix_length=prefix_length, start=prefix_length)
        rows, columns = self.decoder.config.image_grid
        image = self._middle.pop()[:, prefix_length - 1 - rows * columns: prefix_length - 1]  # [IMAGE-END] is behind it
        return hidden, image.unflatten(1, (rows, columns))


@dataclass(frozen=True, eq=False)
class LanguageStage:
    """Stage `decoder`: loss on batches of codes, and the score of real generation on held-out renders."""

    model: LanguageModel
    grammar: SceneGrammar
    builder: SequenceBuilder
    synthetic: CodeSet | None
    renders: CodeSet | None
    held_out: CodeSet
    held_out_scenes: list[Scene]
    render_ratio: float
    batch_size: int
    label_sigma: float  # in steps of the number grid
    dense_weight: float  # of the dense head's loss; 0 leaves it out
    camera_dropout: float  # share of ordinary cameras that are given as the nominal one
    sentences: SentenceSet | None  # sentences with programs
    held_out_sentences: Mapping[str, tuple[SentenceSet, ProgramGrammar]]  # to score, by name
    sentence_ratio: float  # share of batches that are sentences
    drawing: DrawingLesson | None  # where the decoder also learns to draw
    rendering_ratio: float  # share of batches that are scenes to draw
    canonical: CanonicalCamera
    device: torch.device
    answers: AnswerLesson | None = None  # where the decoder also learns to answer at once
    answer_ratio: float = 0.0  # share of batches that are questions to answer
    shapes: ShapeLesson | None = None  # where objects have codes of shapes

    def loss_of(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        share = rng.random()
        if self.sentences is not None and share < self.sentence_ratio:
            rows = self.sentences.draw(SENTENCES_FOR_AN_IMAGE * self.batch_size, rng)
            loss = sentence_loss(self.model.decoder, self.sentences, rows, self.device)
            return loss, {"sentences": float(loss.detach())}
        if self.answers is not None and share > 1 - self.answer_ratio:
            loss = self.answers.loss(self.model.decoder, self.batch_size, rng)
            return loss, {"answers": float(loss.detach())}
        source = self._source(rng)
        if self.shapes is not None and share >= 1 - self.shapes.shares.total:
            return self.shapes.loss_of(self.model.decoder, source, rng)
        if self.drawing is not None and share < self.sentence_ratio + self.rendering_ratio:
            return self._drawing_loss(source, rng)
        return self._scene_loss(source, rng)

    def _source(self, rng: np.random.Generator) -> CodeSet:
        use_renders = self.synthetic is None or (self.renders is not None and rng.random() < self.render_ratio)
        return self.renders if use_renders else self.synthetic

    def _scene_loss(self, source: CodeSet, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = self._rows_of_like_length(source, rng)
        longest = int(source.length[rows].max())
        prompt = self._prompts(source.codes[rows])
        targets = torch.as_tensor(source.targets[rows, :longest].astype(np.int64))
        ids = torch.cat([prompt, targets], dim=1).to(self.device)
        cells = torch.as_tensor(self._cells(source, rows, rng)).to(self.device)
        hidden, image = self.model.hidden(ids[:, :-1], cells, prompt.shape[1] - 1)
        worth = torch.as_tensor(source.worth[rows, :longest]).to(self.device)
        logits = self.model.decoder.logits(hidden[worth])
        values = torch.as_tensor(source.values[rows, :longest]).to(self.device)[worth]
        words, numbers = self._losses(logits, targets.to(self.device)[worth], values, self._after_pose(targets)[worth])
        total = torch.cat([words, numbers]).mean()
        logged = {"words": float(words.detach().mean())}
        if len(numbers):
            logged["numbers"] = float(numbers.detach().mean())
        if not self.dense_weight:
            return total, logged
        dense = self._dense_loss(image, source.truth[rows])
        return total + self.dense_weight * dense, {**logged, "dense": float(dense.detach())}

    def _drawing_loss(self, source: CodeSet, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        if self.renders is not None and not shows_objects(source):  # without ray-cast scenes only backgrounds are left
            source = self.renders
        rows = self.drawing.draw(source, self.batch_size, rng)
        loss = self.drawing.loss(self.model.decoder, source, rows, rng)
        return loss, {"drawing": float(loss.detach())}

    def _cells(self, source: CodeSet, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(B, cells, 2) ground points; some cameras that stand about where the nominal one does are taken for it.

        So the model learns what to make of an image whose camera nobody knows.
        """
        cells = source.cells[rows]
        distance, elevation, zoom = (source.truth.camera[rows] / [self.canonical.nominal_distance,
                                                                  self.canonical.nominal_elevation_rad, 1.0]).T
        ordinary = (np.abs(distance - 1) < ORDINARY) & (np.abs(elevation - 1) < ORDINARY) & (zoom == 1.0)
        dropped = ordinary & (rng.random(len(rows)) < self.camera_dropout)
        cells[dropped] = self.canonical.cells(None, self.model.decoder.config.image_grid)
        return cells

    def _dense_loss(self, image: Tensor, truth: ExampleSet) -> Tensor:
        targets = dense_targets(truth, self.canonical, tuple(image.shape[1:3]), yaw_turns(self.grammar.schema))
        return dense_loss(self.model.dense_head(image), targets.tensors(self.device))

    def _rows_of_like_length(self, source: CodeSet, rng: np.random.Generator) -> np.ndarray:
        """Uniform over the set in the long run."""
        drawn = rng.integers(len(source), size=BUCKET * self.batch_size)
        drawn = drawn[np.argsort(source.length[drawn], kind="stable")]
        part = int(rng.integers(BUCKET)) * self.batch_size
        return drawn[part: part + self.batch_size]

    def _prompts(self, codes: np.ndarray) -> Tensor:
        """(B, P) prompt ids; all prompts of the task differ in their codes alone."""
        template = self.builder.prompt("I->3", image_codes=codes[0].astype(np.int64)).token_ids
        image = self.grammar.vocabulary.range("image")
        at = np.flatnonzero((template >= image.start) & (template < image.stop))
        prompts = np.tile(template, (len(codes), 1))
        prompts[:, at] = self.grammar.vocabulary.image_ids(codes)
        return torch.as_tensor(prompts)

    def _after_pose(self, targets: Tensor) -> Tensor:
        """(B, L) bool: the token is a yaw."""
        yaw = self.grammar.schema.yaw
        marks = torch.zeros_like(targets, dtype=torch.bool)
        if yaw is not None:
            marks[:, 1:] = targets[:, :-1] == self.grammar.vocabulary.structure_id(yaw.marker)
        return marks.to(self.device)

    def _losses(self, logits: Tensor, targets: Tensor, values: Tensor, is_yaw: Tensor) -> tuple[Tensor, Tensor]:
        """Cross entropies of word and structure tokens, and of numbers against soft labels, one a position."""
        is_number = ~values.isnan()
        words = F.cross_entropy(logits[~is_number], targets[~is_number], reduction="none")
        vocabulary = self.grammar.vocabulary
        span = vocabulary.range("numbers")
        log_p = logits[is_number].log_softmax(-1)[:, span.start:span.stop]
        labels = self._soft_labels(values[is_number], is_yaw[is_number])
        return words, -(labels * log_p).sum(-1)

    def _soft_labels(self, values: Tensor, is_yaw: Tensor) -> Tensor:
        """(N, numbers) probabilities round each value; circular, and only over one period, for yaws."""
        grid = self.grammar.vocabulary.numbers
        numbers = torch.as_tensor(grid.values(), dtype=torch.float32, device=values.device)
        gap = numbers - values[:, None]
        outside = torch.zeros_like(gap, dtype=torch.bool)
        if self.grammar.schema.yaw is not None:
            period, (low, end) = self.grammar.schema.yaw.period_rad, self.grammar.schema.yaw.span_rad
            gap = torch.where(is_yaw[:, None], (gap + period / 2) % period - period / 2, gap)
            outside = is_yaw[:, None] & ((numbers < low - 1e-6) | (numbers >= end))
        sigma = max(self.label_sigma, 1e-3) * grid.step
        return (-0.5 * (gap / sigma) ** 2).masked_fill(outside, -torch.inf).softmax(-1)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Jaccard index of generated scenes on renders held out of training, the share of right programs, and how well
        held-out scenes are drawn.
        """
        pairs = list(zip(self.recognised(), self.held_out_scenes))
        scores = {f"jaccard_{tau}": float(np.mean([jaccard_index(a, b, tau) for a, b in pairs]))
                  for tau in (0.05, 0.1, 0.25, 0.5)}
        scores |= {f"programs_{name}": exact_programs(self.model.decoder, *held_out)
                   for name, held_out in self.held_out_sentences.items()}
        if self.answers is not None:
            scores[self.answers.score] = self.answers.held_out_score(self.model.decoder)
        scores |= {} if self.shapes is None else self.shapes.scores(self.model.decoder, self.held_out)
        return {name: round(score, 4) for name, score in {**scores, **self._drawing_scores()}.items()}

    @torch.no_grad()
    def recognised(self, sub_grid: bool = True) -> list[Scene]:
        """What is generated for the held-out images; `sub_grid` as in `SceneGrammar.decode_scene`."""
        scenes = []
        for start in range(0, len(self.held_out), 32):
            part = slice(start, start + 32)
            prompts = self._prompts(self.held_out.codes[part]).to(self.device)
            cells = torch.as_tensor(self.held_out.cells[part]).to(self.device)
            written = generate(self.model.decoder, prompts, cells=cells, prefix_length=prompts.shape[1] - 1,
                               grammar=self.grammar)
            scenes += [self.grammar.decode_scene(w.token_ids, w.distributions, sub_grid) for w in written]
        return scenes

    def _drawing_scores(self) -> dict[str, float]:
        shown = [i for i, scene in enumerate(self.held_out_scenes) if len(scene)][:CYCLED]
        if self.drawing is None or not shown:
            return {}
        scenes, cells = [self.held_out_scenes[i] for i in shown], self.held_out.cells[shown]
        cycle = cycle_scores(self.model.decoder, self.drawing.tokenizer, self.builder, self.grammar, scenes, cells)
        return {**self.drawing.held_out_scores(self.model.decoder, self.held_out), **cycle}

"""Training the decoder to read a scene from image codes (I->3), programs from sentences (see `programs`), and to draw
(see `rendering`).

Loss lies only where the grammar leaves a choice. In training alone, a dense head reads the states of the image tokens
in the middle of the body (`dense_head`): what stands in each cell is learned there at once for all objects, so that the
tokens of the scene only have to learn where to look. Labels of numbers are soft (`number_labels`). It knows no pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kyvo_ros.autoencoders.canonical import CanonicalCamera
from kyvo_ros.data.examples import ExampleSet
from kyvo_ros.evaluation.jaccard import jaccard_index
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.generation import generate
from kyvo_ros.scene import Scene
from kyvo_ros.tokens.program_grammar import ProgramGrammar
from kyvo_ros.tokens.scene_grammar import SceneGrammar
from kyvo_ros.tokens.schema import SceneSchema
from kyvo_ros.tokens.sequences import SequenceBuilder
from kyvo_ros.training.answering import AnswerLesson
from kyvo_ros.training.code_sets import CodeSet
from kyvo_ros.training.dense_head import (
    DenseHead, DenseTargets, dense_loss, dense_targets, probe_yaws, yaw_multiples, yaw_turns)
from kyvo_ros.training.number_labels import NumberLabels
from kyvo_ros.training.programs import SENTENCES_FOR_AN_IMAGE, SentenceSet, exact_programs, sentence_loss
from kyvo_ros.training.rendering import CYCLED, DrawingLesson, cycle_scores, shows_objects
from kyvo_ros.training.shape_lesson import ShapeLesson
from kyvo_ros.training.shape_outlines import OutlineHead, Outlines, ToldOutlines
from kyvo_ros.training.trainer import alike
from kyvo_ros.training.yaw_head import YawHead

#: Sequences of one batch are neighbours in length among this many batches' worth, so that little of it is padding.
BUCKET = 6
#: Cameras whose distance and elevation differ from the nominal ones by less than this share are ordinary.
ORDINARY = 0.15
#: Blocks behind the one whose states outlines are read from, which have to make codes of them.
_BEHIND_OUTLINES = 2


class LanguageModel(nn.Module):
    """A decoder with the heads that help to train it: the dense one and, where `outlines` or `yaws` are to be learned so,
    theirs.
    """

    def __init__(self, decoder: Decoder, schema: SceneSchema, outlines: Outlines | None = None, yaws: bool = False) -> None:
        super().__init__()
        self.decoder = decoder
        self.dense_head = DenseHead.of(decoder.config.dim, schema, width=48)
        self.outline_head = None if outlines is None else OutlineHead(decoder.config.dim, outlines)
        self.yaw_head = YawHead(decoder.config.dim, yaw_multiples(schema)) if yaws else None
        self._middle: list[Tensor] = []
        self._late: list[Tensor] = []
        middle = decoder.blocks[len(decoder.blocks) // 2 - 1]
        middle.register_forward_hook(lambda block, inputs, states: self._middle.append(states))
        if outlines is not None:
            late = decoder.blocks[max(0, len(decoder.blocks) - 1 - _BEHIND_OUTLINES)]
            late.register_forward_hook(lambda block, inputs, states: self._late.append(states))

    def hidden(self, token_ids: Tensor, cells: Tensor, prefix_length: int) -> tuple[Tensor, Tensor]:
        """States (B, S - prefix_length, D) from [OUTPUT-SEP] on, and (B, h, w, D) of the image in mid-body."""
        self._middle.clear()
        self._late.clear()
        hidden = self.decoder.hidden(token_ids, cells=cells, prefix_length=prefix_length, start=prefix_length)
        rows, columns = self.decoder.config.image_grid
        image = self._middle.pop()[:, prefix_length - 1 - rows * columns: prefix_length - 1]  # [IMAGE-END] is behind it
        return hidden, image.unflatten(1, (rows, columns))

    def outlines(self, token_ids: Tensor) -> ToldOutlines:
        """What is told of the objects of layouts (B, S), which `hidden` has just read without their last token: of each
        by its last token before [OBJECT-END], row after row.
        """
        before_end = token_ids[:, 1:] == self.decoder.config.vocabulary.structure_id("[OBJECT-END]")
        return self.outline_head(self._late.pop()[before_end])


@dataclass(frozen=True, eq=False)
class _Reading:
    """B images with their true layouts, as a model reads them: each token behind the true ones before it."""

    truth: ExampleSet
    ids: Tensor  # (B, L) of the layouts
    worth: Tensor  # (B, L) bool, where another token would have been possible
    values: Tensor  # (B, L) true value of each number, NaN elsewhere
    turns: Tensor  # (B, L) of each token that is a yaw, how often its object looks alike in a whole turn, see `_yaw_turns`
    names: Tensor | None  # of the shapes of all objects, where they have such
    hidden: Tensor  # (B, L, D) and
    image: Tensor  # (B, h, w, D), as `LanguageModel.hidden` gives them
    outlines: ToldOutlines | None  # where the model learns them


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
    labels: NumberLabels
    canonical: CanonicalCamera
    device: torch.device
    batch_size: int
    render_ratio: float = 0.5  # share of renders among the pictures, where there are both
    dense_weight: float = 0.0  # of the dense head's loss; 0 leaves it out
    yaw_weight: float = 0.0  # of the yaw head's loss, where the model has one
    camera_dropout: float = 0.0  # share of ordinary cameras that are given as the nominal one
    sentences: SentenceSet | None = None  # sentences with programs
    held_out_sentences: Mapping[str, tuple[SentenceSet, ProgramGrammar]] = field(default_factory=dict)  # to score, by name
    sentence_ratio: float = 0.0  # share of batches that are sentences
    drawing: DrawingLesson | None = None  # where the decoder also learns to draw
    rendering_ratio: float = 0.0  # share of batches that are scenes to draw
    answers: AnswerLesson | None = None  # where the decoder also learns to answer at once
    answer_ratio: float = 0.0  # share of batches that are questions to answer
    shapes: ShapeLesson | None = None  # where objects have codes of shapes

    def loss_of(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        share = alike(rng).random()
        if self.sentences is not None and share < self.sentence_ratio:
            rows = self.sentences.draw(SENTENCES_FOR_AN_IMAGE * self.batch_size, rng)
            loss = sentence_loss(self.model.decoder, self.sentences, rows, self.device)
            return loss, {"sentences": float(loss.detach())}
        if self.answers is not None and share > 1 - self.answer_ratio:
            loss = self.answers.loss(self.model.decoder, self.batch_size, rng)
            return loss, {"answers": float(loss.detach())}
        source = self._source(rng)
        if self.shapes is not None and share >= 1 - self.shapes.shares.total:
            return self.shapes.loss_of(self.model.decoder, source, 1 - share, rng)
        if self.drawing is not None and share < self.sentence_ratio + self.rendering_ratio:
            return self._drawing_loss(source, rng)
        return self._scene_loss(source, rng)

    def _source(self, rng: np.random.Generator) -> CodeSet:
        use_renders = self.synthetic is None or (self.renders is not None and rng.random() < self.render_ratio)
        return self.renders if use_renders else self.synthetic

    def _scene_loss(self, source: CodeSet, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = self._rows_of_like_length(source, rng)
        read = self._read(source, rows, self._cells(source, rows, rng))
        logits = self.model.decoder.logits(read.hidden[read.worth])
        words, numbers = self._losses(logits, read.ids[read.worth], read.values[read.worth], read.turns[read.worth])
        total = torch.cat([words, numbers]).mean()
        logged = {"words": float(words.detach().mean())}
        if len(numbers):
            logged["numbers"] = float(numbers.detach().mean())
        for name, (weight, loss) in self._losses_of_heads(read).items():
            total, logged[name] = total + weight * loss, float(loss.detach())
        return total, logged

    def _read(self, source: CodeSet, rows: np.ndarray, cells: np.ndarray) -> _Reading:
        """Some rows of a set, with the ground points (B, cells, 2) of their cells."""
        longest = int(source.length[rows].max())
        ids, prompt_length = self._sequences(source, rows, longest)
        ground = torch.as_tensor(cells).to(self.device)
        hidden, image = self.model.hidden(ids[:, :-1], ground, prompt_length - 1)
        layouts, names = ids[:, prompt_length:], self.shapes and self.shapes.names(source, rows)
        worth, values = (torch.as_tensor(array[rows, :longest]).to(self.device)
                         for array in (source.worth, source.values))
        return _Reading(source.truth[rows], layouts, worth, values, self._yaw_turns(layouts, names), names, hidden, image,
                        None if self.model.outline_head is None else self.model.outlines(ids))

    def _losses_of_heads(self, read: _Reading) -> dict[str, tuple[float, Tensor]]:
        """Of those heads that learn, by name: weight and loss."""
        losses: dict[str, tuple[float, Tensor]] = {}
        if read.outlines is not None:
            losses["outlines"] = (self.shapes.shares.outline_weight,
                                  self.shapes.outlines.loss(read.outlines, read.names))
        head = self.model.yaw_head
        if head is None and not self.dense_weight:
            return losses
        cells = self._dense_targets(read.truth, read.image).tensors(self.device)
        if head is not None:
            shows = read.turns > 0
            losses["yaws"] = self.yaw_weight, head.loss(read.hidden[shows], read.values[shows], read.turns[shows])
            losses["yaws_of_cells"] = self.yaw_weight, head.loss_of_cells(read.image, cells["yaw"], cells["yaw_weight"])
        if self.dense_weight:
            losses["dense"] = self.dense_weight, dense_loss(self.model.dense_head(read.image), cells)
        return losses

    def head_loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Of the dense head alone, on what the decoder sees as it is."""
        source = self._source(rng)
        rows = rng.integers(len(source), size=self.batch_size)
        prompt = self._prompts(source.codes[rows]).to(self.device)
        cells = torch.as_tensor(self._cells(source, rows, rng)).to(self.device)
        with torch.no_grad():
            _, image = self.model.hidden(prompt, cells, prompt.shape[1] - 1)
        targets = self._dense_targets(source.truth[rows], image).tensors(self.device)
        return dense_loss(self.model.dense_head(image), targets), {}

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

    def _dense_targets(self, truth: ExampleSet, image: Tensor) -> DenseTargets:
        """What the cells of images (B, h, w, ...) should say."""
        return dense_targets(truth, self.canonical, tuple(image.shape[1:3]), yaw_multiples(self.grammar.schema),
                             self.shapes and self.shapes.turns)

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

    def _sequences(self, source: CodeSet, rows: np.ndarray, longest: int) -> tuple[Tensor, int]:
        """(B, P + longest) ids of prompts and targets, and P."""
        prompt = self._prompts(source.codes[rows])
        targets = torch.as_tensor(source.targets[rows, :longest].astype(np.int64))
        return torch.cat([prompt, targets], dim=1).to(self.device), prompt.shape[1]

    def _yaw_turns(self, targets: Tensor, names: Tensor | None) -> Tensor:
        """(B, L) of each token that is a yaw, how often its object looks alike in a whole turn, 0 of round ones; NaN
        elsewhere. `names` are those of the shapes of all objects, where these have such.
        """
        schema = self.grammar.schema
        turns = torch.full(targets.shape, torch.nan, device=self.device)
        if schema.yaw is not None:
            said = targets[:, :-1] == self.grammar.vocabulary.structure_id(schema.yaw.marker)
            own = yaw_turns(schema) if names is None else self.shapes.turns[names]
            turns[:, 1:][said] = torch.as_tensor(own, dtype=torch.float32, device=self.device)
        return turns

    def _losses(self, logits: Tensor, targets: Tensor, values: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
        """Cross entropies of word and structure tokens, and of numbers against soft labels, one a position."""
        is_number = ~values.isnan()
        words = F.cross_entropy(logits[~is_number], targets[~is_number], reduction="none")
        vocabulary = self.grammar.vocabulary
        span = vocabulary.range("numbers")
        log_p = logits[is_number].log_softmax(-1)[:, span.start:span.stop]
        labels = self.labels.of(values[is_number], turns[is_number])
        return words, -(labels * log_p).sum(-1)

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
        read = self._read_layouts()
        scores |= {**self._outline_scores(read), **self._yaw_scores(read)}
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

    def _read_layouts(self) -> list[_Reading]:
        """Of the held-out images that show objects; none where nothing is to be scored of them."""
        if self.model.outline_head is None and self.grammar.schema.yaw is None:
            return []
        shown = np.flatnonzero(self.held_out.truth.count > 0)
        parts = [shown[start:start + self.batch_size] for start in range(0, len(shown), self.batch_size)]
        return [self._read(self.held_out, rows, self.held_out.cells[rows]) for rows in parts]

    def _outline_scores(self, read: Sequence[_Reading]) -> dict[str, float]:
        """How well the blocks that surfaces pass, and their mean colours, are known before any code."""
        if self.model.outline_head is None or not read:
            return {}
        true = self.shapes.outlines
        common, either = np.sum([true.overlap(batch.outlines, batch.names) for batch in read], axis=0)
        apart = torch.cat([true.color_errors(batch.outlines, batch.names) for batch in read])
        return {"outline_iou": common / max(either, 1), "color_error": float(apart.mean())}

    def _yaw_scores(self, read: Sequence[_Reading]) -> dict[str, float]:
        """Of held-out objects that look the same k times in a turn, the mean cosine between k times the yaw that is said
        and k times the true one: `yaw_k`. The same of what the dense head reads in the middle of the body, `dense_yaw_k`:
        where only this is high, the tokens have not learned yet where to look.
        """
        if self.grammar.schema.yaw is None:
            return {}
        vocabulary = self.grammar.vocabulary
        numbers = torch.as_tensor(vocabulary.numbers.values(), dtype=torch.float32, device=self.device)
        said: dict[str, list[float]] = {}
        for batch in read:
            shows = batch.turns > 0
            times = batch.turns[shows]
            likely = self.model.decoder.logits(batch.hidden[shows], vocabulary.range("numbers")).softmax(-1)
            direction = (likely * torch.exp(1j * times[:, None] * numbers)).sum(-1)
            cosines = torch.cos(direction.angle() - times * batch.values[shows])
            for k, cosine in zip(times.tolist(), cosines.tolist()):
                said.setdefault(f"yaw_{k:g}", []).append(cosine)
        scores = {name: float(np.mean(cosines)) for name, cosines in sorted(said.items())}
        if self.dense_weight and read:
            yaw = torch.cat([self.model.dense_head(batch.image)[2] for batch in read])
            targets = self._dense_targets(ExampleSet.concatenate([batch.truth for batch in read]), yaw)
            scores |= {f"dense_yaw_{k}": cosine
                       for k, cosine in zip(yaw_multiples(self.grammar.schema), probe_yaws(yaw, targets))}
        return scores

    def _drawing_scores(self) -> dict[str, float]:
        shown = [i for i, scene in enumerate(self.held_out_scenes) if len(scene)][:CYCLED]
        if self.drawing is None or not shown:
            return {}
        scenes, cells = [self.held_out_scenes[i] for i in shown], self.held_out.cells[shown]
        cycle = cycle_scores(self.model.decoder, self.drawing.tokenizer, self.builder, self.grammar, scenes, cells)
        return {**self.drawing.held_out_scores(self.model.decoder, self.held_out), **cycle}

"""Runs the rows of the cookbook in a work folder: images and codes once, then a short training and its scores a row.

    WORK/<images>/examples/    scenes of the ray caster
    WORK/<images>/codes_*.npz  their image codes
    WORK/<images>/<row>/       checkpoint, metrics and RESULT of a row

Folders are named by what decides what is in them, so another model folder or a changed row begins anew, a row that two
experiments share runs once, and whatever was interrupted goes on. The learning rate is warm for most of a row's minutes
and falls over the rest.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from kyvo_ros.autoencoders.folding import folded
from kyvo_ros.autoencoders.image_tokenizer import ImageTokenizer
from kyvo_ros.data.examples import ExampleSet
from kyvo_ros.model.config import DecoderConfig
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.folder import ModelBundle
from kyvo_ros.scene.files import write_whole
from kyvo_ros.tokens.scene_grammar import SceneGrammar
from kyvo_ros.tokens.schema import SceneSchema
from kyvo_ros.tokens.sequences import SequenceBuilder
from kyvo_ros.tokens.vocabulary import Vocabulary
from kyvo_ros.training.adaptation import add_lora, whole_state
from kyvo_ros.training.card import hardware, stage_history
from kyvo_ros.training.code_sets import CodeSet, TargetWriter, encode_examples, written_targets
from kyvo_ros.training.cookbook.rows import Row
from kyvo_ros.training.cookbook.scores import Judge
from kyvo_ros.training.dense_head import word_values
from kyvo_ros.training.full_recipe import LoraSettings
from kyvo_ros.training.language import LanguageModel, LanguageStage
from kyvo_ros.training.number_labels import NumberLabels
from kyvo_ros.training.preparation import answer_lesson, digest
from kyvo_ros.training.recipe import Recipe
from kyvo_ros.training.rendering import DrawingLesson
from kyvo_ros.training.sources import ExampleMaker, load_examples, make_examples
from kyvo_ros.training.starting import start_from, start_without_numbers
from kyvo_ros.training.trainer import METRICS, Trainer, TrainingError
from kyvo_ros.training.workshop import longest_sequence

log = logging.getLogger(__name__)

RESULT = "result.json"
_PLAN = "plan.json"
#: Share of a row's minutes in which the learning rate falls.
_FALLING = 0.25
#: Steps that no row reaches.
_ENDLESS = 10**6


@dataclass(eq=False)
class Kitchen:
    """A model folder's image tokenizer and decoder at work on rows."""

    bundle: ModelBundle
    common: Recipe  # whose images all rows share
    root: Path  # the work folder
    device: torch.device
    workers: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.bundle.image_tokenizer, ImageTokenizer):
            raise TrainingError(f"the image tokenizer of {self.bundle.name} is not one that `kyvo train` makes; give "
                                "the cookbook another --model")
        if self.bundle.schema.shape is not None:
            raise TrainingError(f"{self.bundle.name} knows objects with shapes, which the ray caster does not draw; "
                                "give the cookbook another --model")

    @cached_property
    def work(self) -> Path:
        """Where images, their codes and rows are."""
        images = self._with_model(self.common)
        return self.root / _name([digest(self.bundle.image_tokenizer), images.examples, images.canonical,
                                  images.max_objects])

    def folder(self, row: Row) -> Path:
        """Where a row works."""
        return self.work / _name([self._with_model(row.recipe), row.start, row.method, row.scenes, row.blocks,
                                  row.scores, self._base])

    @cached_property
    def _base(self) -> str:
        """Short name of the model folder's decoder."""
        tensors = self.bundle.decoder.state_dict().values()
        return hashlib.sha256(b"".join(tensor.cpu().numpy().tobytes() for tensor in tensors)).hexdigest()

    def result(self, row: Row) -> dict | None:
        """What a row has come to; None where it has not run to its end."""
        path = self.folder(row) / RESULT
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def run(self, row: Row, minutes: float) -> dict:
        """Train and score a row, or go on with it; what has run already is passed over. Raises TrainingError."""
        found = self.result(row)
        if found is not None:
            return found
        folder, recipe = self.folder(row), self._with_model(row.recipe)
        log.info("row %s in %s", row.path, folder)
        stage = self._stage(row, recipe)
        trainer = self._train(folder, recipe, stage, minutes)
        history = stage_history(folder / METRICS)
        result = {"scores": self._judge(stage).scores(row.scores), "steps": trainer.step,
                  "sequences": trainer.step * recipe.decoder.batch_size, "minutes": round(history["seconds"] / 60, 1),
                  "trained": sum(p.numel() for p in stage.model.decoder.parameters() if p.requires_grad),
                  "hardware": hardware()}
        write_whole(folder / RESULT, json.dumps(result, indent=1) + "\n")
        return result

    def _with_model(self, recipe: Recipe) -> Recipe:
        """A recipe with the images and codes of the model folder."""
        return replace(recipe, canonical=self.bundle.canonical, schema=self.bundle.schema,
                       tokenizer=self.bundle.image_tokenizer.config)

    def _train(self, folder: Path, recipe: Recipe, stage: LanguageStage, minutes: float) -> Trainer:
        """Warm for most of the minutes, then falling for as many steps as the rest is worth."""
        plan = folder / _PLAN
        if not plan.exists():
            trainer = Trainer(folder, replace(recipe.decoder, steps=_ENDLESS), stage.model, stage.loss_of)
            trainer.resume()
            left = (1 - _FALLING) * minutes - stage_history(folder / METRICS)["seconds"] / 60
            if left > 0:
                trainer.run(left)
            falling = math.ceil(trainer.step * _FALLING / (1 - _FALLING))
            write_whole(plan, json.dumps({"steps": trainer.step, "decay_steps": falling}))
        settings = replace(recipe.decoder, **json.loads(plan.read_text(encoding="utf-8")))
        trainer = Trainer(folder, settings, stage.model, stage.loss_of)
        trainer.resume()
        trainer.run()
        return trainer

    def _stage(self, row: Row, recipe: Recipe) -> LanguageStage:
        schema = self._schema(recipe)
        vocabulary = Vocabulary.small(recipe.tokenizer.codebook_size, number_step=recipe.numbers.step)
        text_tokenizer = self.bundle.text_tokenizer
        grammar = SceneGrammar(vocabulary, text_tokenizer, schema)
        codes = {name: self._codes(name, recipe, TargetWriter(vocabulary, text_tokenizer, schema))
                 for name in ("synthetic", "held_out")}
        if row.scenes is not None:
            codes["synthetic"] = codes["synthetic"][:row.scenes]
        decoder = self._decoder(row, recipe, grammar)
        builder = SequenceBuilder(vocabulary, grammar, text_tokenizer, self.bundle.image_tokenizer.grid,
                                  image_order=decoder.config.image_order)  # programs need finer numbers than 0.5
        held_out, words = codes["held_out"].truth, word_values(schema)
        drawing = DrawingLesson(builder, self._tokenizer, vocabulary, recipe.first_codes, recipe.drawing,
                                recipe.canonical, self.device)
        return LanguageStage(
            LanguageModel(decoder, schema).to(self.device), grammar, builder, codes["synthetic"], None,
            codes["held_out"], [held_out.scene(i, words) for i in range(len(held_out))],
            NumberLabels(vocabulary.numbers, schema, recipe.label_sigma, recipe.yaw_sigma), recipe.canonical,
            self.device, recipe.decoder.own_batch_size, dense_weight=recipe.dense_weight,
            camera_dropout=recipe.camera_dropout, drawing=drawing if recipe.rendering_ratio else None,
            rendering_ratio=recipe.rendering_ratio,
            answers=answer_lesson(codes, builder, recipe, schema, self.folder(row)) if recipe.answer_ratio else None,
            answer_ratio=recipe.answer_ratio)

    def _decoder(self, row: Row, recipe: Recipe, grammar: SceneGrammar) -> Decoder:
        torch.manual_seed(recipe.examples.seed)
        tokenizer = self.bundle.image_tokenizer
        decoder = Decoder(self._config(row, recipe, grammar), tokenizer.codebook)
        if row.start == "base":
            start_from(decoder, self.bundle.decoder.state_dict(), "decoder")
        elif row.start == "body":
            start_without_numbers(decoder, self.bundle.decoder)
        if row.method == "lora":
            add_lora(decoder, LoraSettings())
        return decoder

    def _config(self, row: Row, recipe: Recipe, grammar: SceneGrammar) -> DecoderConfig:
        """The model folder's, with a body's own numbers and blocks."""
        base = self.bundle.decoder.config
        if row.start == "body":
            if row.blocks is not None and row.blocks > base.layers:
                raise TrainingError(f"row {row.path} takes {row.blocks} blocks of a decoder of {base.layers}")
            base = replace(base, vocabulary=grammar.vocabulary, layers=row.blocks or base.layers,
                           number_head=recipe.numbers.head, number_embedding=recipe.numbers.embedding)
        elif base.vocabulary != grammar.vocabulary:
            raise TrainingError(f"row {row.path} starts with the model folder's numbers and cannot have others")
        return replace(base, image_order=recipe.image_order,
                       max_length=longest_sequence(recipe, grammar, self.bundle.image_tokenizer))

    def _judge(self, stage: LanguageStage) -> Judge:
        """A plain decoder takes the place of an adapted one, which generation does not know."""
        adapted = stage.model.decoder
        plain = Decoder(adapted.config, adapted.embedding.codebook).to(self.device)
        plain.load_state_dict(whole_state(adapted))
        judged = replace(stage, model=LanguageModel(plain, stage.grammar.schema).to(self.device).eval())
        return Judge(judged, self._tokenizer, self._held_out.images, self.bundle)

    @cached_property
    def _tokenizer(self):
        return folded(self.bundle.image_tokenizer).to(self.device)

    def _schema(self, recipe: Recipe) -> SceneSchema:
        return replace(self.bundle.schema, max_objects=recipe.max_objects or self.bundle.schema.max_objects)

    @property
    def maker(self) -> ExampleMaker:
        """Of the images."""
        return ExampleMaker(self.bundle.canonical, self._schema(self.common), self.common.examples, str(self.device))

    def prepare(self) -> None:
        """Make images and codes, where they are not there yet."""
        recipe = self._with_model(self.common)
        make_examples(self.maker, self.work / "examples", (), self.workers)
        synthetic, _, _ = load_examples(self.work / "examples")
        vocabulary = Vocabulary.small(recipe.tokenizer.codebook_size)
        writer = TargetWriter(vocabulary, self.bundle.text_tokenizer, self._schema(recipe))
        held_out = self._held_out[:recipe.examples.held_out]
        for name, examples in (("synthetic", synthetic), ("held_out", held_out)):
            if not self._codes_file(name).exists():
                encode_examples(examples, self.bundle.image_tokenizer, writer, recipe.canonical, self.device,
                                self.workers).save(self._codes_file(name))

    @cached_property
    def _held_out(self) -> ExampleSet:
        return load_examples(self.work / "examples")[2]

    def _codes_file(self, name: str) -> Path:
        return self.work / f"codes_{name}.npz"

    def _codes(self, name: str, recipe: Recipe, writer: TargetWriter) -> CodeSet:
        """Codes as they were made, with targets in the numbers of the row."""
        codes = CodeSet.load(self._codes_file(name))
        if writer.vocabulary == Vocabulary.small(recipe.tokenizer.codebook_size):
            return codes
        return replace(codes, **written_targets(codes.truth, writer, self.workers))


def _name(parts: list) -> str:
    """A short name of settings: the same settings, the same name, also where the package has got settings since."""
    return hashlib.sha256(json.dumps([_said(part) for part in parts], sort_keys=True).encode()).hexdigest()[:12]


def _said(part: Any) -> Any:
    """What settings say that is not their default."""
    if not is_dataclass(part):
        return [_said(each) for each in part] if isinstance(part, (list, tuple)) else part
    found = {field.name: (field, getattr(part, field.name)) for field in fields(part)}
    return {name: _said(value) for name, (field, value) in found.items() if value != _default(field)}


def _default(field: Field) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()

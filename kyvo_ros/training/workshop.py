"""A recipe at work in a folder: the models of its stages as far as they have come, and what they are trained on."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kyvo_ros.autoencoders.folding import folded
from kyvo_ros.autoencoders.image_tokenizer import ImageTokenizer
from kyvo_ros.autoencoders.shape_tokenizer import ShapeTokenizer
from kyvo_ros.data.examples import ExampleSet
from kyvo_ros.data.object_scenes import objects_schema
from kyvo_ros.model.config import DecoderConfig
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.direct_answers import MAX_QUESTION_TOKENS
from kyvo_ros.model.files import read_training_heads
from kyvo_ros.model.folder import ModelBundle, load_model, load_shape_tokenizer
from kyvo_ros.model.programs import program_grammars
from kyvo_ros.tokens.scene_grammar import SceneGrammar
from kyvo_ros.tokens.schema import SceneSchema
from kyvo_ros.tokens.sequences import SequenceBuilder
from kyvo_ros.tokens.text import LANGUAGE_WORDS, TextTokenizer, corpus_from_questions, train_text_tokenizer
from kyvo_ros.tokens.vocabulary import Vocabulary
from kyvo_ros.training import distributed
from kyvo_ros.training.batches import ImageBatches
from kyvo_ros.training.card import HEAD, TRAINED, note_start
from kyvo_ros.training.code_sets import encode_images
from kyvo_ros.training.continuing import (
    DECODER_HEAD, IMAGE_HEAD, check_kept, head_settings, head_weights, knows_head)
from kyvo_ros.training.image_stages import DenseModel, DenseStage, PixelStage
from kyvo_ros.training.language import LanguageModel, LanguageStage
from kyvo_ros.training.object_examples import library, load_shape_codes, make_shape_codes
from kyvo_ros.training.object_yaws import load_shape_turns, make_shape_turns
from kyvo_ros.training.picture_terms import PictureModel
from kyvo_ros.training.plots import plot_metrics
from kyvo_ros.training.preparation import digest
from kyvo_ros.training.recipe import Recipe, load_recipe
from kyvo_ros.training.rendering import DrawingLesson
from kyvo_ros.training.shape_lesson import ShapeLesson
from kyvo_ros.training.shape_outlines import Outlines
from kyvo_ros.training.shape_rows import share_rows
from kyvo_ros.training.shape_sources import names_key
from kyvo_ros.training.sources import load_examples
from kyvo_ros.training.starting import knows_codes, longer_tables, seen_together, start_from, state_for
from kyvo_ros.training.trainer import CHECKPOINT, METRICS, RunSettings, Trainer, TrainingError

log = logging.getLogger(__name__)

#: Beside the decoder's checkpoint: the shape tokenizer whose codes it has learned.
_SHAPE_CODES = "shape_codes.txt"
#: Images of each kind from which a decoder learns what codes new to it mean in those that it knows.
_TRANSLATED = 1000


@dataclass(eq=False)
class Workshop:
    """A recipe at work in a folder."""

    recipe_path: Path
    work: Path
    device: torch.device
    renders: tuple[Path, ...] = ()  # CLEVR folders of real renders to mix in; the first keeps some for measuring
    shapes: Path | None = None  # folder of the shape tokenizer, for recipes with objects
    source: Path | None = None  # model folder whose weights to start from
    out: Path | None = None  # model folder to write
    minutes: float | None = None  # per stage
    workers: int = 1

    @cached_property
    def recipe(self) -> Recipe:
        return load_recipe(self.recipe_path)

    @cached_property
    def schema(self) -> SceneSchema:
        if self.recipe.objects is not None:
            return objects_schema(self.recipe.objects, self.shape_tokenizer.config.length)
        own = self.recipe.schema  # whose unit counts as a metre until the model is written
        return replace(own, max_objects=self.recipe.max_objects or own.max_objects, metres_per_unit=1.0)

    @cached_property
    def shape_tokenizer(self) -> ShapeTokenizer | None:
        """That of --shapes; None for recipes without objects. Raises TrainingError, ModelFolderError."""
        if (self.recipe.objects is None) != (self.shapes is None):
            raise TrainingError("a recipe with objects needs --shapes, the folder of a shape tokenizer (`kyvo train "
                                "shapes`); one without takes none")
        return None if self.shapes is None else load_shape_tokenizer(self.shapes, self.device)[1]

    @cached_property
    def examples(self) -> tuple[ExampleSet | None, ExampleSet | None, ExampleSet]:
        """(synthetic, renders, held out)."""
        return load_examples(self.work / "examples")

    @cached_property
    def started_from(self) -> ModelBundle | None:
        return None if self.source is None else load_model(self.source, device=self.device)

    @cached_property
    def source_heads(self) -> dict[str, Tensor]:
        """The heads that only training needs of the model that training started from; none where it has none."""
        return {} if self.source is None else read_training_heads(self.source)

    def keeps(self, name: str) -> bool:
        """Whether a stage has no steps, and what it makes is that of the model that training started from."""
        return self.source is not None and name in self.recipe.without_steps

    def check_kept(self) -> None:
        """Raises TrainingError where stages that the recipe keeps would not fit those that it trains."""
        if self.source is None:
            return
        source = self.started_from
        check_kept(self.recipe, source.image_tokenizer.config)
        if self.keeps("decoder"):
            own, theirs = decoder_config(self.recipe, self.grammar, source.image_tokenizer), source.decoder.config
            if not self.same_language or replace(own, max_length=theirs.max_length) != theirs:
                raise TrainingError(f"stage decoder has no steps, and the decoder of {self.source} has other sizes or "
                                    "another schema than the recipe's; give decoder steps")

    @property
    def same_language(self) -> bool:
        """Whether the model that training started from speaks of the same scenes."""
        return replace(self.started_from.schema, metres_per_unit=self.schema.metres_per_unit) == self.schema

    def offered(self, *tasks: str) -> bool:
        """Whether the model that training started from offers one of these tasks for the same scenes. It is scored
        then, also where the recipe does not teach it: further training may cost it.
        """
        return self.source is not None and bool(set(tasks) & set(self.started_from.tasks)) and self.same_language

    @cached_property
    def text_tokenizer(self) -> TextTokenizer:
        """Kept in the work folder, trained there or taken from the model that training started from: its ids must never
        change, and words that the model does not have follow them.

        Raises TrainingError for a model whose ids are not those that the work folder's decoder has learned.
        """
        path, words = self.work / "tokenizer.json", [*self.schema.vocabulary_words(), *LANGUAGE_WORDS]
        if self.started_from is not None:
            tokenizer = self.started_from.text_tokenizer.with_words(words)
            learned = (self.work / "decoder" / CHECKPOINT).exists() and path.exists()
            if learned and not tokenizer.same_as(TextTokenizer.load(path)):
                raise TrainingError(f"the decoder in {self.work} was trained with other words than {self.source} has; go "
                                    "on without --from, or start in another --work")
            if distributed.rank() == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
                tokenizer.save(path)
            return tokenizer
        if not path.exists() and distributed.rank() == 0:
            files = [folder / "questions.json" for folder in self.renders]
            corpus = [text for file in files if file.exists() for text in corpus_from_questions(file)]
            path.parent.mkdir(parents=True, exist_ok=True)
            train_text_tokenizer(corpus, words).save(path)
        distributed.wait()
        return TextTokenizer.load(path)

    @cached_property
    def grammar(self) -> SceneGrammar:
        shape_codes = 0 if self.shape_tokenizer is None else self.shape_tokenizer.config.codebook_size
        vocabulary = Vocabulary.small(self.recipe.tokenizer.codebook_size, shape_codes, self.recipe.numbers.step)
        return SceneGrammar(vocabulary, self.text_tokenizer, self.schema)

    @cached_property
    def builder(self) -> SequenceBuilder:
        return SequenceBuilder(self.grammar.vocabulary, self.grammar, self.text_tokenizer, self.recipe.tokenizer.grid,
                               program_grammars(self.grammar.vocabulary, self.text_tokenizer),
                               self.recipe.image_order)

    def batches(self, settings: RunSettings) -> ImageBatches:
        synthetic, renders, _ = self.examples
        return ImageBatches(synthetic, renders, self.recipe.render_ratio, settings.own_batch_size, self.device)

    def train(self, name: str, settings: RunSettings, stage: DenseStage | PixelStage | LanguageStage,
              model: torch.nn.Module, prepare: Callable[[], bool] | None = None) -> None:
        """Run one stage to its end or to the time limit; `prepare` runs before its very first step, and says whether
        the stage may begin.

        Raises TrainingError where a stage that this one builds on is not at its end.
        """
        self._check_before(name)
        trainer, started = Trainer(self.work / name, settings, model, stage.loss_of, stage.evaluate), time.monotonic()
        if not trainer.resume():
            note_start(self.work / name, self.source)
            if prepare is not None and not prepare():
                return
        spent = (time.monotonic() - started) / 60
        trainer.run(None if self.minutes is None else max(0.0, self.minutes - spent))
        if distributed.rank() == 0:
            plot_metrics(self.work / name / METRICS, self.work / name / "curve.png")

    def learn_head(self, name: str, head: torch.nn.Module, known_as: str, stage: DenseStage | LanguageStage) -> bool:
        """Have the head of a stage learn alone where the model that training started from has none; whether it has."""
        if self.source is None or not self.recipe.head_steps or knows_head(head, known_as, self.source_heads):
            return True
        settings = head_settings(getattr(self.recipe, name), self.recipe.head_steps)
        trainer = Trainer(self.work / name / HEAD, settings, head, stage.head_loss)
        trainer.resume()
        trainer.run(self.minutes)
        return trainer.step >= settings.total_steps

    def steps_left(self, name: str) -> int:
        """Of a stage that has begun, also if only its head has; 0 of one that has not, and of what takes no steps."""
        path = self.work / name / CHECKPOINT
        if name not in TRAINED:
            return 0
        if not path.exists():
            begun = (self.work / name / HEAD / CHECKPOINT).exists()
            return getattr(self.recipe, name).total_steps if begun else 0
        step = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["step"]
        return max(0, getattr(self.recipe, name).total_steps - step)

    def _check_before(self, name: str) -> None:
        """What an earlier stage learns later would not reach a later one that has begun."""
        for before in TRAINED[:TRAINED.index(name)]:
            if left := self.steps_left(before):
                raise TrainingError(f"stage {before} has {left} steps before its end; run it to its end before {name}, "
                                    "or lower its steps in the recipe")

    def new_tokenizer(self) -> ImageTokenizer:
        torch.manual_seed(self.recipe.examples.seed)
        tokenizer = ImageTokenizer(self.recipe.tokenizer).to(self.device)
        if self.started_from is not None:
            start_from(tokenizer, self.started_from.image_tokenizer.state_dict(), "image tokenizer")
        return tokenizer

    def new_dense_model(self) -> DenseModel:
        model = DenseModel(self.new_tokenizer(), self.schema, self.recipe.sketch_weight > 0).to(self.device)
        model.head.load_state_dict(head_weights(model.head, IMAGE_HEAD, self.source_heads), strict=False)
        return model

    def dense_stage(self, settings: RunSettings, quantise: bool) -> DenseStage:
        return DenseStage(self.new_dense_model(), self.batches(settings), self.examples[2], self.schema,
                          self.recipe.canonical, quantise, quantise and self.recipe.freeze_codebook,
                          self.recipe.sketch_weight, self.shape_turns)

    def trained(self, name: str, model: torch.nn.Module) -> torch.nn.Module:
        """Load what a stage has left. Raises TrainingError where it has not run."""
        path = self.work / name / CHECKPOINT
        if not path.exists():
            raise TrainingError(f"{path} is missing; run `kyvo train {name}` before")
        model.load_state_dict(torch.load(path, map_location=self.device, weights_only=True)["model"])
        return model

    def tokenizer(self) -> ImageTokenizer:
        """The image tokenizer as far as its stages have come; what they keep, and where none has come yet, that of the
        model that training started from.
        """
        if (self.work / "pixels" / CHECKPOINT).exists() and not self.keeps("pixels"):
            tokenizer = self.new_tokenizer()
            self.trained("pixels", self.picture_model(tokenizer, learns=False) or tokenizer)
            return tokenizer
        tokenizer = self.tokenizer_of_codes()
        if self.keeps("pixels"):
            tokenizer.decoder.load_state_dict(self.started_from.image_tokenizer.decoder.state_dict())
        return tokenizer

    def tokenizer_of_codes(self) -> ImageTokenizer:
        """Before the stage `pixels`."""
        if self.has_codes or self.source is None:
            return self.trained("codes", self.new_dense_model()).tokenizer
        return self.new_tokenizer()

    @property
    def has_codes(self) -> bool:
        """Whether the stage `codes` has left something that is not the source's."""
        return (self.work / "codes" / CHECKPOINT).exists() and not self.keeps("codes")

    @cached_property
    def language_key(self) -> str:
        """Names the language in the files of sequences: ids mean nothing in another."""
        said = json.dumps([self.text_tokenizer.to_str(), self.schema.to_dict(), self.grammar.vocabulary.to_dict()],
                          sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:8]

    def answer_folder(self, tokenizer: ImageTokenizer) -> Path:
        """Where questions to answer at once are kept."""
        return self.work / "sequences" / f"answers_{self.recipe.modality_order}_{digest(tokenizer)}_{self.language_key}"

    def picture_model(self, tokenizer: ImageTokenizer, learns: bool = True) -> PictureModel | None:
        """The tokenizer with the terms that the recipe adds to its pictures' loss; None where it adds none.

        One that only takes its weights from a checkpoint does not need the files of the perceptual distance.
        """
        terms = self.recipe.picture_terms
        if not terms.wanted:
            return None
        if not learns:
            terms = replace(terms, perceptual=0.0, perceptual_weights=())
        return PictureModel(tokenizer, terms, self.recipe_path.parent, self.recipe.pixels.accumulate)

    def drawing_lesson(self, tokenizer: ImageTokenizer) -> DrawingLesson:
        return DrawingLesson(self.builder, folded(tokenizer), self.grammar.vocabulary, self.recipe.first_codes,
                             self.recipe.drawing, self.recipe.canonical, self.device)

    def shape_lesson(self, tokenizer: ImageTokenizer) -> ShapeLesson | None:
        """Where the recipe has objects; makes the codes of their shapes."""
        recipe = self.recipe
        if recipe.objects is None:
            return None
        self.check_shape_codes()
        if distributed.rank() == 0:
            make_shape_codes(recipe.objects, self.shape_tokenizer, self.work, self._shape_codes, self.workers)
        distributed.wait()
        return ShapeLesson(self.builder, self.grammar, load_shape_codes(self._shape_codes), self.shape_turns,
                           self.shape_tokenizer.codebook.float(), recipe.shapes, self.drawing_lesson(tokenizer),
                           self.device, self.outlines)

    @cached_property
    def shape_turns(self) -> np.ndarray | None:
        """How often each shape of the library looks the same in a whole turn; None for recipes without objects."""
        objects = self.recipe.objects
        if objects is None:
            return None
        path = self.work / "sequences" / f"turns_{len(library(objects))}_{names_key(objects.names)}.npz"
        if distributed.rank() == 0:
            make_shape_turns(objects, path, self.workers)
        distributed.wait()
        return load_shape_turns(path)

    @property
    def _shape_codes(self) -> Path:
        """The file with the codes of all shapes of the library."""
        objects = self.recipe.objects
        key = f"{names_key(objects.names)}_{digest(self.shape_tokenizer)}"
        return self.work / "sequences" / f"shapes_{len(library(objects))}_{key}.npz"

    @cached_property
    def outlines(self) -> Outlines | None:
        """Of the shapes of the library, where the recipe teaches them. Raises TrainingError before `shape_lesson` has made
        their codes.
        """
        if self.recipe.objects is None or not self.recipe.shapes.outline_weight or self.keeps("decoder"):
            return None
        if not self._shape_codes.exists():
            raise TrainingError(f"{self._shape_codes} is missing; run `kyvo train decoder` before")
        tokenizer = self.shape_tokenizer
        return Outlines.of(load_shape_codes(self._shape_codes), tokenizer.codebook.float(), tokenizer.block_colors())

    def check_shape_codes(self) -> None:
        """Note whose shape codes the work folder's decoder learns. Raises TrainingError where they were another's."""
        path, own = self.work / "decoder" / _SHAPE_CODES, digest(self.shape_tokenizer)
        begun = (self.work / "decoder" / CHECKPOINT).exists()
        if begun and path.exists() and path.read_text(encoding="utf-8").strip() != own:
            raise TrainingError(f"the decoder in {self.work} has learned the codes of another shape tokenizer than "
                                "--shapes names; give that one, or start in another --work")
        if distributed.rank() == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{own}\n", encoding="utf-8")

    def new_language_model(self, tokenizer: ImageTokenizer) -> LanguageModel:
        torch.manual_seed(self.recipe.examples.seed)
        config = decoder_config(self.recipe, self.grammar, tokenizer)
        if self.started_from is not None:  # whose other tasks may need more room
            config = replace(config, max_length=max(config.max_length, self.started_from.decoder.config.max_length))
        model = LanguageModel(Decoder(config, tokenizer.codebook), self.schema, self.outlines,
                              yaws=self.recipe.yaw_weight > 0).to(self.device)
        begun = (self.work / "decoder" / CHECKPOINT).exists() and not self.keeps("decoder")
        if self.started_from is not None and not begun:  # one that has begun comes from its checkpoint
            state = state_for(self.started_from.decoder, tokenizer, self._seen_together(tokenizer))
            start_from(model.decoder, longer_tables(model.decoder, self.started_from.vocabulary, state), "decoder")
            head = head_weights(model.dense_head, DECODER_HEAD, self.source_heads)
            model.dense_head.load_state_dict(head, strict=False)
        if self.shape_tokenizer is not None:
            share_rows(model.decoder, self.shape_tokenizer.codebook)
        return model

    def _seen_together(self, tokenizer: ImageTokenizer) -> Tensor | None:
        """Of codes of the training images by this image tokenizer and by the one that the decoder to start from knows;
        None where these are the same or have other sizes.
        """
        decoder, before = self.started_from.decoder, self.started_from.image_tokenizer
        if knows_codes(decoder, tokenizer) or before.config != tokenizer.config:
            return None
        images = np.concatenate([examples.images[:_TRANSLATED] for examples in self.examples[:2]
                                 if examples is not None and len(examples)])
        codes, old = (torch.from_numpy(encode_images(images, one, self.device)) for one in (tokenizer, before))
        return seen_together(codes, old, tokenizer.config.codebook_size).to(self.device)


def decoder_config(recipe: Recipe, grammar: SceneGrammar, tokenizer: ImageTokenizer) -> DecoderConfig:
    """The decoder that a recipe asks for, with room for the longest sequence of its tasks."""
    return DecoderConfig(
        grammar.vocabulary, **vars(recipe.sizes), max_length=longest_sequence(recipe, grammar, tokenizer),
        code_dim=tokenizer.config.code_dim, image_grid=tokenizer.grid, image_order=recipe.image_order,
        object_context=recipe.object_context, shape_context=recipe.shape_context, written_context=recipe.written_context,
        number_head=recipe.numbers.head, number_embedding=recipe.numbers.embedding,
        shape_length=0 if grammar.schema.shape is None else grammar.schema.shape.length)


def longest_sequence(recipe: Recipe, grammar: SceneGrammar, tokenizer: ImageTokenizer) -> int:
    """Tokens of an image, a scene and what stands between and behind them."""
    rows, columns = tokenizer.grid
    return rows * columns + 8 + grammar.max_length + (MAX_QUESTION_TOKENS if recipe.answer_ratio else 0)

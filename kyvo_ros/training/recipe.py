"""A recipe: everything that decides what a trained model is, as one YAML file.

Unknown or missing keys are errors that name them, so that no setting is silently ignored. Where data lie and how long
a session may run are not part of a recipe; they are given on the command line.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml

from kyvo_ros.autoencoders.canonical import CanonicalCamera
from kyvo_ros.autoencoders.image_tokenizer import ImageTokenizerConfig
from kyvo_ros.data.object_scenes import ObjectSettings
from kyvo_ros.model.config import NUMBER_EMBEDDINGS
from kyvo_ros.model.files import STORAGE
from kyvo_ros.questions import ATTRIBUTES
from kyvo_ros.tokens.image_orders import ORDERS
from kyvo_ros.tokens.schema import CLEVR_SCHEMA, SceneSchema
from kyvo_ros.tokens.sequences import ANSWER_TASKS
from kyvo_ros.tokens.vocabulary import SMALL_NUMBER_STEP, Vocabulary
from kyvo_ros.training.picture_terms import PictureSettings
from kyvo_ros.training.rendering import DrawingSettings, FirstCodes
from kyvo_ros.training.trainer import RunSettings


class RecipeError(ValueError):
    """A recipe file cannot be used; the message names the entry."""


@dataclass(frozen=True)
class ExampleSettings:
    """Which images are made for training."""

    synthetic: int = 20000  # scenes of the ray caster
    render_views: int = 10  # virtual turns of every real render; 0 trains on none, and reads those held out alone
    turn_deg: float = 1.5  # largest pan and tilt of a virtual turn; half a token cell is about 1.6
    other_lenses: float = 0.0  # share of these views through another lens than the one for where the camera stands
    lens_factor: tuple[float, float] = (0.95, 1.25)  # how much longer those lenses are
    aim_jitter: float = 0.4  # units by which a synthetic camera looks beside the world's origin
    other_cameras: float = 0.5  # share of synthetic scenes seen from other distances and elevations than CLEVR's
    distance_factor: tuple[float, float] = (0.7, 1.6)  # of those cameras, against CLEVR's
    elevation_deg: tuple[float, float] = (18.0, 45.0)  # of those cameras
    loose: float = 0.0  # share of synthetic scenes, of any camera, that do not follow CLEVR's rules (`sources.LOOSE`)
    backgrounds: int = 600  # images that show no scene
    questions: int = 20000  # of the project's own generator; those of `--renders` come on top
    instructions: int = 10000  # of the project's own generator
    held_out: int = 130  # the last renders of the folder, kept for the selection of models
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("distance_factor", "elevation_deg", "lens_factor"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        counts = (self.synthetic, self.render_views, self.held_out, self.backgrounds, self.questions, self.instructions)
        if min(*counts, self.turn_deg, self.aim_jitter) < 0:
            raise ValueError(f"counts and angles must not be negative, got {self}")
        if not 0.0 < self.lens_factor[0] <= self.lens_factor[1]:
            raise ValueError(f"lens_factor must be two positive factors, the smaller first, got {self.lens_factor}")
        for name in ("other_cameras", "loose", "other_lenses"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")


@dataclass(frozen=True)
class DecoderSizes:
    """Sizes of the decoder's body; the rest of its configuration follows from the vocabulary and the tokenizer."""

    dim: int = 192
    layers: int = 6
    heads: int = 6
    kv_heads: int = 3
    ffn_dim: int = 512


@dataclass(frozen=True)
class NumberSettings:
    """How the decoder's numbers are spaced, read and written."""

    step: float = SMALL_NUMBER_STEP  # of the grid, scene units; must divide its range; programs need 0.05 or less
    embedding: str = "both"  # one of NUMBER_EMBEDDINGS
    head: bool = True  # the rows that score numbers also hold a projection of their sin-cos features

    def __post_init__(self) -> None:
        if self.embedding not in NUMBER_EMBEDDINGS:
            raise ValueError(f"embedding must be one of {NUMBER_EMBEDDINGS}, got {self.embedding!r}")
        Vocabulary.small(number_step=self.step)  # raises ValueError for a step that does not divide the range


@dataclass(frozen=True)
class ShapeShares:
    """How many batches of the decoder carry codes of shapes, where a recipe has objects; shares of all batches."""

    seen: float = 0.4  # one object's codes behind the layout before it, as parallel rows are generated
    whole: float = 0.0  # whole scenes in sequence order
    drawn: float = 0.0  # scenes of given shapes to draw
    drawn_objects: int | None = None  # most objects of such a scene, each of which takes 500 tokens; None: any number
    batch_size: int = 4  # sequences a batch of each training process; they are longer than others
    #: A label is shared by the codes like the true one, e-fold less for each such step of the cosine of their vectors;
    #: 0: it is the true one's alone.
    label_spread: float = 0.04
    wrong_codes: float = 0.0  # of `seen`: a row's share of codes to continue from that are replaced, from 0 to this
    outline_weight: float = 0.0  # of what a head has to know of shapes before their codes; 0 leaves it out

    def __post_init__(self) -> None:
        if min(self.seen, self.whole, self.drawn) < 0 or self.total > 1 or self.batch_size < 1:
            raise ValueError(f"shares of shapes must lie in [0, 1] together and batch_size be at least 1, got {self}")
        if self.drawn_objects is not None and self.drawn_objects < 1:
            raise ValueError(f"drawn_objects must be at least 1, got {self.drawn_objects}")
        for name in ("label_spread", "outline_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.wrong_codes <= 1:
            raise ValueError(f"wrong_codes must lie in [0, 1], got {self.wrong_codes}")

    @property
    def total(self) -> float:
        return self.seen + self.whole + self.drawn


@dataclass(frozen=True)
class Recipe:
    """The settings of the four trained stages, and what they share."""

    name: str
    encoder: RunSettings  # encoder and dense head, without quantisation
    codes: RunSettings  # the same with the quantiser, warm
    pixels: RunSettings  # the image decoder, codes frozen
    decoder: RunSettings  # the language model
    examples: ExampleSettings = field(default_factory=ExampleSettings)
    canonical: CanonicalCamera = field(default_factory=CanonicalCamera)
    tokenizer: ImageTokenizerConfig = field(default_factory=ImageTokenizerConfig)
    sizes: DecoderSizes = field(default_factory=DecoderSizes)
    numbers: NumberSettings = field(default_factory=NumberSettings)
    schema: SceneSchema = CLEVR_SCHEMA  # in a file, the path of a JSON file beside the recipe; its objects and words
    objects: ObjectSettings | None = None  # scenes of the library's objects with their shapes, in place of the schema's
    shapes: ShapeShares = field(default_factory=ShapeShares)  # of what is trained, where there are objects
    render_ratio: float = 0.5  # share of real renders in every batch, where renders are given
    label_sigma: float = 1.0  # grid steps; spread of the soft labels on number tokens, 0 for hard labels
    yaw_sigma: float | None = None  # the same of yaws, which images tell less sharply; None: label_sigma
    dense_weight: float = 0.2  # of the dense head's loss beside the decoder's own, 0 to leave it out
    yaw_weight: float = 0.0  # of what a head has to know of yaws before they are written; 0 leaves it out
    sentence_ratio: float = 0.15  # share of batches that are sentences with programs; 0 leaves them out
    rendering_ratio: float = 0.0  # share of batches that are scenes to draw; 0 leaves the task out
    answer_ratio: float = 0.0  # share of batches that are questions about an image and its scene; 0 leaves the task out
    modality_order: str = "image_first"  # of image and scene before such a question, a key of ANSWER_TASKS
    image_order: str = "spiral"  # in which the codes of a picture are written; see `tokens.image_orders`
    picture_terms: PictureSettings = field(default_factory=PictureSettings)  # of stage `pixels`
    first_codes: FirstCodes = field(default_factory=FirstCodes)  # of a picture, which weigh more
    object_context: bool = False  # see `DecoderConfig`; a decoder that learns to draw finds its objects by it
    shape_context: bool = False  # see `DecoderConfig`; codes of shapes find their object in the image by it
    written_context: bool = False  # see `DecoderConfig`; yaws and sizes find their object in the image by it
    drawing: DrawingSettings = field(default_factory=DrawingSettings)  # what else is weighted, and what replaced
    camera_dropout: float = 0.1  # share of ordinary cameras of which the decoder is told the nominal pose alone
    max_objects: int | None = None  # largest number of objects in a scene; None: the schema's
    sketch_weight: float = 0.0  # of what a small head draws, in stages `encoder` and `codes`; 0 leaves it out
    freeze_codebook: bool = False  # stage `codes` keeps the codes of the model that it starts from as they are
    head_steps: int = 400  # before the first, of a head of training alone, where the model to start from has none
    storage: str = "float16"  # of the model folder's matrices, one of `model.files.STORAGE`

    def __post_init__(self) -> None:
        for name in ("render_ratio", "camera_dropout", "sentence_ratio", "rendering_ratio", "answer_ratio"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if self.sentence_ratio + self.rendering_ratio + self.answer_ratio > 1.0:
            raise ValueError("sentence_ratio, rendering_ratio and answer_ratio together must be at most 1, got "
                             f"{self.sentence_ratio}, {self.rendering_ratio} and {self.answer_ratio}")
        if self.answer_ratio and not self.examples.questions:
            raise ValueError("answer_ratio needs examples with questions, got none")
        if self.modality_order not in ANSWER_TASKS:
            raise ValueError(f"modality_order must be one of {tuple(ANSWER_TASKS)}, got {self.modality_order!r}")
        if self.objects is not None:
            self._check_shares_with_objects()
        elif self.sentence_ratio or self.answer_ratio:
            self._check_words()
        if self.yaw_weight and self.objects is None and self.schema.yaw is None:
            raise ValueError(f"objects of schema {self.schema.name} have no yaws to learn; set yaw_weight: 0")
        if self.storage not in STORAGE:
            raise ValueError(f"storage must be one of {STORAGE}, got {self.storage!r}")
        if self.image_order not in ORDERS:
            raise ValueError(f"image_order must be one of {tuple(ORDERS)}, got {self.image_order!r}")
        for name in ("label_sigma", "yaw_sigma", "dense_weight", "yaw_weight", "sketch_weight", "head_steps"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")

    @property
    def without_steps(self) -> tuple[str, ...]:
        """The trained stages that take no steps."""
        stages = {"encoder": self.encoder, "codes": self.codes, "pixels": self.pixels, "decoder": self.decoder}
        return tuple(name for name, settings in stages.items() if not settings.total_steps)

    def _check_words(self) -> None:
        words = {attribute.name: set(attribute.values) for attribute in self.schema.words}
        if words != {name: set(values) for name, values in ATTRIBUTES.items()}:
            raise ValueError("questions and instructions are about the words of CLEVR, which schema "
                             f"{self.schema.name} does not have, or not alone; set sentence_ratio: 0 and answer_ratio: 0")

    def _check_shares_with_objects(self) -> None:
        if self.sentence_ratio or self.answer_ratio:
            raise ValueError("questions and instructions are about the words of CLEVR; with objects, set "
                             f"sentence_ratio: 0 and answer_ratio: 0, not {self.sentence_ratio} and "
                             f"{self.answer_ratio}")
        if self.rendering_ratio + self.shapes.total > 1.0:
            raise ValueError("rendering_ratio and the shares of shapes together must be at most 1, got "
                             f"{self.rendering_ratio} and {self.shapes.total}")


#: How the entries of a recipe that are blocks of their own are read.
_BLOCKS = {"encoder": RunSettings, "codes": RunSettings, "pixels": RunSettings, "decoder": RunSettings,
           "examples": ExampleSettings, "canonical": CanonicalCamera, "tokenizer": ImageTokenizerConfig,
           "sizes": DecoderSizes, "numbers": NumberSettings, "first_codes": FirstCodes, "drawing": DrawingSettings,
           "picture_terms": PictureSettings, "objects": ObjectSettings, "shapes": ShapeShares}


def load_recipe(path: Path) -> Recipe:
    """Read a recipe. Raises RecipeError where the file is missing, broken, or has a wrong entry."""
    return recipe_of(read_document(path), path)


def recipe_of(document: dict, path: Path) -> Recipe:
    """The recipe that a mapping is; `path` is the file that it comes from. Raises RecipeError for a wrong entry."""
    try:
        blocks = read_blocks(document, _BLOCKS)
        if "schema" in blocks:
            blocks["schema"] = read_schema(path.parent / str(blocks["schema"]))
        return read_block(Recipe, blocks, "recipe")
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{path}: {error}") from error


def read_document(path: Path) -> dict:
    """The mapping in a YAML file. Raises RecipeError where it is missing, broken, or holds another thing."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"there is no recipe at {path}; the shipped ones are in recipes/") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise RecipeError(f"{path} must hold a mapping of settings, got {type(document).__name__}")
    return document


def read_blocks(document: dict, kinds: dict[str, type]) -> dict:
    """Entries that are blocks of their own as the dataclasses they are; raises what these raise, or RecipeError."""
    return {key: read_block(kinds[key], value, key) if key in kinds else value for key, value in document.items()}


def read_schema(path: Path) -> SceneSchema:
    """Read what `SceneSchema.to_dict` says, as JSON. Raises RecipeError with the file and the reason."""
    try:
        return SceneSchema.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{path} is no schema of objects ({error!r}); docs/own_objects.md shows one") from error


def read_block(kind: type, values: object, where: str) -> object:
    """A dataclass of a mapping. Raises RecipeError for settings that it does not have."""
    if not isinstance(values, dict):
        raise RecipeError(f"{where} must be a mapping of settings, got {values!r}")
    unknown = set(values) - {f.name for f in fields(kind)}
    if unknown:
        known = ", ".join(f.name for f in fields(kind))
        raise RecipeError(f"{where} has no setting {', '.join(sorted(unknown))}; it has {known}")
    return kind(**values)

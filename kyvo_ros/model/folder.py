"""A model folder: everything that a model is, in files that anybody can read and nothing that can run code.

    config.json                  sizes, vocabulary, schema (units, frame), canonical camera, token grid, calibration,
                                 the tasks that it was trained for
    decoder.safetensors          weights of the decoder (without the codebook, which is the image tokenizer's)
    image_tokenizer.safetensors  weights of the image tokenizer
    shape_tokenizer.safetensors  weights of the shape tokenizer, where scenes have shapes
    tokenizer.json               the text tokenizer, as the `tokenizers` library writes it
    training_heads.safetensors   where training left them: heads that only further training needs, and only it reads
    SHA256SUMS                   what these files are; where it is there, they are checked before they are read

Matrices are stored in float16, vectors (norms, biases, running statistics) in float32, and both are loaded as float32
unless a decoder is asked for in another dtype (see `precision`). The card, README.md, is written by training.

A converted checkpoint is stored as it came (`save_converted`), its codebook with it: the decoder alone, which
`load_decoder` reads, or with all that it needs to see. A folder may hold a shape tokenizer alone
(`save_shape_tokenizer`, `load_shape_tokenizer`): the section `shape_tokenizer` of the configuration, and its weights.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save, save_file
from torch import Tensor, nn

from kyvo_ros.autoencoders.canonical import CanonicalCamera
from kyvo_ros.autoencoders.image_tokenizer import ImageCodec
from kyvo_ros.autoencoders.kinds import image_tokenizer_from_dict, image_tokenizer_to_dict
from kyvo_ros.autoencoders.shape_tokenizer import ShapeTokenizer, ShapeTokenizerConfig
from kyvo_ros.model.checksums import renew_checksum, write_checksums
from kyvo_ros.model.config import DecoderConfig
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.files import (
    CODEBOOK, CONFIG, DECODER, FILES, FORMAT_VERSION, IMAGE_TOKENIZER, LISTED_FILES, SHAPE_TOKENIZER, TEXT_TOKENIZER,
    TRAINING_HEADS, ModelFolderError, SectionReader, check_tensors, existing, load_weights, read_config, read_tensors,
    require, state, stored)
from kyvo_ros.model.precision import choose_dtype
from kyvo_ros.model.programs import program_grammars
from kyvo_ros.scene import Calibration
from kyvo_ros.scene.files import write_whole
from kyvo_ros.tokens.program_grammar import ProgramGrammar
from kyvo_ros.tokens.scene_grammar import SceneGrammar
from kyvo_ros.tokens.schema import SceneSchema
from kyvo_ros.tokens.sequences import TASKS, SequenceBuilder
from kyvo_ros.tokens.text import TextTokenizer, TextTokenizerError
from kyvo_ros.tokens.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class ModelBundle:
    """A model with all that belongs to it."""

    name: str  # how the model calls itself in logs and diagnostics
    vocabulary: Vocabulary  # the decoder's
    schema: SceneSchema  # what its scenes can say
    text_tokenizer: TextTokenizer  # words to ids
    decoder: Decoder  # float32, or what it was loaded in
    image_tokenizer: ImageCodec  # float32; its codebook is the decoder's
    canonical: CanonicalCamera  # the camera that it knows
    calibration: Calibration = field(default_factory=Calibration)  # of what its decoder claims
    tasks: tuple[str, ...] = ("I->3",)  # of `tokens.sequences.TASKS`, those that it was trained for
    shape_tokenizer: ShapeTokenizer | None = None  # float32; of the shapes that the schema has, None where it has none
    grammar: SceneGrammar = field(init=False)  # the language of its scenes
    programs: Mapping[str, ProgramGrammar] = field(init=False)  # the languages of its programs
    builder: SequenceBuilder = field(init=False)  # the layout of its sequences

    def __post_init__(self) -> None:
        config = self.decoder.config
        if self.vocabulary != config.vocabulary:
            raise ModelFolderError("the bundle's vocabulary is not the decoder's")
        if tuple(self.image_tokenizer.grid) != config.image_grid:
            raise ModelFolderError(f"the image tokenizer makes {tuple(self.image_tokenizer.grid)} codes, the decoder "
                                   f"reads {config.image_grid}; they belong to different models")
        camera, tokenizer = self.canonical, self.image_tokenizer.config
        if (camera.width, camera.height) != (tokenizer.width, tokenizer.height):
            raise ModelFolderError(f"the canonical camera makes {camera.width}x{camera.height} images, the image "
                                   f"tokenizer reads {tokenizer.width}x{tokenizer.height}")
        if not _same_codebook(self.decoder.embedding.codebook.cpu(), self.image_tokenizer.codebook.cpu()):
            raise ModelFolderError("the decoder was made for another codebook than the image tokenizer's")
        self._check_shapes()
        object.__setattr__(self, "tasks", tuple(self.tasks))
        if not set(self.tasks) <= set(TASKS):
            raise ModelFolderError(f"expected tasks of {tuple(TASKS)}, got {self.tasks}")
        unknown = set(self.calibration.attribute_temperatures) - {a.name for a in self.schema.words}
        if unknown:
            raise ModelFolderError(f"the calibration names attributes that the schema lacks: {sorted(unknown)}; run "
                                   "`kyvo calibrate` again")
        grammar = SceneGrammar(self.vocabulary, self.text_tokenizer, self.schema)
        object.__setattr__(self, "grammar", grammar)
        spoken = "[PROGRAM-START]" in self.vocabulary.structure  # the published vocabularies have no programs
        object.__setattr__(
            self, "programs", program_grammars(self.vocabulary, self.text_tokenizer) if spoken else {})
        builder = SequenceBuilder(
            self.vocabulary, grammar, self.text_tokenizer, config.image_grid, self.programs, config.image_order)
        object.__setattr__(self, "builder", builder)

    def _check_shapes(self) -> None:
        """Raises ModelFolderError unless schema, decoder and shape tokenizer speak of the same codes."""
        shape, tokenizer = self.schema.shape, self.shape_tokenizer
        if (shape is None) != (tokenizer is None):
            raise ModelFolderError("a model has a shape tokenizer if, and only if, its schema has shapes")
        if shape is None:
            return
        said = (shape.length, self.vocabulary.shape_codes)
        known, read = (tokenizer.config.length, tokenizer.config.codebook_size), self.decoder.config.shape_length
        if said != known or read != shape.length:
            raise ModelFolderError(f"the schema and the vocabulary have shapes of {said[0]} codes of {said[1]}, the "
                                   f"shape tokenizer of {known[0]} of {known[1]}, the decoder of {read}; they belong "
                                   "to different models")


def _same_codebook(decoders: Tensor, tokenizers: Tensor) -> bool:
    """Whether a decoder was made for an image tokenizer, in the decoder's dtype; a published one keeps the codes
    rounded to bfloat16.
    """
    return any(torch.equal(decoders, codes.to(decoders.dtype)) for codes in (tokenizers, tokenizers.bfloat16()))


@dataclass(frozen=True, eq=False)
class Sight:
    """What a decoder needs to see besides its text tokenizer; as in ModelBundle."""

    schema: SceneSchema
    image_tokenizer: ImageCodec
    canonical: CanonicalCamera
    tasks: tuple[str, ...] = ("I->3",)

    def sections(self) -> dict[str, Any]:
        """Of config.json."""
        return {"schema": self.schema.to_dict(), "image_tokenizer": image_tokenizer_to_dict(self.image_tokenizer),
                "canonical": self.canonical.to_dict(), "tasks": list(self.tasks)}


def save_model(folder: str | Path, bundle: ModelBundle, storage: str = "float16",
               heads: nn.Module | None = None) -> None:
    """Write a model folder; inverse of `load_model` up to the rounding of matrices, which `storage` names
    (`files.STORAGE`). `heads` are those that only training needs, which `files.read_training_heads` reads.

    Other files in the folder, such as the card, stay, but for heads of a model before. Raises ModelFolderError where a
    weight is not finite in float16.
    """
    folder = Path(folder)
    weights = {DECODER: stored(bundle.decoder, DECODER, storage),
               IMAGE_TOKENIZER: stored(bundle.image_tokenizer, IMAGE_TOKENIZER, storage)}
    sight = Sight(bundle.schema, bundle.image_tokenizer, bundle.canonical, bundle.tasks)
    config = {"format_version": FORMAT_VERSION, "name": bundle.name, "decoder": bundle.decoder.config.to_dict(),
              **sight.sections(), "calibration": bundle.calibration.to_dict()}
    if bundle.shape_tokenizer is not None:
        config["shape_tokenizer"] = bundle.shape_tokenizer.config.to_dict()
        weights[SHAPE_TOKENIZER] = stored(bundle.shape_tokenizer, SHAPE_TOKENIZER, storage)
    if heads is not None:
        weights[TRAINING_HEADS] = stored(heads, TRAINING_HEADS, storage)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    bundle.text_tokenizer.save(folder / TEXT_TOKENIZER)
    (folder / TRAINING_HEADS).unlink(missing_ok=True)
    for file, tensors in weights.items():
        (folder / file).write_bytes(save(tensors))  # `save_file` would hide the file from other users
    write_checksums(folder, LISTED_FILES)


def save_calibration(folder: str | Path, calibration: Calibration) -> None:
    """Put a calibration into the config.json of a model folder, or leave the file as it was.

    Raises ModelFolderError where the file is missing, broken or not the manifest's, OSError where it cannot be written.
    """
    path = existing(folder) / CONFIG
    config = {**read_config(path), "calibration": calibration.to_dict()}
    write_whole(path, json.dumps(config, indent=1) + "\n")
    renew_checksum(Path(folder), CONFIG)


def load_model(folder: str | Path, device: str | torch.device = "cpu", dtype: str = "float32") -> ModelBundle:
    """Read a model folder; inverse of `save_model`. Modules come in evaluation mode, in float32 but for the decoder,
    whose `dtype` is one of `precision.DTYPES`. Weights that are stored in it are not copied.

    Raises DtypeError, and ModelFolderError where the folder or a file is missing, a file is not the one that SHA256SUMS
    describes, JSON or weights are broken, the format is another, or a tensor is missing, unknown, misshapen or not
    finite.
    """
    folder = existing(folder)
    section = SectionReader(folder / CONFIG, read_config(folder / CONFIG))
    if "shape_tokenizer" in section.config and "decoder" not in section.config:
        raise ModelFolderError(f"{folder} holds a shape tokenizer alone, which tokenizes meshes; to see, a model needs "
                               f"{', '.join(FILES)}")
    if "schema" not in section.config and "image_tokenizer" not in section.config:
        raise ModelFolderError(f"{folder} lacks the sections 'schema' and 'image_tokenizer': it holds a decoder alone, "
                               "which kyvo_ros.model.checkpoint.load_decoder reads; to see, a model needs all files")
    schema = section("schema", SceneSchema.from_dict)
    decoder_config = section("decoder", DecoderConfig.from_dict)
    image_tokenizer = _read_image_tokenizer(folder, section)
    weights = {CODEBOOK: image_tokenizer.codebook, **read_tensors(folder / DECODER)}
    decoder = _decoder_of(decoder_config, weights, folder / DECODER, _dtype_of(weights, dtype))
    text_tokenizer = _read_text_tokenizer(folder / TEXT_TOKENIZER)
    shape_tokenizer = _read_shape_tokenizer(folder, section) if "shape_tokenizer" in section.config else None
    calibrated, tasks = "calibration" in section.config, section.config.get("tasks", ["I->3"])
    try:
        return ModelBundle(
            name=section("name", str), vocabulary=decoder_config.vocabulary, schema=schema,
            text_tokenizer=text_tokenizer, decoder=decoder.eval().to(device),
            image_tokenizer=image_tokenizer.eval().to(device),
            canonical=section("canonical", CanonicalCamera.from_dict),
            calibration=section("calibration", Calibration.from_dict) if calibrated else Calibration(), tasks=tasks,
            shape_tokenizer=None if shape_tokenizer is None else shape_tokenizer.eval().to(device))
    except ModelFolderError:
        raise
    except ValueError as error:  # of the grammar
        raise ModelFolderError(f"{folder / TEXT_TOKENIZER} and the schema in {CONFIG} do not fit: {error}") from error


def save_converted(folder: str | Path, name: str, config: DecoderConfig, weights: dict[str, Tensor],
                   text_tokenizer: TextTokenizer | None = None, sight: Sight | None = None) -> None:
    """Write a folder with weights stored as they are; `weights` is the decoder's whole state dict, codebook included.

    Without `sight` it holds a decoder alone. Raises ModelFolderError where the parts do not fit each other.
    """
    folder = Path(folder)
    document = {"format_version": FORMAT_VERSION, "name": name, "decoder": config.to_dict()}
    files = {DECODER: weights}
    if sight is not None:
        if text_tokenizer is None:
            raise ModelFolderError("a model that sees needs its text tokenizer")
        if not _same_codebook(weights[CODEBOOK], sight.image_tokenizer.codebook):
            raise ModelFolderError("the decoder was made for another codebook than the image tokenizer's")
        document |= sight.sections()
        files[IMAGE_TOKENIZER] = sight.image_tokenizer.state_dict()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for file, tensors in files.items():
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / file)
        # `save` as above would hold a large model twice; `save_file` hides its file from other users: undone here.
        (folder / file).chmod((folder / CONFIG).stat().st_mode)
    if text_tokenizer is not None:
        text_tokenizer.save(folder / TEXT_TOKENIZER)
    write_checksums(folder, LISTED_FILES)


def replace_decoder(source: str | Path, folder: str | Path, weights: dict[str, Tensor],
                    tasks: tuple[str, ...] | None = None, image_order: str | None = None) -> None:
    """Write a copy of a converted folder whose decoder has other weights (a whole state dict, stored as it is).

    `tasks` are those that it was trained for, where the folder can see and so names them, and `image_order` that in
    which it draws; None: as in the folder.
    """
    source, folder = existing(source), Path(folder)
    document = read_config(source / CONFIG)
    if tasks is not None and "tasks" in document:
        document["tasks"] = list(tasks)
    if image_order is not None:
        document["decoder"]["image_order"] = image_order
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        if file.name not in (CONFIG, DECODER) and file.is_file() and source.resolve() != folder.resolve():
            shutil.copyfile(file, folder / file.name)
    (folder / CONFIG).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / DECODER)
    (folder / DECODER).chmod((folder / CONFIG).stat().st_mode)
    write_checksums(folder, LISTED_FILES)


def read_decoder(folder: str | Path) -> tuple[str, DecoderConfig, dict[str, Tensor]]:
    """Name, configuration and weights, as they are stored, of any model folder; inverse of `save_converted`.

    Raises ModelFolderError as `load_model` does, but does not look into the weights of the decoder.
    """
    folder = existing(folder)
    section = SectionReader(folder / CONFIG, read_config(folder / CONFIG))
    config = section("decoder", DecoderConfig.from_dict)
    weights = read_tensors(folder / DECODER)
    if CODEBOOK not in weights:
        weights[CODEBOOK] = _read_image_tokenizer(folder, section).codebook
    return section("name", str), config, weights


def read_image_tokenizer(folder: str | Path) -> ImageCodec | None:
    """The image tokenizer of any model folder, on the CPU; None where it holds a decoder alone.

    Raises ModelFolderError as `load_model` does.
    """
    folder = existing(folder)
    section = SectionReader(folder / CONFIG, read_config(folder / CONFIG))
    return _read_image_tokenizer(folder, section) if "image_tokenizer" in section.config else None


def load_decoder(folder: str | Path, dtype: torch.dtype = torch.float32,
                 device: str | torch.device = "cpu") -> Decoder:
    """The decoder of any model folder, in evaluation mode: ids (B, S) -> logits (B, S, V) float32.

    Weights that are stored in `dtype` are not copied, and none are initialised, so that a large model needs its own
    size in memory. Raises ModelFolderError as `load_model` does.
    """
    _, config, weights = read_decoder(folder)
    return _decoder_of(config, weights, Path(folder) / DECODER, dtype).to(device=device)


def _dtype_of(weights: dict[str, Tensor], name: str) -> torch.dtype:
    """What `choose_dtype` says of a decoder's weights; a head that is missing is named later."""
    stored = weights["head.weight"].dtype if "head.weight" in weights else torch.float32
    return choose_dtype(name, stored, sum(tensor.numel() for tensor in weights.values()))


def _decoder_of(config: DecoderConfig, weights: dict[str, Tensor], path: Path, dtype: torch.dtype) -> Decoder:
    """A decoder with these weights, codebook included, which came from a file; they are taken out of the dictionary,
    so that a large model is never here twice.
    """
    codebook = weights.pop(CODEBOOK)
    try:
        with torch.device("meta"):
            decoder = Decoder(config, codebook)
    except ValueError as error:
        raise ModelFolderError(f"{path.with_name(CONFIG)}: decoder and image tokenizer do not fit: {error}") from error
    check_tensors(state(decoder), weights, path)
    converted = {name: weights.pop(name).to(dtype) for name in list(weights)}
    decoder.load_state_dict(converted, strict=False, assign=True)
    return decoder.to(dtype=dtype).eval()


def save_shape_tokenizer(folder: str | Path, name: str, tokenizer: ShapeTokenizer) -> None:
    """Write a folder that holds a shape tokenizer alone; inverse of `load_shape_tokenizer` up to float16."""
    folder = Path(folder)
    weights = save(stored(tokenizer, SHAPE_TOKENIZER))
    folder.mkdir(parents=True, exist_ok=True)
    document = {"format_version": FORMAT_VERSION, "name": name, "shape_tokenizer": tokenizer.config.to_dict()}
    (folder / CONFIG).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (folder / SHAPE_TOKENIZER).write_bytes(weights)
    write_checksums(folder, LISTED_FILES)


def load_shape_tokenizer(folder: str | Path, device: str | torch.device = "cpu") -> tuple[str, ShapeTokenizer]:
    """Name and shape tokenizer of a folder that holds one, in evaluation mode. Raises ModelFolderError as `load_model`
    does.
    """
    folder = existing(folder)
    section = SectionReader(folder / CONFIG, read_config(folder / CONFIG))
    return section("name", str), _read_shape_tokenizer(folder, section).eval().to(device)


def _read_shape_tokenizer(folder: Path, section: SectionReader) -> ShapeTokenizer:
    tokenizer = ShapeTokenizer(section("shape_tokenizer", ShapeTokenizerConfig.from_dict))
    load_weights(tokenizer, folder / SHAPE_TOKENIZER)
    return tokenizer


def _read_image_tokenizer(folder: Path, section: SectionReader) -> ImageCodec:
    image_tokenizer = section("image_tokenizer", image_tokenizer_from_dict)
    load_weights(image_tokenizer, folder / IMAGE_TOKENIZER)
    return image_tokenizer


def _read_text_tokenizer(path: Path) -> TextTokenizer:
    require(path)
    try:
        return TextTokenizer.load(path)
    except TextTokenizerError as error:
        raise ModelFolderError(f"{error}; copy it again") from error

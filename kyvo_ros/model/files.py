"""The files of a model folder: names, weights and configuration as they are read and checked, part by part.

What they make together is `folder`'s.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from kyvo_ros.model.checksums import ChecksumError, verify_checksums

CONFIG, DECODER, IMAGE_TOKENIZER, SHAPE_TOKENIZER, TEXT_TOKENIZER, TRAINING_HEADS = (
    "config.json", "decoder.safetensors", "image_tokenizer.safetensors", "shape_tokenizer.safetensors",
    "tokenizer.json", "training_heads.safetensors")
FILES = (CONFIG, DECODER, IMAGE_TOKENIZER, TEXT_TOKENIZER)
#: What is compared with SHA256SUMS before a model is read, of those that a folder has.
CHECKED_FILES = (*FILES, SHAPE_TOKENIZER)
#: What SHA256SUMS describes, of those that a folder has; only training reads the last one.
LISTED_FILES = (*CHECKED_FILES, TRAINING_HEADS)
#: Raised when a folder of the version before can no longer be read.
FORMAT_VERSION = 1
#: The decoder's copy of the image tokenizer's codebook, which is not stored twice.
CODEBOOK = "embedding.codebook"
#: How matrices are stored: two bytes a number, or one and a scale for each row.
STORAGE = ("float16", "int8")
#: Behind the name of a matrix in bytes: its rows' scales.
_SCALE = ":scale"
_LARGEST_BYTE = 127

T = TypeVar("T")


class ModelFolderError(ValueError):
    """A model folder is missing or broken; the message names the file or tensor and what to do."""


def existing(folder: str | Path) -> Path:
    """The folder, whose files are what its manifest says, where it has one. Raises ModelFolderError."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelFolderError(f"there is no model folder {folder}; train a model with `kyvo train`, or give the path "
                               f"of a folder that holds {CONFIG}")
    _check(folder, CHECKED_FILES)
    return folder


def _check(folder: Path, names: tuple[str, ...]) -> None:
    try:
        verify_checksums(folder, names)
    except ChecksumError as error:
        raise ModelFolderError(str(error)) from error


def read_training_heads(folder: str | Path) -> dict[str, Tensor]:
    """What the file of heads that training alone needs holds, on the CPU; nothing where a folder has none.

    Raises ModelFolderError where it is damaged or not the manifest's.
    """
    path = Path(folder) / TRAINING_HEADS
    if not path.exists():
        return {}
    _check(path.parent, (TRAINING_HEADS,))
    return read_tensors(path)


def state(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a module that its file holds."""
    return {name: tensor for name, tensor in module.state_dict().items() if name != CODEBOOK}


def stored(module: nn.Module, file: str, storage: str = "float16") -> dict[str, Tensor]:
    """What a module's file holds, on the CPU: matrices in one of STORAGE, the rest as it is. `read_tensors` undoes it.

    Raises ModelFolderError where a weight is not finite in float16.
    """
    if storage not in STORAGE:
        raise ValueError(f"storage must be one of {STORAGE}, got {storage!r}")
    tensors = {}
    for name, tensor in state(module).items():
        tensor = tensor.detach().cpu()
        matrix = tensor.ndim > 1 and tensor.is_floating_point()
        short = tensor.half() if matrix else tensor
        if not short.isfinite().all():
            raise ModelFolderError(f"{name} of {file} is not finite in {short.dtype}; the training has diverged, "
                                   "go back to an earlier checkpoint")
        tensors |= _in_bytes(name, tensor) if matrix and storage == "int8" else {name: short.contiguous()}
    return tensors


def _in_bytes(name: str, matrix: Tensor) -> dict[str, Tensor]:
    """A matrix (N, ...) as int8, and the scales of its rows; inverse of `_out_of_bytes` up to rounding."""
    rows = matrix.float().flatten(1)
    scale = rows.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / _LARGEST_BYTE
    return {name: (rows / scale.unsqueeze(1)).round().to(torch.int8).view(matrix.shape), name + _SCALE: scale}


def _out_of_bytes(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file with matrices in bytes as float32; others, and what does not fit, stay as they are."""
    whole = dict(found)
    for name, scale in found.items():
        matrix = found.get(name.removesuffix(_SCALE))
        if name.endswith(_SCALE) and matrix is not None and scale.shape == matrix.shape[:1]:
            whole[name.removesuffix(_SCALE)] = matrix.float() * scale.view(-1, *[1] * (matrix.ndim - 1))
            del whole[name]
    return whole


def load_weights(module: nn.Module, path: Path) -> None:
    """Fill a module from its file. Raises ModelFolderError naming every tensor that does not fit."""
    found = read_tensors(path)
    check_tensors(state(module), found, path)
    module.load_state_dict(found, strict=False)  # the codebook of the decoder is not in its file


def check_tensors(expected: dict[str, Tensor], found: dict[str, Tensor], path: Path) -> None:
    """Raises ModelFolderError naming every tensor that is missing, unknown, misshapen or not finite."""
    faults = [f"{name} is missing" for name in expected if name not in found]
    faults += [f"{name} is unknown" for name in found if name not in expected]
    both = [name for name in expected if name in found]
    faults += [f"{name} has shape {tuple(found[name].shape)}, expected {tuple(expected[name].shape)}"
               for name in both if found[name].shape != expected[name].shape]
    faults += [f"{name} has whole numbers ({found[name].dtype}) and no {name}{_SCALE} of their scales" for name in both
               if expected[name].is_floating_point() and not found[name].is_floating_point()]
    faults += [f"{name} is not finite" for name in both if not _is_finite(found[name])]
    if faults:
        raise ModelFolderError(f"{path} does not fit {CONFIG}: {'; '.join(faults)}. The files belong to different "
                               "models, or one is damaged; copy or train the whole folder again")


def _is_finite(tensor: Tensor) -> bool:
    """Whether all numbers are; looks at the extremes, since a tensor of answers would be as large as what is asked."""
    return tensor.numel() == 0 or all(bool(extreme.isfinite()) for extreme in tensor.aminmax())


def read_tensors(path: Path) -> dict[str, Tensor]:
    require(path)
    try:
        return _out_of_bytes(load_file(path))
    except SafetensorError as error:
        raise ModelFolderError(f"{path} is not a whole safetensors file ({error}); copy it again") from error


def read_config(path: Path) -> dict[str, Any]:
    require(path)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelFolderError(f"{path} is broken JSON ({error}); copy it again") from error
    if not isinstance(config, dict):
        raise ModelFolderError(f"{path} must hold a JSON object, got a {type(config).__name__}")
    version = config.get("format_version")
    if version != FORMAT_VERSION:
        raise ModelFolderError(f"{path} has format_version {version!r}, this package reads {FORMAT_VERSION}; use the "
                               "version of kyvo_ros that wrote it, or train the model again")
    return config


@dataclass(frozen=True)
class SectionReader:
    """Builds the parts of a configuration and names the part that is broken."""

    path: Path
    config: dict[str, Any]

    def __call__(self, name: str, build: Callable[[Any], T]) -> T:
        if name not in self.config:
            raise ModelFolderError(f"{self.path} lacks the section {name!r}; copy it again")
        try:
            return build(self.config[name])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise ModelFolderError(f"section {name!r} of {self.path} is broken: {reason}") from error


def require(path: Path) -> None:
    if not path.is_file():
        raise ModelFolderError(f"{path} is missing; a model folder holds {CONFIG}, {DECODER}, {IMAGE_TOKENIZER} and "
                               f"{TEXT_TOKENIZER}; copy it again")

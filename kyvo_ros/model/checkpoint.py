"""Checkpoints: a decoder out of a model folder, and the published Kyvo's checkpoints into one and back.

    load_decoder(folder, dtype=torch.bfloat16)                  any model folder
    from_published("meta_model_9.pt", "clevr", "models/mine")   what the published code has trained
    read_vqgan("last.ckpt", "project.yaml")                     the image tokenizer that it was trained with
    to_published("models/mine", "meta_model_9.pt")              back, bit by bit; on request with codebook and VQGAN

The formats are `published`'s and `folder`'s; this module reads and writes the files.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import yaml
from torch import Tensor

from kyvo_ros.autoencoders import taming
from kyvo_ros.autoencoders.image_tokenizer import ImageCodec
from kyvo_ros.autoencoders.vqgan import Vqgan
from kyvo_ros.model import published
from kyvo_ros.model.config import DecoderConfig
from kyvo_ros.model.files import CODEBOOK
from kyvo_ros.model.folder import (
    TEXT_TOKENIZER, Sight, load_decoder, read_decoder, read_image_tokenizer, save_converted)
from kyvo_ros.model.published import PublishedCheckpointError
from kyvo_ros.scene.files import whole_file
from kyvo_ros.tokens.scene_grammar import SceneGrammar
from kyvo_ros.tokens.text import TextTokenizer

__all__ = [
    "PublishedCheckpointError", "from_published", "load_decoder", "read_codebook", "read_tensor_file", "read_tokenizer",
    "read_vqgan", "to_published",
]


def from_published(checkpoint: str | Path, layout: str, folder: str | Path, *, codebook: str | Path | None = None,
                   tokenizer: str | Path | None = None, heads: int = published.HEADS,
                   max_length: int = published.MAX_LENGTH, sight: Sight | None = None,
                   image_order: str = "raster") -> None:
    """Write a model folder with the decoder of a published checkpoint; inverse of `to_published`.

    Args:
        checkpoint: meta_model_N.pt, in Meta's key format.
        layout: one of `published.LAYOUTS`.
        codebook: .npy (K, code_dim) of the image tokenizer; refused where the checkpoint was trained with another.
        tokenizer: folder with Llama's tokenizer.json, for the folder to hold too.
        heads: query heads, which no shape tells.
        max_length: longest sequence to make room for, in tokens.
        sight: image tokenizer, schema, camera and tasks, for a folder that can see or draw; needs `tokenizer`.
        image_order: in which it writes images, one of `tokens.image_orders.ORDERS`.

    Raises PublishedCheckpointError, naming every tensor that does not fit.
    """
    tensors = read_tensor_file(checkpoint)
    config = published.config_of(tensors, layout, heads=heads, max_length=max_length, image_order=image_order)
    weights = published.decoder_weights(tensors, config)
    if codebook is not None:
        _check_codebook(read_codebook(codebook), str(codebook), tensors[published.CODEBOOK])
    text_tokenizer = read_tokenizer(tokenizer, config)
    if sight is not None:
        _check_codebook(sight.image_tokenizer.codebook, "the image tokenizer", tensors[published.CODEBOOK])
        if text_tokenizer is None:
            raise PublishedCheckpointError("to see or draw, a model needs its text tokenizer; give Llama's "
                                           "(--tokenizer)")
        SceneGrammar(config.vocabulary, text_tokenizer, sight.schema)  # refuses names that are no single token
    save_converted(folder, Path(folder).name, config, weights, text_tokenizer, sight)


def to_published(folder: str | Path, checkpoint: str | Path, *, codebook: str | Path | None = None,
                 vqgan: str | Path | None = None) -> None:
    """Write what a folder holds in the published formats.

    Args:
        checkpoint: file for the decoder, in bfloat16 as the published code has them.
        codebook: .npy file for the codebook (K, code_dim) float32: that of the folder's image tokenizer, or, where it
            has none, the decoder's, which is rounded to bfloat16. Inverse of `read_codebook`.
        vqgan: file for the image tokenizer, {"state_dict": tensors} as taming-transformers reads it. Inverse of
            `read_vqgan`, but what only training needs is no longer there.

    Raises PublishedCheckpointError for what the published code has no place for, before anything is written, and
    ModelFolderError.
    """
    _, config, weights = read_decoder(folder)
    tensors = published.published_weights(weights, config)
    tokenizer = None if codebook is None and vqgan is None else read_image_tokenizer(folder)
    images = None if vqgan is None else {"state_dict": _taming_tensors(tokenizer, folder)}
    _write_torch_file(Path(checkpoint), tensors)
    if codebook is not None:
        vectors = weights[CODEBOOK] if tokenizer is None else tokenizer.codebook
        _write_whole(Path(codebook), lambda file: np.save(file, vectors.float().numpy()))
    if images is not None:
        _write_torch_file(Path(vqgan), images)


def _taming_tensors(tokenizer: ImageCodec | None, folder: str | Path) -> dict[str, Tensor]:
    if not isinstance(tokenizer, Vqgan):
        found = "no image tokenizer" if tokenizer is None else "one of this package's own kind"
        raise PublishedCheckpointError(f"only a VQGAN becomes a checkpoint of taming-transformers; {folder} holds "
                                       f"{found}")
    weights = taming.taming_weights(tokenizer.state_dict(), tokenizer.config)
    return {name: tensor.contiguous() for name, tensor in weights.items()}  # convolutions lie in another order here


def _write_torch_file(path: Path, content: dict) -> None:
    _write_whole(path, lambda file: torch.save(content, file))


def _write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole_file(path) as file:
            write(file)
    except (OSError, RuntimeError) as error:  # torch says with a RuntimeError that a file cannot be written
        raise PublishedCheckpointError(f"cannot write {path}: {str(error).splitlines()[0]}") from error


def read_tensor_file(path: str | Path) -> dict[str, Tensor]:
    """The tensors by name of a file that `torch.save` wrote, on the CPU; nothing in it is run as code.

    Raises PublishedCheckpointError where it holds more than tensors, or is none.
    """
    tensors = _read_torch_file(Path(path))
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise PublishedCheckpointError(f"{path} must hold tensors by name, got {_kinds(tensors)}; save the state dict "
                                       "of the model alone")
    return tensors


def read_vqgan(checkpoint: str | Path, config: str | Path) -> Vqgan:
    """The image tokenizer in a taming-transformers checkpoint (as Lightning writes it, or its state dict alone).

    Args:
        config: the YAML file of the run (`...-project.yaml`).

    Raises VqganError, PublishedCheckpointError where the files do not hold one.
    """
    path = Path(checkpoint)
    model = Vqgan(taming.config_of(_read_yaml(Path(config))))
    found = _read_torch_file(path)
    tensors = found.get("state_dict", found) if isinstance(found, dict) else {}
    weights = taming.vqgan_weights(tensors, model.config)
    published.check_shapes({name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}, weights)
    model.load_state_dict(weights)
    return model.eval()


def _read_yaml(path: Path) -> dict:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise taming.VqganError(f"{path} is not valid YAML: {error}") from error


def _read_torch_file(path: Path) -> object:
    if not path.is_file():
        raise PublishedCheckpointError(f"there is no checkpoint {path}; give the path of a file like meta_model_9.pt")
    zipped = zipfile.is_zipfile(path)
    with path.open("rb") as file:
        if not zipped and not file.read(2).startswith((pickle.PROTO, b"PK")):  # of what torch wrote before, and of zip
            raise PublishedCheckpointError(f"{path} is no torch file; is it what a download has left in its place, such "
                                           "as a pointer of Git LFS, or a web page? Download it again")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise PublishedCheckpointError(_refusal(path, error)) from error
    except Exception as error:  # what is broken breaks torch's reader in many ways
        raise PublishedCheckpointError(f"{path} is not a whole torch file ({type(error).__name__}: {error}); copy it "
                                       "again") from error


def read_codebook(path: str | Path) -> Tensor:
    """(K, code_dim) of a .npy file. Raises PublishedCheckpointError."""
    try:
        codebook = torch.from_numpy(np.load(path, allow_pickle=False))
    except (ValueError, EOFError, TypeError) as error:
        raise PublishedCheckpointError(f"{path} is not an array of numpy ({error}); expected a .npy file") from error
    if codebook.ndim != 2 or not codebook.is_floating_point():
        raise PublishedCheckpointError(f"{path} must hold a codebook (K, code_dim) of floats, "
                                       f"got {tuple(codebook.shape)} {codebook.dtype}")
    return codebook


def _refusal(path: Path, error: Exception) -> str:
    lines = str(error).splitlines()
    reason = next((line.strip() for line in lines if "Unsupported" in line), lines[0])
    return (f"{path} holds more than tensors, which would have to be run as code: {reason}. It was not read. Only if "
            "you trust whoever made it, keep its tensors alone with: python -c \"import torch; "
            f"d = torch.load('{path}', weights_only=False, map_location='cpu'); d = d.get('state_dict', d); "
            f"torch.save({{k: v for k, v in d.items() if torch.is_tensor(v)}}, '{path.with_suffix('.tensors.pt')}')\". "
            "A checkpoint of Lightning needs the pytorch-lightning that wrote it for that")


def _kinds(found: object) -> str:
    if not isinstance(found, dict):
        return f"a {type(found).__name__}"
    return ", ".join(sorted({type(value).__name__ for value in found.values()}))


def read_tokenizer(folder: str | Path | None, config: DecoderConfig) -> TextTokenizer | None:
    """The tokenizer.json of a folder of Llama's; None for None. Raises PublishedCheckpointError if it does not fit."""
    if folder is None:
        return None
    path = Path(folder) / TEXT_TOKENIZER
    if not path.is_file():
        raise PublishedCheckpointError(f"there is no {path}; give the folder of Llama's tokenizer")
    tokenizer, room = TextTokenizer.load(path), config.vocabulary.text_size
    if tokenizer.size > room:
        raise PublishedCheckpointError(f"{path} has {tokenizer.size} ids, the model {room} of text; give Llama's own "
                                       "tokenizer, without the tokens that Kyvo adds")
    return tokenizer


def _check_codebook(codebook: Tensor, name: str, stored: Tensor) -> None:
    """Raises PublishedCheckpointError unless a codebook, rounded as the checkpoint is, is the checkpoint's."""
    if codebook.shape != stored.shape:
        raise PublishedCheckpointError(f"{name} has shape {tuple(codebook.shape)}, the checkpoint's codebook "
                                       f"{tuple(stored.shape)}; they belong to different models")
    differ = int((codebook.to(stored.dtype) != stored).any(dim=1).sum())
    if differ:
        raise PublishedCheckpointError(f"{differ} of {len(stored)} codes in {name} are not those that the checkpoint "
                                       "was trained with; give the codebook of its image tokenizer")

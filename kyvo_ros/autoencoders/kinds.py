"""The kinds of image tokenizers that a model folder may hold, by the name that its configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kyvo_ros.autoencoders.image_tokenizer import ImageCodec, ImageTokenizer, ImageTokenizerConfig
from kyvo_ros.autoencoders.vqgan import Vqgan, VqganConfig

#: `kind` in config.json -> configuration and module. A folder that names none is of the first kind.
IMAGE_TOKENIZERS: dict[str, tuple[type, type[ImageCodec]]] = {
    "kyvo": (ImageTokenizerConfig, ImageTokenizer), "vqgan": (VqganConfig, Vqgan)}


def image_tokenizer_to_dict(tokenizer: ImageCodec) -> dict[str, Any]:
    """Kind and sizes, for config.json; inverse, without the weights, of `image_tokenizer_from_dict`."""
    kinds = {module: kind for kind, (_, module) in IMAGE_TOKENIZERS.items()}
    return {"kind": kinds[type(tokenizer)], **tokenizer.config.to_dict()}


def image_tokenizer_from_dict(values: Mapping[str, Any]) -> ImageCodec:
    """A module with fresh weights. Raises ValueError for an unknown kind, TypeError for an unknown size."""
    sizes = dict(values)
    kind = sizes.pop("kind", next(iter(IMAGE_TOKENIZERS)))
    if kind not in IMAGE_TOKENIZERS:
        raise ValueError(f"the kind of an image tokenizer must be one of {tuple(IMAGE_TOKENIZERS)}, got {kind!r}")
    config, module = IMAGE_TOKENIZERS[kind]
    return module(config.from_dict(sizes))

"""The published Kyvo's checkpoints as weights of our decoder, and back: the same tensors, cut and joined otherwise.

A published checkpoint is a flat dictionary in Meta's key format, all bfloat16: Llama's body, and an embedding in parts
(text, numbers, their sin-cos features, further added tokens, the codebook and its projection). Ours keeps one row an id
and joins projections that share an input. It knows tensors and names, not files (see `checkpoint`).
Source: checkpoints of the published code (AadSah/kyvo, commit be438d3) and their description in reference outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from kyvo_ros.model.config import DecoderConfig, ScaledRope
from kyvo_ros.tokens.sequences import ANSWER_TASKS
from kyvo_ros.tokens.vocabulary import Vocabulary

#: Query heads of Llama-3.2-1B, which the published models are made of.
HEADS = 32
#: Room for every published task (two images and two scenes); the weights themselves would take 131,072 tokens.
MAX_LENGTH = 4096
#: All published image tokenizers make 16 x 16 codes of an image.
IMAGE_GRID = (16, 16)
#: Those of the published tasks that the pipeline can do: seeing, drawing, and answering from an image and its scene.
PIPELINE_TASKS = ("I->3", "3->I", *ANSWER_TASKS.values())
#: Of the published checkpoints.
DTYPE = torch.bfloat16

_E = "tok_embeddings."
_TEXT, _NUMBERS, _ADDED = _E + "token_embedding.weight", _E + "numbers_embedding.weight", _E + "added_embedding.weight"
_FEATURES, CODEBOOK = _E + "static_sin_cos_embedding.weight", _E + "vqgan_codebook.weight"
_PROJECTION = _E + "vqgan_embed_proj.weight"


class PublishedCheckpointError(ValueError):
    """A published checkpoint is broken or of another kind, or a decoder does not fit the published format."""


@dataclass(frozen=True)
class Layout:
    """One of the published id spaces, and the oddity of its model."""

    vocabulary: Callable[[int], Vocabulary]  # number of image codes -> vocabulary
    numbers_overhang: int  # ids behind the numbers that the model takes for numbers


LAYOUTS = {
    "clevr": Layout(Vocabulary.published_clevr, 0),
    # Faithful to the published code: its tokenizer merges two equal numbers and has 103, its model counts 104, so
    # [SCENE-START] is embedded as a number and one added row has no token.
    "objectron": Layout(Vocabulary.published_objectron, 1),
}


def config_of(tensors: Mapping[str, Tensor], layout: str, heads: int = HEADS, max_length: int = MAX_LENGTH,
              image_order: str = "raster") -> DecoderConfig:
    """The decoder that the shapes of a published checkpoint tell, with what they do not. Raises
    PublishedCheckpointError.
    """
    if layout not in LAYOUTS:
        raise PublishedCheckpointError(f"the layout must be one of {tuple(LAYOUTS)}, got {layout!r}")
    for needed in (CODEBOOK, "norm.weight", "layers.0.attention.wk.weight", "layers.0.feed_forward.w1.weight"):
        if needed not in tensors:
            raise PublishedCheckpointError(_not_published(tensors, needed))
    codes, code_dim = tensors[CODEBOOK].shape
    dim = len(tensors["norm.weight"])
    if dim % heads:
        raise PublishedCheckpointError(f"a width of {dim} cannot be shared by {heads} query heads; give the number of "
                                       "heads that the model was built with (--heads)")
    try:
        return published_config(
            layout, codes, dim=dim, layers=_layers(tensors), heads=heads,
            kv_heads=len(tensors["layers.0.attention.wk.weight"]) // (dim // heads),
            ffn_dim=len(tensors["layers.0.feed_forward.w1.weight"]), max_length=max_length, code_dim=code_dim,
            number_embedding=_number_embedding(tensors), image_order=image_order)
    except ValueError as error:
        raise PublishedCheckpointError(f"the shapes in the checkpoint make no decoder with {heads} query heads: "
                                       f"{error}; give the number that the model was built with (--heads)") from error


def published_config(layout: str, codes: int, **sizes: int | str) -> DecoderConfig:
    """A published model of any size; `sizes` are the remaining fields of DecoderConfig. Raises ValueError."""
    return DecoderConfig(
        LAYOUTS[layout].vocabulary(codes), image_grid=IMAGE_GRID, rope_theta=ScaledRope(), norm_eps=1e-5,
        ground_positions=False, number_head=False, published_embedding=True,
        numbers_overhang=LAYOUTS[layout].numbers_overhang, causal_prompt=True, unknown_ids_are_zero=True, **sizes)


def decoder_weights(tensors: Mapping[str, Tensor], config: DecoderConfig) -> dict[str, Tensor]:
    """The state dict of `Decoder(config)`, codebook included; inverse of `published_weights`.

    Raises PublishedCheckpointError naming every tensor that is missing, unknown or misshapen.
    """
    check_shapes(published_shapes(config), tensors)
    rows = [tensors[_TEXT]]
    if config.number_embedding == "both":
        rows.append(tensors[_NUMBERS])
    elif config.number_embedding == "fixed":  # learned rows that are never read
        rows.append(torch.zeros_like(tensors[_NUMBERS]))
    rows += [tensors[_ADDED], tensors[_ADDED].new_zeros(len(tensors[CODEBOOK]), config.dim)]
    weights = {"embedding.codebook": tensors[CODEBOOK], "embedding.learned.weight": torch.cat(rows),
               "embedding.code_projection.weight": tensors[_PROJECTION]}
    if config.number_embedding != "learned":
        weights["embedding.number_features"] = tensors[_feature_key(config)]
    return weights | body_weights(tensors, config.layers) | {"head.weight": tensors["output.weight"]}


def published_weights(weights: Mapping[str, Tensor], config: DecoderConfig) -> dict[str, Tensor]:
    """The published checkpoint of a decoder's state dict, in bfloat16; inverse of `decoder_weights`.

    Raises PublishedCheckpointError where the published format has no place for the decoder.
    """
    _check_exportable(config)
    text, numbers, added = _embedding_rows(config)
    learned = weights["embedding.learned.weight"]
    tensors = {_TEXT: learned[:text], _ADDED: learned[text + numbers:text + numbers + added]}
    if config.number_embedding == "both":
        tensors[_NUMBERS] = learned[text:text + numbers]
    if config.number_embedding != "learned":
        tensors[_feature_key(config)] = weights["embedding.number_features"]
    tensors |= {CODEBOOK: weights["embedding.codebook"], _PROJECTION: weights["embedding.code_projection.weight"],
                **meta_body(weights, config), "output.weight": weights["head.weight"]}
    shapes = published_shapes(config)
    check_shapes(shapes, tensors)
    return {name: tensors[name].to(DTYPE).contiguous().clone() for name in shapes}


def published_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a published checkpoint, in its order."""
    text, numbers, added = _embedding_rows(config)
    codes, dim = len(config.vocabulary.range("image")), config.dim
    shapes = {_TEXT: (text, dim), _ADDED: (added, dim)}
    if config.number_embedding != "learned":
        shapes[_NUMBERS] = (numbers, dim)
    if config.number_embedding == "both":
        shapes[_FEATURES] = (numbers, dim)
    shapes |= {CODEBOOK: (codes, config.code_dim), _PROJECTION: (dim, config.code_dim)}
    return shapes | body_shapes(config) | {"output.weight": (config.vocabulary.size, dim)}


def _embedding_rows(config: DecoderConfig) -> tuple[int, int, int]:
    """Rows of the text, the numbers' and the added embedding; without fixed features numbers are added tokens."""
    text, image = len(config.vocabulary.range("text")), config.vocabulary.range("image").start
    numbers = config.vocabulary.numbers.count + config.numbers_overhang if config.number_embedding != "learned" else 0
    return text, numbers, image - text - numbers


def _feature_key(config: DecoderConfig) -> str:
    """Where the fixed features are: instead of the learned rows, or beside them."""
    return _NUMBERS if config.number_embedding == "fixed" else _FEATURES


def _number_embedding(tensors: Mapping[str, Tensor]) -> str:
    return "both" if _FEATURES in tensors else "fixed" if _NUMBERS in tensors else "learned"


def _check_exportable(config: DecoderConfig) -> None:
    codes = config.vocabulary.image_codes
    layouts = [(layout.vocabulary(codes), layout.numbers_overhang) for layout in LAYOUTS.values()]
    expected = {"published_embedding": True, "rope_theta": ScaledRope(), "norm_eps": 1e-5}
    faults = [f"{name} is {getattr(config, name)}, expected {value}" for name, value in expected.items()
              if getattr(config, name) != value]
    if (config.vocabulary, config.numbers_overhang) not in layouts:
        faults.append(f"the vocabulary is none of the layouts {tuple(LAYOUTS)}")
    if faults:
        raise PublishedCheckpointError(f"the published format has no place for this decoder: {'; '.join(faults)}. Only "
                                       "models that came from the published code go back to it")


def _not_published(tensors: Mapping[str, Tensor], missing: str) -> str:
    if _E + "vqgan_embed_proj.0.weight" in tensors:
        return "the checkpoint projects codes by two layers (convert_weights_type ..._with_mlp), which is not supported"
    hint = "; this looks like a plain Llama" if _E + "weight" in tensors else ""
    return f"{missing} is missing, so this is no published Kyvo checkpoint in Meta's key format{hint}"


# Llama's body in Meta's key format.

#: Of a layer: our name -> Meta's names, whose rows are joined in this order.
_LAYER = {
    "attention_norm.weight": ("attention_norm.weight",),
    "qkv.weight": ("attention.wq.weight", "attention.wk.weight", "attention.wv.weight"),
    "out.weight": ("attention.wo.weight",),
    "ffn_norm.weight": ("ffn_norm.weight",),
    "gate_up.weight": ("feed_forward.w1.weight", "feed_forward.w3.weight"),
    "down.weight": ("feed_forward.w2.weight",),
}


def body_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the blocks and the last norm in Meta's key format."""
    dim, ffn_dim, kv_dim = config.dim, config.ffn_dim, config.kv_heads * config.head_dim
    layer = {
        "attention.wq": (dim, dim), "attention.wk": (kv_dim, dim), "attention.wv": (kv_dim, dim),
        "attention.wo": (dim, dim), "feed_forward.w1": (ffn_dim, dim), "feed_forward.w2": (dim, ffn_dim),
        "feed_forward.w3": (ffn_dim, dim), "attention_norm": (dim,), "ffn_norm": (dim,)}
    return {f"layers.{i}.{name}.weight": shape for i in range(config.layers) for name, shape in layer.items()} | {
        "norm.weight": (dim,)}


def body_weights(tensors: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Blocks and last norm of our state dict; inverse of `meta_body`. Both turn neighbours: rows keep their order."""
    return {"norm.weight": tensors["norm.weight"]} | {
        f"blocks.{i}.{own}": torch.cat([tensors[f"layers.{i}.{name}"] for name in names])
        for i in range(layers) for own, names in _LAYER.items()}


def meta_body(weights: Mapping[str, Tensor], config: DecoderConfig) -> dict[str, Tensor]:
    """Blocks and last norm in Meta's key format, as views; inverse of `body_weights`."""
    shapes, body = body_shapes(config), {"norm.weight": weights["norm.weight"]}
    for i in range(config.layers):
        for own, names in _LAYER.items():
            keys = [f"layers.{i}.{name}" for name in names]
            body |= zip(keys, weights[f"blocks.{i}.{own}"].split([shapes[key][0] for key in keys]))
    return body


def check_shapes(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, Tensor]) -> None:
    """Raises PublishedCheckpointError naming every tensor that is missing, unknown or misshapen."""
    faults = [f"{name} is missing" for name in expected if name not in found]
    faults += [f"{name} is unknown" for name in found if name not in expected]
    faults += [f"{name} has shape {tuple(found[name].shape)}, expected {shape}" for name, shape in expected.items()
               if name in found and tuple(found[name].shape) != shape]
    if faults:
        raise PublishedCheckpointError(f"the checkpoint does not fit: {'; '.join(faults)}. Is it of this layout?")


def _layers(names: Iterable[str]) -> int:
    """One more than the highest number of a layer."""
    return 1 + max(int(name.split(".")[1]) for name in names if name.startswith("layers."))

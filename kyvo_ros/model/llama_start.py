"""A fresh decoder that starts from Llama's weights: its body and its text rows; all further rows are drawn.

Reads a folder of Hugging Face's Llama (config.json, *.safetensors) or of Meta's (params.json, consolidated.00.pth),
both of which hold the sizes. Neither format runs code. Llama's text ids must be those of the vocabulary.
Source: the two formats of Llama 3.2; the embedding is that of the published Kyvo code, which takes Llama's rows of text
as well. Its head it draws whole; ours keeps Llama's rows, so that words begin as likely as Llama has them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from kyvo_ros.model.checkpoint import read_tensor_file
from kyvo_ros.model.config import DecoderConfig, ScaledRope
from kyvo_ros.model.embedding import INIT_STD, UnifiedEmbedding
from kyvo_ros.model.published import (
    IMAGE_GRID, LAYOUTS, MAX_LENGTH, PublishedCheckpointError, body_shapes, body_weights, check_shapes)

_TEXT, _HEAD = "tok_embeddings.weight", "output.weight"
#: Parts of a layer: Hugging Face's name -> Meta's.
_LAYER = {
    "self_attn.q_proj": "attention.wq", "self_attn.k_proj": "attention.wk", "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3", "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm"}
#: The rest.
_TOP = {"model.embed_tokens.weight": _TEXT, "model.norm.weight": "norm.weight", "lm_head.weight": _HEAD}


def llama_start(source: str | Path, layout: str, codebook: Tensor, *, max_length: int = MAX_LENGTH, seed: int = 0,
                number_embedding: str = "both") -> tuple[DecoderConfig, dict[str, Tensor]]:
    """Configuration and state dict of a decoder that starts from a Llama folder, in the dtype of its weights.

    Args:
        source: folder in Hugging Face's or Meta's format.
        layout: one of `published.LAYOUTS`.
        codebook: (K, code_dim) of the image tokenizer.
        seed: of the rows that Llama does not have.
        number_embedding: one of `config.NUMBER_EMBEDDINGS`, the three of the published code.

    Raises PublishedCheckpointError naming what is missing, unknown or misshapen.
    """
    if layout not in LAYOUTS:
        raise PublishedCheckpointError(f"the layout must be one of {tuple(LAYOUTS)}, got {layout!r}")
    sizes, tensors = _read(Path(source))
    tensors.pop("rope.freqs", None)
    try:
        config = DecoderConfig(
            LAYOUTS[layout].vocabulary(len(codebook)), **sizes, max_length=max_length, code_dim=codebook.shape[1],
            image_grid=IMAGE_GRID, ground_positions=False, number_head=False, number_embedding=number_embedding,
            published_embedding=True, numbers_overhang=LAYOUTS[layout].numbers_overhang, causal_prompt=True,
            unknown_ids_are_zero=True)
    except ValueError as error:
        raise PublishedCheckpointError(f"{source} makes no decoder: {error}") from error
    tensors.setdefault(_HEAD, tensors.get(_TEXT))  # one table for both, as in Llama-3.2-1B
    text_shape = (config.vocabulary.text_size, config.dim)
    check_shapes({_TEXT: text_shape, **body_shapes(config), _HEAD: text_shape},
                 {name: tensor for name, tensor in tensors.items() if tensor is not None})
    return config, _fresh_rows(config, codebook, tensors, seed) | body_weights(tensors, config.layers)


def _fresh_rows(config: DecoderConfig, codebook: Tensor, tensors: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Embedding and head: Llama's rows for text, drawn ones for the rest."""
    dtype, text = tensors[_TEXT].dtype, config.vocabulary.text_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        embedding = UnifiedEmbedding(config, codebook)
        head = torch.empty(config.vocabulary.size, config.dim).normal_(std=INIT_STD)
    weights = {f"embedding.{name}": tensor.to(dtype) for name, tensor in embedding.state_dict().items()}
    weights["head.weight"] = head.to(dtype)
    weights["embedding.learned.weight"][:text] = tensors[_TEXT]
    weights["head.weight"][:text] = tensors[_HEAD]
    return weights


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Sizes in the words of DecoderConfig, and tensors in Meta's key format."""
    for name, read in (("config.json", _read_hugging_face), ("params.json", _read_meta)):
        if (folder / name).is_file():
            try:
                return read(folder, json.loads((folder / name).read_text(encoding="utf-8")))
            except KeyError as error:
                raise PublishedCheckpointError(f"{folder / name} or the weights beside it lack {error}") from error
            except json.JSONDecodeError as error:
                raise PublishedCheckpointError(f"{folder / name} is broken JSON ({error}); copy it again") from error
    raise PublishedCheckpointError(f"{folder} holds neither config.json (Hugging Face) nor params.json (Meta); give "
                                   "the folder of a downloaded Llama 3.2")


def _read_hugging_face(folder: Path, config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    rope = config.get("rope_parameters") or {**(config.get("rope_scaling") or {}), "rope_theta": config["rope_theta"]}
    sizes = {"dim": config["hidden_size"], "layers": config["num_hidden_layers"],
             "heads": config["num_attention_heads"], "kv_heads": config["num_key_value_heads"],
             "ffn_dim": config["intermediate_size"], "norm_eps": config["rms_norm_eps"], "rope_theta": _rope(rope)}
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise PublishedCheckpointError(f"{folder} holds no *.safetensors beside its config.json")
    head_dim, tensors = sizes["dim"] // sizes["heads"], {}
    for file in files:
        try:
            found = load_file(file)
        except SafetensorError as error:
            raise PublishedCheckpointError(f"{file} is not a whole safetensors file ({error}); copy it anew") from error
        for name, tensor in found.items():
            turned = ".q_proj." in name or ".k_proj." in name
            tensors[_meta_name(name)] = _neighbours(tensor, head_dim) if turned else tensor
    return sizes, tensors


def _rope(rope: Mapping[str, Any]) -> float | ScaledRope:
    kind = rope.get("rope_type", "default")
    if kind == "default":
        return rope["rope_theta"]
    if kind != "llama3":
        raise PublishedCheckpointError(f"expected rope_type default or llama3, got {kind!r}")
    return ScaledRope(rope["rope_theta"], rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"],
                      rope["original_max_position_embeddings"])


def _meta_name(name: str) -> str:
    """Meta's name of a tensor of Hugging Face's; an unknown one stays, to be named."""
    if name in _TOP:
        return _TOP[name]
    parts = name.removesuffix(".weight").split(".", 3)
    if parts[:2] == ["model", "layers"] and parts[-1] in _LAYER:
        return f"layers.{parts[2]}.{_LAYER[parts[-1]]}.weight"
    return name


def _neighbours(weight: Tensor, head_dim: int) -> Tensor:
    """(heads * head_dim, D) with the two parts of every rotary pair side by side; they come as the halves of a head."""
    return weight.unflatten(0, (-1, 2, head_dim // 2)).transpose(1, 2).flatten(0, 2)


def _read_meta(folder: Path, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    tensors = read_tensor_file(folder / "consolidated.00.pth")
    # The file does not say by how much; Llama 3.2, which Kyvo starts from, scales by 32 (3.1 by 8).
    rope = ScaledRope(params["rope_theta"]) if params.get("use_scaled_rope") else params["rope_theta"]
    sizes = {"dim": params["dim"], "layers": params["n_layers"], "heads": params["n_heads"],
             "kv_heads": params.get("n_kv_heads", params["n_heads"]), "norm_eps": params["norm_eps"],
             "ffn_dim": len(tensors["layers.0.feed_forward.w1.weight"]), "rope_theta": rope}
    return sizes, tensors

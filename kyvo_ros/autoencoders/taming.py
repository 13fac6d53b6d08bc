"""Checkpoints and configurations of taming-transformers' VQGAN for `vqgan.Vqgan`, and back: the same tensors renamed.

It knows dictionaries, not files (see `kyvo_ros.model.checkpoint`). What a checkpoint holds for training alone (the
losses with their discriminator) is left out.
Source: configurations and tensor names of CompVis/taming-transformers (`taming.models.vqgan.VQModel`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kyvo_ros.autoencoders.vqgan import VqganConfig, decoder_plan, encoder_plan

CODEBOOK = "quantize.embedding.weight"
#: Parts of layers: our name -> the checkpoint's, where they differ.
_PARTS = {"shortcut": "nin_shortcut", "query": "q", "key": "k", "value": "v", "out": "proj_out"}
#: Tensors that only training needs.
_TRAINING = ("loss.", "colorize")


class VqganError(ValueError):
    """A VQGAN is of a kind that is not supported, or its checkpoint does not fit its configuration."""


def config_of(document: Mapping[str, Any]) -> VqganConfig:
    """The sizes that a taming-transformers configuration (the YAML file's mapping) states. Raises VqganError."""
    try:
        target, params = document["model"]["target"], document["model"]["params"]
        sizes = params["ddconfig"]
        if target.rpartition(".")[2] != "VQModel":
            raise VqganError(f"the model is a {target}; only taming.models.vqgan.VQModel is supported")
        _check_supported(sizes, params)
        return VqganConfig(
            resolution=sizes["resolution"], channels=sizes["ch"], multipliers=tuple(sizes["ch_mult"]),
            blocks=sizes["num_res_blocks"], attention_at=tuple(sizes["attn_resolutions"]),
            latent_dim=sizes["z_channels"], code_dim=params["embed_dim"], codebook_size=params["n_embed"])
    except (KeyError, TypeError, AttributeError) as error:
        raise VqganError(f"this is no configuration of a taming-transformers VQGAN ({error!r}); expected "
                         "model: {target, params: {embed_dim, n_embed, ddconfig}}") from error


def _check_supported(sizes: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    expected = {"double_z": False, "in_channels": 3, "out_ch": 3, "resamp_with_conv": True}
    faults = [f"{name} is {sizes[name]!r}, expected {value!r}" for name, value in expected.items()
              if sizes.get(name, value) != value]
    if params.get("remap") is not None:
        faults.append("remap is set, expected none")
    if faults:
        raise VqganError(f"this VQGAN is not supported: {'; '.join(faults)}")


def tensor_names(config: VqganConfig) -> dict[str, str]:
    """Our tensor names -> the checkpoint's, for every tensor."""
    names = {"quantizer.codebook": CODEBOOK}
    with torch.device("meta"):  # the plan's layers are only asked for their names
        for part, plan in (("encoder", encoder_plan), ("decoder", decoder_plan)):
            for index, (theirs, layer) in enumerate(plan(config)):
                for tensor in layer.state_dict():
                    head, _, rest = tensor.partition(".")
                    inner = f"{_PARTS.get(head, head)}.{rest}" if rest else head
                    names[f"{part}.{index}.{tensor}"] = f"{theirs}.{inner}"
    return names


def vqgan_weights(tensors: Mapping[str, Tensor], config: VqganConfig) -> dict[str, Tensor]:
    """The state dict of `Vqgan(config)` from a checkpoint's; inverse of `taming_weights`.

    Raises VqganError naming every tensor that is missing or unknown; shapes are checked where it is loaded.
    """
    names = tensor_names(config)
    known = set(names.values())
    faults = [f"{name} is missing" for name in names.values() if name not in tensors]
    faults += [f"{name} is unknown" for name in tensors if name not in known and not name.startswith(_TRAINING)]
    if faults:
        raise VqganError(f"the VQGAN's checkpoint does not fit its configuration: {'; '.join(faults)}")
    return {ours: tensors[theirs] for ours, theirs in names.items()}


def taming_weights(weights: Mapping[str, Tensor], config: VqganConfig) -> dict[str, Tensor]:
    """The checkpoint's tensors from the state dict of `Vqgan(config)`; inverse of `vqgan_weights`."""
    return {theirs: weights[ours] for ours, theirs in tensor_names(config).items()}

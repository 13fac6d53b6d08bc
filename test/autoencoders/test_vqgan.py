"""The VQGAN: what it computes, its names in a checkpoint, and the configurations that are refused."""

from __future__ import annotations

import copy

import pytest
import torch
from taming_reference import SIZES, TamingReference

from kyvo_ros.autoencoders.folding import folded
from kyvo_ros.autoencoders.kinds import image_tokenizer_from_dict, image_tokenizer_to_dict
from kyvo_ros.autoencoders.taming import VqganError, config_of, taming_weights, vqgan_weights
from kyvo_ros.autoencoders.vqgan import Vqgan, VqganConfig


@pytest.fixture(scope="module")
def reference() -> TamingReference:
    return TamingReference()


@pytest.fixture(scope="module")
def vqgan(reference: TamingReference) -> Vqgan:
    config = config_of(reference.document())
    model = Vqgan(config).eval()
    model.load_state_dict(vqgan_weights(reference.tensors, config))
    return model


@torch.no_grad()
def test_it_computes_what_the_checkpoint_means(vqgan: Vqgan, reference: TamingReference) -> None:
    images = torch.rand(2, 3, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3) * 2 - 1
    latents = reference.encode(images).permute(0, 2, 3, 1)
    assert torch.allclose(vqgan.latents(images), latents, atol=1e-4)
    book = reference.tensors["quantize.embedding.weight"]
    nearest = torch.cdist(latents.reshape(-1, 6), book).argmin(dim=1).view(2, 16, 16)
    codes = vqgan.encode(images)
    assert torch.equal(codes, nearest) and len(codes.unique()) > 3
    assert torch.allclose(vqgan.decode(codes), reference.decode(book[codes].permute(0, 3, 1, 2)), atol=1e-4)
    assert torch.equal(folded(vqgan).encode(images), codes)


def test_names_go_there_and_back(vqgan: Vqgan, reference: TamingReference) -> None:
    back = taming_weights(vqgan.state_dict(), vqgan.config)
    assert back.keys() == reference.tensors.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in reference.tensors.items())


def test_the_published_size() -> None:
    with torch.device("meta"):
        model = Vqgan(VqganConfig())
    assert model.grid == (16, 16) and model.codebook.shape == (1024, 256)
    assert {tuple(p.shape) for p in model.parameters()} >= {(512, 512, 3, 3), (128, 3, 3, 3), (3, 128, 3, 3)}


def test_a_configuration_says_its_kind(vqgan: Vqgan) -> None:
    values = image_tokenizer_to_dict(vqgan)
    assert values["kind"] == "vqgan" and image_tokenizer_from_dict(values).config == vqgan.config
    with pytest.raises(ValueError, match="kind of an image tokenizer must be one of .* got 'dvae'"):
        image_tokenizer_from_dict({**values, "kind": "dvae"})


@pytest.mark.parametrize(("change", "message"), [
    (lambda d: d["model"].update(target="taming.models.vqgan.GumbelVQ"), "the model is a taming.models.vqgan.GumbelVQ"),
    (lambda d: d["model"]["params"]["ddconfig"].update(double_z=True), "double_z is True, expected False"),
    (lambda d: d["model"]["params"].update(remap="used.npy"), "remap is set"),
    (lambda d: d["model"]["params"].pop("n_embed"), r"KeyError\('n_embed'\)"),
    (lambda d: d.pop("model"), "no configuration of a taming-transformers VQGAN"),
])
def test_other_models_are_refused(reference: TamingReference, change, message: str) -> None:
    document = copy.deepcopy(reference.document())
    change(document)
    with pytest.raises(VqganError, match=message):
        config_of(document)


def test_tensors_that_do_not_fit_are_named(vqgan: Vqgan, reference: TamingReference) -> None:
    tensors = {**reference.tensors, "encoder.extra": torch.ones(1), "loss.logvar": torch.ones(1)}
    del tensors["quant_conv.bias"]
    with pytest.raises(VqganError, match="quant_conv.bias is missing; encoder.extra is unknown$"):
        vqgan_weights(tensors, vqgan.config)


@pytest.mark.parametrize("wrong", [{"channels": 48}, {"resolution": 33}, {"blocks": 0}, {"multipliers": ()}])
def test_sizes_that_do_not_fit(wrong: dict) -> None:
    assert VqganConfig(resolution=SIZES["resolution"])
    with pytest.raises(ValueError):
        VqganConfig(**wrong)

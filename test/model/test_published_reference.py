"""The published code's own outputs (`shared/kyvo_reference`): logits, losses, and greedy continuations.

`test_checkpoint` covers the same code without them, against `transformers`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from kyvo_ros.model.checkpoint import from_published, load_decoder, to_published
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.generation import generate

HEADS = {"clevr": 4, "objectron": 2}
#: float32; a wrong RoPE scaling, head order or missing sin-cos is off by 0.1 or more, a wrong epsilon by 5e-4.
TOLERANCE = 2e-4
SEQUENCES = ("text_only", "numbers", "specials", "image_span", "recognition_full", "rendering_full", "edit_full",
             "segment_boundaries", "out_of_range_id")
END_OF_TEXT = 128001


class AnyTokens:
    """A grammar that allows every id until [EOS], as the published code generates."""

    def __init__(self, size: int, max_length: int) -> None:
        self.max_length = max_length
        self._ids = np.arange(size)

    def start(self) -> int:
        return 0

    def advance(self, state: int, token_id: int) -> int:
        return self.max_length if token_id == END_OF_TEXT else state + 1

    def allowed(self, state: int) -> np.ndarray:
        return self._ids

    def forced_run(self, state: int) -> tuple[list[int], int]:
        return [], state

    def is_end(self, state: int) -> bool:
        return state == self.max_length


class Reference:
    """One published checkpoint as a model folder, with what the published code made of it."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.source, self.model = folder / "meta_model_9.pt", model
        from_published(self.source, folder.name, model, heads=HEADS[folder.name],
                       codebook=folder / "codebook_1024x256.npy")
        self.decoder = load_decoder(model)
        self.tensors = load_file(folder / "logits.safetensors")
        self.generation = json.loads((folder / "generation.json").read_text())

    def logits(self, decoder: Decoder, sequence: str) -> Tensor:
        """(T, V)"""
        with torch.no_grad():
            return decoder(self.tensors[f"{sequence}.tokens"].unsqueeze(0))[0]


@pytest.fixture(scope="module", params=HEADS)
def reference(request: pytest.FixtureRequest, shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return Reference(shared_dir / "kyvo_reference" / request.param, tmp_path_factory.mktemp("published") / "model")


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_logits(reference: Reference, sequence: str) -> None:
    expected = reference.tensors
    logits = reference.logits(reference.decoder, sequence)
    near = {"rtol": 0.0, "atol": TOLERANCE}
    torch.testing.assert_close(logits[:, expected["columns"].long()], expected[f"{sequence}.fp32.cols"], **near)
    top = logits.topk(8)
    torch.testing.assert_close(top.values, expected[f"{sequence}.fp32.top8_values"], **near)
    assert torch.equal(top.indices[:, 0], expected[f"{sequence}.fp32.top8_ids"][:, 0].long())
    torch.testing.assert_close(logits.double().logsumexp(-1), expected[f"{sequence}.fp32.logsumexp"], **near)


def test_every_sequence_of_the_reference_is_tested(reference: Reference) -> None:
    assert {f"{name}.tokens" for name in SEQUENCES} == {name for name in reference.tensors if name.endswith(".tokens")}


@pytest.mark.parametrize("sequence", [name for name in SEQUENCES if name.endswith("_full")])
def test_token_losses(reference: Reference, sequence: str) -> None:
    labels = reference.tensors[f"{sequence}.labels"].long()
    loss = F.cross_entropy(reference.logits(reference.decoder, sequence)[:-1], labels[1:], reduction="none")
    torch.testing.assert_close(loss, reference.tensors[f"{sequence}.fp32.token_loss"], rtol=0.0, atol=TOLERANCE)


@pytest.mark.parametrize("reference", ["clevr"], indirect=True)
def test_a_whole_row_of_logits(reference: Reference) -> None:
    expected = load_file(reference.source.with_name("full_rows.safetensors"))["recognition_full.last_row_fp32"]
    torch.testing.assert_close(reference.logits(reference.decoder, "recognition_full")[-1], expected, rtol=0.0,
                               atol=TOLERANCE)


def test_bfloat16_stays_as_close_as_the_published_code(reference: Reference) -> None:
    logits = reference.logits(load_decoder(reference.model, torch.bfloat16), "image_span")
    expected = reference.tensors["image_span.fp32.cols"]
    published = (reference.tensors["image_span.bf16.cols"].float() - expected).abs().max()
    assert (logits[:, reference.tensors["columns"].long()] - expected).abs().max() < 1.5 * published


@pytest.mark.parametrize("prompt", ["recognition_prompt", "short_prompt_reaching_eos"])
def test_greedy_continuations(reference: Reference, prompt: str) -> None:
    expected = reference.generation["greedy"][prompt]
    grammar = AnyTokens(reference.decoder.config.vocabulary.size, len(expected["fp32"]))
    written = generate(reference.decoder, torch.tensor([expected["prompt"]]), grammar=grammar)[0].token_ids
    assert written == expected["fp32"]


def test_token_0_is_a_token_and_no_padding(reference: Reference) -> None:
    """The published generation takes id 0 ("!") for padding, its training does not; ours never does."""
    quirk = reference.generation["pad_id_0_quirk"]
    with torch.no_grad():
        row = reference.decoder(torch.tensor([quirk["prompt"]]))[0, -1, reference.tensors["columns"].long()]
    torch.testing.assert_close(row, torch.tensor(quirk["plain_causal_last_row_cols"]), rtol=0.0, atol=TOLERANCE)


def test_the_way_back_is_exact(reference: Reference, tmp_path: Path) -> None:
    to_published(reference.model, tmp_path / "meta_model_9.pt")
    original, back = (torch.load(path, weights_only=True) for path in (reference.source, tmp_path / "meta_model_9.pt"))
    assert list(back) == list(original)
    for name, tensor in original.items():
        assert back[name].dtype == tensor.dtype and torch.equal(back[name], tensor), name

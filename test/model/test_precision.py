"""The dtype of a decoder: what a user asks for, what a folder stores, and what memory it takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_inference import PREFIX, PROMPT, VOCABULARY, sentences
from tiny_model import tiny_bundle

from kyvo_ros.commands import common
from kyvo_ros.model import folder as folders
from kyvo_ros.model import precision
from kyvo_ros.model.folder import ModelFolderError, load_model, save_model
from kyvo_ros.model.inference import CachedDecoder
from kyvo_ros.model.precision import DTYPES, DtypeError, choose_dtype
from kyvo_ros.pipeline import KyvoPipeline
from kyvo_ros.ros.settings import Settings


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(tmp_path / "tiny", tiny_bundle())
    return tmp_path / "tiny"


def test_auto_takes_what_the_folder_stores_for_large_models_alone() -> None:
    assert choose_dtype("auto", torch.bfloat16, precision.LARGE + 1) == torch.bfloat16
    assert choose_dtype("auto", torch.bfloat16, precision.LARGE) == torch.float32
    assert choose_dtype("float16", torch.bfloat16, 1) == torch.float16
    with pytest.raises(DtypeError, match="dtype must be one of auto, .*got 'int8'"):
        choose_dtype("int8", torch.float32, 1)


def test_the_choices_are_the_same_everywhere() -> None:
    assert common.DTYPES == Settings.__dataclass_fields__["dtype"].metadata["choices"] == DTYPES


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_says_almost_the_same(saved: Path, dtype: str) -> None:
    whole, half = load_model(saved), load_model(saved, dtype=dtype)
    assert {p.dtype for p in half.decoder.parameters()} == {getattr(torch, dtype)}
    assert {p.dtype for p in half.image_tokenizer.parameters()} == {torch.float32}
    ids = torch.arange(12).unsqueeze(0)
    with torch.no_grad():
        expected, got = whole.decoder(ids), half.decoder(ids)
    assert got.dtype == torch.float32 and 1e-5 < (got - expected).abs().max() < 0.1 * expected.std()


def test_a_pipeline_runs_in_half_precision_and_says_valid_scenes(
        saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "LARGE", 1000)
    pipeline = KyvoPipeline.from_pretrained(saved, "cpu", dtype="bfloat16")
    assert pipeline._decoder.shared and pipeline._decoder.dtype == torch.bfloat16
    assert KyvoPipeline.from_pretrained(saved, "cpu")._decoder.dtype == torch.float16, "what the folder stores"
    image = np.random.default_rng(0).integers(0, 256, (20, 32, 3), dtype=np.uint8)
    scene = pipeline.recognize(image)
    assert all(o.attributes["shape"] in ("cube", "sphere", "cylinder") for o in scene.objects)
    assert pipeline.render(scene).shape == (20, 32, 3)
    assert pipeline.answer("how many things are there", scene).program is not None


def test_weights_in_their_own_dtype_are_not_copied(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither when they are read, nor for generation."""
    path, read = saved / "decoder.safetensors", []
    (saved / "SHA256SUMS").unlink()
    save_file({name: tensor.bfloat16() for name, tensor in load_file(path).items()}, path)
    original = folders.read_tensors

    def remember(file: Path) -> dict[str, torch.Tensor]:
        read.append(dict(original(file)))
        return dict(read[-1])

    monkeypatch.setattr(folders, "read_tensors", remember)
    decoder = load_model(saved, dtype="bfloat16").decoder
    tensors = next(tensors for tensors in read if "head.weight" in tensors)
    state = decoder.state_dict()
    assert all(state[name].data_ptr() == tensor.data_ptr() for name, tensor in tensors.items())
    cached = CachedDecoder(decoder, shared=True)
    assert cached.blocks[1].gate_up.data_ptr() == tensors["blocks.1.gate_up.weight"].data_ptr()
    assert CachedDecoder(decoder).blocks[1].gate_up.data_ptr() != tensors["blocks.1.gate_up.weight"].data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shared_weights_give_the_states_of_the_whole_sequence(make_decoder, cells, dtype: torch.dtype) -> None:
    decoder, ids, tolerance = make_decoder(), sentences(2), 2e-5 if dtype == torch.float32 else 0.5
    numbers = VOCABULARY.number_ids([-1.0, 2.5])
    expected_rows = decoder.head_table()[[3, *numbers, 2000]].detach()
    with torch.inference_mode():
        whole = decoder.hidden(ids, cells=cells[:2], prefix_length=PREFIX)
        cached = CachedDecoder(decoder.to(dtype), shared=True)
        cache = cached.new_cache(2, 40)
        state = cached.prefill(ids[:, :PROMPT], cache, cells=cells[:2], prefix_length=PREFIX)
        assert (state.float() - whole[:, PROMPT - 1]).abs().max() < tolerance
        state = cached.step([row[PROMPT:PROMPT + 3].tolist() for row in ids], [PROMPT] * 2, cache)
        assert (state.float() - whole[:, PROMPT + 2]).abs().max() < tolerance
    rows = cached.head_rows(np.array([3, *numbers, 2000]))
    assert rows.dtype == torch.float32 and (rows - expected_rows).abs().max() < (1e-6 if dtype == torch.float32
                                                                                else 0.02)
    with pytest.raises(ValueError, match="shared weights are"):
        CachedDecoder(decoder, torch.float16, shared=True)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_not_finite_is_named(saved: Path, wrong: float) -> None:
    path = saved / "decoder.safetensors"
    (saved / "SHA256SUMS").unlink()
    tensors = load_file(path)
    tensors["blocks.0.down.weight"][3, 4] = wrong
    save_file(tensors, path)
    with pytest.raises(ModelFolderError, match="blocks.0.down.weight is not finite"):
        load_model(saved)

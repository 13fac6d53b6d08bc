"""`kyvo convert --vqgan`: a published checkpoint with its image tokenizer becomes a model that sees and draws."""

from __future__ import annotations

import collections
from pathlib import Path

import numpy as np
import pytest
import torch
from published_files import HEADS, published_tensors
from taming_reference import CODES, TamingReference
from tiny_model import text_tokenizer

from kyvo_ros.cli import main
from kyvo_ros.model.checkpoint import read_vqgan
from kyvo_ros.model.folder import load_model, save_model
from kyvo_ros.model.published import CODEBOOK
from kyvo_ros.pipeline import KyvoPipeline
from kyvo_ros.scene import PLANE_FRAME


@pytest.fixture
def files(tmp_path: Path) -> TamingReference:
    """meta_model_9.pt, last.ckpt, project.yaml and tokenizer.json of one model."""
    reference = TamingReference()
    tensors = published_tensors()
    tensors[CODEBOOK] = reference.tensors["quantize.embedding.weight"].bfloat16()
    torch.save(tensors, tmp_path / "meta_model_9.pt")
    reference.write(tmp_path)
    text_tokenizer().save(tmp_path / "tokenizer.json")
    return reference


def convert(folder: Path, *options: str) -> int:
    return main(["convert", "--from-published", str(folder / "meta_model_9.pt"), "--heads", str(HEADS),
                 "--vqgan", str(folder / "last.ckpt"), "--vqgan-config", str(folder / "project.yaml"),
                 "--tokenizer", str(folder), "--out", str(folder / "model"), *options])


@torch.no_grad()
def test_a_converted_model_sees_and_draws(files: TamingReference, tmp_path: Path) -> None:
    assert convert(tmp_path) == 0
    bundle = load_model(tmp_path / "model")
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    codes = bundle.image_tokenizer.encode(images)
    vectors = files.tensors["quantize.embedding.weight"][codes]
    assert torch.allclose(bundle.image_tokenizer.decode(codes), files.decode(vectors.permute(0, 3, 1, 2)), atol=1e-4)
    assert bundle.decoder.config.causal_prompt and not bundle.programs
    pipeline = KyvoPipeline(bundle, device="cpu")
    images = [np.random.default_rng(seed).integers(0, 256, (240, 320, 3), dtype=np.uint8) for seed in range(3)]
    scenes = pipeline.recognize_batch(images)
    assert {scene.frame_id for scene in scenes} == {PLANE_FRAME}
    assert all(o.attributes["shape"] in ("cube", "sphere", "cylinder") for scene in scenes for o in scene.objects)


def test_the_way_back_is_bit_exact(files: TamingReference, tmp_path: Path) -> None:
    assert convert(tmp_path) == 0
    assert main(["convert", "--to-published", str(tmp_path / "model"), "--out", str(tmp_path / "back.pt")]) == 0
    before, after = (torch.load(tmp_path / name) for name in ("meta_model_9.pt", "back.pt"))
    assert before.keys() == after.keys() and all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_it_can_be_saved_as_any_other_model(files: TamingReference, tmp_path: Path) -> None:
    assert convert(tmp_path) == 0
    bundle = load_model(tmp_path / "model")
    save_model(tmp_path / "again", bundle)
    again = load_model(tmp_path / "again")
    assert again.image_tokenizer.config == bundle.image_tokenizer.config and again.schema == bundle.schema
    assert torch.allclose(again.image_tokenizer.codebook, bundle.image_tokenizer.codebook, atol=1e-3)


@pytest.mark.parametrize(("options", "message"), [
    (["--tokenizer", "absent"], "there is no absent/tokenizer.json"),
    (["--vqgan", "absent.ckpt"], "there is no checkpoint absent.ckpt"),
    (["--names", "ghost"], "expected 'ghost' to be a single text token"),
    (["--layout", "objectron"], "the scenes of Objectron need the names of its categories"),
])
def test_what_is_missing_is_named(
        files: TamingReference, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    code = convert(tmp_path, *options)
    assert code == 2 and message in capsys.readouterr().err


def test_an_image_tokenizer_needs_a_decoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "--to-published", str(tmp_path), "--vqgan", "last.ckpt", "--out", "x.pt"]) == 2
    assert "--vqgan belongs to --from-published" in capsys.readouterr().err


def test_a_checkpoint_that_holds_code_is_not_run(
        files: TamingReference, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files.write(tmp_path, callbacks={collections.UserDict: {"best": 1}})  # Lightning keys callbacks by their class
    assert convert(tmp_path) == 2
    error = capsys.readouterr().err
    assert "holds more than tensors" in error and "d.get('state_dict', d)" in error and "pytorch-lightning" in error
    command = error.split('python -c "')[1].split('"')[0]
    exec(command)  # what the message says to do
    reread = read_vqgan(tmp_path / "last.tensors.pt", tmp_path / "project.yaml")
    assert torch.equal(reread.codebook, files.tensors["quantize.embedding.weight"])


def test_the_image_tokenizer_of_another_model(
        files: TamingReference, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TamingReference(seed=1).write(tmp_path)
    assert convert(tmp_path) == 2
    assert f"{CODES} of {CODES} codes in the image tokenizer are not those" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()

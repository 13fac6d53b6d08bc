"""Checkpoints of the published code: parity with `transformers` on random ones, round trips, refusals."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
from published_files import CODES, HEADS, TEXT, embedded, llama, published_tensors
from tiny_model import tiny_bundle

from kyvo_ros.model.checkpoint import (
    PublishedCheckpointError, from_published, load_decoder, read_tensor_file, to_published)
from kyvo_ros.model.embedding import index_features
from kyvo_ros.model.folder import ModelFolderError, load_model, read_decoder, save_converted, save_model

#: Of the codebook in `published_tensors`.
CODEBOOK = "tok_embeddings.vqgan_codebook.weight"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return written(tmp_path / "meta_model_0.pt", published_tensors())


def written(path: Path, tensors: object) -> Path:
    torch.save(tensors, path)
    return path


@pytest.mark.parametrize(("layout", "number_embedding"), [("clevr", "both"), ("clevr", "learned"), ("clevr", "fixed"),
                                                          ("objectron", "both"), ("objectron", "learned")])
def test_logits_and_the_way_back(tmp_path: Path, layout: str, number_embedding: str) -> None:
    tensors = published_tensors(layout, number_embedding)
    path = written(tmp_path / "meta_model_0.pt", tensors)
    from_published(path, layout, tmp_path / "model", heads=HEADS)
    decoder = load_decoder(tmp_path / "model")
    assert decoder.config.number_embedding == number_embedding
    size = decoder.config.vocabulary.size
    image = decoder.config.vocabulary.range("image")
    # Every border between ranges, an image longer than a grid, and ids that no token has.
    ids = [128000, 0, TEXT - 1, TEXT, TEXT + 102, TEXT + 103, TEXT + 104, image.start - 1, *image, *image, size + 5, 1]
    with torch.no_grad():
        expected = llama(tensors)(inputs_embeds=embedded(tensors, ids).unsqueeze(0)).logits
        assert torch.allclose(decoder(torch.tensor([ids])), expected, atol=1e-4)
    to_published(tmp_path / "model", tmp_path / "back" / "meta_model_1.pt")
    back = torch.load(tmp_path / "back" / "meta_model_1.pt", weights_only=True)
    assert list(back) == list(tensors)
    for name, tensor in tensors.items():
        assert back[name].dtype == torch.bfloat16 and torch.equal(back[name], tensor), name


def test_scaled_rope_matters_and_positions_beyond_the_old_context_are_those_of_llama(checkpoint: Path) -> None:
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    from kyvo_ros.model.config import ScaledRope
    from kyvo_ros.model.decoder import rope_table

    rotary = LlamaRotaryEmbedding(llama(read_tensor_file(checkpoint)).config)
    expected, _ = rotary(torch.zeros(1), torch.tensor([[0, 7, 9000]]))
    table = rope_table(9001, 4, ScaledRope())[[0, 7, 9000]]
    assert torch.allclose(table.real, expected[0, :, :2], atol=1e-3)
    assert not torch.allclose(table, rope_table(9001, 4, 500000.0)[[0, 7, 9000]], atol=1e-2)


def test_weights_come_in_the_dtype_that_was_asked_for(tmp_path: Path, checkpoint: Path) -> None:
    from_published(checkpoint, "clevr", tmp_path / "model", heads=HEADS)
    half, full = (load_decoder(tmp_path / "model", dtype) for dtype in (torch.bfloat16, torch.float32))
    assert len({(tmp_path / "model" / file).stat().st_mode for file in ("config.json", "decoder.safetensors")}) == 1
    assert {tensor.dtype for tensor in half.state_dict().values()} == {torch.bfloat16}
    assert {tensor.dtype for tensor in full.state_dict().values()} == {torch.float32}
    ids = torch.arange(TEXT, TEXT + 8).unsqueeze(0)
    with torch.no_grad():
        assert torch.allclose(half(ids), full(ids), atol=0.5) and not torch.equal(half(ids), full(ids))


def test_the_decoder_of_a_whole_model_folder(tmp_path: Path) -> None:
    bundle = tiny_bundle()
    save_model(tmp_path, bundle)
    ids = torch.arange(1000, 1400, 20).unsqueeze(0)
    with torch.no_grad():
        assert torch.equal(load_decoder(tmp_path)(ids), load_model(tmp_path).decoder(ids))
    with pytest.raises(PublishedCheckpointError, match="no place for .*published_embedding is False.*layouts"):
        to_published(tmp_path, tmp_path / "meta_model_0.pt")
    assert not (tmp_path / "meta_model_0.pt").exists()


def test_a_decoder_alone_is_no_model_that_sees(tmp_path: Path, checkpoint: Path) -> None:
    from_published(checkpoint, "clevr", tmp_path / "model", heads=HEADS)
    with pytest.raises(ModelFolderError, match="holds a decoder alone, which .*load_decoder reads"):
        load_model(tmp_path / "model")


def test_features_of_the_index_alternate() -> None:
    features = index_features(3, 8)
    assert torch.equal(features[0], torch.tensor([0.0, 1.0] * 4))
    assert torch.allclose(features[2, 2:4], torch.tensor([math.sin(0.2), math.cos(0.2)]))


# Refusals.


def test_the_codebook_file_must_be_the_one_of_the_training(tmp_path: Path, checkpoint: Path) -> None:
    stored = published_tensors()[CODEBOOK].float().numpy()
    np.save(tmp_path / "same.npy", stored * (1 + 1e-4))  # what bfloat16 rounds away
    from_published(checkpoint, "clevr", tmp_path / "model", heads=HEADS, codebook=tmp_path / "same.npy")
    np.save(tmp_path / "other.npy", np.concatenate((stored[:-1], stored[:1])))
    with pytest.raises(PublishedCheckpointError, match=f"1 of {CODES} codes in .*other.npy are not those"):
        from_published(checkpoint, "clevr", tmp_path / "new", heads=HEADS, codebook=tmp_path / "other.npy")
    np.save(tmp_path / "short.npy", stored[:-1])
    with pytest.raises(PublishedCheckpointError, match=r"short.npy has shape \(19, 6\), the .* codebook \(20, 6\)"):
        from_published(checkpoint, "clevr", tmp_path / "new", heads=HEADS, codebook=tmp_path / "short.npy")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("change", "message"), [
    (lambda t: t.pop("layers.1.attention.wv.weight"), "layers.1.attention.wv.weight is missing"),
    (lambda t: t.update(extra=torch.zeros(1)), "extra is unknown"),
    (lambda t: t.update({"layers.0.ffn_norm.weight": torch.zeros(3)}),
     r"layers.0.ffn_norm.weight has shape \(3,\), expected \(16,\)"),
    (lambda t: t.update({"output.weight": t["output.weight"][:-1]}), "output.weight has shape .* expected"),
    (lambda t: t.pop(CODEBOOK), "vqgan_codebook.weight is missing, so this is no published Kyvo checkpoint"),
    (lambda t: (t.clear(), t.update({"tok_embeddings.weight": torch.zeros(4, 4)})), "looks like a plain Llama"),
    (lambda t: (t.pop(CODEBOOK), t.update({"tok_embeddings.vqgan_embed_proj.0.weight": torch.zeros(1)})),
     "projects codes by two layers"),
])
def test_tensors_that_do_not_fit_are_named(tmp_path: Path, change: Callable[[dict], object], message: str) -> None:
    tensors = published_tensors()
    change(tensors)
    path = written(tmp_path / "meta_model_0.pt", tensors)
    with pytest.raises(PublishedCheckpointError, match=message):
        from_published(path, "clevr", tmp_path / "model", heads=HEADS)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(("layout", "heads", "message"), [
    ("objectron", HEADS, r"numbers_embedding.weight has shape \(1201, 16\), expected \(104, 16\)"),
    ("kitti", HEADS, r"layout must be one of \('clevr', 'objectron'\), got 'kitti'"),
    ("clevr", 3, "width of 16 cannot be shared by 3 query heads.*--heads"),
    ("clevr", 16, "make no decoder with 16 query heads.*--heads"),
])
def test_another_layout_or_size(checkpoint: Path, tmp_path: Path, layout: str, heads: int, message: str) -> None:
    with pytest.raises(PublishedCheckpointError, match=message):
        from_published(checkpoint, layout, tmp_path / "model", heads=heads)


def test_a_file_that_would_run_code_is_refused_and_its_way_out_works(tmp_path: Path) -> None:
    path = written(tmp_path / "meta_model_0.pt", {**published_tensors(), "made_at": Path("/")})
    with pytest.raises(PublishedCheckpointError, match="holds more than .*Unsupported.*It was not read") as refusal:
        read_tensor_file(path)
    code = re.search(r'python -c "(.*)"', str(refusal.value)).group(1)
    subprocess.run([sys.executable, "-c", code], check=True)
    assert list(read_tensor_file(tmp_path / "meta_model_0.tensors.pt")) == list(published_tensors())


@pytest.mark.parametrize(("content", "message"), [
    ([torch.zeros(2)], "must hold tensors by name, got a list"),
    ({"model": {"norm.weight": torch.zeros(2)}, "epoch": 3}, "must hold tensors by name, got dict, int"),
])
def test_a_file_of_something_else(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(PublishedCheckpointError, match=message):
        read_tensor_file(written(tmp_path / "file.pt", content))


def test_a_file_that_is_missing_or_cut_short(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(PublishedCheckpointError, match="there is no checkpoint"):
        read_tensor_file(tmp_path / "absent.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(PublishedCheckpointError, match="not a whole torch file|holds more than tensors"):
        read_tensor_file(checkpoint)


@pytest.mark.parametrize("content", [b"hello world", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
                                     b"<!DOCTYPE html><html></html>", b""])
def test_what_a_download_left_in_its_place(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.pt").write_bytes(content)
    with pytest.raises(PublishedCheckpointError, match="is no torch file; is it what a download has left"):
        read_tensor_file(tmp_path / "file.pt")


def test_a_checkpoint_that_cannot_be_written_leaves_the_older_one(tmp_path: Path, checkpoint: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    from_published(checkpoint, "clevr", tmp_path / "folder", heads=4)
    target = tmp_path / "out.pt"
    target.write_bytes(b"before")

    def fails(tensors: object, file: BinaryIO) -> None:
        file.write(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file: No space left on device")
    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(PublishedCheckpointError, match="cannot write .*No space left"):
        to_published(tmp_path / "folder", target)
    assert target.read_bytes() == b"before" and not list(tmp_path.glob("*.part"))


def test_the_codebook_of_a_decoder_alone(tmp_path: Path, checkpoint: Path) -> None:
    from_published(checkpoint, "clevr", tmp_path / "model", heads=HEADS)
    to_published(tmp_path / "model", tmp_path / "back.pt", codebook=tmp_path / "codebook.npy")
    stored = np.load(tmp_path / "codebook.npy")
    assert stored.dtype == np.float32 and (stored == published_tensors()[CODEBOOK].float().numpy()).all()
    from_published(checkpoint, "clevr", tmp_path / "same", heads=HEADS, codebook=tmp_path / "codebook.npy")


def test_no_image_tokenizer_becomes_no_checkpoint(tmp_path: Path, checkpoint: Path) -> None:
    from_published(checkpoint, "clevr", tmp_path / "model", heads=HEADS)
    with pytest.raises(PublishedCheckpointError, match="only a VQGAN becomes .* holds no image tokenizer"):
        to_published(tmp_path / "model", tmp_path / "back.pt", vqgan=tmp_path / "last.ckpt")
    assert not (tmp_path / "back.pt").exists() and not (tmp_path / "last.ckpt").exists()


def test_a_folder_with_tensors_of_another_size(tmp_path: Path, checkpoint: Path) -> None:
    from_published(checkpoint, "clevr", tmp_path / "model", heads=HEADS)
    name, config, weights = read_decoder(tmp_path / "model")
    weights["norm.weight"] = weights["norm.weight"][:-1]
    save_converted(tmp_path / "model", name, config, weights)
    with pytest.raises(ModelFolderError, match=r"norm.weight has shape \(15,\), expected \(16,\)"):
        load_decoder(tmp_path / "model")
    weights["embedding.codebook"] = weights["embedding.codebook"][:-1]
    save_converted(tmp_path / "model", name, config, weights)
    with pytest.raises(ModelFolderError, match="codebook must be"):
        load_decoder(tmp_path / "model")

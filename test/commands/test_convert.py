"""`kyvo convert`: there and back, what it writes, and its errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from published_files import HEADS, TEXT, llama, published_tensors
from tiny_model import text_tokenizer

from kyvo_ros.cli import main
from kyvo_ros.commands import convert
from kyvo_ros.model import config, published
from kyvo_ros.model.checkpoint import load_decoder
from kyvo_ros.tokens import TextTokenizer
from kyvo_ros.tokens.published_sequences import DRAWN_ORDER


def test_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = published_tensors("objectron")
    torch.save(tensors, tmp_path / "meta_model_9.pt")
    np.save(tmp_path / "codebook.npy", tensors[published.CODEBOOK].float().numpy())
    text_tokenizer().save(tmp_path / "tokenizer.json")
    code = main(["convert", "--from-published", str(tmp_path / "meta_model_9.pt"), "--layout", "objectron",
                 "--codebook", str(tmp_path / "codebook.npy"), "--tokenizer", str(tmp_path), "--heads", str(HEADS),
                 "--max-length", "100", "--out", str(tmp_path / "model")])
    assert code == 0 and capsys.readouterr().out == f"written to {tmp_path / 'model'}\n"
    assert {file.name for file in (tmp_path / "model").iterdir()} == {
        "SHA256SUMS", "config.json", "decoder.safetensors", "tokenizer.json"}
    assert TextTokenizer.load(tmp_path / "model" / "tokenizer.json").size == text_tokenizer().size
    assert main(["convert", "--to-published", str(tmp_path / "model"), "--out", str(tmp_path / "back.pt")]) == 0
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items()) and len(back) == len(tensors)


def test_a_start_from_llama(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = llama(published_tensors())
    model.resize_token_embeddings(TEXT)
    model.save_pretrained(tmp_path / "llama")
    arguments = ["convert", "--from-llama", str(tmp_path / "llama"), "--out", str(tmp_path / "model")]
    assert main(arguments) == 2 and "--from-llama needs --codebook" in capsys.readouterr().err
    np.save(tmp_path / "codebook.npy", np.ones(3, np.int64))
    assert main([*arguments, "--codebook", str(tmp_path / "codebook.npy")]) == 2
    assert "must hold a codebook (K, code_dim) of floats, got (3,) torch.int64" in capsys.readouterr().err
    np.save(tmp_path / "codebook.npy", np.ones((20, 6), np.float32))
    assert main([*arguments, "--codebook", str(tmp_path / "codebook.npy")]) == 0
    assert main([*arguments, "--codebook", str(tmp_path / "codebook.npy"), "--number-embedding", "learned", "--out",
                 str(tmp_path / "other")]) == 0
    assert load_decoder(tmp_path / "other").config.number_embedding == "learned"
    decoder = load_decoder(tmp_path / "model")
    assert decoder.config.number_embedding == "both"
    assert decoder(torch.tensor([[1, decoder.config.vocabulary.size - 1]])).isfinite().all()
    assert main(["convert", "--to-published", str(tmp_path / "model"), "--out", str(tmp_path / "meta_model_0.pt")]) == 0


@pytest.mark.parametrize(("options", "message"), [
    ([], "a width of 16 cannot be shared by 32 query heads"),
    (["--heads", str(HEADS), "--layout", "objectron"], "numbers_embedding.weight has shape"),
    (["--heads", str(HEADS), "--max-length", "0"], "--max-length must be at least 1, got 0"),
    (["--heads", str(HEADS), "--tokenizer", "absent"], "there is no absent/tokenizer.json"),
    (["--heads", str(HEADS), "--codebook", "absent.npy"], "No such file or directory: 'absent.npy'"),
])
def test_errors_take_one_line_and_write_nothing(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str) -> None:
    torch.save(published_tensors(), tmp_path / "meta_model_9.pt")
    arguments = ["convert", "--from-published", str(tmp_path / "meta_model_9.pt"), "--out", str(tmp_path / "model")]
    assert main([*arguments, *options]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "model").exists()


def test_defaults_are_those_of_the_model() -> None:
    assert convert.LAYOUTS == tuple(published.LAYOUTS) and convert.DRAWN_ORDER == DRAWN_ORDER
    assert convert.TASKS == published.PIPELINE_TASKS
    assert (convert.HEADS, convert.MAX_LENGTH) == (published.HEADS, published.MAX_LENGTH)
    assert convert.NUMBER_EMBEDDINGS == config.NUMBER_EMBEDDINGS

"""The published pre-tokenised JSON: streamed, kept flat, joined by key; broken files are named."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest

from kyvo_ros.data.json_stream import JsonStreamError, stream_entries
from kyvo_ros.data.published_tokens import PublishedDataError, PublishedTokens, TokenFile
from kyvo_ros.tokens import Vocabulary
from kyvo_ros.tokens.published_sequences import PublishedSequences

DOCUMENT = {"a \"q\" é": [1, 2, [3]], "b": {"token_ids": [4], "text": "{]"}, "c": 12345, "d": None, "e": {}}


@pytest.mark.parametrize("chunk", [1, 2, 7, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_streamed_entries_are_those_of_the_file(tmp_path: Path, chunk: int, indent: int | None) -> None:
    path = tmp_path / "some.json"
    path.write_text(json.dumps(DOCUMENT, indent=indent), encoding="utf-8")
    assert list(stream_entries(path, chunk)) == list(DOCUMENT.items())


def test_streaming_holds_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.json"
    path.write_text(json.dumps({str(i): list(range(256)) for i in range(400)}))
    windows = []
    decode = json.JSONDecoder.raw_decode
    monkeypatch.setattr(json.JSONDecoder, "raw_decode",
                        lambda self, text, at: (windows.append(len(text)), decode(self, text, at))[1])
    assert len(list(stream_entries(path, chunk=4096))) == 400
    assert max(windows) < 4 * 4096 < path.stat().st_size


@pytest.mark.parametrize(("text", "message"), [
    ("[1]", r"character 0: expected '\{', got '\[1\]'"),
    ('{"a": [1, 2}', "expected a value"),
    ('{"a": 1 "b": 2}', r"expected '\}'"),
    ('{"a": 1', r"expected '\}', got ''"),
    ('{"a": 1} x', "nothing behind the object"),
    ("{a: 1}", "a name in quotes"),
    ("", r"expected '\{', got ''"),
])
def test_what_is_no_object(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(JsonStreamError, match=message):
        list(stream_entries(path, chunk=3))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Images as bare codes, scenes with their tokens and more; one image has no scene."""
    images, scenes = tmp_path / "train_vqgan_indices.json", tmp_path / "train_tokenized_scenes.json"
    images.write_text(json.dumps({"2.png": [5, 6, 7, 8], "1.png": [1, 2, 3, 4], "lonely.png": [0, 0, 0, 0]}))
    scenes.write_text(json.dumps({"1.png": {"token_ids": [21, 22], "string": {"file_path": "1.png"}},
                                  "2.png": {"token_ids": [23]}}))
    return {"image_source": images, "three_d_source": scenes}


def test_samples_are_the_common_keys_in_order(
        files: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tokens = PublishedTokens("I->3", files, PublishedSequences(Vocabulary.published_clevr()), tmp_path / "cache")
    assert tokens.keys == ["1.png", "2.png"] and len(tokens) == 2
    assert "left out" in caplog.text and "train_vqgan_indices.json': 1" in caplog.text
    first = tokens[0]
    assert first.token_ids.tolist() == [128000, 129466, 129472, 129473, 129474, 129475, 129467, 129470, 21, 22, 128001]
    assert first.loss_mask.sum() == 3


def test_a_file_is_streamed_once_and_again_when_it_changes(files: dict[str, Path], tmp_path: Path) -> None:
    path, cache = files["image_source"], tmp_path / "cache"
    assert TokenFile(path, cache)["2.png"].tolist() == [5, 6, 7, 8]
    made = (cache / f"{path.stem}.int32").stat().st_mtime_ns
    assert TokenFile(path, cache).keys() == {"1.png", "2.png", "lonely.png"}
    assert (cache / f"{path.stem}.int32").stat().st_mtime_ns == made
    path.write_text(json.dumps({"3.png": [9]}))
    os.utime(path, (1, 1))
    assert TokenFile(path, cache).keys() == {"3.png"} and TokenFile(path, cache)["3.png"].dtype == np.int64


@pytest.mark.parametrize("entry", [[], [1.5], {"ids": [1]}, [[1]], [-1], "1 2", [True]])
def test_an_entry_without_tokens_is_named(tmp_path: Path, entry: object) -> None:
    path = tmp_path / "images.json"
    path.write_text(json.dumps({"fine": [1], "bad": entry}))
    with pytest.raises(PublishedDataError, match="expected codes, or token_ids, at 'bad'"):
        TokenFile(path, tmp_path / "cache")


def test_an_index_that_was_cut_off_is_made_again(files: dict[str, Path], tmp_path: Path) -> None:
    path, cache = next(iter(files.values())), tmp_path / "cache"
    before = TokenFile(path, cache)
    index = cache / f"{path.stem}.index.json"
    index.write_text(index.read_text()[:20])
    again = TokenFile(path, cache)
    assert again.keys() == before.keys() and all((again[key] == before[key]).all() for key in before.keys())


def test_samples_that_would_end_a_training_later_are_named_before(files: dict[str, Path], tmp_path: Path) -> None:
    sequences = PublishedSequences(Vocabulary.published_clevr())
    tokens = PublishedTokens("I->3", files, sequences, tmp_path / "a")
    tokens.check(11)
    with pytest.raises(PublishedDataError, match="sample '1.png' takes 11 tokens, more than the recipe's max_length 10"):
        tokens.check(10)
    files["image_source"].write_text(json.dumps({"1.png": [1, 2, 3, 4], "2.png": [5, 6, 7, 1024]}))
    with pytest.raises(PublishedDataError, match="sample '2.png' of"):
        PublishedTokens("I->3", files, sequences, tmp_path / "b").check(100)


def test_files_that_do_not_make_the_task(files: dict[str, Path], tmp_path: Path) -> None:
    sequences = PublishedSequences(Vocabulary.published_clevr())
    with pytest.raises(PublishedDataError, match=r"task I\+Q->A is made of \['image_source', 'text_source', 'text_tar"):
        PublishedTokens("I+Q->A", files, sequences, tmp_path)
    with pytest.raises(PublishedDataError, match=r"no such source of tokens: \['images'\]"):
        PublishedTokens("I->3", {"images": files["image_source"]}, sequences, tmp_path)
    with pytest.raises(PublishedDataError, match="there is no file absent.json"):
        PublishedTokens("I->3", {**files, "image_source": Path("absent.json")}, sequences, tmp_path)
    files["three_d_source"].write_text(json.dumps({"other": {"token_ids": [1]}}))
    with pytest.raises(PublishedDataError, match="no key is in all of"):
        PublishedTokens("I->3", files, sequences, tmp_path)

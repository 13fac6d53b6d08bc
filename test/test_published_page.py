"""docs/published.md: every command runs, in the page's order, on small files in the formats it names."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from published_files import HEADS, TEXT, llama, published_tensors
from taming_reference import TamingReference
from tiny_model import text_tokenizer, tiny_bundle

from kyvo_ros import cli, pipeline
from kyvo_ros.data.images import read_rgb, write_rgb
from kyvo_ros.model import config
from kyvo_ros.model.folder import save_model
from kyvo_ros.model.published import CODEBOOK

PAGE = (Path(__file__).parents[1] / "docs" / "published.md").read_text(encoding="utf-8")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the page names, in the current folder."""
    vqgan = TamingReference()
    vqgan.write(tmp_path)
    write_rgb(tmp_path / "image.png", np.zeros((240, 320, 3), np.uint8))
    tensors = published_tensors()
    tensors[CODEBOOK] = vqgan.tensors["quantize.embedding.weight"].bfloat16()
    for path in (tmp_path / folder / "meta_model_9.pt" for folder in ("", "rendering", "answering")):
        path.parent.mkdir(exist_ok=True)
        torch.save(tensors, path)
    np.save(tmp_path / "quantize_weight.npy", tensors[CODEBOOK].float().numpy())
    model = llama(tensors)
    model.resize_token_embeddings(TEXT)
    model.save_pretrained(tmp_path / "Llama-3.2-1B")
    text_tokenizer().save(tmp_path / "Llama-3.2-1B" / "tokenizer.json")
    _write_predictions(tmp_path)
    _write_clevr(tmp_path / "clevr")
    save_model(tmp_path / "shipped", tiny_bundle())
    monkeypatch.setattr(pipeline, "shipped_model", lambda: tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write_predictions(folder: Path) -> None:
    (folder / "scenes").mkdir()
    (folder / "scenes" / "0.json").write_text(json.dumps({"image_filename": "0.png", "objects": []}))
    (folder / "predicted_scenes.json").write_text(json.dumps({"scenes": [{"key": "0.png", "objects": []}]}))
    book = {"center_cam": [0.0, 0.0, 1.0], "dimensions": [0.1, 0.1, 0.1]}
    annotations = [{"image_id": 1, "category_name": "book", **book}]
    (folder / "Objectron_test.json").write_text(json.dumps(
        {"images": [{"id": 1, "file_path": "a.jpg"}], "annotations": annotations}))
    (folder / "predicted_objectron.json").write_text(json.dumps({
        "scenes": [{"key": "a.jpg", "objects": [{"category": "book", **book}]}]}))


def _write_clevr(folder: Path) -> None:
    write_rgb(folder / "images" / "0.png", np.zeros((240, 320, 3), np.uint8))
    ball = {"shape": "sphere", "size": "large", "color": "red", "material": "metal", "3d_coords": [0, 0, 0.7],
            "rotation": 0.0}
    c, s = np.cos(0.5), np.sin(0.5)
    pose = [[1, 0, 0, 0], [0, -s, -c, 0], [0, c, -s, 11.0], [0, 0, 0, 1]]
    camera = {"width": 320, "height": 240, "fx": 350, "fy": 350, "cx": 160, "cy": 120, "world_to_camera": pose}
    (folder / "scenes.json").write_text(json.dumps(
        {"scenes": [{"image_index": 0, "image_filename": "0.png", "objects": [ball], "camera": camera}]}))


def test_every_command_runs(files: Path) -> None:
    commands = [shlex.split(line)[1:] for line in PAGE.splitlines() if line.startswith("kyvo ")]
    assert len(commands) == 13
    for command in commands:
        size = ["--heads", str(HEADS)] if "--from-published" in command else []  # the page speaks of Llama-3.2-1B
        assert cli.main([*command, *size]) == 0, command
    assert (files / "meta_model_10.pt").is_file() and (files / "models" / "fresh" / "decoder.safetensors").is_file()
    assert read_rgb(files / "drawing.png").shape == (32, 32, 3) and (files / "last_10.ckpt").is_file()


def test_the_named_fields_exist() -> None:
    rows = re.findall(r"^\| `(\w+)`", PAGE, re.MULTILINE)
    assert len(rows) == 6 and set(rows) <= set(config.DecoderConfig.__dataclass_fields__)

"""docs/published_to_robot.md: its commands run in their order, from data to what the node loads, on stand-in files."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from published_files import CODE_DIM, CODES, DIM, FFN_DIM, HEADS, KV_HEADS, LAYERS
from test_published_page import files  # noqa: F401

from kyvo_ros import cli
from kyvo_ros.model.folder import load_decoder
from kyvo_ros.ros.model_slot import kyvo_pipeline
from kyvo_ros.ros.setting_options import settings_of
from kyvo_ros.scene import PLANE_FRAME

PAGE = (Path(__file__).parents[1] / "docs" / "published_to_robot.md").read_text(encoding="utf-8")
RECIPE = f"""
name: small
held_out: 1
sizes: {{dim: {DIM}, layers: {LAYERS}, heads: {HEADS}, kv_heads: {KV_HEADS}, ffn_dim: {FFN_DIM}, max_length: 300,
  code_dim: {CODE_DIM}, codes: {CODES}}}
run: {{steps: 2, warmup_steps: 1, batch_size: 2, learning_rate: 0.01, log_every: 1}}
"""


@pytest.fixture
def data(files: Path) -> Path:  # noqa: F811
    """Published tokens, and the page's recipe at the size of the other files."""
    recipe = files / "recipes" / "full" / "llama-1b.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(RECIPE)
    images = {f"{i}.png": [(i + j) % CODES for j in range(256)] for i in range(4)}
    scenes = {f"{i}.png": {"token_ids": list(range(128256, 128262 + i))} for i in range(4)}
    (files / "train_vqgan_indices.json").write_text(json.dumps(images))
    (files / "train_tokenized_scenes.json").write_text(json.dumps(scenes))
    return files


def test_the_way_from_data_to_the_node(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [shlex.split(line)[1:] for line in PAGE.splitlines() if line.startswith("kyvo ")]
    assert len(commands) == 7
    for command in commands:
        size = ["--heads", str(HEADS)] if "--from-published" in command else []  # the page speaks of Llama-3.2-1B
        device = ["--device", "cpu", "--threads", "1"] if command[0] == "train" else []
        assert cli.main([*command, *size, *device]) == 0, (command, capsys.readouterr().err)
    fresh, seeing = (load_decoder(data / "models" / name) for name in ("fresh", "seeing"))
    assert seeing.config.causal_prompt and fresh.config.causal_prompt, "prompts are read as Llama reads"
    assert not (fresh.head.weight == seeing.head.weight).all(), "what runs is what was trained"
    (line,) = [line for line in PAGE.splitlines() if line.startswith("ros2 run kyvo_ros kyvo_node")]
    words = shlex.split(line)
    settings = settings_of(None, [words[i + 1] for i, word in enumerate(words) if word == "-p"])
    pipeline = kyvo_pipeline(settings)  # as the node loads it
    scene = pipeline.recognize(np.zeros((240, 320, 3), np.uint8))
    assert pipeline.name == "seeing" and scene.frame_id == PLANE_FRAME

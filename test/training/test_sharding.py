"""A full-size run, proven small: two processes that share the model are the run that one process does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kyvo_ros.cli import main
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.folder import load_decoder, save_converted
from kyvo_ros.training import distributed
from kyvo_ros.training.budget import budget_of
from kyvo_ros.training.full_recipe import load_full_recipe

RECIPE = """
name: tiny
shard: true
activation_checkpointing: true
held_out: 2
sizes: {dim: 16, layers: 2, heads: 2, kv_heads: 1, ffn_dim: 24, max_length: 300, code_dim: 4, codes: 6}
run: {steps: STEPS, warmup_steps: 1, batch_size: 4, accumulate: 2, learning_rate: 0.02, log_every: 1, evaluate_every: 3}
"""
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder to start from, samples of unequal length, and recipes of 1, 3 and 4 steps."""
    folder = tmp_path_factory.mktemp("full")
    for steps in (1, 3, 4):
        (folder / f"{steps}.yaml").write_text(RECIPE.replace("STEPS", str(steps)))
    config = load_full_recipe(folder / "1.yaml").decoder_config()
    torch.manual_seed(0)
    decoder = Decoder(config, torch.randn(6, 4))
    save_converted(folder / "start", "start", config, {n: t.bfloat16() for n, t in decoder.state_dict().items()})
    images = {str(i): [(i + j) % 6 for j in range(256)] for i in range(8)}
    scenes = {str(i): {"token_ids": [128256 + 7 * j for j in range(3 + 2 * i)]} for i in range(8)}
    (folder / "images.json").write_text(json.dumps(images))
    (folder / "scenes.json").write_text(json.dumps(scenes))
    return folder


def command(start: Path, steps: int, name: str) -> list[str]:
    return ["train", "full", "--recipe", str(start / f"{steps}.yaml"), "--from", str(start / "start"), "--data",
            f"image_source={start / 'images.json'}", f"three_d_source={start / 'scenes.json'}", "--work",
            str(start / name), "--out", str(start / f"{name}-model"), "--device", "cpu", "--threads", "1"]


def in_two_processes(arguments: list[str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {**os.environ, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
              "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    processes = [subprocess.Popen([sys.executable, "-m", "kyvo_ros.cli", *arguments], cwd=ROOT,
                                  env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]
    try:
        assert [process.wait(timeout=150) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()


def rows(start: Path, name: str, key: str) -> list:
    lines = (start / name / "full" / "metrics.jsonl").read_text().splitlines()
    return [row[key] for row in map(json.loads, lines) if key in row]


@pytest.mark.timeout(300)
def test_one_process_then_two_then_one_are_the_run_of_one(start: Path) -> None:
    assert main(command(start, 4, "whole")) == 0
    assert main(command(start, 1, "shared")) == 0
    in_two_processes(command(start, 3, "shared"))
    assert main(command(start, 4, "shared")) == 0
    whole, shared = (rows(start, name, "loss") for name in ("whole", "shared"))
    assert len(whole) == len(shared) == 4 and whole[0] != pytest.approx(whole[3], rel=1e-3)
    assert shared == pytest.approx(whole, rel=1e-4)
    assert rows(start, "shared", "gradient_norm") == pytest.approx(rows(start, "whole", "gradient_norm"), rel=1e-3)
    (one,), (two,) = (rows(start, name, "evaluation") for name in ("whole", "shared"))
    assert two == pytest.approx(one, rel=1e-4)
    state, other = (load_decoder(start / f"{name}-model").state_dict() for name in ("whole", "shared"))
    begin = load_decoder(start / "start").state_dict()
    assert all(torch.allclose(state[name], other[name], atol=2e-3) for name in state)
    assert torch.equal(other["embedding.learned.weight"][:100], begin["embedding.learned.weight"][:100]), "frozen text"
    assert not torch.allclose(other["head.weight"], begin["head.weight"], atol=2e-3)


def test_a_checkpoint_of_another_model_is_refused(start: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (start / "other" / "full").mkdir(parents=True)
    torch.save({"model": {"weight": torch.zeros(1)}, "optimizer": {}, "step": 1},
               start / "other" / "full" / "checkpoint.pt")
    assert main(command(start, 1, "other")) == 2
    assert "does not fit this recipe" in capsys.readouterr().err


def test_the_budget_of_a_shared_model(start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_full_recipe(start / "1.yaml")
    one = budget_of(recipe)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    two = budget_of(recipe)
    assert (two.weights, two.gradients, two.optimizer) == (one.weights // 2, one.gradients // 2, one.optimizer // 2)

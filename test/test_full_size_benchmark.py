"""benchmarks/full_size.py, on a folder that is small: what each process does, and how its work is bounded."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from kyvo_ros.autoencoders.vqgan import VqganConfig
from kyvo_ros.model.folder import load_model
from kyvo_ros.model.inference import CachedDecoder
from kyvo_ros.model.published import LAYOUTS

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "full_size.py"
SIZES = {"dim": 16, "layers": 2, "heads": 4, "kv_heads": 2, "ffn_dim": 24}
#: Images of 32x32 pixels are 16x16 codes.
TOKENIZER = VqganConfig(resolution=32, channels=32, multipliers=(1, 2), blocks=1, latent_dim=8, code_dim=6,
                        codebook_size=20)


@pytest.fixture(scope="module")
def full_size() -> ModuleType:
    specification = importlib.util.spec_from_file_location("full_size", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(full_size: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full_size") / "random"
    full_size.write_random_folder(folder, 2, TOKENIZER, SIZES)
    return folder


def test_the_folder_is_in_the_published_format(folder: Path) -> None:
    config = load_model(folder).decoder.config
    assert config.vocabulary == LAYOUTS["clevr"].vocabulary(20) and config.published_embedding
    assert config.image_grid == (16, 16)


@pytest.mark.parametrize(("task", "result"), [
    ("load", "nothing else"), ("recognize", "2 objects"), ("draw", "all 256 codes, 32x32 pixels"),
    ("tokenize", "image to codes to 32x32 pixels"), ("answer", "on image, scene and question")])
def test_every_process_does_what_its_row_says(full_size: ModuleType, folder: Path, task: str, result: str) -> None:
    row = {}
    for said in full_size.run_task(task, folder, "auto", draw_s=600.0):
        row |= said
    assert result in row["result"] and row["load_s"] > 0 and row["run_s"] >= 0 and row["peak_mib"] > 10
    assert result in full_size.table({task: row})


def test_a_drawing_ends_in_time_and_says_that_the_rest_was_not_measured(full_size: ModuleType, folder: Path) -> None:
    step = CachedDecoder.step
    *_, said = full_size.run_task("draw", folder, "auto", draw_s=0.0)
    assert said["result"].startswith("stopped after 1 of 256 codes") and "not measured" in said["result"]
    assert CachedDecoder.step is step


def test_a_process_that_takes_too_long_is_ended_and_named(full_size: ModuleType, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text("import time\nprint('{\"load_s\": 2.5}', flush=True)\ntime.sleep(60)\n")
    monkeypatch.setattr(full_size, "__file__", str(slow))
    row = full_size.in_a_process("recognize", tmp_path, "auto", draw_s=1.0, limit_s=8.0)
    assert row["load_s"] == 2.5 and row["run_s"] is None and row["peak_mib"] > 1
    assert "| recognize | 2.5 s | - |" in full_size.table({"recognize": row}) and "not done" in row["result"]
    slow.write_text("raise SystemExit(3)")
    with pytest.raises(RuntimeError, match="recognize failed"):
        full_size.in_a_process("recognize", tmp_path, "auto", draw_s=1.0, limit_s=30.0)


@pytest.mark.timeout(300)  # the node imports torch
def test_the_node_s_user_gets_a_scene_an_answer_and_a_drawing(full_size: ModuleType, folder: Path) -> None:
    pytest.importorskip("kyvo_msgs", reason="needs ROS 2")
    row = full_size.run_node(folder, "auto", limit_s=240.0)
    assert list(row["steps_s"]) == ["scene", "ask", "render"] and min(row["steps_s"].values()) > 0
    assert row["run_s"] == pytest.approx(sum(row["steps_s"].values())) and row["load_s"] > 0 and row["peak_mib"] > 100
    loaded, scene, answer, drawing = row["result"].split("; ")
    assert loaded.startswith("loaded in ") and scene.startswith("a scene of 2 objects in ")
    assert drawing.startswith("render: 32x32 pixels in ")
    assert answer.startswith("ask: '") and ", directly in " in answer
    assert row["result"] in full_size.table({"node": row})


def test_a_node_that_takes_too_long_is_ended_with_what_it_has_done(full_size: ModuleType, folder: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("kyvo_msgs", reason="needs ROS 2")
    steps = {"load": lambda user: "loaded", "scene": lambda user: "a scene",
             "ask": lambda user: user.wait(lambda: False)}
    monkeypatch.setattr(full_size, "NODE_STEPS", steps)
    row = full_size.run_node(folder, "auto", limit_s=0.5)
    assert row["load_s"] is not None and row["run_s"] is None and list(row["steps_s"]) == ["scene"]
    assert row["result"] == "loaded in 0.0 s; a scene in 0.0 s; ended after 0.5 s, ask not done" and row["peak_mib"] > 1


def test_a_machine_without_the_memory_is_told(full_size: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_size, "NEEDED_GIB", {"auto": 0.0, "float32": 1e6})
    full_size.check_memory(["auto"])
    with pytest.raises(SystemExit, match="of memory are free, a run may take 1000000"):
        full_size.check_memory(["auto", "float32"])


def test_the_machine_is_named(full_size: ModuleType) -> None:
    assert "cores" in full_size.machine() and "torch" in full_size.machine()

"""The whole path at toy size, by the commands: convert, write Omni3D, tokenize, train, predict, score."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from published_files import CODE_DIM, CODES, DIM, FFN_DIM, HEADS, KV_HEADS, LAYERS, published_tensors
from taming_reference import TamingReference
from tiny_model import text_tokenizer, tiny_bundle

from kyvo_ros.cli import main
from kyvo_ros.data.omni3d import read_omni3d
from kyvo_ros.model.folder import load_model, save_model
from kyvo_ros.model.published import CODEBOOK
from kyvo_ros.pipeline import KyvoPipeline
from kyvo_ros.scene import PLANE_FRAME, Scene, SceneObject
from kyvo_ros.tokens.published_schemas import CAMERA_FRAME, objectron
from kyvo_ros.training.tokenising import writable

RECIPE = f"""
name: toy
task: I->3
layout: objectron
method: METHOD
freeze_text: true
sizes: {{dim: {DIM}, layers: {LAYERS}, heads: {HEADS}, kv_heads: {KV_HEADS}, ffn_dim: {FFN_DIM}, max_length: 600,
        code_dim: {CODE_DIM}, codes: {CODES}}}
run: {{steps: 4, batch_size: 2, accumulate: 2, warmup_steps: 1, learning_rate: 0.02, checkpoint_every: 4,
      evaluate_every: 4, log_every: 1}}
held_out: 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted Objectron model, and a synthetic data set with its tokens."""
    folder = tmp_path_factory.mktemp("omni3d")
    vqgan, tensors = TamingReference(), published_tensors("objectron")
    tensors[CODEBOOK] = vqgan.tensors["quantize.embedding.weight"].bfloat16()
    torch.save(tensors, folder / "meta_model_9.pt")
    checkpoint, config = vqgan.write(folder)
    text_tokenizer().save(folder / "tokenizer.json")
    assert main(["convert", "--from-published", str(folder / "meta_model_9.pt"), "--layout", "objectron", "--heads",
                 str(HEADS), "--vqgan", str(checkpoint), "--vqgan-config", str(config), "--tokenizer", str(folder),
                 "--names", "cube", "sphere", "cylinder", "--out", str(folder / "start")]) == 0
    assert main(["omni3d", "write", "--out", str(folder / "data"), "--scenes", "3"]) == 0
    assert main(["omni3d", "tokenize", *data(folder), "--model", str(folder / "start"),
                 "--out", str(folder / "tokens")]) == 0
    return folder


def data(folder: Path) -> list[str]:
    return ["--json", str(folder / "data" / "Synthetic_train.json"), "--images", str(folder / "data")]


def train(folder: Path, name: str, method: str = "full", *more: str) -> int:
    (folder / f"{name}.yaml").write_text(RECIPE.replace("METHOD", method))
    tokens = folder / "tokens"
    return main(["train", "full", "--recipe", str(folder / f"{name}.yaml"), "--from", str(folder / "start"),
                 "--data", f"image_source={tokens / 'vqgan_indices.json'}",
                 f"three_d_source={tokens / 'tokenized_scenes.json'}", "--work", str(folder / name),
                 "--out", str(folder / f"{name}_model"), "--device", "cpu", "--threads", "1", *more])


def test_tokens_say_what_the_file_says(folder: Path) -> None:
    bundle = load_model(folder / "start")
    scenes = json.loads((folder / "tokens" / "tokenized_scenes.json").read_text())
    images = json.loads((folder / "tokens" / "vqgan_indices.json").read_text())
    for sample in read_omni3d(folder / "data" / "Synthetic_train.json", folder / "data"):
        said = bundle.grammar.decode_scene(scenes[sample.file_path]["token_ids"])
        assert [o.attributes["category"] for o in said.objects] == [box.category for box in sample.boxes]
        for o, box in zip(said.objects, sample.boxes):
            assert abs(o.position_m[2] - box.center_m[2]) <= 0.026 and abs(o.size_m - box.dimensions_m).max() <= 0.0051
        assert len(images[sample.file_path]) == 256 and max(images[sample.file_path]) < CODES


def test_trained_predicted_and_scored(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(folder, "plain") == 0
    rows = [json.loads(line) for line in (folder / "plain" / "full" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert len(losses) == 4 and losses[-1] < losses[0]
    assert [set(row["evaluation"]) for row in rows if "evaluation" in row] == [{"held_out_loss", "right_tokens"}]
    assert main(["omni3d", "predict", *data(folder), "--model", str(folder / "plain_model"),
                 "--out", str(folder / "predictions.json")]) == 0
    capsys.readouterr()
    assert main(["evaluate", "published", "--dataset", "Objectron", "--predictions", str(folder / "predictions.json"),
                 "--truth", str(folder / "data" / "Synthetic_train.json")]) == 0
    assert "3 scenes, 0 left out" in capsys.readouterr().out


def test_only_what_should_learn_has_learned(folder: Path) -> None:
    if not (folder / "plain_model").exists():
        assert train(folder, "plain") == 0
    before, after = (load_model(folder / name).decoder.state_dict() for name in ("start", "plain_model"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert "blocks.0.qkv.weight" in changed and "head.weight" in changed and "embedding.codebook" not in changed
    rows = (before["embedding.learned.weight"] != after["embedding.learned.weight"]).any(dim=1)
    assert not rows[:128256].any() and rows[128256:].any()


def test_low_rank_additions(folder: Path) -> None:
    pytest.importorskip("peft", reason="optional: pip install peft")
    assert train(folder, "lora", "lora") == 0
    before, after = (load_model(folder / name).decoder.state_dict() for name in ("start", "lora_model"))
    assert before.keys() == after.keys()
    difference = (after["blocks.0.qkv.weight"] - before["blocks.0.qkv.weight"]).float()
    assert difference.abs().max() > 1e-3 and torch.equal(before["norm.weight"], after["norm.weight"])


def test_faults_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(folder, "late", "full", "--data", "images") == 2
    assert "--data takes entries such as image_source=FILE, got 'images'" in capsys.readouterr().err
    assert train(folder, "odd", "scratch") == 2
    assert "freeze_text would keep random embeddings" in capsys.readouterr().err
    (folder / "wide.yaml").write_text(RECIPE.replace("METHOD", "full").replace(f"dim: {DIM}", f"dim: {2 * DIM}"))
    assert main(["train", "full", "--recipe", str(folder / "wide.yaml"), "--from", str(folder / "start"), "--data",
                 "a=b", "--device", "cpu", "--out", str(folder / "wide")]) == 2
    assert f"dim is {DIM}, in the recipe {2 * DIM}" in capsys.readouterr().err
    assert main(["train", "decoder", "--dry-run", "--device", "cpu"]) == 2
    assert "belong to stage full, not to decoder" in capsys.readouterr().err


def test_a_folder_recognises_through_the_pipeline(folder: Path) -> None:
    """Objects in the camera's frame come to that of the plane, on which the nominal camera looks down."""
    pipeline = KyvoPipeline.from_pretrained(folder / "start", "cpu")
    samples = read_omni3d(folder / "data" / "Synthetic_train.json", folder / "data")
    scenes = pipeline.recognize_batch([sample.image() for sample in samples], [sample.camera for sample in samples])
    optical_T_plane = pipeline.nominal_plane().plane_T_optical().inverse()
    assert {scene.frame_id for scene in scenes} == {PLANE_FRAME} and any(map(len, scenes))
    for seen in (o for scene in scenes for o in scene.objects):
        x, y, z = optical_T_plane.apply(seen.position_m)
        assert -0.21 < x < 17.51 and -0.21 < y < 17.51 and -0.01 < z < 17.51, "the published numbers"
        assert seen.attributes["category"] in ("cube", "sphere", "cylinder") and seen.yaw_rad is None
        assert seen.size_m.shape == (3,) and (seen.size_m >= 0).all()


def test_a_model_of_other_objects_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(folder / "tiny", tiny_bundle())
    for command in ("tokenize", "predict"):
        assert main(["omni3d", command, *data(folder), "--model", str(folder / "tiny"), "--out",
                     str(folder / "nothing")]) == 2
        assert "not by category alone; give a model that `kyvo convert --layout objectron" in capsys.readouterr().err


def test_what_a_model_has_no_words_or_room_for_is_left_out() -> None:
    schema = replace(objectron(["cup", "shoe"]), max_objects=2)
    objects = [SceneObject({"category": name}, [0, 0, depth], size_m=[1, 1, 1])
               for name, depth in (("cup", 3), ("car", 1), ("shoe", 2), ("cup", 1))]
    kept = writable(Scene(tuple(objects), CAMERA_FRAME), schema)
    assert [(o.attributes["category"], o.position_m[2]) for o in kept.objects] == [("shoe", 2), ("cup", 1)]

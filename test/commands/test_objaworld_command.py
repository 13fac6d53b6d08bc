"""ObjaWorld by the commands: convert with the names of its shapes, tokenize, recognise, predict, score."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from published_files import CODES, HEADS, published_tensors
from taming_reference import TamingReference
from tiny_model import text_tokenizer, tiny_bundle

from kyvo_ros.cli import main
from kyvo_ros.commands import objaworld
from kyvo_ros.data.images import write_rgb
from kyvo_ros.data.objaworld import read_objaworld
from kyvo_ros.model.folder import load_model, save_model
from kyvo_ros.model.published import CODEBOOK
from kyvo_ros.pipeline import KyvoPipeline
from kyvo_ros.scene import PLANE_FRAME
from kyvo_ros.tokens import Vocabulary
from kyvo_ros.tokens.published_schemas import WORLD_FRAME

NAMES = ("barrel", "crate")
OBJECTS = [[{"shape": "barrel-12", "3d_coords": [0.1234, -1.0, 0.3], "rotation": 1.57},
            {"shape": "crate-3", "3d_coords": [2.0, 1.0, 0.2], "rotation": -0.4}],
           [{"shape": "crate", "3d_coords": [0.0, 0.5, 0.2], "rotation": 3.1},
            {"shape": "vase-1", "3d_coords": [1.0, 0.5, 0.2], "rotation": 0.0}]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted model with the names of two shapes, and two scenes, one with a shape that it has no name for."""
    folder = tmp_path_factory.mktemp("objaworld")
    vqgan, tensors = TamingReference(), published_tensors()
    tensors[CODEBOOK] = vqgan.tensors["quantize.embedding.weight"].bfloat16()
    begin, end = map(Vocabulary.published_clevr().structure_id, ("[OBJECT-START]", "[SCENE-END]"))
    head = tensors["output.weight"]  # of this seed it would end every scene at once
    head[[begin, end]] = head[[end, begin]]
    torch.save(tensors, folder / "meta_model_9.pt")
    checkpoint, config = vqgan.write(folder)
    text_tokenizer().with_words(list(NAMES)).save(folder / "tokenizer.json")
    assert main(["convert", "--from-published", str(folder / "meta_model_9.pt"), "--heads", str(HEADS), "--vqgan",
                 str(checkpoint), "--vqgan-config", str(config), "--tokenizer", str(folder), "--names", *NAMES, "--out",
                 str(folder / "model")]) == 0
    (folder / "scenes").mkdir()
    for number, objects in enumerate(OBJECTS):
        shade = np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        write_rgb(folder / "images" / f"{number}.png", shade.repeat(10, axis=0).repeat(10, axis=1))
        (folder / "scenes" / f"{number}.json").write_text(
            json.dumps({"image_filename": f"{number}.png", "objects": objects}))
    return folder


def data(folder: Path, model: str = "model") -> list[str]:
    return ["--scenes", str(folder / "scenes"), "--images", str(folder / "images"), "--model", str(folder / model)]


def test_tokens_say_what_the_files_say(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["objaworld", "tokenize", *data(folder), "--out", str(folder / "tokens")]) == 0
    assert "1 objects that the model has no words or no room for were left out" in caplog.text
    scenes = json.loads((folder / "tokens" / "tokenized_scenes.json").read_text())
    images = json.loads((folder / "tokens" / "vqgan_indices.json").read_text())
    assert scenes.keys() == images.keys() == {"0.png", "1.png"}
    assert all(len(codes) == 256 and max(codes) < CODES for codes in images.values())
    said = load_model(folder / "model").grammar.decode_scene(scenes["0.png"]["token_ids"])
    assert said.frame_id == WORLD_FRAME and [o.attributes["shape"] for o in said.objects] == ["barrel", "crate"]
    for o, entry in zip(said.objects, OBJECTS[0]):
        assert np.abs(o.position_m - entry["3d_coords"]).max() <= 0.0025
        assert o.yaw_rad == pytest.approx(entry["rotation"], abs=0.0025)
    (late,) = load_model(folder / "model").grammar.decode_scene(scenes["1.png"]["token_ids"]).objects
    assert late.yaw_rad == 3.0, "the published numbers end there"


def test_a_model_predicts_what_the_published_script_scores(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "predictions.json"
    assert main(["objaworld", "predict", *data(folder), "--out", str(out)]) == 0
    scenes = json.loads(out.read_text())["scenes"]
    assert [scene["key"] for scene in scenes] == ["0.png", "1.png"]
    objects = [o for scene in scenes for o in scene["objects"]]
    assert objects and all(o["shape"] in NAMES and len(o["3d_coords"]) == 4 for o in objects)
    assert main(["evaluate", "published", "--dataset", "ObjaWorld", "--predictions", str(out), "--truth",
                 str(folder / "scenes")]) == 0
    assert "2 scenes, 0 left out" in capsys.readouterr().out


def test_predictions_of_a_perfect_model_score_all_that_it_can_say(
        folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The vase has no name and 3.1 is 0.1 beyond the grid, within the limit of a rotation."""
    truth = [sample.scene for sample in read_objaworld(folder / "scenes")]
    grammar = load_model(folder / "model").grammar
    truth[1] = type(truth[1])(truth[1].objects[:1], WORLD_FRAME)
    said = [grammar.decode_scene(grammar.encode_scene(scene, "clamp")) for scene in truth]
    monkeypatch.setattr(objaworld, "predicted_scenes", lambda bundle, images: said)
    assert main(["objaworld", "predict", *data(folder), "--out", str(tmp_path / "perfect.json")]) == 0
    main(["evaluate", "published", "--dataset", "ObjaWorld", "--predictions", str(tmp_path / "perfect.json"), "--truth",
          str(folder / "scenes")])
    assert "0.7500\n2 scenes, 0 left out; 3 objects found, 0 wrong, 1 missed" in capsys.readouterr().out


def test_a_folder_recognises_through_the_pipeline(folder: Path) -> None:
    scene = KyvoPipeline.from_pretrained(folder / "model", "cpu").recognize(np.full((240, 320, 3), 90, np.uint8))
    assert scene.frame_id == PLANE_FRAME and len(scene)
    assert all(o.attributes["shape"] in NAMES and o.yaw_rad is not None for o in scene.objects)


def test_faults_are_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(folder / "tiny", tiny_bundle())
    assert main(["objaworld", "tokenize", *data(folder, "tiny"), "--out", str(tmp_path / "tokens")]) == 2
    assert "describes objects by size, color, material, shape, not by shape alone" in capsys.readouterr().err
    (folder / "images" / "1.png").rename(folder / "away.png")
    assert main(["objaworld", "predict", *data(folder), "--out", str(tmp_path / "p.json")]) == 2
    (folder / "away.png").rename(folder / "images" / "1.png")
    assert "no image file at" in capsys.readouterr().err and not (tmp_path / "p.json").exists()

"""The model of whole objects that ships: what comes out by the commands without --model, and its card."""

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from kyvo_ros.cli import main
from kyvo_ros.data.images import write_rgb
from kyvo_ros.data.object_scenes import ObjectSettings, sample_object_scene
from kyvo_ros.model.checksums import verify_checksums
from kyvo_ros.model.folder import load_model

FOLDER = Path(__file__).resolve().parents[2] / "models" / "objects-nano"


@pytest.mark.timeout(300)
def test_an_image_becomes_a_file_of_meshes(tmp_path: Path) -> None:
    canonical = load_model(FOLDER).canonical
    made = sample_object_scene(np.random.default_rng(0), canonical.intrinsics(), canonical.nominal_plane(),
                               ObjectSettings(max_objects=3), "instances")
    write_rgb(tmp_path / "image.png", made.image)
    assert main(["reconstruct", str(tmp_path / "image.png"), "--out", str(tmp_path / "scene.glb"), "--json",
                 str(tmp_path / "scene.json"), "--device", "cpu"]) == 0
    document = json.loads((tmp_path / "scene.json").read_text())
    objects = document["scenes"][0]["objects"]
    assert document["model"] == "objects-nano" and 1 <= len(objects) <= 6
    meshes = trimesh.load(tmp_path / "scene.glb", force="scene").geometry
    assert 1 <= len(meshes) <= len(objects) and all(len(mesh.faces) > 10 for mesh in meshes.values())


def test_its_card_and_scores_are_those_of_its_files() -> None:
    assert verify_checksums(FOLDER, ("config.json", "decoder.safetensors", "image_tokenizer.safetensors",
                                     "shape_tokenizer.safetensors"))
    report = json.loads((FOLDER / "evaluation.json").read_text())
    assert report["model"] == "objects-nano"
    card = (FOLDER / "README.md").read_text()
    for name in ("jaccard_0.5", "right_class", "f_score_0.1"):
        assert f"| {name} | {report[name]:.3f} |" in card

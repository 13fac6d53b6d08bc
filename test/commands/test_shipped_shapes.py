"""The shape tokenizer that ships: what comes back of objects that it has not seen, by the commands without --model."""

import json
from pathlib import Path

import numpy as np
import pytest

from kyvo_ros.cli import main
from kyvo_ros.data.assets import assets, make_asset
from kyvo_ros.data.mesh_files import read_mesh, write_mesh
from kyvo_ros.evaluation.shape_metrics import surface_scores
from kyvo_ros.model.checksums import verify_checksums

FOLDER = Path(__file__).resolve().parents[2] / "models" / "shapes-nano"


@pytest.mark.parametrize("number", [3, 20])
def test_an_unseen_object_comes_back_with_its_surface_and_its_color(tmp_path: Path, number: int) -> None:
    truth = make_asset(*list(assets("instances", number + 1))[number])
    write_mesh(tmp_path / "truth.glb", truth)
    assert main(["tokenize", str(tmp_path / "truth.glb"), "--out", str(tmp_path / "codes.json"), "--device", "cpu"]) == 0
    assert main(["detokenize", str(tmp_path / "codes.json"), "--out", str(tmp_path / "made.ply"), "--device", "cpu"]) == 0
    assert json.loads((tmp_path / "codes.json").read_text())["model"] == "shapes-nano"
    made, rng = read_mesh(tmp_path / "made.ply"), np.random.default_rng(0)
    (points, normals, colors), (expected, expected_normals, expected_colors) = (
        mesh.sample(5000, rng) for mesh in (made, truth))
    scores = surface_scores(points, normals, expected, expected_normals, truth.diagonal_m)
    assert scores.f_scores[0.02] > 0.85
    assert np.abs(colors.mean(0) - expected_colors.mean(0)).max() < 0.12


def test_its_card_and_scores_are_those_of_its_files() -> None:
    assert verify_checksums(FOLDER, ("config.json", "shape_tokenizer.safetensors"))
    report = json.loads((FOLDER / "evaluation.json").read_text())
    shown = f"| f_score_0.02 | {report['instances']['codes']['f_score_0.02']:.4f} |"
    assert report["model"] == "shapes-nano" and shown in (FOLDER / "README.md").read_text()
    assert report["instances"]["codes"]["f_score_0.02"] >= 0.85
    assert report["categories"]["codes"]["f_score_0.02"] >= 0.75, "the floors of a training on a CPU"

"""`kyvo render` and its scores on a model without sense: pictures, a report, a contact sheet, every fault named."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_model import tiny_bundle

from kyvo_ros.cli import main
from kyvo_ros.data.images import read_rgb
from kyvo_ros.model.folder import save_model
from kyvo_ros.scene import Scene, SceneObject
from kyvo_ros.scene.records import scene_to_dict

BALL = SceneObject({"size": "large", "color": "red", "material": "metal", "shape": "sphere"}, [1.0, 0.5, 0.7])


@pytest.fixture
def scenes(tmp_path: Path) -> str:
    path = tmp_path / "scenes.json"
    path.write_text(json.dumps({"scenes": [scene_to_dict(Scene((BALL,)))]}))
    return str(path)


def _picture(scenes: str, model: Path, out: Path, *more: str) -> np.ndarray:
    assert main(["render", scenes, "--model", str(model), "--out", str(out), *more]) == 0
    return read_rgb(out)


def test_a_scene_becomes_a_picture(model, scenes, tmp_path, capsys) -> None:
    picture = _picture(scenes, model, tmp_path / "out" / "picture.png")
    assert picture.shape == (20, 32, 3) and "32x20 pixels, 1 objects" in capsys.readouterr().out
    for options in (["--distance-m", "6", "--elevation-deg", "40"], ["--temperature", "1.0", "--seed", "3"]):
        assert not np.array_equal(_picture(scenes, model, tmp_path / "other.png", *options), picture)
    best = _picture(scenes, model, tmp_path / "best.png", "--temperature", "1.0", "--top-k", "1")
    assert np.array_equal(best, picture)


def test_a_scene_is_drawn_from_where_it_was_seen(model, scenes, tmp_path) -> None:
    document = json.loads(Path(scenes).read_text())
    document["scenes"][0] |= {"plane": {"distance_m": 6.0, "elevation_rad": math.radians(40)}, "metres_per_unit": 1.0}
    (tmp_path / "near.json").write_text(json.dumps(document))
    stated = _picture(scenes, model, tmp_path / "a.png", "--distance-m", "6", "--elevation-deg", "40")
    assert np.array_equal(_picture(str(tmp_path / "near.json"), model, tmp_path / "b.png"), stated)


def test_scores_of_a_folder(model, data, tmp_path, capsys) -> None:
    written = {name: tmp_path / f"render.{name}" for name in ("json", "md", "png")}
    assert main(["evaluate", "render", "--data", str(data), "--limit", "3", "--batch-size", "2", "--model", str(model),
                 "--json", str(written["json"]), "--markdown", str(written["md"]), "--sheet", str(written["png"]),
                 "--sheet-images", "2"]) == 0
    scores = json.loads(written["json"].read_text())
    for part in (scores, scores["reconstruction"]):
        assert set(part["cycle_jaccard"]) == {"0.05", "0.1", "0.25", "0.5"}
        assert all(0 <= value <= 1 for value in part["cycle_jaccard"].values())
        assert part["psnr"] > 0 and -1 <= part["ssim"] <= 1 and part["l2"] > 0
    assert scores["scenes"] == 3 and scores["model"] == "tiny"
    assert written["md"].read_text().strip() in capsys.readouterr().out
    assert read_rgb(written["png"]).shape == (2 * (20 * 20 + 18), 3 * 640, 3)


def test_the_published_scores_of_drawings_come_beside_our_own(model, data, tmp_path, capsys) -> None:
    written = {name: tmp_path / f"{name}.json" for name in ("own", "published")}
    for metric, path in written.items():
        assert main(["evaluate", "render", "--data", str(data), "--limit", "2", "--model", str(model), "--metric",
                     metric, "--json", str(path)]) == 0
    own, both = (json.loads(path.read_text()) for path in written.values())
    published = both.pop("published")
    assert both == own and set(published) == {"ssim", "l2"}
    # Theirs are of grey images, in which differences between colours cancel in part.
    assert -1 <= published["ssim"] <= 1 and 0 < published["l2"] < both["l2"]
    assert f"published SSIM: {published['ssim']:.4f}, L2: {published['l2']:.6f}" in capsys.readouterr().out


def test_faults_are_named(model, scenes, tmp_path, capsys) -> None:
    out = str(tmp_path / "picture.png")
    (tmp_path / "many.json").write_text(json.dumps({"scenes": [scene_to_dict(Scene((BALL,) * 5))]}))
    untrained = tmp_path / "untrained"
    save_model(untrained, replace(tiny_bundle(), tasks=("I->3",)))
    for arguments, message in (
            ([str(tmp_path / "many.json"), "--model", str(model)], "at most 4 objects, got 5"),
            ([scenes, "--model", str(untrained)], "not trained for task 3->I"),
            ([scenes, "--model", str(model), "--temperature", "-1"], "temperature must not be negative"),
            ([scenes, "--model", str(model), "--elevation-deg", "3"], "look down"),
            ([scenes, "--model", str(model), "--top-k", "0"], "--top-k must be at least 1")):
        assert main(["render", *arguments, "--out", out]) == 2
        assert message in capsys.readouterr().err

"""`kyvo evaluate background`: its counts by hand, what it writes, and photographs of any shape."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kyvo_ros.cli import main
from kyvo_ros.commands import background
from kyvo_ros.data.images import read_rgb, write_rgb
from kyvo_ros.scene import Scene, SceneObject


def seen(*scores: float) -> Scene:
    return Scene([SceneObject({"shape": "cube"}, [i, 0, 0], confidence=score) for i, score in enumerate(scores)])


def test_the_counts_of_hand_made_scenes() -> None:
    report = background.background_report([seen(), seen(0.05, 0.4), seen(0.95, 0.5), seen(0.2)])
    assert report["images"] == 4 and report["objects_an_image"] == 5 / 4 and report["highest_score"] == 0.95
    assert report["objects_an_image_by_threshold"] == {"0.1": 1.0, "0.3": 0.75, "0.5": 0.5, "0.7": 0.25, "0.9": 0.25}
    assert report["images_without_a_sure_object"] == 0.75


def test_drawn_images_and_photographs(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    photographs = [tmp_path / "tall.png", tmp_path / "wide.jpg"]
    for path, shape in zip(photographs, ((300, 100, 3), (90, 500, 3))):
        write_rgb(path, np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    written, sheet = tmp_path / "out" / "background.json", tmp_path / "sheet.png"
    arguments = ["evaluate", "background", "--model", str(model), "--device", "cpu", "--count", "5", "--json",
                 str(written), "--sheet", str(sheet), "--photographs", *map(str, photographs)]
    assert main(arguments) == 0
    document = json.loads(written.read_text())
    bundled = len(background._bundled_photographs())
    assert document["model"] == "tiny"
    assert document["drawn"]["images"] == 5 and document["photographs"]["images"] == 2 + bundled
    printed = capsys.readouterr().out
    assert "images without an object over 0.5" in printed and "photographs" in printed
    assert f"{document['drawn']['objects_an_image']:.2f}" in printed
    first = sheet.read_bytes()
    assert read_rgb(sheet).shape == (2 * (480 + 18), 4 * 640, 3)
    main([*arguments, "--seed", "0"])
    assert json.loads(written.read_text()) == document and sheet.read_bytes() == first
    main([*arguments, "--seed", "1"])
    assert sheet.read_bytes() != first


def test_photographs_are_cut_in_the_middle_not_squeezed() -> None:
    image = np.zeros((100, 400, 3), np.uint8)
    image[:, 180:220] = 255
    fitted = background._fitted(image)
    assert fitted.shape == (240, 320, 3)
    columns = np.flatnonzero(fitted[120, :, 0] > 127)
    assert (columns[0], columns[-1]) == pytest.approx((160 - 48, 160 + 47), abs=2)  # 40 of 133 columns, 2.4 times wider


def test_without_matplotlib_there_is_no_bundled_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert background._bundled_photographs() == []

"""`kyvo calibrate`: what it writes, that the model then uses it, that a second run starts anew, and its errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from kyvo_ros.cli import main
from kyvo_ros.data.clevr import read_clevr
from kyvo_ros.evaluation.calibration import fit_calibration
from kyvo_ros.model.folder import load_model
from kyvo_ros.pipeline import KyvoPipeline
from kyvo_ros.scene import Calibration


def calibrate(model: Path, data: Path, *options: str) -> int:
    return main(["calibrate", "--data", str(data), "--model", str(model), "--device", "cpu", *options])


def test_the_fit_lands_in_the_model_folder(model: Path, data: Path, capsys: pytest.CaptureFixture) -> None:
    before = json.loads((model / "config.json").read_text())
    samples = read_clevr(data)[-4:]
    raw = KyvoPipeline.from_pretrained(model, "cpu")
    expected = fit_calibration([(raw.recognize(s.image(), s.view), s.scene) for s in samples])
    assert calibrate(model, data, "--last", "4", "--batch-size", "1") == 0
    found = load_model(model).calibration
    assert found != Calibration()
    assert dict(found.attribute_temperatures) == pytest.approx(dict(expected.attribute_temperatures), rel=1e-3)
    assert found.place_temperature == pytest.approx(expected.place_temperature, rel=1e-3)
    assert found.variance_factors == pytest.approx(expected.variance_factors, rel=1e-3)
    after = json.loads((model / "config.json").read_text())
    assert {k: v for k, v in after.items() if k != "calibration"} == {
        k: v for k, v in before.items() if k != "calibration"}
    printed = capsys.readouterr().out
    assert "before" in printed and "after" in printed and "mean gap" in printed and str(model) in printed
    assert f"color {found.attribute_temperatures['color']:.2f}" in printed
    scene = KyvoPipeline.from_pretrained(model, "cpu").recognize(samples[0].image(), samples[0].view)
    assert [o.confidence for o in scene.objects] == pytest.approx(
        [o.confidence for o in found.apply(raw.recognize(samples[0].image(), samples[0].view)).objects])


def test_a_second_run_fits_what_the_model_says_not_what_the_first_made_of_it(model: Path, data: Path) -> None:
    calibrate(model, data, "--last", "6")
    once = (model / "config.json").read_text()
    calibrate(model, data, "--last", "6")
    assert (model / "config.json").read_text() == once


def test_scored_images_are_refused(model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    before = (model / "config.json").read_text()
    val = shutil.copytree(data, tmp_path / "val")
    for folder, options in ((val, ()), (data, ("--split", "val"))):
        assert calibrate(model, folder, *options, "--last", "2") == 2
        assert "'val' is for scoring" in capsys.readouterr().err
    assert (model / "config.json").read_text() == before


@pytest.mark.parametrize("last, message", [("0", "--last must be at least 1"), ("7", "more than the 6 images")])
def test_counts_that_do_not_fit(
        model: Path, data: Path, capsys: pytest.CaptureFixture, last: str, message: str) -> None:
    assert calibrate(model, data, "--last", last) == 2
    assert message in capsys.readouterr().err


def test_recipes_say_how_many_images_are_held_out(model: Path, data: Path, capsys: pytest.CaptureFixture) -> None:
    assert calibrate(model, data) == 2
    assert "--last 130 is more than" in capsys.readouterr().err


def test_a_model_that_is_right_nowhere(model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    elsewhere = shutil.copytree(data, tmp_path / "elsewhere")
    document = json.loads((elsewhere / "scenes.json").read_text())
    for scene in document["scenes"]:
        scene["objects"] = []
    (elsewhere / "scenes.json").write_text(json.dumps(document))
    assert calibrate(model, elsewhere, "--last", "6") == 2
    assert "nothing to fit to" in capsys.readouterr().err

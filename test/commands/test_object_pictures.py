"""`kyvo evaluate objects --scenes`: pictures of the library by another renderer, and folders that hold none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_model import tiny_shape_bundle

from kyvo_ros.cli import main
from kyvo_ros.data.images import write_rgb
from kyvo_ros.data.object_folders import scene_record
from kyvo_ros.data.object_scenes import ObjectScene, ObjectSettings, sample_object_scene
from kyvo_ros.model.folder import save_model

CANONICAL = tiny_shape_bundle().canonical
KNOWN = ObjectSettings(categories=("mug", "bowl", "chair"), max_objects=3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    save_model(path, tiny_shape_bundle())
    return path


def write_folder(folder: Path, settings: ObjectSettings = KNOWN, enlarged: int = 1) -> list[ObjectScene]:
    """The scenes that `evaluate objects --count 3` draws, with the rasteriser's pictures."""
    rng, lens = np.random.default_rng(0), CANONICAL.intrinsics()
    scenes = [sample_object_scene(rng, lens, CANONICAL.nominal_plane(), settings, "instances") for _ in range(3)]
    larger = lens.resized(enlarged * lens.width, enlarged * lens.height)
    records = [scene_record(made, larger, i, f"{i}.png") for i, made in enumerate(scenes)]
    for record, made in zip(records, scenes):
        image = made.image.repeat(enlarged, axis=0).repeat(enlarged, axis=1)
        write_rgb(folder / "images" / record["image_filename"], image)
    (folder / "scenes.json").write_text(json.dumps({"scenes": records[::-1]}))
    return scenes


def scores(model: Path, out: Path, *options: str) -> dict:
    """The report of a run, without what it says of time and source."""
    assert main(["evaluate", "objects", "--model", str(model), "--device", "cpu", "--effort", "fast", "--json", str(out),
                 *options]) == 0
    report = json.loads(out.read_text())
    return {name: value for name, value in report.items() if name not in ("seconds_a_scene", "seed", "data")}


def test_a_folder_of_drawn_scenes_scores_as_drawing_them_does(model: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "scenes")
    drawn = scores(model, tmp_path / "drawn.json", "--count", "3")
    given = scores(model, tmp_path / "given.json", "--scenes", str(tmp_path / "scenes"))
    assert given == pytest.approx(drawn) and given["scenes"] == 3
    assert json.loads((tmp_path / "given.json").read_text())["data"] == str(tmp_path / "scenes")


def test_count_takes_the_first_and_images_of_any_size_are_warped(model: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "scenes", enlarged=8)
    sheet = tmp_path / "sheet.png"
    given = scores(model, tmp_path / "given.json", "--scenes", str(tmp_path / "scenes"), "--count", "2", "--sheet",
                   str(sheet))
    assert given["scenes"] == 2 and sheet.is_file()


def test_other_pictures_change_the_scores(model: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "scenes")
    before = scores(model, tmp_path / "before.json", "--scenes", str(tmp_path / "scenes"))
    for path in (tmp_path / "scenes" / "images").iterdir():
        write_rgb(path, np.zeros((20, 32, 3), np.uint8))
    assert scores(model, tmp_path / "after.json", "--scenes", str(tmp_path / "scenes")) != pytest.approx(before)


def test_objects_that_the_model_has_no_word_for_are_named(model: Path, tmp_path: Path,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path, ObjectSettings(categories=("banana", "box"), max_objects=3))
    assert main(["evaluate", "objects", "--model", str(model), "--scenes", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "0.png shows" in error and "it knows bowl, chair, mug" in error


def test_a_seed_of_given_scenes_is_refused(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path)
    assert main(["evaluate", "objects", "--model", str(model), "--scenes", str(tmp_path), "--seed", "3"]) == 2
    assert "leave it out with --scenes" in capsys.readouterr().err


def changed_first(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """Something that changes the entry of the first scene of a folder."""
    def apply(folder: Path) -> None:
        document = json.loads((folder / "scenes.json").read_text())
        change(document["scenes"][-1])
        (folder / "scenes.json").write_text(json.dumps(document))
    return apply


@pytest.mark.parametrize(("spoil", "reason"), [
    (lambda folder: (folder / "scenes.json").unlink(), "expected scenes.json and images/"),
    (lambda folder: (folder / "scenes.json").write_text("["), "scenes.json is not JSON"),
    (lambda folder: (folder / "scenes.json").write_text("[]"), "must hold"),
    (lambda folder: (folder / "scenes.json").write_text('{"scenes": []}'), "names no scene"),
    (lambda folder: (folder / "images" / "0.png").unlink(), "there is no image"),
    (lambda folder: write_rgb(folder / "images" / "0.png", np.zeros((9, 9, 3), np.uint8)), "9x9 pixels"),
    (changed_first(lambda scene: scene.pop("camera")), "0.png: the entry 'camera' is missing"),
    (changed_first(lambda scene: scene["camera"].update(fx=-1.0)), "focal lengths must be positive"),
    (changed_first(lambda scene: scene["camera"].update(fx="wide")), "0.png"),
    (changed_first(lambda scene: scene["objects"][0].pop("index")), "the entry 'index' is missing"),
    (changed_first(lambda scene: scene["objects"][0].update(index=-1)), "whole number from 0, got -1"),
    (changed_first(lambda scene: scene["objects"][0].update(asset="cathedral")), "no category 'cathedral'"),
    (changed_first(lambda scene: scene["objects"][0].update(category="banana")), "expected the category"),
    (changed_first(lambda scene: scene["objects"][0].update(rotation=float("nan"))), "rotation of"),
    (changed_first(lambda scene: scene["objects"][0].update(extents=[1.0, 1.0])), "must be 3 finite numbers"),
    (changed_first(lambda scene: scene["objects"][0].update(extents=[1.0, 0.0, 1.0])), "must be positive"),
    (changed_first(lambda scene: scene["objects"][0].update(extents=[2.0, 2.0, 2.0])), "the library makes"),
    (changed_first(lambda scene: scene["objects"][0]["3d_coords"].__setitem__(2, 3.0)), "on the ground"),
    (changed_first(lambda scene: scene.update(objects=7)), "0.png"),
])
def test_folders_that_hold_something_else_are_named(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                    spoil: Callable[[Path], object], reason: str) -> None:
    write_folder(tmp_path)
    spoil(tmp_path)
    assert main(["evaluate", "objects", "--model", str(model), "--scenes", str(tmp_path)]) == 2
    assert reason in capsys.readouterr().err

"""`kyvo evaluate published` on small files in the published formats."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kyvo_ros.cli import main
from kyvo_ros.commands import published
from kyvo_ros.evaluation.published import DATASETS

CUBE = {"size": "large", "color": "cyan", "material": "metal", "shape": "cube", "3d_coords": [0.0, 0.0, 0.7]}
BOOK = {"category": "book", "center_cam": [0.0, 0.0, 0.5], "dimensions": [0.2, 0.3, 0.1]}


def write(path: Path, content: object) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return str(path)


@pytest.fixture
def clevr(tmp_path: Path) -> list[str]:
    """Three true scenes, two predictions: one right, one empty on both sides."""
    for index, objects in enumerate(([CUBE], [], [CUBE])):
        write(tmp_path / "truth" / f"{index}.json", {"image_filename": f"{index}.png", "objects": objects})
    scenes = [{"key": "0.png", "objects": [CUBE]}, {"key": "1.png", "objects": []}]
    return ["--dataset", "CLEVR", "--truth", str(tmp_path / "truth"), "--predictions",
            write(tmp_path / "predicted.json", {"scenes": scenes})]


def test_clevr(clevr: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "published", *clevr]) == 0
    assert capsys.readouterr().out == (
        "published Jaccard index at 0.05: 0.0000\n2 scenes, 0 left out; 1 objects found, 0 wrong, 0 missed\n")


def test_objaworld(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The truth numbers its shapes and keeps the rotation apart; the second prediction is turned too far."""
    objects = [{"shape": "barrel-12", "3d_coords": [0, 0, 0.3], "rotation": 1.57},
               {"shape": "vase", "3d_coords": [1, 1, 0.2], "rotation": 0.0}]
    write(tmp_path / "truth" / "0.json", {"image_filename": "0.png", "objects": objects})
    predicted = [{"shape": "barrel", "3d_coords": [0, 0, 0.3, 1.57]}, {"shape": "vase", "3d_coords": [1, 1, 0.2, 0.2]}]
    path = write(tmp_path / "predicted.json", {"scenes": [{"key": "0.png", "objects": predicted}]})
    assert main(["evaluate", "published", "--dataset", "ObjaWorld", "--truth", str(tmp_path / "truth"),
                 "--predictions", path]) == 0
    assert capsys.readouterr().out == (
        "published Jaccard index at 0.05: 0.3333\n1 scenes, 0 left out; 1 objects found, 1 wrong, 1 missed\n")


def test_every_published_data_set_is_offered() -> None:
    assert tuple(published._PAIRS) == DATASETS


def test_objectron(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of four images one has no prediction and one no object; both are left out."""
    images = [{"id": 10 + i, "file_path": f"objectron/{i}.jpg"} for i in range(4)]
    annotations = [{"image_id": 10 + i, "category_name": "book", "center_cam": BOOK["center_cam"],
                    "dimensions": BOOK["dimensions"]} for i in (0, 1, 2)]
    scenes = [{"key": "objectron/0.jpg", "objects": [BOOK]}, {"key": "objectron/1.jpg", "objects": []},
              {"key": "objectron/3.jpg", "objects": [BOOK]}]
    truth = write(tmp_path / "Objectron_test.json", {"images": images, "annotations": annotations, "categories": []})
    predictions = write(tmp_path / "predicted.json", {"scenes": scenes})
    command = ["evaluate", "published", "--dataset", "Objectron", "--truth", truth, "--predictions", predictions]
    assert main(command) == 0
    assert capsys.readouterr().out == (
        "published Jaccard index at 0.05: 0.5000\n2 scenes, 2 left out; 1 objects found, 0 wrong, 1 missed\n")
    write(tmp_path / "predicted.json", {"scenes": [{"key": "other.jpg", "objects": []}]})
    assert main(command) == 2
    assert "has no image 'other.jpg'" in capsys.readouterr().err


@pytest.mark.parametrize(("damage", "message"), [
    (lambda folder: (folder / "predicted.json").write_text("{"), "predicted.json is broken JSON"),
    (lambda folder: write(folder / "predicted.json", []), "expected 'scenes' in"),
    (lambda folder: (folder / "truth" / "0.json").unlink(), "is the scene of 1, the prediction in its place that of 0"),
    (lambda folder: [(folder / "truth" / f"{i}.json").unlink() for i in (0, 1)], "holds 1 scenes, 2 were predicted"),
    (lambda folder: write(folder / "truth" / "0.json", {"image_filename": "0.png"}), "expected 'objects' in"),
])
def test_files_that_do_not_fit(clevr: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
                               damage: Callable[[Path], object], message: str) -> None:
    damage(tmp_path)
    assert main(["evaluate", "published", *clevr]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1

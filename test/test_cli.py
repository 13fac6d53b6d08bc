"""The command line: what it prints and writes, and its errors."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_model import tiny_bundle

from kyvo_ros.cli import main
from kyvo_ros.commands import recognize
from kyvo_ros.commands.common import UsageError
from kyvo_ros.commands.recognize import read_camera
from kyvo_ros.data.images import ImageFileError, read_rgb, write_rgb
from kyvo_ros.model.folder import save_model
from kyvo_ros.scene import PinholeCamera
from kyvo_ros.scene.records import scene_from_dict

CALIBRATION = """
image_width: 320
image_height: 240
camera_matrix: {rows: 3, cols: 3, data: [350.0, 0, 159.5, 0, 350.0, 119.5, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.0, 0, 0, 0, 0]}
"""
ECHOED = """
header: {frame_id: camera}
height: 240
width: 320
distortion_model: plumb_bob
d: [0.0, 0.0, 0.0, 0.0, 0.0]
k: [350.0, 0.0, 159.5, 0.0, 350.0, 119.5, 0.0, 0.0, 1.0]
---
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, tiny_bundle())
    return str(folder)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    write_rgb(path, np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8))
    return str(path)


@pytest.fixture
def data(tmp_path):
    """A CLEVR folder of three images with one ball each."""
    folder = tmp_path / "clevr"
    scenes = []
    for index in range(3):
        name = f"{index}.png"
        write_rgb(folder / "images" / name, np.full((240, 320, 3), 60 * index, np.uint8))
        ball = {"shape": "sphere", "size": "large", "color": "red", "material": "metal", "3d_coords": [index, 0.0, 0.7],
                "rotation": 0.0}
        c, s = math.cos(0.5), math.sin(0.5)
        pose = [[1, 0, 0, 0], [0, -s, -c, 0], [0, c, -s, 11.0], [0, 0, 0, 1]]
        scenes.append({"image_index": index, "image_filename": name, "objects": [ball], "camera": {
            "width": 320, "height": 240, "fx": 350, "fy": 350, "cx": 160, "cy": 120, "world_to_camera": pose}})
    (folder / "scenes.json").write_text(json.dumps({"scenes": scenes}))
    return str(folder)


def test_recognize(model, picture, tmp_path, capsys):
    written = tmp_path / "out" / "scenes.json"
    drawn = tmp_path / "drawn"
    assert main(["recognize", picture, "--model", model, "--json", str(written), "--draw", str(drawn)]) == 0
    printed = capsys.readouterr().out
    document = json.loads(written.read_text())
    scene = scene_from_dict(document["scenes"][0])
    assert f"{len(scene)} objects" in printed and all(o.label in printed for o in scene.objects)
    assert document["model"] == "tiny" and document["scenes"][0]["image"] == picture
    assert read_rgb(drawn / "picture.png").shape == (480, 640, 3)


@pytest.mark.parametrize("options", [
    ["--fx", "350"], ["--fx", "350", "--fy", "350", "--cx", "159.5", "--cy", "119.5"],
    ["--elevation-deg", "28.35"], ["--distance-m", "11.267", "--scale", "distance"],
])
def test_stating_the_assumed_camera_changes_little(model, picture, tmp_path, options):
    paths = [tmp_path / "bare.json", tmp_path / "stated.json"]
    main(["recognize", picture, "--model", model, "--json", str(paths[0])])
    main(["recognize", picture, "--model", model, "--json", str(paths[1]), *options])
    bare, stated = (scene_from_dict(json.loads(path.read_text())["scenes"][0]) for path in paths)
    assert [o.label for o in bare.objects] == [o.label for o in stated.objects]
    assert bare.positions_m() == pytest.approx(stated.positions_m(), abs=0.02)


@pytest.mark.parametrize("text", [CALIBRATION, ECHOED], ids=["camera_calibration", "ros2 topic echo"])
def test_calibration_files(tmp_path, text):
    path = tmp_path / "camera.yaml"
    path.write_text(text)
    assert read_camera(path) == PinholeCamera(320, 240, 350.0, 350.0, 160.0, 120.0, (0.0,) * 5)
    path.write_text("rate: 10\n")
    with pytest.raises(UsageError, match="no camera calibration"):
        read_camera(path)


def test_evaluate_recognition(model, data, tmp_path, capsys):
    files = {name: tmp_path / f"report.{name}" for name in ("json", "markdown")}
    sheet = tmp_path / "sheet.png"
    assert main(["evaluate", "recognition", "--data", data, "--model", model, "--batch-size", "2",
                 "--sheet", str(sheet), "--json", str(files["json"]), "--markdown", str(files["markdown"])]) == 0
    report = json.loads(files["json"].read_text())
    assert set(report["jaccard"]) == {"0.05", "0.1", "0.25", "0.5"} and "all_attributes" in report
    assert report["scenes"] == 3 and report["true_objects"] == 3 and report["model"] == "tiny"
    printed = capsys.readouterr().out
    assert "Jaccard index" in printed and f"{report['jaccard']['0.25']:.3f}" in printed
    assert files["markdown"].read_text().startswith("| tau (m) |")
    assert read_rgb(sheet).shape == (480 + 18, 3 * 640, 3)


def test_evaluate_a_part(model, data, tmp_path):
    written = tmp_path / "r.json"
    main(["evaluate", "recognition", "--data", data, "--model", model, "--limit", "2", "--json", str(written)])
    assert json.loads(written.read_text())["scenes"] == 2


def test_effort_reaches_the_model(model, picture, data, tmp_path):
    paths = {effort: tmp_path / f"{effort}.json" for effort in ("fast", "accurate")}
    for effort, path in paths.items():
        main(["recognize", picture, "--model", model, "--effort", effort, "--json", str(path)])
    assert len({path.read_text() for path in paths.values()}) == 2
    main(["evaluate", "recognition", "--data", data, "--model", model, "--effort", "accurate", "--json",
          str(paths["fast"])])
    assert json.loads(paths["fast"].read_text())["effort"] == "accurate"


def test_the_published_metric_comes_beside_our_own(model, data, tmp_path, capsys):
    written = tmp_path / "r.json"
    assert main(["evaluate", "recognition", "--data", data, "--model", model, "--metric", "published", "--json",
                 str(written)]) == 0
    report = json.loads(written.read_text())
    assert report["published_jaccard"] == pytest.approx(report["jaccard"])  # no scene of these is empty on both sides
    assert f"published Jaccard index at 0.05 m: {report['published_jaccard']['0.05']:.4f}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments, message", [
    (["recognize", "missing.png"], "missing.png"),
    (["recognize", "PICTURE", "--model", "nowhere"], "nowhere"),
    (["recognize", "PICTURE", "--device", "abacus"], "abacus"),
    (["recognize", "PICTURE", "PICTURE", "--draw", "d"], "same name"),
    (["recognize", "PICTURE", "--cx", "3"], "need --fx"),
    (["recognize", "PICTURE", "--scale", "distance"], "--distance-m"),
    (["recognize", "PICTURE", "--elevation-deg", "3"], "look down"),
    (["recognize", "PICTURE", "--camera", "none.yaml"], "none.yaml"),
    (["evaluate", "recognition", "--data", "nowhere"], "no CLEVR folder"),
    (["evaluate", "recognition", "--data", "nowhere", "--limit", "0"], "--limit"),
])
def test_errors_take_one_line_and_code_2(model, picture, capsys, arguments, message):
    arguments = [picture if a == "PICTURE" else a for a in arguments]
    if "--model" not in arguments:
        arguments += ["--model", model]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("kyvo: error: ") and error.count("\n") == 1


@pytest.mark.parametrize("arguments, message", [
    (["--fx", "0"], "focal lengths must be positive"), (["--threads", "0"], "--threads must be at least 1"),
    (["--json", "FOLDER"], "--json FOLDER is a folder"), (["--draw", "PICTURE"], "--draw PICTURE is a file"),
    (["--camera", "PICTURE"], "holds no camera calibration")])
def test_options_that_cannot_be_are_refused(model, picture, tmp_path, capsys, arguments, message):
    here = {"PICTURE": picture, "FOLDER": str(tmp_path)}
    assert main(["recognize", picture, "--model", model, *(here.get(a, a) for a in arguments)]) == 2
    for name, path in here.items():
        message = message.replace(name, path)
    assert message in capsys.readouterr().err


def test_one_bad_image_keeps_no_other_from_its_turn(model, picture, tmp_path, capsys):
    text, written = tmp_path / "text.png", tmp_path / "scenes.json"
    text.write_text("no picture")
    assert main(["recognize", str(text), picture, "--model", model, "--json", str(written)]) == 2
    assert [scene["image"] for scene in json.loads(written.read_text())["scenes"]] == [picture]
    assert "is not a whole image" in capsys.readouterr().err


def test_an_image_that_was_cut_off_is_none(tmp_path):
    for suffix in (".jpg", ".png"):
        whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
        write_rgb(whole, np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8))
        cut.write_bytes(whole.read_bytes()[:whole.stat().st_size // 2])
        assert read_rgb(whole).shape == (240, 320, 3)
        with pytest.raises(ImageFileError, match="not a whole image"):
            read_rgb(cut)


def test_a_calibration_of_another_size_serves_images_of_its_shape(model, tmp_path, capsys):
    (tmp_path / "camera.yaml").write_text(CALIBRATION)
    for size, code in (((120, 160), 0), ((120, 192), 2)):
        write_rgb(tmp_path / "small.png", np.full((*size, 3), 90, np.uint8))
        assert main(["recognize", str(tmp_path / "small.png"), "--model", model, "--camera",
                     str(tmp_path / "camera.yaml")]) == code
    assert "is the calibration of 320x240 images and the image has 192x120 pixels" in capsys.readouterr().err


def test_the_camera_of_most_robots_is_asked_for_by_the_option_s_name(model, tmp_path, capsys):
    write_rgb(tmp_path / "wide.png", np.full((90, 160, 3), 90, np.uint8))
    assert main(["recognize", str(tmp_path / "wide.png"), "--model", model]) == 2
    assert "(--camera YAML, or --fx)" in capsys.readouterr().err


def test_a_table_top_in_the_model_s_own_units_is_warned_of(model, picture, capsys):
    main(["recognize", picture, "--model", model, "--distance-m", "0.9"])
    assert "the plane is 0.90 m away" in (said := capsys.readouterr().err) and "give --scale distance" in said
    main(["recognize", picture, "--model", model, "--distance-m", "0.9", "--scale", "distance"])
    assert "the plane is" not in capsys.readouterr().err


def test_without_the_environment_it_says_what_to_run(monkeypatch, picture, capsys):
    def missing(args):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")
    monkeypatch.setattr(recognize, "load_pipeline", missing)
    assert main(["recognize", picture]) == 2
    assert "run `make setup` in a checkout and then .venv/bin/kyvo" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [
    ["full", "--from", "MODEL", "--recipe", "r.yaml"], ["all", "--recipe", "r.yaml"], ["export", "--recipe", "r.yaml"],
    ["shapes", "--recipe", "r.yaml"]])
def test_another_recipe_does_not_write_over_the_shipped_model(model, capsys, arguments):
    assert main(["train", *[model if a == "MODEL" else a for a in arguments]]) == 2
    assert "give --out, the folder of the model to write" in capsys.readouterr().err


def test_bugs_are_not_dressed_up_as_errors(monkeypatch, picture):
    monkeypatch.setattr(recognize, "load_pipeline", lambda args: {}["a bug"])
    with pytest.raises(KeyError):
        main(["recognize", picture])


def test_help_needs_no_torch():
    root = Path(__file__).resolve().parents[1]
    code = "import sys\nsys.modules['torch'] = None\nfrom kyvo_ros.cli import main\nmain(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0 and "evaluate" in done.stdout, done.stderr
    done = subprocess.run([sys.executable, "-m", "kyvo_ros.cli", "evaluate"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 2 and "TASK" in done.stderr


def test_train_takes_the_options_of_training(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", "--help"])
    assert ended.value.code == 0 and "--minutes" in capsys.readouterr().out

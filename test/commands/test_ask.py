"""`kyvo ask`, `kyvo edit` and their scores on a model without sense: answers or refusals, and every fault named."""

import json
import shutil

import numpy as np
import pytest
from tiny_model import tiny_bundle

from kyvo_ros.cli import main
from kyvo_ros.data.images import read_rgb, write_rgb
from kyvo_ros.model.checksums import renew_checksum
from kyvo_ros.model.folder import save_model
from kyvo_ros.model.programs import ProgramWriter
from kyvo_ros.pipeline import KyvoPipeline
from kyvo_ros.questions import Executor, Program, program_to_nodes
from kyvo_ros.scene import PLANE_FRAME, RELATION_EPSILON_UNITS, PlaneCamera, Scene, SceneObject
from kyvo_ros.scene.records import scene_to_dict

REMOVE_THE_CUBE = Program("remove", (Program("unique", (Program("filter_shape", (Program("scene"),), ("cube",)),)),))
CUBE = {"size": "large", "color": "red", "material": "metal", "shape": "cube"}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, tiny_bundle())
    return str(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_rgb(folder / "images" / "0.png", np.full((240, 320, 3), 90, np.uint8))
    pose = [[1, 0, 0, 0], [0, -0.5, -0.866025, 0], [0, 0.866025, -0.5, 11], [0, 0, 0, 1]]
    scene = {"image_index": 0, "image_filename": "0.png", "objects": [{**CUBE, "3d_coords": [0, 0, 0.495], "rotation": 0}],
             "camera": {"width": 320, "height": 240, "fx": 350, "fy": 350, "cx": 160, "cy": 120, "world_to_camera": pose}}
    (folder / "scenes.json").write_text(json.dumps({"scenes": [scene]}))
    program = Program("count", (Program("scene"),))
    question = {"image_filename": "0.png", "question": "How many things are there?", "answer": "1", "template": "count",
                "program": program_to_nodes(program)}
    (folder / "questions.json").write_text(json.dumps({"questions": [question] * 3}))
    return folder


def test_asking_an_image_and_a_scene(model, data, tmp_path, capsys):
    record = {"scenes": [scene_to_dict(Scene([SceneObject(CUBE, [0, 0, 0.495], 0.1)]))]}
    (tmp_path / "scene.json").write_text(json.dumps(record))
    for source in (data / "images" / "0.png", tmp_path / "scene.json"):
        assert main(["ask", str(source), "How many cubes?", "what?", "--model", model, "--trace", "--json",
                     str(tmp_path / "answers.json")]) == 0
        answers = json.loads((tmp_path / "answers.json").read_text())["answers"]
        assert [a["question"] for a in answers] == ["How many cubes?", "what?"]
        assert all(a["answer"] and a["program"] and 0 <= a["confidence"] <= 1 for a in answers)
        assert "How many cubes?" in capsys.readouterr().out


def test_a_table_top_keeps_its_scale_from_command_to_command(model, tmp_path, monkeypatch):
    """What counts as left of something, from where the camera looks, and what is new follow the scale."""
    picture, seen, table, said = (tmp_path / name for name in ("table.png", "seen.json", "table.json", "said.json"))
    write_rgb(picture, np.full((120, 192, 3), 90, np.uint8))
    look = ["--scale", "distance", "--distance-m", "0.9"]
    assert main(["recognize", str(picture), "--model", model, "--json", str(seen), *look]) == 0
    (record,) = json.loads(seen.read_text())["scenes"]
    assert record["plane"]["distance_m"] == 0.9 and 0.02 < record["metres_per_unit"] < 0.2
    cubes = [SceneObject(CUBE, [x, 2 * x, 0.02], 0.0, [0.04] * 3) for x in (-0.05, 0.05)]
    table.write_text(json.dumps({"scenes": [{**record, "objects": scene_to_dict(Scene(cubes))["objects"]}]}))
    scene = Program("scene")
    nearest = Program("distance", (Program("nearest", (Program("camera"), scene)), Program("camera")))
    beside = Program("count", (Program("relate", (Program("nearest", (Program("camera"), scene)),), ("right",)),))
    answers = {}
    for name, program in (("nearest", nearest), ("beside", beside)):
        monkeypatch.setattr(ProgramWriter, "write", lambda self, task, text: (program, 1.0))
        assert main(["ask", str(table), "a question", "--model", model, "--json", str(said)]) == 0
        answers[name] = json.loads(said.read_text())["answers"][0]["value"]
    assert 0.8 < answers["nearest"] < 1.0, "metres from the camera over the table"
    camera = PlaneCamera(0.9, record["plane"]["elevation_rad"]).plane_T_optical().translation
    expected = Executor(Scene(cubes), camera, RELATION_EPSILON_UNITS * record["metres_per_unit"]).run(beside)
    in_metres = Executor(Scene(cubes), camera, RELATION_EPSILON_UNITS).run(beside)
    assert answers["beside"] == expected.value != in_metres.value


@pytest.mark.parametrize("tasks", [["I->3", "I+3+Q->A"], ["I+3+Q->A"]])
def test_a_model_without_programs_answers_from_the_image(model, data, tmp_path, capsys, monkeypatch, tasks):
    """One that does not see either is given the scene, which knows where its camera stands."""
    direct, seen, said = (tmp_path / name for name in ("direct", "seen.json", "said.json"))
    image = data / "images" / "0.png"
    shutil.copytree(model, direct)
    config = json.loads((direct / "config.json").read_text())
    (direct / "config.json").write_text(json.dumps({**config, "tasks": tasks}))
    renew_checksum(direct, "config.json")
    assert main(["recognize", str(image), "--model", model, "--distance-m", "0.9", "--scale", "distance", "--json",
                 str(seen)]) == 0
    calls = []
    monkeypatch.setattr(KyvoPipeline, "answer_directly", lambda self, *args: calls.append(args) or ("3", 0.25))
    given = [] if len(tasks) > 1 else ["--scene", str(seen)]
    assert main(["ask", str(image), "How many cubes?", "--model", str(direct), "--json", str(said), *given]) == 0
    assert "3  (0.25)\n    said directly, without a program\n" in capsys.readouterr().out
    (answer,) = json.loads(said.read_text())["answers"]
    assert (answer["value"], answer["program"], answer["confidence"]) == (3, "", 0.25)
    ((question, picture, view, scene, unit_m),) = calls
    assert question == "How many cubes?" and np.array_equal(picture, read_rgb(image)) and scene.frame_id == PLANE_FRAME
    assert (view.plane.distance_m, unit_m) == pytest.approx((0.9, 0.9 / 11.27) if given else (11.27, 1.0), rel=0.01)
    faults = {(str(seen), "what?"): "ask about an image",
              (str(seen), "what?", "--scene", str(seen)): "give one of the two"}
    if given:
        faults[str(image), "what?"] = "not trained to recognise"
    for arguments, message in faults.items():
        assert main(["ask", *arguments, "--model", str(direct)]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("scene", ["true", "predicted"])
def test_scores_of_a_folder(model, data, tmp_path, scene):
    assert main(["evaluate", "qa", "--data", str(data), "--scene", scene, "--model", model, "--json",
                 str(tmp_path / "qa.json"), "--markdown", str(tmp_path / "qa.md")]) == 0
    scores = json.loads((tmp_path / "qa.json").read_text())
    assert set(scores["by_template"]) == {"count"} and 0 <= scores["accuracy"] <= 1 and scores["questions"] == 3
    assert "| all | 3 |" in (tmp_path / "qa.md").read_text()


@pytest.mark.parametrize("scene", ["true", "predicted"])
def test_direct_answers_are_scored_also_where_the_model_does_not_offer_them(model, data, tmp_path, scene):
    written = tmp_path / "qa.json"
    assert main(["evaluate", "qa", "--data", str(data), "--scene", scene, "--route", "direct", "--model", model, "--json",
                 str(written)]) == 0
    scores = json.loads(written.read_text())
    assert scores["route"] == "direct" and scores["questions"] == 3 and scores["refused"] == 0


def test_the_published_text_accuracy_compares_letters(model, data, tmp_path, capsys, monkeypatch):
    command = ["evaluate", "qa", "--data", str(data), "--scene", "true", "--model", model, "--json",
               str(tmp_path / "qa.json")]
    said = {"1": 100.0, " 1": 100.0, "One": 0.0}
    for text, percent in said.items():
        monkeypatch.setattr(KyvoPipeline, "answer_directly", lambda self, *args: (text, 1.0))
        assert main([*command, "--route", "direct", "--metric", "published"]) == 0
        assert json.loads((tmp_path / "qa.json").read_text())["published_text_accuracy"] == percent
        assert f"published text accuracy: {percent:.2f} %" in capsys.readouterr().out
    assert main(command) == 0
    assert "published_text_accuracy" not in json.loads((tmp_path / "qa.json").read_text())


def test_own_questions_in_held_out_phrasings(model, data, tmp_path):
    assert main(["evaluate", "qa", "--data", str(data), "--scene", "true", "--own", "6", "--model", model, "--json",
                 str(tmp_path / "qa.json")]) == 0
    assert json.loads((tmp_path / "qa.json").read_text())["questions"] == 6


def test_editing_a_scene_and_its_scores(model, data, tmp_path, capsys, monkeypatch):
    """The tiny model means no sense; here it hears every instruction as one to remove the cube."""
    monkeypatch.setattr(ProgramWriter, "write", lambda self, task, text: (REMOVE_THE_CUBE, 1.0))
    assert main(["evaluate", "edit", "--data", str(data), "--count", "12", "--model", model, "--json",
                 str(tmp_path / "edits.json"), "--markdown", str(tmp_path / "edits.md")]) == 0
    edits = json.loads((tmp_path / "edits.json").read_text())["edits"]
    assert edits["all"]["edits"] == 12 and edits["remove"]["jaccard"]["0.05"] == 1.0
    assert all(s["jaccard"]["0.05"] < 1 for kind, s in edits.items() if not kind.startswith("remove"))
    (tmp_path / "scene.json").write_text(json.dumps({"scenes": [scene_to_dict(Scene([SceneObject(CUBE, [0, 0, 0.495], 0.1)]))]}))
    assert main(["edit", str(tmp_path / "scene.json"), "remove the cube", "--model", model, "--json",
                 str(tmp_path / "edited.json")]) == 0
    assert json.loads((tmp_path / "edited.json").read_text())["scenes"][0]["objects"] == []
    assert main(["edit", str(tmp_path / "edited.json"), "remove the cube", "--model", model]) == 2
    assert "cube" in capsys.readouterr().err  # there is none left


def test_an_edited_scene_is_drawn(model, data, tmp_path, monkeypatch):
    monkeypatch.setattr(ProgramWriter, "write", lambda self, task, text: (REMOVE_THE_CUBE, 1.0))
    (tmp_path / "scene.json").write_text(json.dumps({"scenes": [scene_to_dict(Scene([
        SceneObject(CUBE, [0, 0, 0.495], 0.1), SceneObject({**CUBE, "shape": "sphere"}, [2, 0, 0.7])]))]}))
    files = {name: str(tmp_path / name) for name in ("scene.json", "edited.json", "edited.png", "again.png")}
    assert main(["edit", files["scene.json"], "remove the cube", "--model", model, "--json", files["edited.json"], "--draw",
                 files["edited.png"]]) == 0
    assert main(["render", files["edited.json"], "--model", model, "--out", files["again.png"]]) == 0
    assert np.array_equal(read_rgb(files["edited.png"]), read_rgb(files["again.png"]))


def test_faults_are_named(model, data, tmp_path, capsys):
    (tmp_path / "bad.json").write_text("{}")
    assert main(["ask", str(tmp_path / "bad.json"), "what?", "--model", model]) == 2
    assert "holds no scenes" in capsys.readouterr().err
    assert main(["ask", str(data / "images" / "0.png"), " ", "--model", model]) == 2
    assert "the question is empty" in capsys.readouterr().err
    (data / "questions.json").rename(data / "kept.json")
    assert main(["evaluate", "qa", "--data", str(data), "--model", model]) == 2
    assert "has no questions.json; --own N" in capsys.readouterr().err

"""What a card is made from: the history of stages, and the curve over all runs."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from kyvo_ros.training.card import note_start, stage_history, write_card, write_history
from kyvo_ros.training.plots import plot_learning
from kyvo_ros.training.recipe import load_recipe
from kyvo_ros.training.trainer import TrainingError


def _metrics(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_seconds_of_a_resumed_run_add_up(tmp_path):
    history = stage_history(_metrics(tmp_path / "metrics.jsonl", [
        {"step": 50, "seconds": 10.0, "loss": 3.0}, {"step": 100, "seconds": 20.0, "loss": 2.0},
        {"step": 100, "seconds": 20.0, "evaluation": {"jaccard_0.25": 0.2}},
        {"step": 150, "seconds": 9.0, "loss": 1.5},  # resumed: the clock starts again
        {"step": 200, "seconds": 19.0, "evaluation": {"jaccard_0.25": 0.4}},
    ]))
    assert history["steps"] == 200 and history["seconds"] == 39
    assert history["evaluations"] == [{"step": 100, "seconds": 20, "jaccard_0.25": 0.2},
                                      {"step": 200, "seconds": 39, "jaccard_0.25": 0.4}]


def test_a_stage_without_metrics_has_no_history(tmp_path):
    assert stage_history(tmp_path / "none.jsonl") == {"steps": 0, "seconds": 0, "evaluations": []}


@pytest.mark.parametrize("evaluations", [[], [{"step": 5, "seconds": 60, "jaccard_0.25": 0.5}]])
def test_the_learning_curve_is_drawn_over_all_runs(tmp_path, evaluations):
    run = {"recipe": "toy", "hardware": "abacus",
           "stages": {"encoder": {"seconds": 30, "evaluations": []}, "decoder": {"seconds": 60, "evaluations": evaluations}}}
    plot_learning([run, run], tmp_path / "learning.png")
    picture = cv2.imread(str(tmp_path / "learning.png"))
    coloured = (picture.max(-1).astype(int) - picture.min(-1)) > 60  # lines of the curves; all else is grey
    assert coloured.any() == bool(evaluations)


def test_a_stage_that_started_elsewhere_says_where(tmp_path):
    for stage, source in (("encoder", "models/older"), ("decoder", "models/old"), ("pixels", None)):
        (tmp_path / "work" / stage).mkdir(parents=True)
        _metrics(tmp_path / "work" / stage / "metrics.jsonl", [{"step": 5, "seconds": 60.0, "loss": 1.0}])
        note_start(tmp_path / "work" / stage, source and Path(source))
    recipe = Path(__file__).resolve().parents[2] / "recipes" / "clevr-nano.yaml"
    write_history(tmp_path, tmp_path / "work", load_recipe(recipe), {"synthetic": 3}, "models/old")
    write_card(tmp_path, "recipe.yaml")
    card = (tmp_path / "README.md").read_text()
    assert ", started from `models/old`. Images" in card and "| encoder, started from `models/older` | 5 |" in card
    assert "| decoder | 5 |" in card and "| pixels | 5 |" in card


def test_the_history_is_that_of_the_start_and_a_run_counts_once(tmp_path):
    recipe = load_recipe(Path(__file__).resolve().parents[2] / "recipes" / "clevr-nano.yaml")
    old, new, work = tmp_path / "old", tmp_path / "new", tmp_path / "work"
    for folder in (old, new, work / "decoder"):
        folder.mkdir(parents=True)
    _metrics(work / "decoder" / "metrics.jsonl", [{"step": 5, "seconds": 60.0, "loss": 1.0}])
    (old / "training.json").write_text(json.dumps({"runs": [{"recipe": "first"}]}))

    def runs(folder: Path) -> list[str]:
        return [run["recipe"] for run in json.loads((folder / "training.json").read_text())["runs"]]
    for _ in range(2):
        write_history(new, work, recipe, {}, str(old))
        assert runs(new) == ["first", "clevr-nano"]
    for _ in range(2):  # into the folder that it started from
        write_history(old, work, recipe, {}, str(old))
        assert runs(old) == ["first", "clevr-nano"]
    write_history(old, tmp_path / "next", recipe, {}, str(old))
    assert runs(old) == ["first", "clevr-nano", "clevr-nano"]


def test_a_folder_without_a_history_has_no_card(tmp_path):
    with pytest.raises(TrainingError, match="there is no training.json in"):
        write_card(tmp_path, "recipe.yaml")


@pytest.mark.parametrize("renders", [0, 150])
def test_a_card_of_objects_says_whether_another_renderer_drew_some(tmp_path, renders):
    recipe = load_recipe(Path(__file__).resolve().parents[2] / "recipes" / "objects-nano.yaml")
    write_history(tmp_path, tmp_path / "work", recipe, {"synthetic": 3, "views of renders": renders}, None)
    write_card(tmp_path, "recipe.yaml")
    card = (tmp_path / "README.md").read_text()
    assert (" --shapes DIR --renders DIR --out " in card) == ("some by another renderer" in card) == bool(renders)


@pytest.mark.parametrize("weight", [0.0, 5.0])
def test_a_card_of_objects_says_whether_its_encoder_learned_by_sketches(tmp_path, weight):
    recipe = load_recipe(Path(__file__).resolve().parents[2] / "recipes" / "objects-nano.yaml")
    write_history(tmp_path, tmp_path / "work", replace(recipe, sketch_weight=weight), {"synthetic": 3}, None)
    write_card(tmp_path, "recipe.yaml")
    assert ("a small head that draws the images" in (tmp_path / "README.md").read_text()) == bool(weight)


def test_a_card_of_objects_gives_the_command_of_its_scores(tmp_path):
    recipe = load_recipe(Path(__file__).resolve().parents[2] / "recipes" / "objects-nano.yaml")
    write_history(tmp_path, tmp_path / "work", recipe, {"synthetic": 3}, None)
    report = {"model": "objects-nano", "scenes": 40, "seed": 100, "order": "parallel", "effort": "accurate", "jaccard_0.5": 0.5,
              "drawn_jaccard_0.5": 0.25}
    (tmp_path / "evaluation.json").write_text(json.dumps(report))
    write_card(tmp_path, "recipe.yaml")
    card = (tmp_path / "README.md").read_text()
    assert "--seed 100 --count 40 --draw --json" in card
    assert "On 40 scenes" in card and "effort accurate:" in card and "| jaccard_0.5 | 0.500 |" in card and "| seed |" not in card

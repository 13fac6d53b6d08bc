"""The Jaccard index: hand-worked cases, and the published script's scores where its outputs are at hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from kyvo_ros.evaluation import bootstrap_interval, jaccard_index, match_scene
from kyvo_ros.scene import Scene, SceneError, SceneObject

REFERENCE = Path(__file__).parents[1] / "reference" / "jaccard.json"
RED_CUBE = {"size": "large", "color": "red", "material": "metal", "shape": "cube"}
BLUE_BALL = {"size": "small", "color": "blue", "material": "rubber", "shape": "sphere"}


def scene(*objects):
    return Scene([SceneObject(attributes, np.array([x, y, 0.35])) for attributes, x, y in objects])


def test_hand_worked_example():
    truth = scene((RED_CUBE, 0, 0), (BLUE_BALL, 2, 0), (BLUE_BALL, -2, 0))
    predicted = scene((RED_CUBE, 0.03, 0.04 - 1e-9),  # 0.05 away: only just a match at 0.05 + nothing
                      (BLUE_BALL, 2.2, 0),  # a match at 0.25 only
                      ({**BLUE_BALL, "color": "red"}, -2, 0),  # the place is right, the word is wrong
                      (RED_CUBE, 0, 0))  # a duplicate: the truth is taken
    assert match_scene(predicted, truth, 0.05) == [(0, 0)]
    assert jaccard_index(predicted, truth, 0.05) == pytest.approx(1 / (4 + 3 - 1))
    assert match_scene(predicted, truth, 0.25) == [(0, 0), (1, 1)]
    assert jaccard_index(predicted, truth, 0.25) == pytest.approx(2 / (4 + 3 - 2))


def test_empty_scenes():
    assert jaccard_index(scene(), scene(), 0.05) == 1.0
    assert jaccard_index(scene(), scene((RED_CUBE, 0, 0)), 0.05) == 0.0
    assert jaccard_index(scene((RED_CUBE, 0, 0)), scene(), 0.05) == 0.0


def test_matching_is_greedy_in_prediction_order():
    truth = scene((RED_CUBE, 0, 0), (RED_CUBE, 0.06, 0))
    first_takes_the_only_chance_of_the_second = scene((RED_CUBE, 0.03, 0), (RED_CUBE, -0.01, 0))
    assert match_scene(first_takes_the_only_chance_of_the_second, truth, 0.05) == [(0, 0)]
    assert match_scene(Scene(first_takes_the_only_chance_of_the_second.objects[::-1]), truth, 0.05) == [(0, 0), (1, 1)]


def test_height_does_not_count_and_tau_is_strict():
    truth = Scene([SceneObject(RED_CUBE, np.array([0, 0, 0.5]))])
    assert jaccard_index(Scene([SceneObject(RED_CUBE, np.array([0, 0, -2.0]))]), truth, 0.05) == 1.0
    assert jaccard_index(Scene([SceneObject(RED_CUBE, np.array([0.05, 0, 0.5]))]), truth, 0.05) == 0.0


def test_scenes_in_different_frames_are_refused():
    with pytest.raises(SceneError, match="one frame"):
        jaccard_index(scene(), Scene([], "map"), 0.05)


def test_scores_of_the_published_script():
    cases = [case for case in json.loads(REFERENCE.read_text())["clevr"] if representable(case)]
    assert len(cases) >= 16
    for case in cases:
        predicted, truth = (Scene([SceneObject({k: v for k, v in entry.items() if k != "3d_coords"},
                                               np.array([*entry["3d_coords"], 0.0][:3])) for entry in case[key]])
                            for key in ("prediction", "ground_truth"))
        expected = 1.0 if case["name"] == "both_empty" else case["official"]  # ours: two empty scenes agree
        assert jaccard_index(predicted, truth, case["tau"]) == pytest.approx(expected), case["name"]


def representable(case):
    """A Scene always has finite coordinates; cases of malformed ones cannot be built."""
    return all(len(o["3d_coords"]) >= 2 and not isinstance(o["3d_coords"][0], str)
               for o in case["prediction"] + case["ground_truth"])


def test_bootstrap_interval():
    assert bootstrap_interval([0.4, 0.4, 0.4]) == (pytest.approx(0.4), pytest.approx(0.4))
    scores = np.random.default_rng(1).uniform(size=400)
    low, high = bootstrap_interval(scores)
    assert (low, high) == bootstrap_interval(scores) != bootstrap_interval(scores, seed=1)
    standard_error = scores.std() / np.sqrt(400)
    assert low == pytest.approx(scores.mean() - 1.96 * standard_error, abs=0.3 * standard_error)
    assert high == pytest.approx(scores.mean() + 1.96 * standard_error, abs=0.3 * standard_error)
    with pytest.raises(ValueError):
        bootstrap_interval([])


def test_objects_match_by_whatever_attributes_a_schema_has():
    apple, pear = ({"fruit": name} for name in ("apple", "pear"))
    truth = scene((apple, 0, 0), (pear, 1, 0))
    assert jaccard_index(scene((apple, 0, 0), (pear, 1, 0)), truth, 0.1) == 1.0
    assert jaccard_index(scene((pear, 0, 0), (pear, 1, 0)), truth, 0.1) == pytest.approx(1 / 3)
    assert jaccard_index(scene(({}, 0, 0)), scene(({}, 0, 0)), 0.1) == 0.0  # nothing is known of either

"""The published scripts' scores, case by case; the cases are theirs, run for real."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kyvo_ros.evaluation.image_metrics import ssim
from kyvo_ros.evaluation.jaccard import jaccard_index
from kyvo_ros.evaluation.published import (
    Counts, PublishedMetricError, clevr_objects, image_scores, mean_image_scores, published_jaccard, text_accuracy)
from kyvo_ros.scene import Scene, SceneObject

CASES = json.loads((Path(__file__).parents[1] / "reference" / "jaccard.json").read_text())
RED_CUBE = {"size": "large", "color": "red", "material": "metal", "shape": "cube"}


@pytest.mark.parametrize(("dataset", "case"), [
    (name, case) for name in ("CLEVR", "ObjaWorld") for case in CASES[name.lower()]],
    ids=lambda value: value if isinstance(value, str) else value["name"])
def test_scores_of_the_published_script(dataset: str, case: dict) -> None:
    result = published_jaccard(dataset, [(case["prediction"], case["ground_truth"])], case["tau"])
    assert case["error"] is None and result.mean == case["official"]


@pytest.mark.parametrize("case", CASES["objectron"], ids=lambda case: case["name"])
def test_scores_of_the_published_objectron_script(case: dict) -> None:
    pairs = [(scene["prediction"], scene["ground_truth"]) for scene in case["scenes"]]
    if case["error"]:  # it divides by zero
        with pytest.raises(PublishedMetricError, match="none of 1 scenes can be scored"):
            published_jaccard("Objectron", pairs, case["tau"], case["dimensions_tau"])
        return
    result = published_jaccard("Objectron", pairs, case["tau"], case["dimensions_tau"])
    assert result.mean == case["official"]
    counts = case["counts"]
    assert len(result.scenes) == counts["total_number_of_scenes"]
    assert result.left_out == len(pairs) - counts["total_number_of_scenes"]
    assert sum(scene.score for scene in result.scenes) == counts["jaccard_metric_sum"]
    for name, short in (("true_positives", "tp"), ("false_positives", "fp"), ("false_negatives", "fn")):
        assert sum(getattr(scene, name) for scene in result.scenes) == counts[f"total_{short}"]


def test_all_45_cases_are_there() -> None:
    assert [len(CASES[name]) for name in ("clevr", "objaworld", "objectron")] == [21, 10, 14]


def test_the_minus_one_of_empty_scenes_goes_into_the_mean() -> None:
    first = [(case["prediction"], case["ground_truth"]) for case in CASES["clevr"][:4]]
    assert published_jaccard("CLEVR", first).mean == CASES["clevr_average_of_first_four_scenes"]


def test_scenes_of_this_package_score_as_by_its_own_metric() -> None:
    truth = Scene([SceneObject(RED_CUBE, [0.0, 0.0, 0.5]), SceneObject(RED_CUBE, [1.0, 0.0, 0.5])])
    guess = Scene([SceneObject(RED_CUBE, [0.03, 0.0, 0.9]), SceneObject(RED_CUBE, [2.0, 0.0, 0.5])])
    result = published_jaccard("CLEVR", [(clevr_objects(guess), clevr_objects(truth)), (None, clevr_objects(truth))])
    assert result.mean == jaccard_index(guess, truth, 0.05) == 1 / 3
    assert result.scenes == (Counts(1, 1, 1),) and result.left_out == 1


def test_another_data_set_is_named() -> None:
    with pytest.raises(PublishedMetricError, match="one of .*'Objectron'.*got 'KITTI'"):
        published_jaccard("KITTI", [([], [])])


def test_text_accuracy_compares_letters_between_the_brackets() -> None:
    answers = ["[TEXT-START]yes[TEXT-END]<|end_of_text|>", "[TEXT-START] no[TEXT-END]", "Yes", "2 "]
    assert text_accuracy(answers, ["yes", "no", "yes", "2"]) == 75.0
    for wrong in ([], ["yes"]):
        with pytest.raises(PublishedMetricError, match="as many answers as truths"):
            text_accuracy(wrong, ["yes", "no"])


def test_image_scores_are_of_grey_images_over_the_generated_range() -> None:
    weights = np.array([0.2125, 0.7154, 0.0721])
    truth, generated = np.random.default_rng(0).uniform(0.45, 0.55, (2, 16, 16, 3))
    assert image_scores(truth, truth) == (pytest.approx(1.0), 0.0)
    structural, squared = image_scores(generated, truth)
    assert squared == pytest.approx((((generated - truth) @ weights) ** 2).mean())
    width = np.ptp(generated @ weights)
    greys = [(image @ weights)[..., None] for image in (truth, generated)]
    assert structural == pytest.approx(ssim(*(grey / width for grey in greys))) != pytest.approx(ssim(*greys))


def test_image_scores_of_a_set_are_means_over_its_pictures() -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (4, 12, 12, 3), dtype=np.uint8)
    pairs = list(zip(pictures[:2], pictures[2:]))
    each = [image_scores(generated / 255, truth / 255) for generated, truth in pairs]
    assert mean_image_scores(pairs) == pytest.approx(np.mean(each, axis=0))
    with pytest.raises(PublishedMetricError, match="no images to score"):
        mean_image_scores([])

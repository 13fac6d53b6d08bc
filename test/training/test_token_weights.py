"""What each token weighs in the loss: the published code's nine batches, and our own norm by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kyvo_ros.tokens import Vocabulary
from kyvo_ros.training.token_weights import IGNORED, LossSettings, token_weights

CASES = json.loads((Path(__file__).parents[1] / "reference" / "weighted_loss.json").read_text())["cases"]
START = Vocabulary.published_clevr().structure_id("[IMAGE-START]")


def test_all_nine_cases_are_there() -> None:
    assert len(CASES) == 9


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_losses_of_the_published_code(case: dict) -> None:
    settings = LossSettings("published", case["weight_first_positions"], case["weight_first_positions_with_weight"])
    weights = token_weights(np.array(case["labels_shifted"]), settings, START, case["task_type"].replace("-", "->"))
    np.testing.assert_allclose(weights, case["official_effective_weight_per_token"], rtol=1e-6)
    assert (weights * case["token_loss"]).sum() == pytest.approx(case["official_scalar"], rel=1e-5)


def test_our_norm_is_the_weighted_mean_over_targets() -> None:
    labels = np.array([[IGNORED, START, 7, 8, 9, 10], [IGNORED, IGNORED, 7, 8, IGNORED, IGNORED]])
    plain = token_weights(labels, LossSettings(), START)
    np.testing.assert_allclose(plain, (labels != IGNORED) / 7)
    heavy = token_weights(labels, LossSettings(first_tokens=2, first_weight=4.0), START)
    # Two of seven targets weigh 4: those behind the start of an image; the second row, a scene, writes none.
    np.testing.assert_allclose(heavy, np.array([[0, 1, 4, 4, 1, 1], [0, 0, 1, 1, 0, 0]]) / 13)


@pytest.mark.parametrize(("settings", "message"), [
    ({"normalisation": "mean"}, "normalisation must be one of"), ({"first_tokens": -1}, "must not be negative"),
    ({"first_tokens": 5}, "belong together"), ({"first_weight": 2.0}, "belong together"),
    ({"first_tokens": 5, "first_weight": float("nan")}, "first_weight positive")])
def test_settings_that_mean_nothing(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LossSettings(**settings)

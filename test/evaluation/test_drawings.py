"""Scores of drawings by hand: the cycle, likeness, and equal pictures."""

import json

import numpy as np
import pytest

from kyvo_ros.evaluation.drawings import DrawingReport, PictureScores
from kyvo_ros.evaluation.image_metrics import l2
from kyvo_ros.scene import Scene, SceneObject

GRAY = np.full((8, 9, 3), 102, np.uint8)


def _ball(x: float, color: str = "red") -> SceneObject:
    return SceneObject({"color": color, "shape": "sphere"}, [x, 0.0, 0.7])


def test_the_cycle_and_the_likeness_by_hand():
    asked = [Scene((_ball(0.0), _ball(2.0))), Scene((_ball(0.0),))]
    seen = [Scene((_ball(0.2), _ball(2.0, "blue"))), Scene((_ball(0.0),))]  # one of two found within 0.25 m: 1 / 3
    scores = PictureScores.of(asked, seen, [GRAY + 51, GRAY], [GRAY, GRAY])  # a fifth of the range apart; equal
    assert scores.jaccard[0.25] == pytest.approx([1 / 3, 1.0]) and scores.jaccard[0.1] == pytest.approx([0.0, 1.0])
    assert scores.likeness["l2"] == pytest.approx([0.04, 0.0])
    assert scores.likeness["psnr"] == [pytest.approx(-10 * np.log10(0.04)), np.inf]
    assert scores.likeness["ssim"][1] == pytest.approx(1.0) and scores.likeness["ssim"][0] < 0.99


def test_a_report_tells_drawings_from_reconstructions_and_is_valid_json():
    asked = [Scene((_ball(0.0),))]
    drawn = PictureScores.of(asked, [Scene()], [GRAY + 51], [GRAY])
    held = PictureScores.of(asked, asked, [GRAY], [GRAY])
    report = DrawingReport(drawn, held)
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert document["cycle_jaccard"]["0.25"] == 0.0 and document["reconstruction"]["cycle_jaccard"]["0.25"] == 1.0
    assert document["psnr"] == pytest.approx(13.98, abs=0.01) and document["reconstruction"]["psnr"] is None
    table = report.markdown()
    assert "| PSNR (dB) | 14.0 | equal |" in table and "| L2 (mean squared) | 0.0400 | 0.0000 |" in table


def test_l2_is_the_mean_squared_difference():
    assert l2(np.zeros((8, 8, 3)), np.full((8, 8, 3), 0.1)) == pytest.approx(0.01)

"""Paired scores of cameras: by hand, and as a table."""

from __future__ import annotations

import pytest

from kyvo_ros.evaluation.cameras import CameraScore, camera_table

HERE = [{0.05: 0.0, 0.25: 0.5}, {0.05: 0.2, 0.25: 0.9}]
THERE = [{0.05: 0.1, 0.25: 0.6}, {0.05: 0.3, 0.25: 1.0}]


def test_the_difference_is_paired() -> None:
    score = CameraScore.of("wide", HERE, THERE)
    assert score.images == 2 and score.camera[0.25].value == pytest.approx(0.7)
    assert score.original[0.25].value == pytest.approx(0.8)
    assert score.difference[0.25].value == pytest.approx(-0.1)
    assert score.difference[0.25].interval == pytest.approx((-0.1, -0.1))  # equal for both images, whatever they score
    assert score.camera[0.25].interval == pytest.approx((0.5, 0.9))
    with pytest.raises(ValueError):
        CameraScore.of("wide", HERE, THERE[:1])


def test_table_and_record() -> None:
    scores = [CameraScore.of("wide", HERE, THERE), CameraScore.of("elsewhere", HERE)]
    lines = camera_table(scores).splitlines()
    assert lines[0].startswith("| camera | images | Jaccard at 0.25 m | original | difference")
    assert lines[2].startswith("| wide | 2 | 0.700 | 0.800 | -0.100 (-0.100 to -0.100) | 0.100 | 0.200 |")
    assert lines[3].startswith("| elsewhere | 2 | 0.700 (0.500 to 0.900) | - | - |")
    assert len({line.count("|") for line in lines}) == 1
    record = scores[0].to_dict()
    assert record["difference"]["0.25"]["mean"] == pytest.approx(-0.1) and scores[1].to_dict()["original"] is None

"""The reliability plot: that it is drawn for many claims and for none, and its interval by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kyvo_ros.cli import main
from kyvo_ros.commands.reliability import plot_reliability, wilson_interval
from kyvo_ros.data.images import read_rgb
from kyvo_ros.scene import Scene

pytest.importorskip("matplotlib")


def test_the_command_draws_it(model: Path, data: Path, tmp_path: Path) -> None:
    picture = tmp_path / "out" / "reliability.png"
    assert main(["evaluate", "recognition", "--data", str(data), "--model", str(model), "--reliability",
                 str(picture)]) == 0
    image = read_rgb(picture)
    blue = np.abs(image.astype(int) - [0x00, 0x72, 0xB2]).max(axis=-1) < 8
    assert image.shape[1] > 1.8 * image.shape[0] and blue.sum() > 500  # the bars and points of the objects


def test_nothing_predicted_is_no_error(tmp_path: Path) -> None:
    plot_reliability(tmp_path / "empty.png", [(Scene(), Scene())], "nothing")
    assert (tmp_path / "empty.png").is_file()


def test_wilson_interval() -> None:
    """Textbook values: 5 of 10 gives 0.237 to 0.763, 0 of 10 up to 0.278."""
    low, high = wilson_interval(np.array([0.5, 0.0, 1.0]), np.array([10, 10, 10]))
    assert low == pytest.approx([0.2366, 0.0, 0.7225], abs=1e-3)
    assert high == pytest.approx([0.7634, 0.2775, 1.0], abs=1e-3)

"""Soft labels of numbers and of yaws."""

import math
from dataclasses import replace

import pytest
import torch

from kyvo_ros.data.object_scenes import ObjectSettings, objects_schema
from kyvo_ros.tokens.grid import NumberGrid
from kyvo_ros.tokens.schema import CLEVR_SCHEMA
from kyvo_ros.training.number_labels import NumberLabels

GRID = NumberGrid(-12.0, 12.0, 0.05)
NUMBERS = torch.as_tensor(GRID.values(), dtype=torch.float32)
OF_CUBES = NumberLabels(GRID, CLEVR_SCHEMA, 1.0)
OF_OBJECTS = NumberLabels(GRID, objects_schema(ObjectSettings(), 512), 1.0)


def test_a_label_is_a_bell_round_the_value():
    labels = OF_CUBES.of(torch.tensor([0.02, 1.55]), torch.full((2,), torch.nan))
    assert torch.allclose(labels.sum(-1), torch.ones(2))
    assert (labels @ NUMBERS).tolist() == pytest.approx([0.02, 1.55], abs=1e-3)
    assert _spread(labels[0], 0.02) == pytest.approx(GRID.step, rel=0.01)


def test_without_a_spread_the_label_is_the_nearest_number():
    hard = replace(OF_CUBES, sigma=0.0).of(torch.tensor([0.02, 0.78]), torch.tensor([torch.nan, 4.0]))
    assert (hard.max(-1).values > 0.999).all()
    assert NUMBERS[hard.argmax(-1)].tolist() == pytest.approx([0.0, 0.8], abs=1e-4)


def test_the_bell_of_a_yaw_goes_round_the_corner_of_its_period():
    yaw = OF_CUBES.of(torch.tensor([0.01]), torch.tensor([4.0]))[0]
    assert yaw[(NUMBERS < -0.01) | (NUMBERS > 1.56)].sum() == 0
    assert yaw[(NUMBERS > 1.5) & (NUMBERS < 1.56)].sum() > 0.1


def test_yaws_that_look_alike_are_labels_alike():
    """Once in a turn, after half a turn, and round."""
    labels = OF_OBJECTS.of(torch.full((3,), 1.0), torch.tensor([1.0, 2.0, 0.0]))
    at = [[float(row[(NUMBERS - yaw).abs() < 0.3].sum()) for yaw in (1.0, 1.0 - math.pi, 0.0)] for row in labels]
    assert at == [pytest.approx(row, abs=0.02) for row in ([1, 0, 0], [0.5, 0.5, 0], [0, 0, 1])]


def test_yaws_may_have_a_wider_bell_than_other_numbers():
    wide = replace(OF_OBJECTS, yaw_sigma=5.0)
    place, yaw = wide.of(torch.tensor([1.0, 1.0]), torch.tensor([torch.nan, 1.0]))
    assert torch.equal(place, OF_OBJECTS.of(torch.tensor([1.0]), torch.tensor([torch.nan]))[0])
    assert _spread(yaw, 1.0) == pytest.approx(5 * GRID.step, rel=0.01)
    assert float(yaw @ NUMBERS) == pytest.approx(1.0, abs=1e-3)
    assert float(replace(wide, yaw_sigma=0.0).of(torch.tensor([1.0]), torch.tensor([1.0])).max()) > 0.999


def _spread(label: torch.Tensor, value: float) -> float:
    return math.sqrt(float(label @ (NUMBERS - value) ** 2))

"""The auxiliary dense head: a head that says exactly its targets reads the scene back."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from kyvo_ros.autoencoders.canonical import CanonicalCamera
from kyvo_ros.data.examples import ExampleSet
from kyvo_ros.evaluation.jaccard import jaccard_index
from kyvo_ros.scene import PlaneCamera, Scene, SceneObject
from kyvo_ros.tokens.schema import CLEVR_SCHEMA
from kyvo_ros.training.dense_head import DenseHead, dense_loss, dense_targets, probe_scenes, probe_yaws, word_values

CANONICAL, GRID = CanonicalCamera(), (10, 16)
VALUES = word_values(CLEVR_SCHEMA)


def _object(size, color, material, shape, x, y, yaw=None) -> SceneObject:
    attributes = {"size": size, "color": color, "material": material, "shape": shape}
    return SceneObject(attributes, [x, y, CLEVR_SCHEMA.resting_height(attributes)], yaw)


@pytest.fixture(params=[1.0, 1.44])
def examples(request) -> ExampleSet:
    scenes = [Scene((_object("large", "red", "metal", "cube", -1.5, 0.3, 0.2), _object("small", "gray", "rubber", "sphere", 2.0, -1.0))),
              Scene((_object("small", "cyan", "metal", "cylinder", 0.1, 2.2),))]
    images = np.zeros((2, 80, 128, 3), np.uint8)
    return ExampleSet.from_scenes(images, scenes, [PlaneCamera(request.param * 11.2, 0.49), PlaneCamera(11.6, 0.5)], VALUES, 4,
                                  [request.param, 1.0])


def _perfect(targets):
    """A prediction that says the targets with certainty."""
    words = [20 * torch.nn.functional.one_hot(torch.as_tensor(targets.words[..., i]), len(v)).float()
             for i, v in enumerate(VALUES.values())]
    return 20 * torch.as_tensor(targets.centre) - 10, torch.as_tensor(targets.offset), torch.as_tensor(targets.yaw), words


def test_targets_read_back_as_the_scene(examples):
    targets = dense_targets(examples, CANONICAL, GRID)
    assert targets.centre.sum() == 3
    for i, scene in enumerate(probe_scenes(_perfect(targets), examples, CLEVR_SCHEMA, CANONICAL)):
        assert jaccard_index(scene, examples.scene(i, VALUES), 1e-4) == 1.0


def test_yaws_count_as_often_as_each_object_looks_alike_in_a_turn(examples):
    turns, both = np.ones(1), (1, 2)  # of the one shape
    turned = replace(examples, yaw_rad=np.full(examples.yaw_rad.shape, 0.7, np.float32),
                     shape=np.zeros_like(examples.shape))
    once = dense_targets(turned, CANONICAL, GRID, both, turns)
    near = once.weight > 0
    wanted = [[np.cos(0.7), np.sin(0.7)], [np.cos(1.4), np.sin(1.4)]]
    assert once.yaw[near] == pytest.approx(np.tile(wanted, (near.sum(), 1, 1)), abs=1e-6)
    assert np.array_equal(once.yaw_weight, np.stack([once.weight, once.weight], -1)), "its axis, and its front"
    twice = dense_targets(turned, CANONICAL, GRID, both, 2 * turns)
    assert np.array_equal(twice.yaw_weight, np.stack([0 * once.weight, once.weight], -1)), "half a turn is none"
    assert not dense_targets(turned, CANONICAL, GRID, both, 0 * turns).yaw_weight.any(), "none sees that of a bowl"
    assert probe_yaws(torch.as_tensor(once.yaw), once) == pytest.approx([1, 1])
    assert probe_yaws(-torch.as_tensor(once.yaw), twice) == pytest.approx([0, -1]), "0 where none is to be seen"


def test_certainty_about_the_truth_costs_least(examples):
    targets = dense_targets(examples, CANONICAL, GRID)
    tensors = {name: torch.as_tensor(value) for name, value in vars(targets).items()}
    perfect = _perfect(targets)
    assert dense_loss(perfect, tensors) < 0.01
    for part in range(3):
        worse = list(perfect)
        worse[part] = worse[part] + 0.5 * torch.randn(worse[part].shape) * 10
        assert dense_loss(tuple(worse), tensors) > dense_loss(perfect, tensors)


def test_padding_and_empty_scenes_have_no_targets(examples):
    empty = ExampleSet.from_scenes(examples.images[:1], [Scene()], [PlaneCamera(11.0, 0.5)], VALUES, 4)
    targets = dense_targets(empty, CANONICAL, GRID)
    assert targets.centre.sum() == 0 and targets.weight.sum() == 0 and np.isfinite(targets.offset).all()


def test_head_shapes():
    centre, offset, yaw, words = DenseHead(8, [2, 3], multiples=2)(torch.rand(2, 4, 5, 8))
    assert centre.shape == (2, 4, 5) and offset.shape == (2, 4, 5, 2) and yaw.shape == (2, 4, 5, 2, 2)
    assert [w.shape[-1] for w in words] == [2, 3]

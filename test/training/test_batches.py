"""Batches of images: shares of the two kinds, mirrors that keep image and truth together, and their faults."""

import numpy as np
import pytest
import torch

from kyvo_ros.data.examples import ExampleSet
from kyvo_ros.scene import PlaneCamera, Scene, SceneObject
from kyvo_ros.training.batches import ImageBatches, vary_look

CPU = torch.device("cpu")


def _examples(count: int, shade: int) -> ExampleSet:
    """Images whose left half is white over `shade`, with an object on the left."""
    images = np.full((count, 4, 8, 3), shade, np.uint8)
    images[:, :, :4] = 255
    scenes = [Scene((SceneObject({"shape": "cube"}, [-1.0, 0.0, 0.5], 0.2),))] * count
    return ExampleSet.from_scenes(images, scenes, [PlaneCamera(11.0, 0.5)] * count, {"shape": ("cube",)}, 2)


def test_a_batch_holds_both_kinds_by_their_share():
    batches = ImageBatches(_examples(5, 0), _examples(5, 100), 0.75, 8, CPU)
    examples, images = batches.draw(np.random.default_rng(0), varied=False)
    shades = images.amin(dim=(1, 2, 3)).add(1).mul(127.5).round()
    assert len(examples) == 8 and (shades == 100).sum() == 6 and (shades == 0).sum() == 2


def test_mirrored_images_have_mirrored_truths():
    examples, images = ImageBatches(_examples(5, 0), None, 0.6, 8, CPU).draw(np.random.default_rng(0), varied=False)
    white_is_left = images[:, 0, 0, 0] > 0.99
    assert white_is_left.sum() == 4
    assert torch.equal(torch.as_tensor(examples.position[:, 0, 0] < 0), white_is_left)
    assert torch.equal(torch.as_tensor(examples.yaw_rad[:, 0] < np.pi / 2), white_is_left)


def test_the_generator_decides_everything():
    batches = ImageBatches(_examples(5, 0), _examples(5, 100), 0.5, 4, CPU)
    one, same, other = (batches.draw(np.random.default_rng(seed))[1] for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert one.shape == (4, 3, 4, 8) and one.abs().max() <= 1


def test_the_look_varies_between_images():
    grey = torch.zeros(16, 3, 8, 8)
    means = vary_look(grey, np.random.default_rng(0)).mean(dim=(1, 2, 3))
    assert means.std() > 0.02


def test_no_images_are_an_error():
    with pytest.raises(ValueError, match="no training images"):
        ImageBatches(None, _examples(5, 0)[:0], 0.5, 4, CPU)

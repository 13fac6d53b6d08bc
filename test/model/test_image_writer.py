"""Scenes to codes by a model without sense: whole pictures, in the model's order, and the same however computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_model import tiny_bundle

from kyvo_ros.model.folder import ModelBundle, load_model, save_model
from kyvo_ros.model.inference import CachedDecoder
from kyvo_ros.model.rendering import ImageWriter
from kyvo_ros.model.tasks import UntrainedTaskError
from kyvo_ros.scene import Scene, SceneObject
from kyvo_ros.tokens import GrammarError

BALL = SceneObject({"size": "large", "color": "red", "material": "metal", "shape": "sphere"}, [1.0, 0.5, 0.7])
CUBE = SceneObject({"size": "small", "color": "blue", "material": "metal", "shape": "cube"}, [-1.0, 0.5, 0.247], 0.3)
SCENES = [Scene((BALL,)), Scene((CUBE, BALL)), Scene((CUBE,)), Scene()]


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return tiny_bundle()


@pytest.fixture(scope="module")
def writer(bundle: ModelBundle) -> ImageWriter:
    return ImageWriter(CachedDecoder(bundle.decoder), bundle.builder, bundle.tasks)


@pytest.fixture(scope="module")
def cells(bundle: ModelBundle) -> np.ndarray:
    return np.tile(bundle.canonical.cells(None, bundle.builder.image_grid), (len(SCENES), 1, 1))


def test_scenes_of_different_length_give_the_same_together_as_alone(writer: ImageWriter, cells: np.ndarray) -> None:
    together = writer.write(SCENES, cells)
    assert together.shape == (4, 5, 8) and len(np.unique(together, axis=0)) > 1, "the scene matters"
    for scene, codes in zip(SCENES, together):
        assert np.array_equal(writer.write([scene], cells[:1])[0], codes)


def test_as_by_whole_forward_passes_in_the_order_of_the_model(
        bundle: ModelBundle, writer: ImageWriter, cells: np.ndarray) -> None:
    prompt = bundle.builder.prompt("3->I", scene=SCENES[1])
    image, ids = bundle.vocabulary.range("image"), torch.from_numpy(prompt.token_ids)[None]
    written = [bundle.vocabulary.structure_id("[IMAGE-START]")]
    for _ in range(40):
        with torch.no_grad():
            sequence = torch.cat((ids, torch.tensor([written])), dim=1)
            logits = bundle.decoder(sequence, cells=torch.from_numpy(cells[:1]), prefix_length=prompt.prefix_length)
        written.append(image.start + int(logits[0, -1, image.start:image.stop].argmax()))
    written.append(bundle.vocabulary.structure_id("[IMAGE-END]"))
    assert np.array_equal(writer.write([SCENES[1]], cells[:1])[0], bundle.builder.image_grammar.decode_image(written))


def test_the_camera_matters(writer: ImageWriter, cells: np.ndarray) -> None:
    assert not np.array_equal(writer.write(SCENES[:1], cells[:1]), writer.write(SCENES[:1], cells[:1] + 1.0))


def test_sampling_follows_its_seed_and_the_best_of_one_is_the_likeliest(writer: ImageWriter, cells: np.ndarray) -> None:
    def draw(**options) -> list[int]:
        return writer.write(SCENES[:1], cells[:1], **options).ravel().tolist()
    greedy = draw()
    assert draw(temperature=1.0, top_k=1, seed=3) == greedy
    assert draw(temperature=1.0, seed=3) == draw(temperature=1.0, seed=3) != draw(temperature=1.0, seed=4)
    first = set(tuple(draw(temperature=3.0, top_k=2, seed=seed))[19] for seed in range(12))  # the first one written
    assert len(first) == 2
    with pytest.raises(ValueError, match="top_k must be at least 1"):
        draw(top_k=0)


def test_a_picture_does_not_depend_on_what_else_is_drawn(writer: ImageWriter, cells: np.ndarray) -> None:
    """The first two scenes have prompts of different lengths, so that they are drawn in two batches."""
    together = writer.write(SCENES[:2], cells[:2], temperature=1.0, seed=3)
    again = writer.write([SCENES[1], SCENES[1]], cells[[1, 1]], temperature=1.0, seed=3)
    assert np.array_equal(together[1], again[1]) and not np.array_equal(again[0], again[1])


def test_the_order_belongs_to_the_model_folder(bundle: ModelBundle, tmp_path) -> None:
    save_model(tmp_path / "model", bundle)
    loaded = load_model(tmp_path / "model")
    assert loaded.decoder.config.image_order == "spiral" and "3->I" in loaded.tasks
    codes = np.arange(40).reshape(5, 8)
    assert loaded.builder.image_grammar.encode_image(codes) == bundle.builder.image_grammar.encode_image(codes)


def test_what_cannot_be_drawn_is_named(bundle: ModelBundle, writer: ImageWriter, cells: np.ndarray) -> None:
    with pytest.raises(GrammarError, match="at most 4 objects, got 5"):
        writer.write([Scene((BALL,) * 5)], cells[:1])
    untrained = ImageWriter(CachedDecoder(bundle.decoder), bundle.builder, ("I->3",))
    with pytest.raises(UntrainedTaskError, match="not trained for task 3->I, drawing scenes"):
        untrained.write(SCENES[:1], cells[:1])

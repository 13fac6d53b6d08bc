"""What the loss of the stages of images asks for, and what it leaves alone."""

import numpy as np
import pytest
import torch
from training_course import course

from kyvo_ros.autoencoders.canonical import CanonicalCamera
from kyvo_ros.autoencoders.image_tokenizer import ImageTokenizer, ImageTokenizerConfig, images_to_tensor
from kyvo_ros.data.examples import ExampleSet
from kyvo_ros.scene import PlaneCamera, Scene
from kyvo_ros.tokens.schema import CLEVR_SCHEMA
from kyvo_ros.training.batches import ImageBatches
from kyvo_ros.training.dense_head import word_values
from kyvo_ros.training.image_stages import LATENT_WEIGHT, SKETCHED, DenseModel, DenseStage, PixelStage, SketchHead

CPU = torch.device("cpu")


@pytest.fixture
def stage() -> PixelStage:
    torch.manual_seed(0)
    tokenizer = ImageTokenizer(ImageTokenizerConfig(32, 16, (8, 16), (0, 1), codebook_size=16, code_dim=8))
    torch.nn.init.zeros_(tokenizer.encoder.layers[-1].bias)  # so that latents are about the image
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 8, 3), dtype=np.uint8).repeat(4, 1).repeat(4, 2)
    examples = ExampleSet.from_scenes(images, [Scene()] * 6, [PlaneCamera(11.0, 0.5)] * 6, word_values(CLEVR_SCHEMA), 2)
    made = PixelStage(tokenizer, ImageBatches(examples, None, 0.0, 6, CPU), examples)
    tokenizer.eval()
    tokenizer.quantizer.fit(tokenizer.latents(images_to_tensor(images)).detach().flatten(0, 2))
    made.freeze()
    return made


def test_only_the_decoder_learns(stage):
    loss, parts = stage.loss_of(np.random.default_rng(1))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(parts["pixels"] + LATENT_WEIGHT * parts["latents"])
    assert all(p.grad is not None for p in stage.tokenizer.decoder.parameters())
    assert all(p.grad is None for p in stage.tokenizer.encoder.parameters())


def test_what_is_drawn_comes_to_look_like_its_codes(stage):
    optimizer = torch.optim.Adam(stage.tokenizer.decoder.parameters(), 3e-3)
    latents = [parts["latents"] for parts in course(stage, optimizer, [1] * 40)]
    assert latents[-1] < 0.7 * latents[0]


def test_a_decoder_that_draws_the_images_keeps_all_codes(stage, monkeypatch):
    truth = images_to_tensor(stage.held_out.images)
    monkeypatch.setattr(ImageTokenizer, "pixels", lambda self, vectors: truth[:len(vectors)])
    scores = stage.evaluate()
    assert scores["codes_kept"] == 1.0 and scores["psnr_db"] > 60 and 1 <= scores["codes_used"] <= 16
    monkeypatch.setattr(ImageTokenizer, "pixels", lambda self, vectors: -truth[:len(vectors)])
    assert stage.evaluate()["codes_kept"] < 0.5


def _coloured_stage(sketch_weight: float, quantise: bool = False) -> DenseStage:
    """Images of one plain colour each, which the labels of the dense head do not tell."""
    torch.manual_seed(0)
    tokenizer = ImageTokenizer(ImageTokenizerConfig(32, 16, (8, 16), (0, 1), codebook_size=16, code_dim=8))
    colours = np.random.default_rng(0).integers(0, 256, (6, 1, 1, 3), dtype=np.uint8)
    images = np.broadcast_to(colours, (6, 16, 32, 3)).copy()
    examples = ExampleSet.from_scenes(images, [Scene()] * 6, [PlaneCamera(11.0, 0.5)] * 6, word_values(CLEVR_SCHEMA), 2)
    canonical = CanonicalCamera(width=32, height=16, fx=35.0, fy=35.0, cx=16.0, cy=7.6)
    return DenseStage(DenseModel(tokenizer, CLEVR_SCHEMA, sketch_weight > 0), ImageBatches(examples, None, 0.0, 6, CPU),
                      examples, CLEVR_SCHEMA, canonical, quantise, sketch_weight=sketch_weight)


@pytest.mark.parametrize("quantise", [False, True])
def test_a_sketch_adds_its_share_to_the_loss_of_labels(quantise: bool) -> None:
    stage = _coloured_stage(3.0, quantise)
    stage.model.eval()  # running means stand still
    with torch.no_grad():
        loss, numbers = stage.loss_of(np.random.default_rng(1))
        alone, others = DenseStage(**{**vars(stage), "sketch_weight": 0.0}).loss_of(np.random.default_rng(1))
    assert float(loss - alone) == pytest.approx(3.0 * numbers["sketch"], rel=1e-3)
    assert others == {name: pytest.approx(value) for name, value in numbers.items() if name != "sketch"}
    assert _coloured_stage(0.0).model.sketch is None, "a head that no recipe asks for"


def test_a_sketch_is_as_large_as_its_cells_say() -> None:
    assert SketchHead(8)(torch.zeros(2, 4, 8, 8)).shape == (2, 3, 4 * SKETCHED, 8 * SKETCHED)


def test_latents_come_to_hold_the_colours_that_no_label_tells() -> None:
    stage = _coloured_stage(3.0)
    optimizer = torch.optim.Adam(stage.model.parameters(), 3e-3)
    images = images_to_tensor(stage.held_out.images)
    blind = float((images - images.mean(0)).abs().mean())  # of who sees no colours
    sketches = [numbers["sketch"] for numbers in course(stage, optimizer, range(150))]
    assert np.mean(sketches[-10:]) < 0.5 * blind
    assert all(p.grad is not None and p.grad.any() for p in stage.model.sketch.parameters())

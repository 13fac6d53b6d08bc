"""The stage `pixels`: what its loss asks for, and what it leaves alone."""

import numpy as np
import pytest
import torch

from kyvo_ros.autoencoders.image_tokenizer import ImageTokenizer, ImageTokenizerConfig, images_to_tensor
from kyvo_ros.data.examples import ExampleSet
from kyvo_ros.scene import PlaneCamera, Scene
from kyvo_ros.tokens.schema import CLEVR_SCHEMA
from kyvo_ros.training.batches import ImageBatches
from kyvo_ros.training.dense_head import word_values
from kyvo_ros.training.image_stages import LATENT_WEIGHT, PixelStage

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
    course = []
    for _ in range(40):
        loss, parts = stage.loss_of(np.random.default_rng(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        course.append(parts["latents"])
    assert course[-1] < 0.7 * course[0]


def test_a_decoder_that_draws_the_images_keeps_all_codes(stage, monkeypatch):
    truth = images_to_tensor(stage.held_out.images)
    monkeypatch.setattr(ImageTokenizer, "pixels", lambda self, vectors: truth[:len(vectors)])
    scores = stage.evaluate()
    assert scores["codes_kept"] == 1.0 and scores["psnr_db"] > 60 and 1 <= scores["codes_used"] <= 16
    monkeypatch.setattr(ImageTokenizer, "pixels", lambda self, vectors: -truth[:len(vectors)])
    assert stage.evaluate()["codes_kept"] < 0.5

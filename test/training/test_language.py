"""Training the decoder: labels, targets, and a loss that falls."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from training_course import course

from kyvo_ros.autoencoders.canonical import CanonicalCamera
from kyvo_ros.autoencoders.image_tokenizer import ImageTokenizer, ImageTokenizerConfig
from kyvo_ros.data.examples import ExampleSet
from kyvo_ros.model.config import DecoderConfig
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.scene import PlaneCamera, Scene, SceneObject
from kyvo_ros.tokens.scene_grammar import SceneGrammar
from kyvo_ros.tokens.schema import CLEVR_SCHEMA
from kyvo_ros.tokens.sequences import SequenceBuilder
from kyvo_ros.tokens.text import LANGUAGE_WORDS, train_text_tokenizer
from kyvo_ros.tokens.vocabulary import Vocabulary
from kyvo_ros.training.code_sets import TargetWriter, encode_examples, number_values
from kyvo_ros.training.dense_head import word_values
from kyvo_ros.training.language import LanguageModel, LanguageStage
from kyvo_ros.training.number_labels import NumberLabels
from kyvo_ros.training.rendering import DrawingLesson, DrawingSettings, FirstCodes

CANONICAL = CanonicalCamera(32, 20, 35.0, 35.0, 16.0, 9.5)
VALUES = word_values(CLEVR_SCHEMA)


def _random_scene(rng: np.random.Generator) -> Scene:
    objects = []
    for x in np.sort(rng.uniform(-3, 3, rng.integers(1, 4))):
        attributes = {name: str(rng.choice(words)) for name, words in VALUES.items()}
        yaw = float(rng.uniform(0, 1.5)) if attributes["shape"] == "cube" else None
        objects.append(SceneObject(attributes, [x, rng.uniform(-3, 3), CLEVR_SCHEMA.resting_height(attributes)], yaw))
    return Scene(tuple(objects))


@pytest.fixture(scope="module")
def grammar() -> SceneGrammar:
    return SceneGrammar(Vocabulary.small(), train_text_tokenizer([], [*CLEVR_SCHEMA.vocabulary_words(), *LANGUAGE_WORDS]), CLEVR_SCHEMA)


@pytest.fixture(scope="module")
def stage(grammar) -> LanguageStage:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    tokenizer = ImageTokenizer(ImageTokenizerConfig(32, 20, (4, 8), (0, 0), 1024, 8))
    text_tokenizer = train_text_tokenizer([], [*CLEVR_SCHEMA.vocabulary_words(), *LANGUAGE_WORDS])
    builder = SequenceBuilder(grammar.vocabulary, grammar, text_tokenizer, tokenizer.grid)
    writer = TargetWriter(grammar.vocabulary, text_tokenizer, CLEVR_SCHEMA)
    scenes = [_random_scene(rng) for _ in range(12)]
    images = rng.integers(0, 256, (12, 20, 32, 3), dtype=np.uint8)
    examples = ExampleSet.from_scenes(images, scenes, [PlaneCamera(11.2, 0.5)] * 12, VALUES, 10)
    codes = encode_examples(examples, tokenizer, writer, CANONICAL, torch.device("cpu"))
    config = DecoderConfig(grammar.vocabulary, dim=32, layers=2, heads=2, kv_heads=1, ffn_dim=64, max_length=260, code_dim=8,
                           image_grid=tokenizer.grid)
    model = LanguageModel(Decoder(config, tokenizer.codebook), CLEVR_SCHEMA)
    return LanguageStage(model, grammar, builder, None, codes, codes, scenes, NumberLabels(grammar.vocabulary.numbers, CLEVR_SCHEMA, 1.0),
                         CANONICAL, torch.device("cpu"), batch_size=4, render_ratio=1.0, dense_weight=0.2, camera_dropout=0.1)


def test_every_number_token_knows_its_value(stage, grammar):
    codes = stage.renders
    span = grammar.vocabulary.range("numbers")
    for i in range(len(codes)):
        chosen = codes.worth[i] & (codes.targets[i] >= span.start) & (codes.targets[i] < span.stop)
        assert np.array_equal(chosen, ~np.isnan(codes.values[i]))
        said = grammar.vocabulary.numbers_of(codes.targets[i][chosen])
        gap = np.abs(said - codes.values[i][chosen])
        period = CLEVR_SCHEMA.yaw.period_rad
        assert (np.minimum(gap, np.abs(gap - period)) <= 0.0251 + 0.02).all()  # half a step; a yaw's last one is narrower


def test_numbers_come_in_the_order_of_the_tokens(grammar):
    attributes = {"size": "large", "color": "red", "material": "metal", "shape": "cube"}
    right = SceneObject(attributes, [1.0, 0.5, 0.495], 2.0)
    left = SceneObject({**attributes, "shape": "sphere"}, [-1.0, 2.0, 0.7])
    assert number_values(Scene((right, left)), grammar) == pytest.approx([-1.0, 2.0, 1.0, 0.5, 2.0 - np.pi / 2])


def test_the_loss_falls_and_the_dense_head_can_be_left_out(stage):
    optimizer = torch.optim.AdamW(stage.model.parameters(), lr=3e-3)
    losses = [numbers["words"] + numbers["numbers"] for numbers in course(stage, optimizer, range(40))]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    _, numbers = replace(stage, dense_weight=0.0).loss_of(np.random.default_rng(0))
    assert "dense" not in numbers


def test_yaws_are_learned_from_the_states_that_they_are_said_from(stage, grammar):
    pose, turned = grammar.vocabulary.structure_id("[POSE]"), stage.renders[np.array([1, 2] * 6)]
    assert (turned.targets == pose).any(1).all(), "with cubes"
    decoder = Decoder(stage.model.decoder.config, stage.model.decoder.embedding.codebook)
    model, read = LanguageModel(decoder, CLEVR_SCHEMA, yaws=True), []
    learning = replace(stage, model=model, renders=turned, yaw_weight=2.0, dense_weight=0.0, camera_dropout=0.0)
    model.yaw_head.said.register_forward_hook(lambda layer, inputs, told: read.append(inputs[0]))
    loss, logged = learning.loss_of(np.random.default_rng(2))
    plain, _ = replace(learning, yaw_weight=0.0).loss_of(np.random.default_rng(2))
    assert min(logged["yaws"], logged["yaws_of_cells"]) > 0
    assert float((loss - plain).detach()) == pytest.approx(2 * (logged["yaws"] + logged["yaws_of_cells"]), rel=1e-3)
    rows = np.arange(2)
    ids, prompt_length = learning._sequences(turned, rows, int(turned.length[rows].max()))
    hidden, _ = model.hidden(ids[:, :-1], torch.as_tensor(turned.cells[rows]), prompt_length - 1)
    marked = hidden[ids[:, prompt_length - 1:-1] == pose]
    gaps = torch.cdist(marked * model.yaw_head._shrink, read[0]).amin(dim=1)
    assert len(marked) == 2 and (gaps < 1e-5).all(), "of the state of [POSE] itself"
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = [numbers["yaws"] for numbers in course(learning, optimizer, range(40))]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_a_share_of_batches_are_scenes_to_draw_whatever_the_backgrounds(stage, grammar):
    tokenizer = ImageTokenizer(ImageTokenizerConfig(32, 20, (4, 8), (0, 0), 1024, 8)).eval()
    lesson = DrawingLesson(stage.builder, tokenizer, grammar.vocabulary, FirstCodes(), DrawingSettings(), CANONICAL,
                           torch.device("cpu"))
    empty = replace(stage.renders, length=np.full(len(stage.renders), 3))
    drawing = replace(stage, drawing=lesson, rendering_ratio=0.5, synthetic=empty, render_ratio=0.0)
    drawn = ["drawing" in drawing.loss_of(np.random.default_rng(seed))[1] for seed in range(40)]
    assert 12 <= sum(drawn) <= 28
    loss, _ = replace(drawing, rendering_ratio=1.0).loss_of(np.random.default_rng(0))
    loss.backward()
    assert stage.model.decoder.embedding.image_positions.grad.abs().sum() > 0


def test_the_loss_is_about_the_same_in_bfloat16(stage):
    full, _ = stage.loss_of(np.random.default_rng(3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half, _ = stage.loss_of(np.random.default_rng(3))
    full, half = full.detach(), half.detach()
    assert half.dtype == torch.float32 and float(half) == pytest.approx(float(full), rel=0.05) and half != full


def test_cameras_are_dropped_to_the_nominal_one_unless_they_are_out_of_the_ordinary(stage):
    nominal = CANONICAL.cells(None, stage.model.decoder.config.image_grid)
    truth = stage.renders.truth
    cameras = np.tile([11.2, 0.5, 1.0], (len(truth), 1))
    cameras[0] = [16.0, 0.3, 1.44]
    source = replace(stage.renders, truth=replace(truth, camera=cameras), cells=stage.renders.cells + 1.0)
    rows = np.arange(len(truth))
    always = replace(stage, camera_dropout=1.0)._cells(source, rows, np.random.default_rng(0))
    assert np.array_equal(always[0], source.cells[0]) and (always[1:] == nominal).all()
    assert np.array_equal(replace(stage, camera_dropout=0.0)._cells(source, rows, np.random.default_rng(0)), source.cells)


def test_batches_depend_on_the_generator_alone(stage):
    stage.model.eval()
    first, again, other = (float(stage.loss_of(np.random.default_rng(s))[0].detach()) for s in (5, 5, 6))
    assert first == again != other


def test_evaluation_generates_scenes(stage):
    numbers = stage.evaluate()
    yaws = {"yaw_4", "dense_yaw_4"}  # of cubes
    assert set(numbers) == {"jaccard_0.05", "jaccard_0.1", "jaccard_0.25", "jaccard_0.5"} | yaws
    assert all((-1 if name in yaws else 0) <= v <= 1 for name, v in numbers.items())

"""Learning to draw: sequences in order, the first codes weighted, a loss that falls, and held-out scores."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_model import tiny_bundle

from kyvo_ros.data.examples import ExampleSet
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.folder import ModelBundle
from kyvo_ros.scene import Scene, SceneObject
from kyvo_ros.training.dense_head import word_values
from kyvo_ros.training.rendering import DrawingLesson, DrawingSettings, FirstCodes, cycle_scores

BALL = SceneObject({"size": "large", "color": "red", "material": "metal", "shape": "sphere"}, [1.0, 0.5, 0.7])
OTHER = SceneObject({"size": "small", "color": "blue", "material": "rubber", "shape": "sphere"}, [-1.0, 0.5, 0.35])
SCENES = [Scene((BALL,)), Scene((OTHER,)), Scene((OTHER, BALL)), Scene()]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return tiny_bundle()


@pytest.fixture(scope="module")
def lesson(bundle: ModelBundle) -> DrawingLesson:
    return DrawingLesson(bundle.builder, bundle.image_tokenizer, bundle.vocabulary, FirstCodes(), DrawingSettings(),
                         bundle.canonical, CPU)


@pytest.fixture(scope="module")
def pictures(bundle: ModelBundle) -> SimpleNamespace:
    """A picture a scene, of random codes."""
    rows = [[*bundle.grammar.encode_scene(scene), bundle.vocabulary.structure_id("[EOS]")] for scene in SCENES]
    targets = np.full((len(rows), max(map(len, rows))), bundle.vocabulary.structure_id("[PAD]"), np.int16)
    for i, row in enumerate(rows):
        targets[i, : len(row)] = row
    codes = np.random.default_rng(0).integers(0, 1024, (len(rows), 40)).astype(np.int16)
    cells = np.tile(bundle.canonical.cells(None, (5, 8)), (len(rows), 1, 1))
    camera = bundle.canonical.nominal_plane()
    truth = ExampleSet.from_scenes(np.zeros((len(rows), 1, 1, 3), np.uint8), SCENES, [camera] * len(rows),
                                   word_values(bundle.grammar.schema), 4, [1.0] * len(rows))
    length = np.array(list(map(len, rows)))
    return SimpleNamespace(codes=codes, cells=cells, targets=targets, length=length, truth=truth)


def test_sequences_are_those_of_the_builder(bundle, lesson, pictures) -> None:
    for row, scene in enumerate(SCENES):
        ids, prompt_length = lesson._sequences(pictures, np.array([row, row]))
        expected = bundle.builder.build("3->I", scene=scene, image_codes=pictures.codes[row])
        assert prompt_length == expected.prompt_length
        assert ids.tolist() == [expected.token_ids[:-1].tolist()] * 2  # without [EOS]


def test_a_batch_has_scenes_of_one_length_and_none_is_empty(lesson, pictures) -> None:
    drawn = [lesson.draw(pictures, 4, np.random.default_rng(seed)) for seed in range(30)]
    assert all(len(set(pictures.length[rows])) == 1 for rows in drawn)
    assert set(np.concatenate(drawn).tolist()) == {0, 1, 2}
    with pytest.raises(ValueError, match="scenes with objects"):
        lesson.draw(SimpleNamespace(length=pictures.length[3:]), 4, np.random.default_rng(0))


def test_the_first_codes_weigh_more(bundle, lesson, pictures) -> None:
    weights = FirstCodes(5, 10.0).weights(40)
    assert weights.mean() == pytest.approx(1.0) and weights[:5] == pytest.approx(10 * weights[5])
    assert FirstCodes(0, 10.0).weights(40) == pytest.approx(1.0)
    rows = np.array([0, 1])
    entropies, _ = lesson._predicted(bundle.decoder, *lesson._sequences(pictures, rows), pictures.cells[rows])
    expected = (10 * entropies[:, :5].sum() + entropies[:, 5:].sum()) / (2 * (5 * 10 + 35))
    loss = lesson.loss(bundle.decoder, pictures, rows, np.random.default_rng(0))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    with pytest.raises(ValueError, match="positive weight"):
        FirstCodes(5, 0.0)


def test_codes_where_objects_stand_weigh_more(bundle, lesson, pictures) -> None:
    rows = np.array([0, 2])
    plain = replace(lesson, first_codes=FirstCodes(0))
    assert plain.weights(pictures, rows) == pytest.approx(1.0)
    weights = replace(plain, settings=DrawingSettings(object_weight=3.0)).weights(pictures, rows)
    assert weights.mean() == pytest.approx(1.0) and weights.max() == pytest.approx(3 * weights.min())
    raster = weights[:, np.argsort(bundle.builder.image_grammar.order)].reshape(2, *bundle.builder.image_grid)
    u, v = pictures.truth[rows].projected((bundle.canonical.fx, bundle.canonical.fy),
                                          (bundle.canonical.cx, bundle.canonical.cy))[0, 0, :2]
    stride = bundle.canonical.width / bundle.builder.image_grid[1]
    assert raster[0, int(v // stride), int(u // stride)] == weights.max()
    assert (raster[0] == weights.max()).sum() < (raster[1] == weights.max()).sum() < raster[1].size  # one object, two


def test_wrong_codes_stand_in_the_picture_alone(bundle, lesson, pictures, monkeypatch) -> None:
    read, hidden = [], bundle.decoder.hidden
    monkeypatch.setattr(bundle.decoder, "hidden", lambda ids, **kinds: (read.append(ids), hidden(ids, **kinds))[1])
    rows = np.array([0] * 50)
    ids, start = lesson._sequences(pictures, rows)
    replace(lesson, settings=DrawingSettings(wrong_codes=1.0)).loss(
        bundle.decoder, pictures, rows, np.random.default_rng(0))
    (given,), image = read, bundle.vocabulary.range("image")
    codes = slice(start + 1, None)  # behind the bracket of the picture
    assert torch.equal(given[:, :start + 1], ids[:, :start + 1])
    assert given[:, codes].min() >= image.start and given[:, codes].max() < image.stop
    wrong = (given != ids[:, :-2])[:, codes].float().mean(dim=1)
    assert wrong.min() < 0.1 and wrong.max() > 0.9 and 0.35 < wrong.mean() < 0.65
    lesson.loss(bundle.decoder, pictures, rows, np.random.default_rng(0))
    assert torch.equal(read[1], ids[:, :-2]), "by default none"
    for broken in ({"wrong_codes": 1.1}, {"object_weight": 0.0}):
        with pytest.raises(ValueError, match="drawing needs"):
            DrawingSettings(**broken)


def test_wrong_codes_are_read_and_true_ones_scored(bundle, lesson, pictures) -> None:
    rows = np.array([0, 0])
    ids, start = lesson._sequences(pictures, rows)
    given = lesson.spoilt(ids, np.ones((2, 1)), np.random.default_rng(0))
    entropies, _ = lesson._predicted(bundle.decoder, ids, start, pictures.cells[rows], given)
    logits = bundle.decoder.logits(bundle.decoder.hidden(
        given[:, :-2], cells=torch.as_tensor(pictures.cells[rows]), prefix_length=start - 1, start=start))
    image = bundle.vocabulary.range("image")
    likely = torch.log_softmax(logits[..., image.start:image.stop], dim=-1)  # nothing else may stand there
    expected = -likely.gather(-1, ids[:, start + 1:-1, None] - image.start)
    assert entropies.flatten().detach() == pytest.approx(expected.flatten().detach().numpy(), abs=1e-5)


def test_drawing_is_learned(bundle, lesson, pictures) -> None:
    torch.manual_seed(0)
    decoder, rng = Decoder(bundle.decoder.config, bundle.image_tokenizer.codebook), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-2)
    losses = []
    for _ in range(120):
        loss = lesson.loss(decoder, pictures, lesson.draw(pictures, 4, rng), rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[:3]) > 6.0 and np.mean(losses[-3:]) < 1.0
    scores = lesson.held_out_scores(decoder, pictures)
    assert scores["drawing_loss"] < 1.0 and scores["drawing_codes"] > 0.8
    assert lesson.held_out_scores(bundle.decoder, pictures)["drawing_codes"] < 0.1


def test_what_the_scene_tells_is_scored(bundle, lesson, pictures) -> None:
    """A decoder that was taught on wrong codes draws by the scene, one that has learned nothing by none."""
    torch.manual_seed(0)
    decoder, rng = Decoder(bundle.decoder.config, bundle.image_tokenizer.codebook), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-2)
    blind = replace(lesson, settings=DrawingSettings(wrong_codes=1.0, object_weight=4.0))
    for _ in range(120):
        loss = blind.loss(decoder, pictures, np.array([0, 1]), rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert lesson.held_out_scores(decoder, pictures)["drawing_told"] > 1.0
    assert abs(lesson.held_out_scores(bundle.decoder, pictures)["drawing_told"]) < 0.2
    single = SimpleNamespace(**{name: value[2:3] for name, value in vars(pictures).items()})
    assert "drawing_told" not in lesson.held_out_scores(decoder, single), "no other scene of one length"


def test_the_cycle_compares_what_is_seen_in_the_drawing_with_what_was_asked_for(bundle, pictures, monkeypatch) -> None:
    def scores() -> dict[str, float]:
        return cycle_scores(bundle.decoder, bundle.image_tokenizer, bundle.builder, bundle.grammar, SCENES[:3],
                            pictures.cells[:3])
    assert all(0.0 <= score <= 1.0 for score in scores().values())
    seen = iter([SCENES[0], SCENES[1], SCENES[0], *SCENES[:3]])  # in the pixels, then in the codes
    monkeypatch.setattr(bundle.grammar.__class__, "decode_scene", lambda *args: next(seen))
    assert scores() == {"drawing_cycle": pytest.approx(2.5 / 3), "drawing_cycle_codes": 1.0}


def test_the_cycle_looks_at_pixels(bundle, pictures, monkeypatch) -> None:
    """An image decoder that paints everything gray shows the same picture whatever was written."""
    prompts = []
    build = bundle.builder.prompt
    monkeypatch.setattr(bundle.builder, "prompt", lambda task, **fields: (
        prompts.append(fields) if task == "I->3" else None, build(task, **fields))[1])
    monkeypatch.setattr(bundle.image_tokenizer, "decode", lambda codes: torch.zeros(len(codes), 3, 20, 32))
    cycle_scores(bundle.decoder, bundle.image_tokenizer, bundle.builder, bundle.grammar, SCENES[:2], pictures.cells[:2])
    gray, written = prompts[:2], prompts[2:]
    assert np.array_equal(gray[0]["image_codes"], gray[1]["image_codes"])
    assert not np.array_equal(written[0]["image_codes"], written[1]["image_codes"])

"""Answers without a program through the pipeline: which route is taken, what reaches the model, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_model import tiny_bundle

from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.direct_answers import MAX_QUESTION_TOKENS, answer_words
from kyvo_ros.model.folder import ModelBundle
from kyvo_ros.model.published_sight import WORLD_YAW_RAD
from kyvo_ros.model.tasks import NoImageError, UntrainedTaskError
from kyvo_ros.pipeline import KyvoPipeline
from kyvo_ros.scene import CameraView, PinholeCamera, PlaneCamera, Scene, SceneObject
from kyvo_ros.tokens.published_schemas import CLEVR, WORLD_FRAME

DIRECT = ("I->3", "I+3+Q->A")
QUESTION = "How many balls are there?"
IMAGE = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(20, axis=0).repeat(20, axis=1)
BALL = SceneObject({"size": "large", "color": "red", "material": "metal", "shape": "sphere"}, [1.0, 0.5, 0.7])
SCENE = Scene((BALL,))
BENT = PinholeCamera(320, 240, 300.0, 310.0, 150.0, 120.0, (0.05, -0.01, 0.001, 0.0, 0.0))


def _bundle(tasks: tuple[str, ...], **options) -> ModelBundle:
    model = tiny_bundle(**options)
    config = replace(model.decoder.config, max_length=160 + MAX_QUESTION_TOKENS)
    torch.manual_seed(1)
    return replace(model, decoder=Decoder(config, model.image_tokenizer.codebook).eval(), tasks=tasks)


@pytest.fixture(scope="module")
def direct() -> KyvoPipeline:
    return KyvoPipeline(_bundle(DIRECT), "cpu")


def test_programs_go_first_where_the_model_writes_them() -> None:
    both = KyvoPipeline(_bundle((*DIRECT, "Q->P")), "cpu")
    assert both.answer(QUESTION, SCENE, image=IMAGE).program is not None
    both.check_asked(image=False, scene=True)
    assert both.answer(QUESTION, SCENE).program is not None


@pytest.mark.parametrize("task", ["I+3+Q->A", "3+I+Q->A"])
def test_without_programs_a_word_is_said_with_its_probability(task: str) -> None:
    pipeline = KyvoPipeline(_bundle(("I->3", task)), "cpu")
    answer = pipeline.answer(QUESTION, SCENE, image=IMAGE)
    assert answer.program is None and answer.text in answer_words(pipeline.schema) and not answer.refusal
    assert (answer.text, answer.confidence) == pipeline.answer_directly(QUESTION, IMAGE, None, SCENE)
    assert 0 < answer.confidence < 1


def test_the_scene_that_is_given_is_what_is_asked_about(direct: KyvoPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is recognised for it, also by a model that could not."""
    monkeypatch.setattr(direct, "_generate", lambda *_: pytest.fail("recognised"))
    confidence = {len(scene): direct.answer(QUESTION, scene, image=IMAGE).confidence for scene in (SCENE, Scene())}
    assert confidence[0] != confidence[1]
    blind = KyvoPipeline(_bundle(DIRECT[1:]), "cpu")
    blind.check_asked(image=True, scene=True)
    assert blind.answer(QUESTION, SCENE, image=IMAGE).confidence == confidence[1]


def test_the_image_reaches_the_model_as_it_does_for_recognition(direct: KyvoPipeline,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """Undistorted, through the lens and with the ground points of its camera and scale."""
    encoded, cells = [], []
    encode, ground = direct._encode, direct._cells
    monkeypatch.setattr(direct, "_encode", lambda images: encoded.append(images) or encode(images))
    monkeypatch.setattr(direct, "_cells", lambda *a: cells.append(ground(*a)) or cells[-1])
    table = CameraView(BENT, PlaneCamera(2.5 * direct.nominal_plane().distance_m / 10, 0.6), 0.1)
    scene = direct.recognize(IMAGE, table, "distance")
    direct.answer(QUESTION, scene, None, direct.metres_per_unit(table.plane, "distance"), IMAGE, table)
    assert np.array_equal(*encoded) and np.array_equal(*cells)
    direct.answer(QUESTION, Scene(), None, None, IMAGE, replace(table, intrinsics=replace(BENT, distortion=())))
    assert not np.array_equal(encoded[1], encoded[2])


def test_a_table_top_is_said_in_the_model_s_units(direct: KyvoPipeline) -> None:
    plane = direct.nominal_plane()
    lens = direct.canonical.assumed_camera(320, 240)
    small = replace(BALL, position_m=BALL.position_m / 10, size_m=np.full(3, 0.14))
    answers = [direct.answer(QUESTION, scene, None, unit_m, IMAGE, CameraView(lens, plane.scaled(unit_m)))
               for scene, unit_m in ((SCENE, 1.0), (Scene((small,)), 0.1))]
    assert answers[0].text == answers[1].text and answers[0].confidence == pytest.approx(answers[1].confidence)


def test_a_published_scene_is_said_in_its_own_world(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, said = KyvoPipeline(_bundle(DIRECT, schema=replace(CLEVR, max_objects=4)), "cpu"), []
    answer = pipeline._answers.answer
    monkeypatch.setattr(pipeline._answers, "answer", lambda question, scene, *rest: said.append(scene) or answer(
        question, scene, *rest))
    pipeline.answer(QUESTION, SCENE, image=IMAGE)
    (scene,) = said
    c, s = np.cos(WORLD_YAW_RAD), np.sin(WORLD_YAW_RAD)
    assert scene.frame_id == WORLD_FRAME
    assert scene.objects[0].position_m == pytest.approx([c * 1.0 - s * 0.5, s * 1.0 + c * 0.5, 0.7])
    pipeline.answer(QUESTION, pipeline.recognize(IMAGE), image=IMAGE)  # what it has seen, it can say


def test_a_question_on_a_scene_alone_is_refused(direct: KyvoPipeline) -> None:
    for ask in (lambda: direct.answer(QUESTION, SCENE), lambda: direct.check_asked(image=False, scene=True)):
        with pytest.raises(NoImageError, match="I\\+3\\+Q->A.*ask about an image, or use a model that writes programs"):
            ask()


def test_models_that_cannot_say_so() -> None:
    drawing = KyvoPipeline(_bundle(("3->I",)), "cpu")
    for ask in (lambda: drawing.answer(QUESTION, SCENE, image=IMAGE), lambda: drawing.check_asked(True, True)):
        with pytest.raises(UntrainedTaskError, match="answers no questions.*Q->P.*I\\+3\\+Q->A or 3\\+I\\+Q->A"):
            ask()
    blind = KyvoPipeline(_bundle(DIRECT[1:]), "cpu")
    with pytest.raises(UntrainedTaskError, match="not trained to recognise.*kyvo ask --scene"):
        blind.check_asked(image=True, scene=False)
    with pytest.raises(UntrainedTaskError, match="I->3, recognising"):
        blind.answer_directly(QUESTION, IMAGE)

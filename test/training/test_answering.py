"""Answering at once: sequences in either order, a closed list of words, a loss that falls, and the pipeline's route."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_model import tiny_bundle

from kyvo_ros.data.examples import ExampleSet
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.direct_answers import MAX_QUESTION_TOKENS, answer_words
from kyvo_ros.model.folder import ModelBundle
from kyvo_ros.model.tasks import UntrainedTaskError
from kyvo_ros.pipeline import KyvoPipeline
from kyvo_ros.scene import PlaneCamera, Scene, SceneObject
from kyvo_ros.tokens import GrammarError
from kyvo_ros.tokens.answer_grammar import AnswerGrammar
from kyvo_ros.tokens.sequences import ANSWER_TASKS
from kyvo_ros.training.answering import AnswerLesson, AnswerSet
from kyvo_ros.training.dense_head import word_values

BALL = SceneObject({"size": "large", "color": "red", "material": "metal", "shape": "sphere"}, [1.0, 0.5, 0.7])
OTHER = SceneObject({"size": "small", "color": "blue", "material": "rubber", "shape": "cube"}, [-1.0, 0.5, 0.25], 0.3)


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    model = tiny_bundle()
    config = replace(model.decoder.config, max_length=160 + MAX_QUESTION_TOKENS)
    torch.manual_seed(1)
    return replace(model, decoder=Decoder(config, model.image_tokenizer.codebook).eval(), tasks=("I->3", "3+I+Q->A"))


@pytest.fixture(scope="module")
def pictures(bundle: ModelBundle) -> SimpleNamespace:
    scenes = [Scene((OTHER, BALL)), Scene(), Scene((BALL,))]
    truth = ExampleSet.from_scenes(np.zeros((3, 0, 0, 3), np.uint8), scenes, [PlaneCamera(11.2, 0.5)] * 3,
                                   word_values(bundle.schema), 4)
    codes = np.random.default_rng(0).integers(0, 1024, (3, 40)).astype(np.int16)
    return SimpleNamespace(codes=codes, cells=np.tile(bundle.canonical.cells(None, (5, 8)), (3, 1, 1)), truth=truth)


def _grammar(bundle: ModelBundle) -> AnswerGrammar:
    return AnswerGrammar(bundle.vocabulary, bundle.text_tokenizer, answer_words(bundle.schema))


def _questions(bundle: ModelBundle, pictures: SimpleNamespace, order: str, count: int = 24) -> AnswerSet:
    return AnswerSet.of(pictures, word_values(bundle.schema), bundle.builder, ANSWER_TASKS[order], count, seed=3)


@pytest.mark.parametrize("order,first", [("image_first", "[IMAGE-START]"), ("scene_first", "[SCENE-START]")])
def test_image_and_scene_stand_in_the_order_of_the_setting(bundle, pictures, order, first) -> None:
    made = _questions(bundle, pictures, order)
    assert len(made) == 24 and set(made.picture.tolist()) <= {0, 2}, "nothing is asked about an empty scene"
    grammar = _grammar(bundle)
    for row in range(len(made)):
        ids = made.sequences(np.array([row]))[0]
        assert ids[1] == bundle.vocabulary.structure_id(first)
        assert ids[-1] == bundle.vocabulary.structure_id("[EOS]")
        assert grammar.decode_answer(ids[-4:-1].tolist()) in answer_words(bundle.schema)
        assert ids[-5] == bundle.vocabulary.structure_id("[OUTPUT-SEP]")


def test_the_loss_falls(bundle, pictures) -> None:
    made = _questions(bundle, pictures, "scene_first", count=8)
    lesson = AnswerLesson(made, pictures, made, pictures, _grammar(bundle), "answers_scene_first")
    torch.manual_seed(0)
    decoder = Decoder(bundle.decoder.config, bundle.image_tokenizer.codebook)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-2)
    losses = []
    for step in range(20):
        loss = lesson.loss(decoder, 4, np.random.default_rng(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])


def test_the_score_is_the_share_of_questions_whose_likeliest_word_is_right(bundle, pictures) -> None:
    made, grammar = _questions(bundle, pictures, "image_first"), _grammar(bundle)
    lesson = AnswerLesson(made, pictures, made, pictures, grammar, "answers_image_first")
    words, right = grammar.allowed(1), 0
    for row in range(len(made)):
        ids = torch.as_tensor(made.sequences(np.array([row])))
        cells = torch.as_tensor(pictures.cells[made.picture[[row]]])
        with torch.no_grad():
            logits = bundle.decoder(ids[:, :-3], cells=cells, prefix_length=ids.shape[1] - 5)[0, -1]
        right += words[int(logits[words].argmax())] == int(ids[0, -3])
    assert lesson.held_out_score(bundle.decoder) == pytest.approx(right / len(made))


def test_saved_questions_come_back(bundle, pictures, tmp_path) -> None:
    made = _questions(bundle, pictures, "image_first")
    made.save(tmp_path / "answers.npz")
    back = AnswerSet.load(tmp_path / "answers.npz")
    assert all(np.array_equal(getattr(back, name), value) for name, value in vars(made).items())


def test_the_pipeline_answers_by_a_word_where_its_model_was_trained_to(bundle) -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 32, 3), dtype=np.uint8)
    word, probability = KyvoPipeline(bundle, "cpu").answer_directly("How many balls are there?", image)
    assert word in answer_words(bundle.schema) and 0 < probability <= 1
    untrained = KyvoPipeline(replace(bundle, tasks=("I->3",)), "cpu")
    with pytest.raises(UntrainedTaskError, match="answering at once"):
        untrained.answer_directly("How many balls are there?", image)


def test_words_of_several_tokens_are_not_learned(bundle, pictures) -> None:
    grammar = AnswerGrammar(bundle.vocabulary, bundle.text_tokenizer, ["yes", "dodecahedron"])
    made = _questions(bundle, pictures, "image_first", count=4)
    with pytest.raises(ValueError, match="must be a single text token"):
        AnswerLesson(made, pictures, made, pictures, grammar, "answers")


def test_tokens_that_are_no_answer_are_refused(bundle) -> None:
    grammar = _grammar(bundle)
    start = bundle.vocabulary.structure_id("[TEXT-START]")
    for ids, message in (([start], "ends with its word"), ([start, start], "cannot come next")):
        with pytest.raises(GrammarError, match=message):
            grammar.decode_answer(ids)

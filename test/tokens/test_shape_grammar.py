"""Codes of shapes in the language: round trips, the mask, lengths, sequences of the tasks that carry them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from kyvo_ros.scene import Scene, SceneError, SceneObject
from kyvo_ros.scene.records import scene_from_dict, scene_to_dict
from kyvo_ros.tokens import (
    CLEVR_SCHEMA, LANGUAGE_WORDS, DimensionsAttribute, GrammarError, LocationAttribute, SceneGrammar, SceneSchema,
    SchemaError, SequenceBuilder, ShapeAttribute, TaskError, TextTokenizer, Vocabulary, WordAttribute, YawAttribute,
    train_text_tokenizer)

CODES = 8192
SCHEMA = SceneSchema(
    "objects", (WordAttribute("category", "[TYPE]", ("mug", "bowl")), LocationAttribute(resting=False),
                YawAttribute(attribute=None, period_rad=2 * math.pi, centered=True), DimensionsAttribute(),
                ShapeAttribute()), extents=None, max_objects=6)


def an_object(x: float, seed: int, codes: int = 512) -> SceneObject:
    rng = np.random.default_rng(seed)
    return SceneObject({"category": "mug"}, [x, 0.5, 0.25], rng.uniform(-3, 3), [0.5, 0.4, 0.5],
                       shape_codes=rng.integers(CODES, size=codes))


SCENE = Scene((an_object(-1.0, 0), an_object(1.0, 1)))


@pytest.fixture(scope="module")
def words() -> TextTokenizer:
    return train_text_tokenizer([], [*SCHEMA.vocabulary_words(), *LANGUAGE_WORDS])


@pytest.fixture(scope="module")
def grammar(words: TextTokenizer) -> SceneGrammar:
    return SceneGrammar(Vocabulary.small(shape_codes=CODES), words, SCHEMA)


def test_scenes_come_back_with_their_shapes(grammar: SceneGrammar) -> None:
    ids = grammar.encode_scene(SCENE)
    again = grammar.decode_scene(ids)
    for item, truth in zip(again.objects, SCENE.objects, strict=True):
        assert np.array_equal(item.shape_codes, truth.shape_codes)
        assert item.position_m == pytest.approx(truth.position_m, abs=0.026)
        assert (item.yaw_rad - truth.yaw_rad + math.pi) % (2 * math.pi) - math.pi == pytest.approx(0, abs=0.026)
    # brackets; an object: brackets, a marker and a word, 1 + 3 numbers, 1 + 1, 1 + 3, 1 + 512 codes
    assert len(ids) == 2 + 2 * (2 + 2 + 4 + 2 + 4 + 513) and grammar.max_length == 2 + 6 * 527


def test_every_place_of_a_shape_allows_every_code_and_nothing_else(grammar: SceneGrammar) -> None:
    ids = grammar.encode_scene(Scene(SCENE.objects[:1]))
    states = grammar.states(ids)
    first = len(ids) - 2 - 512  # before the two closing brackets
    codes = np.array(grammar.vocabulary.range("shape"))
    for state in (states[first], states[first + 255], states[first + 511]):
        assert np.array_equal(grammar.allowed(state), codes)
        with pytest.raises(GrammarError, match="expected one of the 8192 ids"):
            grammar.advance(state, grammar.vocabulary.structure_id("[OBJECT-END]"))
    assert grammar.forced_run(states[first])[0] == []
    assert grammar.forced_run(states[first - 1])[0] == [grammar.vocabulary.structure_id("[SHAPE]")]
    assert sum(grammar.loss_positions(ids)) == 1 + 1 + 3 + 1 + 3 + 512 + 1  # presence, word, numbers, codes, no more


def test_the_layout_is_the_scene_without_its_shapes(grammar: SceneGrammar) -> None:
    layout = grammar.layout
    ids = layout.encode_scene(SCENE)
    codes = set(grammar.vocabulary.range("shape")) | {grammar.vocabulary.structure_id("[SHAPE]")}
    assert ids == [i for i in grammar.encode_scene(SCENE) if i not in codes]
    assert all(item.shape_codes is None for item in layout.decode_scene(ids).objects)
    assert [ids[end] for end in grammar.object_ends(ids)] == 2 * [grammar.vocabulary.structure_id("[OBJECT-END]")]
    assert layout.layout is layout and layout.max_length == 2 + 6 * 14


@pytest.mark.parametrize("item, reason", [
    (replace(SCENE.objects[0], shape_codes=None), "expected 512 codes of the shape of the mug, got none"),
    (an_object(0.0, 0, codes=511), "got 511"), (replace(SCENE.objects[0], size_m=None), "expected the dimensions")])
def test_objects_without_a_whole_shape_are_refused(grammar: SceneGrammar, item: SceneObject, reason: str) -> None:
    with pytest.raises(GrammarError, match=reason):
        grammar.encode_scene(Scene((item,)))


def test_schemas_are_stored_and_checked(words: TextTokenizer) -> None:
    assert SceneSchema.from_dict(SCHEMA.to_dict()) == SCHEMA
    assert CLEVR_SCHEMA.layout() is CLEVR_SCHEMA and SCHEMA.layout().shape is None
    *layout, shape = SCHEMA.attributes
    with pytest.raises(SchemaError, match="as the last attribute"):
        replace(SCHEMA, attributes=(shape, *layout))
    with pytest.raises(SchemaError, match="says nothing of an object's size"):
        replace(SCHEMA, attributes=(*layout[:-1], shape))
    with pytest.raises(SchemaError, match="at least one code"):
        ShapeAttribute(length=0)
    with pytest.raises(SchemaError, match="needs a period_rad"):
        YawAttribute(period_rad=None, centered=True)
    with pytest.raises(GrammarError, match="needs shape codes, of which the vocabulary has none"):
        SceneGrammar(Vocabulary.small(), words, SCHEMA)


def test_yaws_around_zero_cover_the_whole_turn(grammar: SceneGrammar) -> None:
    for yaw in np.linspace(-math.pi, 3 * math.pi, 41):
        item = replace(SCENE.objects[0], yaw_rad=yaw)
        (again,) = grammar.layout.decode_scene(grammar.layout.encode_scene(Scene((item,)))).objects
        assert abs((again.yaw_rad - yaw + math.pi) % (2 * math.pi) - math.pi) < 0.05
    whole = replace(SCHEMA, attributes=tuple(
        replace(a, centered=False) if isinstance(a, YawAttribute) else a for a in SCHEMA.attributes))
    with pytest.raises(GrammarError, match="do not reach a yaw of 6.28"):
        SceneGrammar(grammar.vocabulary, grammar._text_tokenizer, whole)


def test_the_paper_has_room_for_the_shapes() -> None:
    assert len(Vocabulary.paper().range("shape")) == CODES and Vocabulary.paper().size == 137607


def test_tasks_with_and_without_shapes(grammar: SceneGrammar, words: TextTokenizer) -> None:
    builder = SequenceBuilder(grammar.vocabulary, grammar, words, (2, 3))
    image = np.arange(6).reshape(2, 3)
    whole = builder.build("I->S", image_codes=image, scene=SCENE)
    layout = builder.build("I->3", image_codes=image, scene=SCENE)
    assert len(whole) - len(layout) == 2 * 513 and whole.loss_mask.sum() - layout.loss_mask.sum() == 2 * 512
    assert whole.token_ids[whole.prompt_length:-1].tolist() == grammar.encode_scene(SCENE)
    drawing = builder.build("S->I", image_codes=image, scene=SCENE)
    assert drawing.token_ids[1:drawing.prefix_length].tolist() == grammar.encode_scene(SCENE)
    assert drawing.loss_mask.sum() == 6
    flat = SequenceBuilder(grammar.vocabulary, grammar.layout, words, (2, 3))
    with pytest.raises(TaskError, match="S->I needs a schema with shapes"):
        flat.build("S->I", image_codes=image, scene=SCENE)


def test_codes_travel_in_records() -> None:
    again = scene_from_dict(scene_to_dict(SCENE))
    assert np.array_equal(again.objects[1].shape_codes, SCENE.objects[1].shape_codes)
    assert "shape_codes" not in scene_to_dict(Scene((replace(SCENE.objects[0], shape_codes=None),)))["objects"][0]
    with pytest.raises(SceneError, match="must be whole numbers"):
        replace(SCENE.objects[0], shape_codes=[0.5])

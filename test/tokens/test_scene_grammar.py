"""The scene grammar: round trips, the mask, forced tokens, confidences, and bad input."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kyvo_ros.scene import PLANE_FRAME, Scene, SceneObject
from kyvo_ros.tokens import (
    CLEVR_SCHEMA, GrammarError, LocationAttribute, NumberGrid, OutOfRangeError, SceneGrammar, TextTokenizer,
    TextTokenizerError,
    TokenDistribution, Vocabulary, train_text_tokenizer)

STEP = Vocabulary.small().numbers.step
REACH = Vocabulary.small().numbers.maximum


def clevr_object(x: float, y: float, size: str = "large", color: str = "red", material: str = "rubber",
                 shape: str = "sphere", yaw: float | None = None) -> SceneObject:
    attributes = {"size": size, "color": color, "material": material, "shape": shape}
    return SceneObject(attributes, [x, y, CLEVR_SCHEMA.resting_height(attributes)], yaw)


@st.composite
def clevr_objects(draw: st.DrawFn) -> SceneObject:
    x, y = (draw(st.floats(-REACH, REACH)) for _ in range(2))
    words = {a.name: draw(st.sampled_from(a.values)) for a in CLEVR_SCHEMA.words}
    yaw = draw(st.floats(-7.0, 7.0)) if words["shape"] == "cube" else None
    return clevr_object(x, y, **words, yaw=yaw)


clevr_scenes = st.lists(clevr_objects(), max_size=CLEVR_SCHEMA.max_objects).map(Scene)


def circular_distance(a: float, b: float, period: float) -> float:
    return abs((a - b + period / 2) % period - period / 2)


def random_walk(grammar: SceneGrammar, rng: np.random.Generator) -> tuple[list[int], list[TokenDistribution | None]]:
    """Tokens, and made-up distributions, as a generator draws them: forced runs ride along."""
    ids, distributions = [], []
    run, state = grammar.forced_run(grammar.start())
    while True:
        ids += run
        distributions += [None] * len(run)
        if grammar.is_end(state):
            return ids, distributions
        allowed = grammar.allowed(state)
        probabilities = rng.dirichlet(np.ones(len(allowed)))
        ids.append(int(rng.choice(allowed, p=probabilities)))
        distributions.append(TokenDistribution(allowed, probabilities))
        run, state = grammar.forced_run(grammar.advance(state, ids[-1]))


# Round trips.

@settings(deadline=None, max_examples=100)
@given(scene=clevr_scenes)
def test_scenes_survive_within_half_a_step(grammar: SceneGrammar, scene: Scene) -> None:
    decoded = grammar.decode_scene(grammar.encode_scene(scene))
    assert decoded.frame_id == PLANE_FRAME and len(decoded) == len(scene)
    for before, after in zip(sorted(scene.objects, key=lambda o: o.position_m[0]), decoded.objects):
        assert dict(after.attributes) == dict(before.attributes)
        np.testing.assert_allclose(after.position_m, before.position_m, atol=STEP / 2 + 1e-9)
        assert after.position_m[2] == before.position_m[2]
        np.testing.assert_array_equal(after.size_m, CLEVR_SCHEMA.extents_m(before.attributes))
        assert (after.yaw_rad is None) == (before.yaw_rad is None)
        if after.yaw_rad is not None:
            assert 0 <= after.yaw_rad < math.pi / 2
            assert circular_distance(after.yaw_rad, before.yaw_rad, math.pi / 2) <= STEP / 2 + 1e-9


@settings(deadline=None, max_examples=50)
@given(scene=clevr_scenes)
def test_decoded_scenes_encode_to_the_same_tokens(grammar: SceneGrammar, scene: Scene) -> None:
    ids = grammar.encode_scene(scene)
    assert grammar.encode_scene(grammar.decode_scene(ids)) == ids


def test_the_layout_of_a_scene(grammar: SceneGrammar, vocabulary: Vocabulary, text_tokenizer: TextTokenizer) -> None:
    scene = Scene((clevr_object(1.0, 2.0, shape="cube", yaw=0.5), clevr_object(-1.23, 0.0, "small", "cyan", "metal")))
    names = {vocabulary.structure_id(name): name for name in vocabulary.structure}
    said = [names.get(i) or (float(vocabulary.numbers_of(i)) if i in vocabulary.range("numbers")
                             else text_tokenizer.decode([i])) for i in grammar.encode_scene(scene)]
    assert said == [
        "[SCENE-START]",
        "[OBJECT-START]", "[SIZE]", "small", "[COLOR]", "cyan", "[MATERIAL]", "metal", "[SHAPE]", "sphere",
        "[LOCATION]", -1.25, 0.0, 0.35, "[OBJECT-END]",
        "[OBJECT-START]", "[SIZE]", "large", "[COLOR]", "red", "[MATERIAL]", "rubber", "[SHAPE]", "cube",
        "[LOCATION]", 1.0, 2.0, 0.5, "[POSE]", 0.5, "[OBJECT-END]",
        "[SCENE-END]"]


def test_an_empty_scene(grammar: SceneGrammar) -> None:
    ids = grammar.encode_scene(Scene())
    assert len(ids) == 2 and len(grammar.decode_scene(ids)) == 0


@pytest.mark.parametrize("order, expected", [
    ("left_to_right", ["blue", "red", "green"]), ("near_to_far", ["green", "blue", "red"]),
    ("as_given", ["red", "green", "blue"])])
def test_objects_are_written_in_the_order_of_the_schema(
        vocabulary: Vocabulary, text_tokenizer: TextTokenizer, order: str, expected: list[str]) -> None:
    grammar = SceneGrammar(vocabulary, text_tokenizer, replace(CLEVR_SCHEMA, order=order))
    places = {"red": (0, 2), "green": (1, 0), "blue": (-1, 1)}
    scene = Scene(tuple(clevr_object(x, y, color=color) for color, (x, y) in places.items()))
    decoded = grammar.decode_scene(grammar.encode_scene(scene))
    assert [o.attributes["color"] for o in decoded.objects] == expected


def test_units_scale_to_metres(vocabulary: Vocabulary, text_tokenizer: TextTokenizer, grammar: SceneGrammar) -> None:
    table_top = SceneGrammar(vocabulary, text_tokenizer, replace(CLEVR_SCHEMA, metres_per_unit=0.1))
    small = Scene((SceneObject(clevr_object(0, 0).attributes, [0.1, -0.2, 0.07]),))
    ids = table_top.encode_scene(small)
    assert ids == grammar.encode_scene(Scene((clevr_object(1.0, -2.0),)))
    decoded = table_top.decode_scene(ids).objects[0]
    np.testing.assert_allclose(decoded.position_m, [0.1, -0.2, 0.07])
    np.testing.assert_allclose(decoded.size_m, [0.14] * 3)


@pytest.mark.parametrize("yaw, token", [
    (1.57, 0.0), (1.56, 1.55), (-0.01, 0.0), (math.pi / 2 + 0.3, 0.3), (-1.27, 0.3)])
def test_yaws_go_to_the_nearest_token_round_the_circle(
        grammar: SceneGrammar, vocabulary: Vocabulary, yaw: float, token: float) -> None:
    ids = grammar.encode_scene(Scene((clevr_object(0, 0, shape="cube", yaw=yaw),)))
    assert float(vocabulary.numbers_of(ids[-3])) == token


def test_a_schema_without_resting_heights_writes_z(vocabulary: Vocabulary, text_tokenizer: TextTokenizer) -> None:
    attributes = tuple(LocationAttribute(resting=False) if isinstance(a, LocationAttribute) else a
                       for a in CLEVR_SCHEMA.attributes)
    grammar = SceneGrammar(vocabulary, text_tokenizer, replace(CLEVR_SCHEMA, attributes=attributes))
    flying = Scene((SceneObject(clevr_object(0, 0).attributes, [0.0, 0.0, 3.21]),))
    ids = grammar.encode_scene(flying)
    assert grammar.decode_scene(ids).objects[0].position_m[2] == 3.2
    assert sum(grammar.loss_positions(ids)) == 1 + 4 + 3 + 1


# What may be written.

def test_what_does_not_fit_is_rejected(grammar: SceneGrammar) -> None:
    good = clevr_object(0, 0, shape="cube", yaw=0.1)
    for objects, message in (
            ([replace(good, attributes={**good.attributes, "color": "pink"})], "color to be one of .* got 'pink'"),
            ([replace(good, attributes={"size": "large"})], "color to be one of .* got None"),
            ([replace(good, yaw_rad=None)], "expected a yaw for the large red rubber cube"),
            ([replace(good, position_m=[0, 0, 1.0])], "stand on the support plane.* height of 0.495 units, got 1.000"),
            ([good] * 11, "at most 10 objects, got 11")):
        with pytest.raises(GrammarError, match=message):
            grammar.encode_scene(Scene(objects))
    with pytest.raises(GrammarError, match="expected a scene in frame support_plane, got map"):
        grammar.encode_scene(Scene((good,), frame_id="map"))


def test_an_object_of_a_measured_height_stands_on_the_plane(grammar: SceneGrammar) -> None:
    tall = replace(clevr_object(0, 0), size_m=(1.4, 1.4, 1.54), position_m=[0, 0, 0.77])
    assert grammar.encode_scene(Scene([tall])) == grammar.encode_scene(Scene([clevr_object(0, 0)]))
    with pytest.raises(GrammarError, match="stand on the support plane"):
        grammar.encode_scene(Scene([replace(tall, position_m=[0, 0, 1.5])]))


def test_coordinates_off_the_grid_are_an_error_or_clamp(grammar: SceneGrammar) -> None:
    scene = Scene((clevr_object(REACH + 1, 0.0),))
    with pytest.raises(OutOfRangeError):
        grammar.encode_scene(scene)
    decoded = grammar.decode_scene(grammar.encode_scene(scene, out_of_range="clamp"))
    assert decoded.objects[0].position_m[0] == REACH


def test_a_language_that_does_not_fit_the_vocabulary_is_rejected(
        vocabulary: Vocabulary, text_tokenizer: TextTokenizer) -> None:
    with pytest.raises(GrammarError, match="text tokenizer has"):
        SceneGrammar(replace(vocabulary, text_size=100), text_tokenizer, CLEVR_SCHEMA)
    with pytest.raises(GrammarError, match="do not reach a yaw"):
        SceneGrammar(replace(vocabulary, numbers=NumberGrid(-1.0, 1.0, 0.05)), text_tokenizer, CLEVR_SCHEMA)


# The mask.

@settings(deadline=None, max_examples=50)
@given(scene=clevr_scenes)
def test_every_prefix_of_a_scene_allows_its_next_token(grammar: SceneGrammar, scene: Scene) -> None:
    ids = grammar.encode_scene(scene)
    states = grammar.states(ids)
    for state, token_id in zip(states, ids):
        assert token_id in grammar.allowed(state) and not grammar.is_end(state)
    assert grammar.is_end(states[-1]) and len(grammar.allowed(states[-1])) == 0


@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 2**32 - 1))
def test_random_walks_end_in_scenes_that_parse(grammar: SceneGrammar, seed: int) -> None:
    ids, distributions = random_walk(grammar, np.random.default_rng(seed))
    assert len(ids) <= grammar.max_length
    scene = grammar.decode_scene(ids, distributions)
    assert len(scene) <= grammar.schema.max_objects
    again = grammar.decode_scene(grammar.encode_scene(grammar.decode_scene(ids)))
    assert sorted(o.label for o in again.objects) == sorted(o.label for o in scene.objects)


def test_every_state_leads_to_the_end(grammar: SceneGrammar) -> None:
    """All reachable states, not only those that a walk happens on, allow a token or are the end."""
    waiting, seen = [grammar.start()], set()
    while waiting:
        state = waiting.pop()
        if state not in seen:
            seen.add(state)
            assert grammar.is_end(state) != bool(len(grammar.allowed(state)))
            waiting += {grammar.advance(state, int(i)) for i in grammar.allowed(state)}
    assert {grammar.node(state) for state in seen} == set(range(grammar.node_count))


def test_a_full_scene_can_only_end(vocabulary: Vocabulary, text_tokenizer: TextTokenizer) -> None:
    grammar = SceneGrammar(vocabulary, text_tokenizer, replace(CLEVR_SCHEMA, max_objects=2))
    ids = grammar.encode_scene(Scene((clevr_object(0, 0), clevr_object(1, 1))))
    assert grammar.allowed(grammar.states(ids[:-1])[-1]).tolist() == [vocabulary.structure_id("[SCENE-END]")]
    assert not grammar.loss_positions(ids)[-1]


def test_the_longest_scene_is_one_of_cubes(grammar: SceneGrammar) -> None:
    cubes = Scene(tuple(clevr_object(0, 0, shape="cube", yaw=0.0) for _ in range(10)))
    assert len(grammar.encode_scene(cubes)) == grammar.max_length


def test_loss_lies_where_there_is_a_choice(grammar: SceneGrammar) -> None:
    ids = grammar.encode_scene(Scene((clevr_object(0, 0, shape="cube", yaw=0.3), clevr_object(1, 1))))
    worth = grammar.loss_positions(ids)
    # presence, four words, x, y and the yaw of the cube; the same without yaw; the end of the scene
    assert sum(worth) == 8 + 7 + 1
    assert worth == [len(grammar.allowed(state)) > 1 for state in grammar.states(ids)[:-1]]


@settings(deadline=None, max_examples=30)
@given(scene=clevr_scenes)
def test_forced_runs_are_what_single_steps_give(grammar: SceneGrammar, scene: Scene) -> None:
    ids = grammar.encode_scene(scene)
    states = grammar.states(ids)
    for index, state in enumerate(states):
        run, behind = grammar.forced_run(state)
        assert run == ids[index:index + len(run)] and behind == states[index + len(run)]
        assert len(grammar.allowed(behind)) != 1


def test_callers_cannot_spoil_the_caches(grammar: SceneGrammar) -> None:
    run, _ = grammar.forced_run(grammar.start())
    run.append(0)
    assert grammar.forced_run(grammar.start())[0] == run[:-1]
    with pytest.raises(ValueError, match="read-only"):
        grammar.allowed(grammar.start())[0] = 0


# Tokens that are not a scene.

@pytest.mark.parametrize("spoil, message", [
    (lambda ids: [5, *ids[1:]], r"token 0 of 16: expected one of ids \[\d+\], got 5"),
    (lambda ids: [*ids[:3], ids[5], *ids[4:]], "token 3 of 16: expected one of ids"),
    (lambda ids: [*ids[:11], 0, *ids[12:]], r"token 11 of 16: expected one of the 201 ids \d+ \.\. \d+, got 0"),
    (lambda ids: ids[:-1], "not complete after 15 tokens"),
    (lambda ids: [], "not complete after 0 tokens"),
    (lambda ids: [*ids, ids[0]], r"token 16 of 17: expected one of ids \[\]"),
])
def test_bad_tokens_are_named(grammar: SceneGrammar, spoil: Callable[[list[int]], list[int]], message: str) -> None:
    ids = grammar.encode_scene(Scene((clevr_object(0, 0),)))
    with pytest.raises(GrammarError, match=message):
        grammar.decode_scene(spoil(ids))


def test_a_distribution_a_token_is_needed(grammar: SceneGrammar) -> None:
    with pytest.raises(GrammarError, match="a distribution a token, got 1 for 2"):
        grammar.decode_scene(grammar.encode_scene(Scene()), [None])


# Confidence.

def sure_but(grammar: SceneGrammar, ids: list[int], doubts: dict[int, dict[int, float]]) -> list:
    """Distributions that are certain of `ids`, except for `doubts`: {position: {token: probability}}."""
    distributions = []
    for position, state in enumerate(grammar.states(ids)[:-1]):
        allowed = grammar.allowed(state)
        weights = doubts.get(position, {ids[position]: 1.0})
        probabilities = np.array([weights.get(int(i), 0.0) for i in allowed])
        distributions.append(TokenDistribution(allowed, probabilities) if len(allowed) > 1 else None)
    return distributions


def test_confidence_by_a_hand_worked_example(
        grammar: SceneGrammar, vocabulary: Vocabulary, text_tokenizer: TextTokenizer) -> None:
    ids = grammar.encode_scene(Scene((clevr_object(1.0, 0.0),)))
    start, end = (vocabulary.structure_id(name) for name in ("[OBJECT-START]", "[SCENE-END]"))
    red, blue = map(text_tokenizer.word_id, ("red", "blue"))
    zero, one, one_05, three = vocabulary.number_ids([0.0, 1.0, 1.05, 3.0]).tolist()
    distributions = sure_but(grammar, ids, {
        1: {start: 0.9, end: 0.1}, 5: {red: 0.8, blue: 0.2},
        11: {one: 0.45, one_05: 0.45, three: 0.1}, 12: {zero: 0.7, three: 0.3}})
    decoded = grammar.decode_scene(ids, distributions).objects[0]
    assert decoded.confidence == pytest.approx(0.9 * 0.8 * 0.9 * 0.7)
    assert dict(decoded.attribute_confidence) == pytest.approx(
        {"size": 1.0, "color": 0.8, "material": 1.0, "shape": 1.0})
    np.testing.assert_allclose(decoded.position_m, [1.025, 0.0, 0.7])
    rounding = STEP ** 2 / 12
    np.testing.assert_allclose(
        decoded.position_covariance_m2, np.diag([0.025 ** 2 + rounding, rounding, rounding]), atol=1e-12)
    on_grid = grammar.decode_scene(ids, distributions, sub_grid=False).objects[0]
    assert on_grid.position_m[0] == 1.0 and on_grid.confidence == decoded.confidence


def test_covariance_is_in_square_metres(vocabulary: Vocabulary, text_tokenizer: TextTokenizer) -> None:
    grammar = SceneGrammar(vocabulary, text_tokenizer, replace(CLEVR_SCHEMA, metres_per_unit=0.1))
    ids = grammar.encode_scene(Scene((SceneObject(clevr_object(0, 0).attributes, [0.1, 0.0, 0.07]),)))
    decoded = grammar.decode_scene(ids, sure_but(grammar, ids, {})).objects[0]
    np.testing.assert_allclose(decoded.position_covariance_m2, np.eye(3) * (STEP * 0.1) ** 2 / 12)


def test_yaw_is_a_circular_mean(grammar: SceneGrammar, vocabulary: Vocabulary) -> None:
    ids = grammar.encode_scene(Scene((clevr_object(0, 0, shape="cube", yaw=0.0),)))
    first, last = vocabulary.number_ids([0.0, 1.55]).tolist()
    decoded = grammar.decode_scene(ids, sure_but(grammar, ids, {len(ids) - 3: {first: 0.6, last: 0.4}})).objects[0]
    assert decoded.yaw_rad == pytest.approx(math.pi / 2 - 0.4 * (math.pi / 2 - 1.55))


def test_without_distributions_nothing_is_claimed(grammar: SceneGrammar) -> None:
    decoded = grammar.decode_scene(grammar.encode_scene(Scene((clevr_object(0, 0),)))).objects[0]
    assert decoded.confidence == 1.0 and not decoded.attribute_confidence and decoded.position_covariance_m2 is None


def test_words_must_be_single_tokens(vocabulary: Vocabulary) -> None:
    with pytest.raises(TextTokenizerError, match="single text token"):
        SceneGrammar(vocabulary, train_text_tokenizer([], ["large"]), CLEVR_SCHEMA)

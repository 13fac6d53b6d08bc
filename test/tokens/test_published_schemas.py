"""The published schemas: what they write reads as the published text, and decodes to the same scene."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kyvo_ros.scene import PLANE_FRAME, Scene, SceneObject
from kyvo_ros.tokens import (
    CLEVR_SCHEMA, GrammarError, OutOfRangeError, SceneGrammar, SceneSchema, SchemaError, TokenDistribution, Vocabulary,
    YawAttribute, train_text_tokenizer)
from kyvo_ros.tokens import published_schemas as schemas
from kyvo_ros.tokens.published_text import parse_scene_text

NAMES = ("barrel", "vase", "book", "cup")
TOKENIZER = train_text_tokenizer([], [*CLEVR_SCHEMA.vocabulary_words(), *NAMES])
GRAMMARS = {
    "CLEVR": SceneGrammar(Vocabulary.published_clevr(), TOKENIZER, schemas.CLEVR),
    "ObjaWorld": SceneGrammar(Vocabulary.published_clevr(), TOKENIZER, schemas.objaworld(("barrel", "vase"))),
    "Objectron": SceneGrammar(Vocabulary.published_objectron(), TOKENIZER, schemas.objectron(("book", "cup"))),
}
DECIMALS = {"CLEVR": 3, "ObjaWorld": 3, "Objectron": 2}


@st.composite
def scenes(draw: st.DrawFn) -> tuple[str, Scene]:
    """A data set, and a scene of numbers on its grid."""
    dataset = draw(st.sampled_from(sorted(GRAMMARS)))
    grammar, objects = GRAMMARS[dataset], []
    number = st.sampled_from(grammar.vocabulary.numbers.values().tolist())
    for _ in range(draw(st.integers(0, 3))):
        words = {a.name: draw(st.sampled_from(a.values)) for a in grammar.schema.words}
        position = [draw(number) for _ in "xyz"]
        size = [abs(draw(number)) for _ in "xyz"] if dataset == "Objectron" else None
        if dataset == "Objectron":
            position[2] = abs(position[2])
        objects.append(SceneObject(words, position, draw(number) if dataset == "ObjaWorld" else None, size))
    return dataset, Scene(tuple(objects), grammar.schema.frame_id)


def text_of(dataset: str, ids: list[int]) -> str:
    """As the published tokenizer decodes."""
    vocabulary = GRAMMARS[dataset].vocabulary
    names = dict(zip(vocabulary.range("structure"), vocabulary.structure))
    return "".join(
        names[i] if i in names else f"{vocabulary.numbers_of(i):.{DECIMALS[dataset]}f}"
        if i in vocabulary.range("numbers") else f" {TOKENIZER.decode([i])}" for i in ids)


@settings(deadline=None, max_examples=40)
@given(scenes())
def test_scenes_survive_and_read_as_the_published_text(drawn: tuple[str, Scene]) -> None:
    dataset, scene = drawn
    ids = GRAMMARS[dataset].encode_scene(scene)
    decoded = GRAMMARS[dataset].decode_scene(ids)
    parsed = parse_scene_text(text_of(dataset, ids), dataset)
    assert parsed.defects == () and len(parsed.objects) == len(scene) == len(decoded)
    for said, original, read in zip(parsed.objects, scene.objects, decoded.objects):
        assert dict(read.attributes) == dict(original.attributes)
        np.testing.assert_allclose(read.position_m, original.position_m, atol=1e-9)
        numbers = [*original.position_m]
        if dataset == "ObjaWorld":
            assert read.yaw_rad == original.yaw_rad and read.size_m is None
            numbers.append(original.yaw_rad)
        if dataset == "Objectron":
            np.testing.assert_allclose(read.size_m, original.size_m, atol=1e-9)
            assert said["dimensions"] == pytest.approx(original.size_m.tolist())
        assert said["center_cam" if dataset == "Objectron" else "3d_coords"] == pytest.approx(numbers)


@pytest.mark.parametrize("dataset", GRAMMARS)
def test_schemas_survive_json(dataset: str) -> None:
    schema = GRAMMARS[dataset].schema
    assert SceneSchema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


def test_what_is_off_the_grid_or_missing_is_named() -> None:
    def encode(dataset: str, *parts) -> list[int]:
        grammar = GRAMMARS[dataset]
        return grammar.encode_scene(Scene((SceneObject(*parts),), grammar.schema.frame_id))

    with pytest.raises(GrammarError, match="expected the dimensions of the book, got None"):
        encode("Objectron", {"category": "book"}, [0.0, 0.0, 1.0])
    with pytest.raises(GrammarError, match="expected a yaw for the vase, got None"):
        encode("ObjaWorld", {"shape": "vase"}, [0.0, 0.0, 1.0])
    with pytest.raises(OutOfRangeError, match="from -3.0 to 3.0, got 3.1"):
        encode("ObjaWorld", {"shape": "vase"}, [0.0, 0.0, 1.0], 3.1)
    with pytest.raises(OutOfRangeError, match="from -0.2 to 17.5, got 30.0"):
        encode("Objectron", {"category": "book"}, [0.0, 0.0, 30.0], None, [0.1, 0.1, 0.1])
    with pytest.raises(GrammarError, match=f"expected a scene in frame camera_optical, got {PLANE_FRAME}"):
        GRAMMARS["Objectron"].encode_scene(Scene())


def test_depths_and_dimensions_are_never_negative() -> None:
    grammar = GRAMMARS["Objectron"]
    ids = grammar.encode_scene(Scene((SceneObject({"category": "cup"}, [0.0, 0.0, 1.0], None, [0.1, 0.2, 0.3]),),
                                     schemas.CAMERA_FRAME))
    at = {grammar.vocabulary.structure_id(name): name for name in ("[CENTER_CAM]", "[DIMENSIONS]")}
    lowest, states = {}, grammar.states(ids)
    for index, token in enumerate(ids):
        if token in at:
            first = [grammar.allowed(state)[0] for state in states[index + 1:index + 4]]
            lowest[at[token]] = grammar.vocabulary.numbers_of(first).tolist()
    assert lowest == {"[CENTER_CAM]": [-0.2, -0.2, 0.0], "[DIMENSIONS]": [0.0, 0.0, 0.0]}


def test_uncertainty_grows_with_the_steps_of_the_numbers() -> None:
    """Far away the numbers are 2.5 m apart, near by 0.01 m."""
    grammar = GRAMMARS["Objectron"]
    scene = Scene((SceneObject({"category": "cup"}, [0.0, 0.5, 10.0], None, [0.1, 0.2, 0.3]),), schemas.CAMERA_FRAME)
    ids = grammar.encode_scene(scene)
    sure = [TokenDistribution(np.array([i]), np.array([1.0])) for i in ids]
    covariance = grammar.decode_scene(ids, sure).objects[0].position_covariance_m2
    np.testing.assert_allclose(np.sqrt(12 * np.diag(covariance)), [0.01, 0.05, 2.5])


@pytest.mark.parametrize(("change", "message"), [
    ({"extents": None}, r"\[LOCATION\] of objects that rest follows from extents, which are missing"),
    ({"attributes": (*CLEVR_SCHEMA.attributes, schemas.DimensionsAttribute())},
     r"from a table or from \[DIMENSIONS\], not from both"),
])
def test_contradictions_are_rejected(change: dict, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        replace(CLEVR_SCHEMA, **change)


def test_a_yaw_of_any_number_has_no_period() -> None:
    assert YawAttribute(period_rad=None).period_rad is None
    with pytest.raises(SchemaError, match="period"):
        YawAttribute(period_rad=7.0)

"""The published scene text: all reference cases, agreement on well-formed text, and the defects of broken text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from kyvo_ros.tokens.published_text import TEXT_LAYOUTS, UnknownDatasetError, parse_scene_text, published_objects

CASES = json.loads((Path(__file__).parents[1] / "reference" / "scene_parsing.json").read_text())["cases"]
OBJECT = "[OBJECT-START][SIZE] large[COLOR] cyan[MATERIAL] metal[SHAPE] cube[LOCATION]-0.5500.0500.700[OBJECT-END]"
BOOK = "[OBJECT-START][CATEGORY] book[CENTER_CAM]-0.050.020.50[DIMENSIONS]0.050.200.30[OBJECT-END]"


def scene(*objects: str) -> str:
    return f"[SCENE-START]{''.join(objects)}[SCENE-END]"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['dataset_name']}-{case['name']}")
def test_the_published_reading_of_every_reference_case(case: dict) -> None:
    assert published_objects(case["text"], case["dataset_name"]) == case["official_objects"]


def test_a_reference_case_without_defects_reads_the_same_strictly() -> None:
    assert len(CASES) == 32
    parsed = [(parse_scene_text(c["text"], c["dataset_name"]), c) for c in CASES if c["dataset_name"] in TEXT_LAYOUTS]
    valid = {c["name"]: list(p.objects) == c["official_objects"] for p, c in parsed if not p.defects}
    assert valid == dict.fromkeys(("two_objects", "empty_scene", "one"), True)


@st.composite
def written_scenes(draw: st.DrawFn) -> tuple[str, str, list[dict]]:
    """Data set, text, and the objects in it."""
    dataset = draw(st.sampled_from(sorted(TEXT_LAYOUTS)))
    layout, objects, texts = TEXT_LAYOUTS[dataset], [], []
    values = st.sampled_from([float(value) for value in layout.grid.values()])
    for _ in range(draw(st.integers(0, 3))):
        words = {name: draw(st.sampled_from(layout.known_words.get(name, ("barrel", "cup_2"))))
                 for name in layout.words}
        numbers = {name: [draw(values) for _ in range(count)] for name, (_, count) in layout.numbers.items()}
        if not layout.anywhere:
            numbers = {name: [*row[:-1], abs(row[-1])] for name, row in numbers.items()}
        said = [f"{marker} {words[name]}" for name, marker in layout.words.items()]
        said += [marker + "".join(f"{value:.{layout.decimals}f}" for value in numbers[name])
                 for name, (marker, _) in layout.numbers.items()]
        objects.append({**words, **numbers})
        texts.append("".join(["[OBJECT-START]", *said, "[OBJECT-END]"]))
    return dataset, scene(*texts) + draw(st.sampled_from(["", "<|end_of_text|>"])), objects


@settings(deadline=None, max_examples=60)
@given(written_scenes())
def test_both_readings_agree_on_every_well_formed_scene(written: tuple[str, str, list[dict]]) -> None:
    dataset, text, objects = written
    parsed = parse_scene_text(text, dataset)
    assert parsed.defects == () and list(parsed.objects) == objects == published_objects(text, dataset)


@pytest.mark.parametrize(("text", "defects"), [
    ("hello", ["[SCENE-START] is missing", "[SCENE-END] is missing", "text outside of objects: 'hello'"]),
    ("so " + scene() + "!", ["text before [SCENE-START]: 'so '", "text behind [SCENE-END]: '!'"]),
    (scene("[OBJECT-END]"), ["text outside of objects: '[OBJECT-END]'"]),
    (scene(OBJECT.replace("[OBJECT-END]", "")), ["object 0: [OBJECT-END] is missing"]),
    (scene("[OBJECT-START]"), ["object 0: [OBJECT-END] is missing", *(
        f"object 0: {marker} is missing" for marker in ("[SIZE]", "[COLOR]", "[MATERIAL]", "[SHAPE]", "[LOCATION]"))]),
    (scene(OBJECT.replace("[COLOR] cyan", "[COLOR] cyan[COLOR] red")), ["object 0: [COLOR] comes 2 times"]),
    (scene(OBJECT.replace("[COLOR] cyan", "[CATEGORY] book")),
     ["object 0: [COLOR] is missing", "object 0: [CATEGORY] does not belong here"]),
    (scene(OBJECT.replace("[SIZE] large[COLOR] cyan", "[COLOR] cyan[SIZE] large")),
     ["object 0: markers come in the order"]),
    (scene(OBJECT.replace(" cyan", "cyan")), ["object 0: expected one word after one space behind [COLOR], got 'c"]),
    (scene(OBJECT.replace(" cyan", "  cyan")), ["object 0: expected one word"]),
    (scene(OBJECT.replace(" metal", " shiny metal")), ["object 0: expected one word"]),
    (scene(OBJECT.replace("cyan", "zebra")), ["object 0: 'zebra' is no color of ('gray',"]),
    (scene(OBJECT.replace("0.700", "")), ["object 0: expected 3 numbers with 3 decimals and nothing else"]),
    (scene(OBJECT.replace("0.700", "0.7001.000")), ["object 0: expected 3 numbers"]),
    (scene(OBJECT.replace("0.700", "0.70")), ["object 0: expected 3 numbers"]),
    (scene(OBJECT.replace("0.700", " 0.700")), ["object 0: expected 3 numbers"]),
    (scene(OBJECT.replace("0.700", "0.701")), ["object 0: 0.701 is no number of the grid behind [LOCATION]"]),
    (scene(OBJECT.replace("-0.550", "-12.550")), ["object 0: -12.55 is no number of the grid"]),
    (scene(OBJECT.replace("[SIZE]", "x[SIZE]")), ["object 0: text before the first marker: 'x'"]),
])
def test_defects_are_listed(text: str, defects: list[str]) -> None:
    parsed = parse_scene_text(text, "CLEVR")
    assert len(parsed.defects) == len(defects), parsed.defects
    for found, expected in zip(parsed.defects, defects):
        assert found.startswith(expected)
    assert parsed.objects == ()


def test_a_defect_costs_its_object_alone() -> None:
    parsed = parse_scene_text(scene(OBJECT, OBJECT.replace("cyan", "zebra"), OBJECT), "CLEVR")
    assert len(parsed.objects) == 2 and parsed.defects[0].startswith("object 1: 'zebra'")


@pytest.mark.parametrize(("change", "defect"), [
    (("0.50", "-0.50"), "object 0: expected 3 numbers with 2 decimals and nothing else behind [CENTER_CAM]"),
    (("0.20", "0.21"), "object 0: 0.21 is no number of the grid behind [DIMENSIONS]"),
    ((" book", " cereal box"), "object 0: expected one word after one space behind [CATEGORY]"),
])
def test_defects_of_objectron(change: tuple[str, str], defect: str) -> None:
    assert parse_scene_text(scene(BOOK), "Objectron").defects == ()
    parsed = parse_scene_text(scene(BOOK.replace(*change)), "Objectron")
    assert len(parsed.defects) == 1 and parsed.defects[0].startswith(defect)


def test_another_data_set_is_named() -> None:
    with pytest.raises(UnknownDatasetError, match="one of .*'Objectron'.*got 'Omni3D-Objectron'"):
        parse_scene_text(scene(), "Omni3D-Objectron")

"""The id space: ranges tile it, presets have the right sizes, pairs are inverse, foreign ids are rejected."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from kyvo_ros.tokens import MODALITIES, NumberGrid, Vocabulary, VocabularyError

PRESETS = {"paper": Vocabulary.paper(), "published_clevr": Vocabulary.published_clevr(), "small": Vocabulary.small()}


@pytest.mark.parametrize("name, size", [("paper", 137607), ("published_clevr", 130495), ("small", 2313)])
def test_presets_have_their_sizes(name: str, size: int) -> None:
    assert PRESETS[name].size == size


@pytest.mark.parametrize("vocabulary", PRESETS.values(), ids=PRESETS)
def test_ranges_tile_the_ids_in_order(vocabulary: Vocabulary) -> None:
    ranges = [vocabulary.range(modality) for modality in MODALITIES]
    assert [i for r in ranges for i in (r.start, r.stop)] == [0, *np.repeat([r.stop for r in ranges], 2)[:-1]]
    assert ranges[-1].stop == vocabulary.size
    modality_of = vocabulary.modality_of(np.arange(vocabulary.size))
    for modality, ids in zip(MODALITIES, ranges):
        assert (modality_of[ids.start:ids.stop] == modality).all() and (modality_of == modality).sum() == len(ids)


@pytest.mark.parametrize("vocabulary", PRESETS.values(), ids=PRESETS)
def test_pairs_are_inverse(vocabulary: Vocabulary) -> None:
    for to_ids, of_ids, modality in (
            (vocabulary.image_ids, vocabulary.image_codes_of, "image"),
            (vocabulary.shape_ids, vocabulary.shape_codes_of, "shape")):
        codes = np.arange(len(vocabulary.range(modality)))
        assert to_ids(codes).tolist() == list(vocabulary.range(modality))
        np.testing.assert_array_equal(of_ids(to_ids(codes)), codes)
    values = vocabulary.numbers.values()
    assert vocabulary.number_ids(values).tolist() == list(vocabulary.range("numbers"))
    np.testing.assert_array_equal(vocabulary.numbers_of(vocabulary.number_ids(values)), values)


@pytest.mark.parametrize("vocabulary", PRESETS.values(), ids=PRESETS)
def test_dictionary_round_trip_through_json(vocabulary: Vocabulary) -> None:
    assert Vocabulary.from_dict(json.loads(json.dumps(vocabulary.to_dict()))) == vocabulary


def test_small_preset_reserves_tokens_for_later_tasks() -> None:
    small = PRESETS["small"]
    structure = small.range("structure")
    assert len(structure) == 64 and small.structure[29] == "[RESERVED-29]" and small.structure[-1] == "[RESERVED-63]"
    for name in ("[POSE]", "[CAMERA]", "[PROGRAM-START]", "[PROGRAM-END]", "[SHAPE-START]", "[SHAPE-END]"):
        assert small.structure_id(name) in structure


def test_shape_codes_grow_without_renumbering() -> None:
    small = PRESETS["small"]
    grown = replace(small, shape_codes=512)
    assert grown.size == small.size + 512
    assert [grown.range(m) for m in MODALITIES[:-1]] == [small.range(m) for m in MODALITIES[:-1]]


def test_llama_keeps_its_ends_of_text_among_the_text_ids() -> None:
    paper = PRESETS["paper"]
    assert (paper.structure_id("[BOS]"), paper.structure_id("[EOS]")) == (128000, 128001)
    assert str(paper.modality_of(128000)) == "text"


def test_what_does_not_belong_is_rejected() -> None:
    small = PRESETS["small"]
    for call, message in (
            (lambda: small.structure_id("[SCENE]"), r"no structure token '\[SCENE\]'"),
            (lambda: small.range("images"), "expected a modality of"),
            (lambda: small.image_ids([0, 1024]), "image codes from 0 to 1023"),
            (lambda: small.image_ids([-1]), "image codes from 0 to 1023"),
            (lambda: small.image_codes_of([0]), "expected image ids from"),
            (lambda: small.shape_ids([0]), "shape codes"),
            (lambda: small.numbers_of(small.structure_id("[PAD]")), "expected numbers ids from"),
            (lambda: small.modality_of([small.size]), "expected ids from 0"),
            (lambda: replace(small, structure=("[A]", "[A]")), "unique"),
            (lambda: replace(small, image_codes=-1), "negative"),
            (lambda: Vocabulary(8, NumberGrid(0, 1, 1), (), 0, 0, (("[BOS]", 8),)), "text_names must point")):
        with pytest.raises(VocabularyError, match=message):
            call()

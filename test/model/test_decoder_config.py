"""The decoder's configuration: round trip and refusals."""

from __future__ import annotations

import json

import pytest

from kyvo_ros.model.config import DecoderConfig, ScaledRope
from kyvo_ros.tokens import Vocabulary

SIZES = {"dim": 64, "layers": 2, "heads": 4, "kv_heads": 2, "ffn_dim": 96, "max_length": 50, "code_dim": 8,
         "image_grid": (2, 3)}


def test_round_trip_through_json() -> None:
    config = DecoderConfig(Vocabulary.small(), **SIZES, ground_positions=False)
    assert DecoderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.head_dim == 16 and config.cells == 6


def test_scaled_rope_and_the_fields_of_published_models_survive_json() -> None:
    config = DecoderConfig(
        Vocabulary.published_objectron(), **SIZES, rope_theta=ScaledRope(factor=8.0), ground_positions=False,
        number_head=False, number_embedding="learned", published_embedding=True, numbers_overhang=1,
        unknown_ids_are_zero=True)
    assert DecoderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("change", [{"theta": 0.0}, {"factor": 0.5}, {"original_length": 0}, {"low_freq_factor": 0.0},
                                    {"low_freq_factor": 4.0}])
def test_bad_scaling_of_rope_is_named(change: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        ScaledRope(**change)


@pytest.mark.parametrize(("change", "message"), [
    ({"dim": 0}, "dim must be positive, got 0"),
    ({"layers": -1}, "layers must be positive, got -1"),
    ({"heads": 5}, "dim 64 is not a multiple of heads 5"),
    ({"kv_heads": 3}, "heads 4 is not a multiple of kv_heads 3"),
    ({"heads": 64, "kv_heads": 64}, "multiple of 4 and of 2"),
    ({"image_grid": (3,)}, r"image_grid must be two positive numbers .* got \(3,\)"),
    ({"image_grid": (0, 3)}, "image_grid"),
    ({"rope_theta": 0.0}, "rope_theta"),
    ({"norm_eps": -1.0}, "norm_eps"),
    ({"number_embedding": "none"}, r"number_embedding must be one of .*, got 'none'"),
    ({"image_order": "random"}, "expected an order of image tokens of .*, got 'random'"),
    ({"published_embedding": True}, "published_embedding knows neither ground_positions nor number_head"),
    ({"numbers_overhang": 1}, "numbers_overhang must be 0, .*got 1"),
])
def test_bad_sizes_are_named(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DecoderConfig(Vocabulary.small(), **{**SIZES, **change})

"""The decoder's configuration: round trip and refusals."""

from __future__ import annotations

import json

import pytest

from kyvo_ros.model.config import DecoderConfig
from kyvo_ros.tokens import Vocabulary

SIZES = {"dim": 64, "layers": 2, "heads": 4, "kv_heads": 2, "ffn_dim": 96, "max_length": 50, "code_dim": 8,
         "image_grid": (2, 3)}


def test_round_trip_through_json() -> None:
    config = DecoderConfig(Vocabulary.small(), **SIZES, ground_positions=False)
    assert DecoderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.head_dim == 16 and config.cells == 6


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
])
def test_bad_sizes_are_named(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DecoderConfig(Vocabulary.small(), **{**SIZES, **change})

"""A tiny decoder with random weights, large enough for every token to matter, and the language that it writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from kyvo_ros.model.config import DecoderConfig
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.generation import generate
from kyvo_ros.tokens import (
    CLEVR_SCHEMA, LANGUAGE_WORDS, SceneGrammar, SequenceBuilder, TextTokenizer, Vocabulary, train_text_tokenizer)

GRID = (2, 3)


def random_decoder(seed: int = 0, spread: float = 15.0, **sizes) -> Decoder:
    """Weights `spread` times larger than at the start of training, so that attention and gains are far from uniform."""
    torch.manual_seed(seed)
    sizes = {"dim": 32, "layers": 3, "heads": 4, "kv_heads": 2, "ffn_dim": 48, "max_length": 128, "code_dim": 8,
             "image_grid": GRID, **sizes}
    config = DecoderConfig(Vocabulary.small(), **sizes)
    decoder = Decoder(config, torch.randn(len(config.vocabulary.range("image")), config.code_dim)).eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            if parameter.ndim > 1:
                parameter.mul_(spread).add_(torch.randn_like(parameter), alpha=0.05)
            else:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return decoder


@pytest.fixture(scope="session")
def make_decoder() -> Callable[..., Decoder]:
    """`make_decoder(**sizes)`: a random decoder of other sizes."""
    return random_decoder


@pytest.fixture(scope="session")
def text_tokenizer() -> TextTokenizer:
    return train_text_tokenizer([], [*CLEVR_SCHEMA.vocabulary_words(), *LANGUAGE_WORDS])


@pytest.fixture(scope="session")
def grammar(text_tokenizer: TextTokenizer) -> SceneGrammar:
    return SceneGrammar(Vocabulary.small(), text_tokenizer, replace(CLEVR_SCHEMA, max_objects=6))


@pytest.fixture(scope="session")
def prompts(grammar: SceneGrammar, text_tokenizer: TextTokenizer) -> torch.Tensor:
    """(6, 10) prompts of I->3 with random images; their prefix is all but the last token."""
    builder = SequenceBuilder(grammar.vocabulary, grammar, text_tokenizer, GRID)
    rng = np.random.default_rng(0)
    rows = [builder.prompt("I->3", image_codes=rng.integers(0, 1024, GRID)).token_ids for _ in range(6)]
    return torch.from_numpy(np.stack(rows))


@pytest.fixture(scope="session")
def cells() -> torch.Tensor:
    """(6, 6, 2) ground points."""
    return 4.0 * torch.randn(6, GRID[0] * GRID[1], 2, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def decoder(grammar: SceneGrammar, prompts: torch.Tensor, cells: torch.Tensor) -> Decoder:
    """The first random decoder that writes scenes of several lengths, the first of them not empty."""
    for seed in range(100):
        decoder = random_decoder(seed)
        written = generate(decoder, prompts, grammar=grammar, cells=cells, prefix_length=prompts.shape[1] - 1)
        lengths = [len(generation.token_ids) for generation in written]
        if lengths[0] > 2 and len(set(lengths)) > 2:
            return decoder
    raise AssertionError("no random decoder writes scenes of several lengths; change their spread")

"""Parity with `transformers`' Llama on the same weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.llama import to_llama
from kyvo_ros.tokens import Vocabulary

SIZE = Vocabulary.small().size


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_hidden_states_and_logits_are_those_of_llama(make_decoder: Callable[..., Decoder], kv_heads: int) -> None:
    decoder = make_decoder(spread=5.0, heads=4, kv_heads=kv_heads, rope_theta=500.0)
    llama = to_llama(decoder)
    ids = torch.randint(0, SIZE, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        embedded = decoder.embedding(ids)
        hidden, expected = decoder.hidden(ids), llama.model(inputs_embeds=embedded).last_hidden_state
        assert torch.allclose(hidden, expected, rtol=1e-5, atol=1e-5)
        assert torch.allclose(decoder.logits(hidden), llama(inputs_embeds=embedded).logits, rtol=1e-5, atol=1e-5)


def test_ids_without_images_need_no_embeddings(make_decoder: Callable[..., Decoder]) -> None:
    decoder = make_decoder(spread=5.0)
    ids = torch.arange(30).unsqueeze(0)
    with torch.no_grad():
        assert torch.allclose(to_llama(decoder)(ids).logits, decoder(ids), rtol=1e-5, atol=1e-5)

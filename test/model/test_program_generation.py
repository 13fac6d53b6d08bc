"""Generation under the program grammar: every row is a well typed program, forced tokens or not."""

from __future__ import annotations

from collections.abc import Callable

import torch

from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.generation import generate
from kyvo_ros.questions import ANSWER, RULES, program_of
from kyvo_ros.tokens import ProgramGrammar, TextTokenizer, Vocabulary


def test_programs_are_generated(make_decoder: Callable[..., Decoder], text_tokenizer: TextTokenizer) -> None:
    grammar = ProgramGrammar(Vocabulary.small(), text_tokenizer, RULES, ANSWER, max_length=20)
    prompt = torch.tensor([[1, 2, 3, 4]] * 6)
    for options in ({"temperature": 1.0, "seed": 0}, {"temperature": 5.0, "seed": 1, "skip_forced": False}):
        written = generate(make_decoder(spread=2.0), prompt, grammar=grammar, **options)
        programs = [program_of(grammar.decode_program(generation.token_ids)) for generation in written]
        assert len(set(map(str, programs))) > 1
        for generation in written:
            forced = [not choice for choice in grammar.loss_positions(generation.token_ids)]
            assert [distribution is None for distribution in generation.distributions] == forced

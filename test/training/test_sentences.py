"""Sentences with programs for training: made, stored, drawn with one prompt length, learned."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tiny_model import tiny_bundle

from kyvo_ros.data.examples import ExampleSet
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.questions import Program, program_to_nodes
from kyvo_ros.scene import PlaneCamera, Scene, SceneObject
from kyvo_ros.tokens.schema import CLEVR_SCHEMA
from kyvo_ros.training.dense_head import word_values
from kyvo_ros.training.programs import (
    Sentence, SentenceMaker, SentenceSet, clevr_sentences, exact_programs, sentence_loss)

SENTENCES = [
    Sentence("Q->P", "is there a red ball?", ("exist", "red", "sphere", "scene")),
    Sentence("Q->P", "is there a red block?", ("exist", "red", "cube", "scene")),
    Sentence("T->E", "remove the red ball", ("remove", "unique", "red", "sphere", "scene")),
]


@pytest.fixture
def bundle():
    return tiny_bundle()


@pytest.fixture
def sentences(bundle) -> SentenceSet:
    return SentenceSet.of(SENTENCES, bundle.builder, bundle.vocabulary.structure_id("[PAD]"))


def _scenes() -> ExampleSet:
    things = [SceneObject({"size": "large", "color": color, "material": "metal", "shape": shape},
                          [x, 0.0, CLEVR_SCHEMA.resting_height({"size": "large", "shape": shape})])
              for x, color, shape in ((-2.0, "red", "cube"), (0.0, "blue", "sphere"), (2.0, "gray", "cylinder"))]
    scenes = [Scene(tuple(things)), Scene()]
    return ExampleSet.from_scenes(np.zeros((2, 0, 0, 3), np.uint8), scenes, [PlaneCamera(11.2, 0.5)] * 2,
                                  word_values(CLEVR_SCHEMA), 10)


def test_sequences_hold_prompt_and_program(sentences, bundle):
    for row, sentence in enumerate(SENTENCES):
        grammar = bundle.programs["program" if sentence.task == "Q->P" else "edit"]
        target = sentences.ids[row, sentences.prompt_length[row]: sentences.length[row] - 1].tolist()
        assert grammar.decode_program(target) == list(sentence.symbols)
        assert not sentences.worth[row, : sentences.prompt_length[row]].any() and sentences.worth[row].any()


def test_a_sentence_whose_program_is_too_long_is_left_out_and_named(bundle, caplog):
    """Hours of training ended at one in a hundred thousand."""
    steps = ("relate", "left", "unique") * 16
    endless = Sentence("Q->P", "is there one left of one left of one?", ("exist", *steps, "scene"))
    kept = SentenceSet.of([*SENTENCES, endless], bundle.builder, bundle.vocabulary.structure_id("[PAD]"))
    assert len(kept) == len(SENTENCES)
    assert "1 of 4 sentences are left out, such as 'is there one left of one left of one?'" in caplog.text
    assert "at most 48 tokens, got 52" in caplog.text


def test_files_round_trip(sentences, tmp_path):
    sentences.save(tmp_path / "some" / "sentences.npz")
    loaded = SentenceSet.load(tmp_path / "some" / "sentences.npz")
    assert all(np.array_equal(getattr(loaded, name), value) for name, value in vars(sentences).items())


def test_a_batch_shares_the_length_of_its_prompts(sentences):
    lengths = set()
    for seed in range(20):
        rows = sentences.draw(8, np.random.default_rng(seed))
        assert len(rows) == 8 and len(set(sentences.prompt_length[rows])) == 1
        lengths.add(int(sentences.prompt_length[rows[0]]))
    assert lengths == set(sentences.prompt_length.tolist())


def test_programs_are_learned(sentences, bundle):
    torch.manual_seed(0)
    decoder, rng = Decoder(bundle.decoder.config, bundle.image_tokenizer.codebook), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-2)
    for _ in range(300):
        loss = sentence_loss(decoder, sentences, sentences.draw(4, rng), torch.device("cpu"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    questions = SentenceSet(*(value[:2] for value in vars(sentences).values()))
    assert exact_programs(decoder, questions, bundle.programs["program"]) == 1.0
    wrong = SentenceSet(**{**vars(questions), "ids": questions.ids[[1, 0]]})
    wrong.ids[:, : wrong.prompt_length[0]] = questions.ids[:, : questions.prompt_length[0]]
    assert exact_programs(decoder, wrong, bundle.programs["program"]) == 0.0


def test_own_sentences_are_about_scenes_and_empty_ones_are_skipped():
    made = SentenceMaker(CLEVR_SCHEMA, seed=3).sentences(_scenes(), questions=16, instructions=8)
    assert {s.task for s in made} == {"Q->P", "T->E"}
    again = SentenceMaker(CLEVR_SCHEMA, seed=3).sentences(_scenes(), questions=16, instructions=8)
    assert made == again
    assert made != SentenceMaker(CLEVR_SCHEMA, seed=3, held_out=True).sentences(_scenes(), 16, 8)


def test_questions_of_folders_are_split_by_their_images(tmp_path):
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    nodes = program_to_nodes(Program("count", (Program("scene"),)))
    questions = [{"image_filename": name, "question": f"how many things in {name}?", "program": nodes, "answer": "1"}
                 for name in ("a.png", "b.png")] + [{"image_filename": "a.png", "question": "no program", "answer": "1"}]
    (tmp_path / "with" / "questions.json").write_text(json.dumps({"questions": questions}))
    found = clevr_sentences([tmp_path / "with", tmp_path / "without"], lambda name: name == "a.png")
    assert found == [Sentence("Q->P", "how many things in a.png?", ("count", "scene"))]

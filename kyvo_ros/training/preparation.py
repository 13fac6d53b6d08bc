"""What the language model is trained on, made once and kept in the work folder: codes of images, and sentences."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from kyvo_ros.autoencoders.image_tokenizer import ImageTokenizer
from kyvo_ros.data.clevr import read_clevr
from kyvo_ros.data.examples import ExampleSet
from kyvo_ros.model.direct_answers import answer_words
from kyvo_ros.tokens.answer_grammar import AnswerGrammar
from kyvo_ros.tokens.schema import SceneSchema
from kyvo_ros.tokens.sequences import ANSWER_TASKS, SequenceBuilder
from kyvo_ros.training import distributed
from kyvo_ros.training.answering import AnswerLesson, AnswerSet
from kyvo_ros.training.dense_head import word_values
from kyvo_ros.training.code_sets import CodeSet, TargetWriter, code_set, encode_images
from kyvo_ros.training.programs import Sentence, SentenceMaker, SentenceSet, clevr_sentences
from kyvo_ros.training.recipe import Recipe

if TYPE_CHECKING:
    from kyvo_ros.training.workshop import Workshop

#: Sentences of each kind that training scores itself on.
SCORED_SENTENCES = 200


def prepared_codes(shop: Workshop, tokenizer: ImageTokenizer) -> dict[str, CodeSet]:
    """`held_out`, and `synthetic` and `renders` where there are such, which come mirrored too."""
    writer = TargetWriter(shop.grammar.vocabulary, shop.text_tokenizer, shop.schema)
    sets = dict(zip(("synthetic", "renders", "held_out"), shop.examples))
    paths = {name: shop.work / "sequences" / f"{name}_{len(examples)}_{digest(tokenizer)}_{shop.language_key}.npz"
             for name, examples in sets.items() if examples is not None}
    missing = [name for name, path in paths.items() if not path.exists()]  # before one of them is written
    for name in missing:
        both = ([sets[name]] if name == "held_out" else [sets[name], sets[name].mirrored()])
        codes = np.concatenate([encode_images(examples.images, tokenizer, shop.device) for examples in both])
        if distributed.rank() == 0:
            truth = ExampleSet.concatenate([examples.without_images() for examples in both])
            code_set(truth, codes, tokenizer.grid, writer, shop.recipe.canonical, shop.workers).save(paths[name])
    distributed.wait()
    return {name: CodeSet.load(path) for name, path in paths.items()}


def prepared_sentences(shop: Workshop) -> dict[str, SentenceSet]:
    """Sentences with programs by name: `train`, and those to score: `questions` and `instructions` in phrasings that
    are held out, and `clevr`, those about the renders that are held out, where a question file came with them.
    """
    folder, key = shop.work / "sequences", shop.language_key
    if not (folder / f"sentences_train_{key}.npz").exists() and distributed.rank() == 0:
        pad = shop.grammar.vocabulary.structure_id("[PAD]")
        for name, sentences in reversed(_made_sentences(shop).items()):  # `train` last: it says that all are there
            SentenceSet.of(sentences, shop.builder, pad).save(folder / f"sentences_{name}_{key}.npz")
    distributed.wait()
    return {path.stem.removeprefix("sentences_").removesuffix(f"_{key}"): SentenceSet.load(path)
            for path in folder.glob(f"sentences_*_{key}.npz")}


def _made_sentences(shop: Workshop) -> dict[str, list[Sentence]]:
    settings = shop.recipe.examples
    scenes = next(s for s in shop.examples if s is not None).without_images()
    kept = frozenset(name for folder in shop.renders[:1] for name in held_out_names(shop, folder))
    own = SentenceMaker(shop.schema, settings.seed)
    held_out = SentenceMaker(shop.schema, settings.seed + 1, held_out=True)
    made = {
        "train": [*clevr_sentences(shop.renders, lambda name: name not in kept),
                  *own.sentences(scenes, settings.questions, settings.instructions, shop.workers)],
        "questions": held_out.sentences(scenes, SCORED_SENTENCES, 0),
        "instructions": held_out.sentences(scenes, 0, SCORED_SENTENCES),
        "clevr": clevr_sentences(shop.renders, kept.__contains__)[:SCORED_SENTENCES],
    }
    return {name: sentences for name, sentences in made.items() if sentences}


def held_out_names(shop: Workshop, folder: Path) -> list[str]:
    """File names of the images that `make_examples` holds out."""
    samples = read_clevr(folder, "train", shop.schema)
    return [sample.image_path.name for sample in samples[len(samples) - shop.recipe.examples.held_out:]]


def answer_lesson(codes: dict[str, CodeSet], builder: SequenceBuilder, recipe: Recipe, schema: SceneSchema,
                  folder: Path) -> AnswerLesson:
    """Questions about the synthetic images, or the renders where there are none, and about those held out; the latter
    alone where the recipe only scores answers.

    They are kept in a folder, which must belong to these codes and this order of image and scene.
    """
    source = codes.get("synthetic") or codes["renders"]
    pictures, counts = {"held_out": codes["held_out"]}, {"held_out": SCORED_SENTENCES}
    if recipe.answer_ratio:
        pictures["train"], counts["train"] = source, recipe.examples.questions
    task, words = ANSWER_TASKS[recipe.modality_order], word_values(schema)
    if distributed.rank() == 0:
        for name, count in counts.items():
            if not (folder / f"answers_{name}.npz").exists():
                kept = name == "held_out"
                AnswerSet.of(pictures[name], words, builder, task, count, recipe.examples.seed + kept,
                             held_out=kept).save(folder / f"answers_{name}.npz")
    distributed.wait()
    sets = {name: AnswerSet.load(folder / f"answers_{name}.npz") for name in counts}
    grammar = AnswerGrammar(builder.vocabulary, builder.text_tokenizer, answer_words(schema))
    return AnswerLesson(sets.get("train"), source, sets["held_out"], codes["held_out"], grammar,
                        f"answers_{recipe.modality_order}")


def digest(tokenizer: nn.Module) -> str:
    """Short name of an encoder and its codebook: codes of another one are of no use."""
    state = tokenizer.state_dict()
    parts = [state[name].cpu().numpy().tobytes() for name in sorted(state) if not name.startswith("decoder.")]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]

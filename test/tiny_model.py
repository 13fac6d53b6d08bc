"""A model with random weights that is small enough for tests: valid scenes, no sense."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import torch

from kyvo_ros.autoencoders.canonical import CanonicalCamera
from kyvo_ros.autoencoders.image_tokenizer import ImageTokenizer, ImageTokenizerConfig
from kyvo_ros.autoencoders.shape_tokenizer import ShapeTokenizer, ShapeTokenizerConfig
from kyvo_ros.model.config import DecoderConfig
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.folder import ModelBundle
from kyvo_ros.tokens import (
    CLEVR_SCHEMA, LANGUAGE_WORDS, DimensionsAttribute, LocationAttribute, SceneSchema, ShapeAttribute, TextTokenizer,
    Vocabulary, WordAttribute, YawAttribute, train_text_tokenizer)


@lru_cache(maxsize=1)
def text_tokenizer() -> TextTokenizer:
    return train_text_tokenizer([], [*CLEVR_SCHEMA.vocabulary_words(), *LANGUAGE_WORDS])


def tiny_bundle(seed: int = 0, schema: SceneSchema = replace(CLEVR_SCHEMA, max_objects=4)) -> ModelBundle:
    """Images of 32x20 pixels, 5x8 codes, two layers of width 32; the same seed, the same weights."""
    torch.manual_seed(seed)
    image_tokenizer = ImageTokenizer(ImageTokenizerConfig(32, 20, widths=(8, 16), blocks=(0, 1), code_dim=8)).eval()
    vocabulary = Vocabulary.small()
    config = DecoderConfig(vocabulary, dim=32, layers=2, heads=2, kv_heads=1, ffn_dim=64, max_length=160, code_dim=8,
                           image_grid=image_tokenizer.grid, image_order="spiral")
    decoder = Decoder(config, image_tokenizer.codebook).eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # decided logits, so that outputs differ between inputs
    return ModelBundle(name="tiny", vocabulary=vocabulary, schema=schema, text_tokenizer=text_tokenizer(),
                       decoder=decoder, image_tokenizer=image_tokenizer,
                       canonical=CanonicalCamera(32, 20, 35.0, 35.0, 16.0, 9.5), tasks=("I->3", "Q->P", "T->E", "3->I"))


#: Objects with a category, a size and eight codes of their shape.
SHAPE_SCHEMA = SceneSchema(
    "objects", (WordAttribute("category", "[TYPE]", ("mug", "bowl", "chair")), LocationAttribute(resting=False),
                YawAttribute(attribute=None, period_rad=2 * math.pi, centered=True), DimensionsAttribute(),
                ShapeAttribute(length=8)),
    extents=None, max_objects=3)


@lru_cache(maxsize=1)
def shape_text_tokenizer() -> TextTokenizer:
    return train_text_tokenizer([], [*SHAPE_SCHEMA.vocabulary_words(), *LANGUAGE_WORDS])


def tiny_shape_bundle(seed: int = 0, shape_context: bool = False, written_context: bool = False) -> ModelBundle:
    """As `tiny_bundle`, for objects whose shapes take 2^3 codes of 20, of a grid of 16^3."""
    torch.manual_seed(seed)
    image_tokenizer = ImageTokenizer(ImageTokenizerConfig(32, 20, widths=(8, 16), blocks=(0, 1), code_dim=8)).eval()
    shape_tokenizer = ShapeTokenizer(ShapeTokenizerConfig(
        resolution=16, block=8, width=16, part_width=8, layers=1, codebook_size=20, code_dim=8)).eval()
    vocabulary = Vocabulary.small(shape_codes=20)
    config = DecoderConfig(vocabulary, dim=32, layers=2, heads=2, kv_heads=1, ffn_dim=64, max_length=160, code_dim=8,
                           image_grid=image_tokenizer.grid, shape_length=8, shape_context=shape_context,
                           written_context=written_context)
    decoder = Decoder(config, image_tokenizer.codebook).eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return ModelBundle(name="tiny-objects", vocabulary=vocabulary, schema=SHAPE_SCHEMA,
                       text_tokenizer=shape_text_tokenizer(), decoder=decoder, image_tokenizer=image_tokenizer,
                       shape_tokenizer=shape_tokenizer,
                       canonical=CanonicalCamera(32, 20, 35.0, 35.0, 16.0, 9.5), tasks=("I->3", "I->S", "S->I"))

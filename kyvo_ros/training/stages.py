"""The stages of a recipe, from images to a model folder; each finds what the one before left in the work folder."""

from __future__ import annotations

import logging
from collections.abc import Callable

from kyvo_ros.model.programs import program_grammars
from kyvo_ros.tokens.sequences import ANSWER_TASKS
from kyvo_ros.training import distributed
from kyvo_ros.training.continuing import DECODER_HEAD, IMAGE_HEAD, check_freezes
from kyvo_ros.training.dense_head import word_values
from kyvo_ros.training.exporting import export, rewrite_card
from kyvo_ros.training.image_stages import PixelStage
from kyvo_ros.training.language import LanguageStage
from kyvo_ros.training.number_labels import NumberLabels
from kyvo_ros.training.object_examples import ObjectMaker, make_object_examples
from kyvo_ros.training.preparation import answer_lesson, prepared_codes, prepared_sentences
from kyvo_ros.training.sources import ExampleMaker, make_examples
from kyvo_ros.training.trainer import TrainingError, step_generator
from kyvo_ros.training.workshop import Workshop

log = logging.getLogger(__name__)


def train_examples(shop: Workshop) -> None:
    recipe, folder = shop.recipe, shop.work / "examples"
    if distributed.rank() > 0:
        return
    if recipe.objects is not None:
        maker = ObjectMaker(recipe.canonical, shop.schema, recipe.objects, recipe.examples)
        make_object_examples(maker, folder, shop.renders, shop.workers)
    else:
        maker = ExampleMaker(recipe.canonical, shop.schema, recipe.examples, str(shop.device))
        make_examples(maker, folder, shop.renders, shop.workers)


def train_encoder(shop: Workshop) -> None:
    stage = shop.dense_stage(shop.recipe.encoder, quantise=False)
    shop.train("encoder", shop.recipe.encoder, stage, stage.model,
               lambda: shop.learn_head("encoder", stage.model.head, IMAGE_HEAD, stage))


def train_codes(shop: Workshop) -> None:
    settings = shop.recipe.codes
    stage = shop.dense_stage(settings, quantise=True)

    def start_warm() -> bool:
        source = None if shop.source is None else shop.started_from.image_tokenizer
        check_freezes(shop.recipe, source and source.config)
        if shop.keeps("encoder"):
            return shop.learn_head("codes", stage.model.head, IMAGE_HEAD, stage)
        shop.trained("encoder", stage.model)
        if stage.frozen:
            stage.model.tokenizer.quantizer.load_state_dict(source.quantizer.state_dict())
        else:
            stage.warm_up_codes(step_generator(settings.seed, 2**32 - 1))  # batches that no step draws
        return True

    shop.train("codes", settings, stage, stage.model, start_warm)


def train_pixels(shop: Workshop) -> None:
    settings = shop.recipe.pixels
    if shop.keeps("codes"):
        tokenizer = shop.new_tokenizer()
    else:
        tokenizer = shop.trained("codes", shop.new_dense_model()).tokenizer
    model = shop.picture_model(tokenizer)
    stage = PixelStage(tokenizer, shop.batches(settings), shop.examples[2], model and model.added)
    stage.freeze()
    shop.train("pixels", settings, stage, model or tokenizer)


def train_decoder(shop: Workshop) -> None:
    recipe, tokenizer, held_out = shop.recipe, shop.tokenizer(), shop.examples[2]
    codes = prepared_codes(shop, tokenizer)
    sentences = prepared_sentences(shop) if recipe.sentence_ratio or shop.offered("Q->P", "T->E") else {}
    drawn = recipe.rendering_ratio or shop.offered("3->I")
    answered = recipe.answer_ratio or shop.offered(ANSWER_TASKS[recipe.modality_order])
    grammars = program_grammars(shop.grammar.vocabulary, shop.text_tokenizer)
    scored = {name: (kept, grammars["edit" if name == "instructions" else "program"])
              for name, kept in sentences.items() if name != "train"}
    shapes = shop.shape_lesson(tokenizer)
    model = shop.new_language_model(tokenizer)
    stage = LanguageStage(
        model, shop.grammar.layout, shop.builder, codes.get("synthetic"), codes.get("renders"), codes["held_out"],
        [held_out.scene(i, word_values(shop.schema)) for i in range(len(held_out))],
        NumberLabels(shop.grammar.vocabulary.numbers, shop.schema, recipe.label_sigma, recipe.yaw_sigma),
        recipe.canonical, shop.device, recipe.decoder.own_batch_size, recipe.render_ratio, recipe.dense_weight,
        recipe.yaw_weight, recipe.camera_dropout, sentences.get("train"), scored, recipe.sentence_ratio,
        drawing=shop.drawing_lesson(tokenizer) if drawn else None, rendering_ratio=recipe.rendering_ratio,
        answers=answer_lesson(codes, shop.builder, recipe, shop.schema, shop.answer_folder(tokenizer))
        if answered else None,
        answer_ratio=recipe.answer_ratio, shapes=shapes)
    shop.train("decoder", recipe.decoder, stage, model,
               lambda: not recipe.dense_weight or shop.learn_head("decoder", model.dense_head, DECODER_HEAD, stage))


#: The stages by name, in their order.
STAGES: dict[str, Callable[[Workshop], None]] = {
    "examples": train_examples, "encoder": train_encoder, "codes": train_codes, "pixels": train_pixels,
    "decoder": train_decoder, "export": export, "card": rewrite_card,
}


def run_stage(name: str, shop: Workshop) -> None:
    """One of STAGES, unless it is kept from the model that training starts from. Raises TrainingError."""
    shop.check_kept()
    if shop.keeps(name):
        log.info("stage %s has no steps: what it makes is that of %s", name, shop.source)
        return
    STAGES[name](shop)

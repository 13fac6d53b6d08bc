"""Stage `export`: what the stages of a recipe have left becomes a model folder with its history and card."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from kyvo_ros.data.images import write_rgb
from kyvo_ros.model.folder import ModelBundle, save_model
from kyvo_ros.scene import Calibration
from kyvo_ros.tokens.sequences import ANSWER_TASKS
from kyvo_ros.training import distributed
from kyvo_ros.training.card import stage_history, write_card, write_history
from kyvo_ros.training.continuing import DECODER_HEAD, IMAGE_HEAD, knows_head
from kyvo_ros.training.image_stages import reconstruction_sheet
from kyvo_ros.training.language import LanguageModel
from kyvo_ros.training.shape_card import is_of_shapes, write_shape_card
from kyvo_ros.training.shape_rows import fold_rows
from kyvo_ros.training.trainer import METRICS, TrainingError

if TYPE_CHECKING:
    from kyvo_ros.training.workshop import Workshop

log = logging.getLogger(__name__)

#: The score of the last evaluation that a model must have reached before it offers a task: the share of held-out
#: sentences whose program or answer is right, the Jaccard index of what it recognises in its own drawings of held-out
#: scenes, and the overlap of the blocks that surfaces pass.
LEARNED = {"Q->P": ("programs_questions", 0.5), "T->E": ("programs_instructions", 0.5), "3->I": ("drawing_cycle", 0.2),
           "I->S": ("shape_surface_iou", 0.5), "S->I": ("asset_drawing_cycle", 0.2),
           **{task: (f"answers_{order}", 0.5) for order, task in ANSWER_TASKS.items()}}


def export(shop: Workshop) -> None:
    """Write the model folder. Raises TrainingError where stages are missing or do not belong together."""
    if distributed.rank() > 0:
        return
    tokenizer = shop.tokenizer()
    if shop.shape_tokenizer is not None:
        shop.check_shape_codes()
    model = shop.new_language_model(tokenizer)
    if not shop.keeps("decoder"):
        shop.trained("decoder", model)
    decoder = model.decoder
    fold_rows(decoder)
    if not torch.allclose(decoder.embedding.codebook, tokenizer.codebook, atol=1e-3):
        raise TrainingError("the decoder was trained on codes of another image tokenizer; train it again")
    decoder.embedding.codebook.copy_(tokenizer.codebook)  # the same but for rounding
    schema = shop.schema if shop.recipe.objects else replace(
        shop.schema, metres_per_unit=shop.recipe.schema.metres_per_unit)
    bundle = ModelBundle(name=shop.recipe.name, vocabulary=shop.grammar.vocabulary, schema=schema,
                         text_tokenizer=shop.text_tokenizer, decoder=decoder, image_tokenizer=tokenizer,
                         canonical=shop.recipe.canonical, shape_tokenizer=shop.shape_tokenizer,
                         calibration=_calibration(shop), tasks=_tasks(shop))
    save_model(shop.out, bundle, shop.recipe.storage, _heads(shop, model))
    synthetic, renders, held_out = shop.examples
    counts = {"synthetic": len(synthetic or ()), "views of renders": len(renders or ()),
              "held-out renders" if shop.recipe.objects is None else "held-out scenes": len(held_out)}
    write_rgb(shop.out / "reconstructions.png", reconstruction_sheet(tokenizer.eval(), held_out.images[:12]))
    write_history(shop.out, shop.work, shop.recipe, counts, None if shop.source is None else str(shop.source))
    write_card(shop.out, str(shop.recipe_path))
    log.info("wrote %s", shop.out)


def _calibration(shop: Workshop) -> Calibration:
    """Of the model that training started from, where what is recognised stays the same."""
    same = shop.keeps("decoder") and shop.keeps("codes")
    return shop.started_from.calibration if same else Calibration()


def _tasks(shop: Workshop) -> tuple[str, ...]:
    if shop.keeps("decoder"):
        return shop.started_from.tasks
    before = ("I->3",) if shop.source is None else shop.started_from.tasks
    tasks = ("I->3", *learned_tasks(shop.work / "decoder" / METRICS))
    if lost := [task for task in before if task not in tasks]:
        log.warning("%s offers %s; this model does not, whose last evaluation has no score that is good enough",
                    shop.source, ", ".join(lost))
    return tasks


def _heads(shop: Workshop, model: LanguageModel) -> nn.ModuleDict | None:
    """Those that have learned, here or before, and belong to the weights; None where there is none."""
    heads, images = nn.ModuleDict(), shop.new_dense_model()
    if shop.has_codes:
        heads[IMAGE_HEAD] = shop.trained("codes", images).head
    elif knows_head(images.head, IMAGE_HEAD, shop.source_heads):
        heads[IMAGE_HEAD] = images.head
    learns = shop.recipe.dense_weight > 0 and not shop.keeps("decoder")
    if learns or shop.keeps("decoder") and knows_head(model.dense_head, DECODER_HEAD, shop.source_heads):
        heads[DECODER_HEAD] = model.dense_head
    return heads if len(heads) else None


def learned_tasks(metrics: Path) -> tuple[str, ...]:
    """The tasks beside recognition whose score was good enough (LEARNED) when training was last evaluated."""
    evaluations = stage_history(metrics)["evaluations"]
    scores = evaluations[-1] if evaluations else {}
    return tuple(task for task, (name, least) in LEARNED.items() if scores.get(name, 0.0) >= least)


def rewrite_card(shop: Workshop) -> None:
    """Stage `card`: the card anew, of the files that are there."""
    if distributed.rank() == 0:
        if is_of_shapes(shop.out):
            write_shape_card(shop.out)
        else:
            write_card(shop.out, str(shop.recipe_path))

"""`kyvo train full`: a decoder in the published format on published tokens, from the model folder that it starts from.

    kyvo train full --recipe recipes/full/llama-1b.yaml --dry-run
    kyvo train full --recipe ... --from models/fresh --data image_source=FILE three_d_source=FILE --out models/mine

The loss is the mean over the tokens behind the separator, unless the recipe weighs them otherwise (`token_weights`).
How processes share a run is `sharding`'s business.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence as Many
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.folder import load_decoder, replace_decoder
from kyvo_ros.model.published import PIPELINE_TASKS
from kyvo_ros.tokens.published_sequences import DRAWN_ORDER
from kyvo_ros.tokens.sequences import Sequence
from kyvo_ros.training import distributed
from kyvo_ros.training.adaptation import adapt, full_optimizer, whole_state
from kyvo_ros.training.budget import budget_of
from kyvo_ros.training.full_recipe import FullRecipe, load_full_recipe
from kyvo_ros.training.mixture import Mixture
from kyvo_ros.training.recipe import RecipeError
from kyvo_ros.training.sharding import Share, Shards
from kyvo_ros.training.throughput import Throughput, device_peak
from kyvo_ros.training.token_weights import IGNORED, token_weights
from kyvo_ros.training.trainer import Trainer, TrainingError

log = logging.getLogger(__name__)

#: Held-out sequences that are scored at a time.
_SCORED = 8


class Scorer(nn.Module):
    """A decoder with its loss: one forward pass, as what shards a model needs it."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, ids: Tensor, worth: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S) ids and bool -> cross entropy (T,), and whether the likeliest token is right (T,), of all tokens worth
        a loss.
        """
        hidden = self.decoder.hidden(ids[:, :-1])
        logits, targets = self.decoder.logits(hidden[worth[:, 1:]]), ids[:, 1:][worth[:, 1:]]
        return F.cross_entropy(logits, targets, reduction="none"), logits.argmax(-1) == targets


@dataclass(frozen=True, eq=False)
class SequenceStage:
    """Loss on batches of sequences, and loss and share of right tokens on those that are held out."""

    model: Scorer
    samples: Mixture
    recipe: FullRecipe
    device: torch.device
    throughput: Throughput

    def loss_of(self, share: Share) -> tuple[Tensor, dict[str, float]]:
        """Such that the mean over all shares is the loss of the whole batch."""
        batch = self.samples.draw(share.rng, self.recipe.run.batch_size, self._first_held_out)
        rows = share.of(np.arange(len(batch)))
        own = [batch[row] for row in rows]
        ids, worth = padded(own)
        weights = torch.from_numpy(self._weights(batch)[rows, :ids.shape[1] - 1])[worth[:, 1:]]
        processes = distributed.world_size()
        numbers = self.throughput.begin(processes * ids.numel(), processes * len(weights))
        losses, _ = self.model(ids.to(self.device), worth.to(self.device))
        return (losses * weights.to(self.device)).sum() * share.count, numbers

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Means over the tokens of all held-out samples; of several tasks, of each one too."""
        scores = {task: self._scores(number) for number, task in enumerate(self.samples.tasks)}
        every = tuple(map(torch.cat, zip(*scores.values())))
        several = {f" {task}": pair for task, pair in scores.items()} if len(scores) > 1 else {}
        return {f"{measure}{task}": float(values.float().mean())
                for task, pair in {"": every, **several}.items()
                for measure, values in zip(("held_out_loss", "right_tokens"), pair)}

    @property
    def _first_held_out(self) -> int:
        return len(self.samples) - self.recipe.held_out

    @cached_property
    def _image_start(self) -> int:
        return self.recipe.decoder_config().vocabulary.structure_id("[IMAGE-START]")

    def _weights(self, batch: Many[Sequence]) -> np.ndarray:
        """(B, S - 1) of the tokens of a whole batch."""
        ids, worth = (part.numpy()[:, 1:] for part in padded(batch))
        task = self.samples.tasks[0] if len(self.samples.tasks) == 1 else ""
        return token_weights(np.where(worth, ids, IGNORED), self.recipe.loss, self._image_start, task)

    def _scores(self, task: int) -> tuple[Tensor, Tensor]:
        """(T,) losses, and (T,) whether the likeliest is right, of the tokens of a task's held-out samples."""
        parts = []
        for start in range(self._first_held_out, len(self.samples), _SCORED):
            end = min(start + _SCORED, len(self.samples))
            ids, worth = padded([self.samples.sequence(task, number) for number in range(start, end)])
            parts.append(self.model(ids.to(self.device), worth.to(self.device)))
        losses, right = zip(*parts)
        return torch.cat(losses), torch.cat(right)


def padded(sequences: Many[Sequence]) -> tuple[Tensor, Tensor]:
    """Ids (B, S) int64 and which are worth a loss (B, S) bool, of the longest sequence's length."""
    longest = max(map(len, sequences))
    ids, worth = torch.zeros(len(sequences), longest, dtype=torch.int64), torch.zeros(len(sequences), longest,
                                                                                      dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        ids[row, :len(sequence)] = torch.from_numpy(sequence.token_ids)
        worth[row, :len(sequence)] = torch.from_numpy(sequence.loss_mask)
    return ids, worth


def run(args: argparse.Namespace, device: torch.device) -> None:
    """Run `kyvo train full`. Raises RecipeError, TrainingError with what to do."""
    recipe = load_full_recipe(args.recipe)
    if args.dry_run:
        if distributed.rank() == 0:
            print(budget_of(recipe).report())
        return
    if args.source is None or not args.data:
        raise TrainingError("`kyvo train full` needs --from, the model folder to start from, and --data, its tokens")
    log.info("%d sequences a process and part of a batch", recipe.run.own_batch_size)
    model, processes = Scorer(adapted_decoder(recipe, args.source).to(device)), Shards(recipe.shard)
    processes.split(model, model.decoder, device)
    samples = open_samples(recipe, args.data, args.work / "tokens")
    budget, peak = budget_of(recipe), device_peak(device, recipe.run.precision)
    throughput = Throughput(budget.token_operations, peak and peak * distributed.world_size(),
                            operations_per_scored=budget.scored_operations)
    stage = SequenceStage(model, samples, recipe, device, throughput)
    trainer = Trainer(args.work / "full", recipe.run, model, stage.loss_of, throughput.paused()(stage.evaluate),
                      full_optimizer(model, recipe), processes)
    trainer.save = throughput.paused()(trainer.save)  # which takes a while at this size
    trainer.resume()
    trainer.run(args.minutes)
    weights = processes.weights(model)
    if distributed.rank() == 0:
        write_trained(recipe, args.source, args.out, weights)


def write_trained(recipe: FullRecipe, source: Path, out: Path, weights: dict[str, Tensor]) -> None:
    """Write the folder of a `Scorer`'s state dict."""
    plain = Scorer(adapted_decoder(recipe, source))
    plain.load_state_dict(weights)
    offered = tuple(task for task in recipe.tasks if task in PIPELINE_TASKS)
    replace_decoder(source, out, {name: tensor.bfloat16() for name, tensor in whole_state(plain.decoder).items()},
                    offered or None, DRAWN_ORDER if recipe.reorder else "raster")
    log.info("wrote %s", out)


def adapted_decoder(recipe: FullRecipe, source: Path) -> Decoder:
    """The decoder that a recipe begins with, ready to be trained; the same in every process. Raises as its parts do."""
    torch.manual_seed(recipe.run.seed)
    decoder = starting_decoder(recipe, source)
    adapt(decoder, recipe)
    return decoder


def starting_decoder(recipe: FullRecipe, source: Path) -> Decoder:
    """The decoder of a folder in float32, or for `scratch` a fresh one for its codebook.

    Raises RecipeError where the folder's decoder is not of the recipe's sizes.
    """
    decoder, expected = load_decoder(source), recipe.decoder_config()
    found = decoder.config.to_dict()
    wrong = [f"{name} is {found[name]}, in the recipe {value}" for name, value in expected.to_dict().items()
             if found[name] != value and name not in ("max_length", "vocabulary", "image_order")]
    if decoder.config.vocabulary != expected.vocabulary:
        wrong.append(f"the vocabulary has {decoder.config.vocabulary.size} ids, in the recipe "
                     f"{expected.vocabulary.size}")
    if wrong:
        raise RecipeError(f"{source} is not the model of this recipe: {'; '.join(wrong)}. Change the recipe's sizes, "
                          "or make a folder of these with `kyvo convert --from-llama` (--number-embedding)")
    return decoder if recipe.method != "scratch" else Decoder(decoder.config, decoder.embedding.codebook)


def open_samples(recipe: FullRecipe, data: Many[str], cache: Path) -> Mixture:
    """The samples in `name=FILE` entries; process 0 streams the files first.

    Raises TrainingError, PublishedDataError.
    """
    files = {}
    for entry in data:
        name, mark, path = entry.partition("=")
        if not mark:
            raise TrainingError(f"--data takes entries such as image_source=FILE, got {entry!r}")
        files[name] = Path(path)
    if distributed.rank() > 0:
        distributed.wait()
    samples = Mixture(recipe.tasks, files, recipe.decoder_config().vocabulary, recipe.reorder, cache)
    if distributed.rank() == 0:
        distributed.wait()
    samples.check(recipe.decoder_config().max_length)
    if len(samples) <= recipe.held_out:
        raise TrainingError(f"{len(samples)} samples leave none to train on beside held_out {recipe.held_out}")
    return samples

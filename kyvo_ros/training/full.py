"""`kyvo train full`: a decoder in the published format on published tokens, from the model folder that it starts from.

    kyvo train full --recipe recipes/full/llama-1b.yaml --dry-run
    kyvo train full --recipe ... --from models/fresh --data image_source=FILE three_d_source=FILE --out models/mine

The loss is the mean over the tokens behind the separator (the published one also divides by the masked ones, which
scales the learning rate). Checkpoints hold the whole state, so that a run goes on in any number of processes.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence as Many
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kyvo_ros.data.published_tokens import PublishedTokens
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.folder import load_decoder, replace_decoder
from kyvo_ros.tokens.published_sequences import PublishedSequences
from kyvo_ros.tokens.sequences import Sequence
from kyvo_ros.training import distributed
from kyvo_ros.training.adaptation import adapt, whole_state
from kyvo_ros.training.budget import budget_of
from kyvo_ros.training.full_recipe import FullRecipe, load_full_recipe
from kyvo_ros.training.recipe import RecipeError
from kyvo_ros.training.trainer import Trainer, TrainingError

log = logging.getLogger(__name__)

#: Held-out sequences that are scored at a time.
_SCORED = 8


@dataclass(frozen=True, eq=False)
class SequenceStage:
    """Loss on batches of sequences, and loss and share of right tokens on those that are held out."""

    model: Decoder
    samples: PublishedTokens
    held_out: int  # how many of the last samples
    batch_size: int
    device: torch.device

    def loss_of(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = rng.integers(len(self.samples) - self.held_out, size=self.batch_size)
        loss, _ = self._scored([self.samples[int(row)] for row in rows])
        return loss.mean(), {}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        first = len(self.samples) - self.held_out
        losses, right = [], []
        for start in range(first, len(self.samples), _SCORED):
            part = range(start, min(start + _SCORED, len(self.samples)))
            loss, hits = self._scored([self.samples[i] for i in part])
            losses.append(loss)
            right.append(hits)
        return {"held_out_loss": float(torch.cat(losses).mean()),
                "right_tokens": float(torch.cat(right).float().mean())}

    def _scored(self, sequences: Many[Sequence]) -> tuple[Tensor, Tensor]:
        """Cross entropy (T,), and whether the likeliest token is right (T,), of all tokens worth a loss."""
        longest = max(map(len, sequences))
        ids, worth = torch.zeros(len(sequences), longest, dtype=torch.int64), torch.zeros(len(sequences), longest,
                                                                                          dtype=torch.bool)
        for row, sequence in enumerate(sequences):
            ids[row, :len(sequence)] = torch.from_numpy(sequence.token_ids)
            worth[row, :len(sequence)] = torch.from_numpy(sequence.loss_mask)
        ids, worth = ids.to(self.device), worth.to(self.device)
        hidden = self.model.hidden(ids[:, :-1])
        logits, targets = self.model.logits(hidden[worth[:, 1:]]), ids[:, 1:][worth[:, 1:]]
        return F.cross_entropy(logits, targets, reduction="none"), logits.argmax(-1) == targets


def run(args: argparse.Namespace, device: torch.device) -> None:
    """Run `kyvo train full`. Raises RecipeError, TrainingError with what to do."""
    recipe = load_full_recipe(args.recipe)
    if args.dry_run:
        if distributed.rank() == 0:
            print(budget_of(recipe).report())
        return
    if args.source is None or not args.data:
        raise TrainingError("`kyvo train full` needs --from, the model folder to start from, and --data, its tokens")
    torch.manual_seed(recipe.run.seed)
    decoder = starting_decoder(recipe, args.source)
    adapt(decoder, recipe)
    decoder.to(device)
    samples = open_samples(recipe, args.data, args.work / "tokens")
    stage = SequenceStage(decoder, samples, recipe.held_out, recipe.run.own_batch_size, device)
    trainer = Trainer(args.work / "full", recipe.run, decoder, stage.loss_of, stage.evaluate)
    trainer.resume()
    trainer.run(args.minutes)
    if distributed.rank() == 0:
        state = {name: tensor.to("cpu", torch.bfloat16) for name, tensor in whole_state(decoder).items()}
        replace_decoder(args.source, args.out, state)
        log.info("wrote %s", args.out)


def starting_decoder(recipe: FullRecipe, source: Path) -> Decoder:
    """The decoder of a folder in float32, or for `scratch` a fresh one for its codebook.

    Raises RecipeError where the folder's decoder is not of the recipe's sizes.
    """
    decoder, expected = load_decoder(source), recipe.decoder_config()
    found = decoder.config.to_dict()
    wrong = [f"{name} is {found[name]}, in the recipe {value}" for name, value in expected.to_dict().items()
             if found[name] != value and name not in ("max_length", "vocabulary")]
    if decoder.config.vocabulary != expected.vocabulary:
        wrong.append(f"the vocabulary has {decoder.config.vocabulary.size} ids, in the recipe "
                     f"{expected.vocabulary.size}")
    if wrong:
        raise RecipeError(f"{source} is not the model of this recipe: {'; '.join(wrong)}")
    return decoder if recipe.method != "scratch" else Decoder(decoder.config, decoder.embedding.codebook)


def open_samples(recipe: FullRecipe, data: Many[str], cache: Path) -> PublishedTokens:
    """The samples in `name=FILE` entries; process 0 streams the files first.

    Raises TrainingError, PublishedDataError.
    """
    files = {}
    for entry in data:
        name, mark, path = entry.partition("=")
        if not mark:
            raise TrainingError(f"--data takes entries such as image_source=FILE, got {entry!r}")
        files[name] = Path(path)
    sequences = PublishedSequences(recipe.decoder_config().vocabulary, recipe.reorder)
    if distributed.rank() > 0:
        distributed.wait()
    samples = PublishedTokens(recipe.task, files, sequences, cache)
    if distributed.rank() == 0:
        distributed.wait()
    if len(samples) <= recipe.held_out:
        raise TrainingError(f"{len(samples)} samples leave none to train on beside held_out {recipe.held_out}")
    return samples

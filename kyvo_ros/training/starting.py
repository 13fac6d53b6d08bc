"""A start from weights that are there: what of them fits other sizes, another image tokenizer, another grid of cells."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch
from torch import Tensor, nn

from kyvo_ros.autoencoders.image_tokenizer import ImageTokenizer
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.tokens.vocabulary import Vocabulary
from kyvo_ros.training.trainer import TrainingError

log = logging.getLogger(__name__)

#: Of a decoder's weights those with a row for every id.
_TABLES = ("embedding.learned.weight", "head.weight")


def start_from(model: nn.Module, state: dict[str, Tensor], what: str) -> None:
    """Take over the weights whose name and shape the model has; what stays new is logged.

    Raises TrainingError where none fits.
    """
    own = model.state_dict()
    fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise TrainingError(f"no weight of the {what} to start from has a name and shape of this recipe's")
    model.load_state_dict(fitting, strict=False)
    new = sorted(set(own) - set(fitting))
    if new:
        log.warning("the %s starts from other sizes: %d of %d weights stay new (%s)", what, len(new), len(own),
                    ", ".join(new[:8]) + (" ..." if len(new) > 8 else ""))


def start_without_numbers(model: Decoder, other: Decoder) -> None:
    """Take over what another decoder knows, but nothing of numbers, whose grid and embedding may differ.

    `model` may have fewer blocks and another vocabulary of numbers; all else is as in `other`.
    """
    own, state = model.state_dict(), other.state_dict()
    new, old = (decoder.config.vocabulary.range("numbers") for decoder in (model, other))
    for name in _TABLES:
        rows = state[name]
        state[name] = torch.cat((rows[:old.start], own[name][new.start:new.stop], rows[old.stop:]))
    numbers = ("embedding.number_scale", "embedding.number_features", "number_head")
    model.load_state_dict({name: state[name] for name in own if name not in numbers}, strict=False)


def longer_tables(model: Decoder, before: Vocabulary, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights to start from, of a vocabulary `before`, with the model's own rows for shape codes, where `before` is the
    beginning of the model's vocabulary; as they are where it is not.
    """
    vocabulary = model.config.vocabulary
    if before.shape_codes or replace(vocabulary, shape_codes=0) != before:
        return state
    own, state = model.state_dict(), dict(state)
    for name in _TABLES:
        if state[name].shape[1:] == own[name].shape[1:]:
            state[name] = torch.cat((state[name], own[name][before.size:].to(state[name])))
    return state


def state_for(decoder: Decoder, tokenizer: ImageTokenizer, together: Tensor | None = None) -> dict[str, Tensor]:
    """Weights of a decoder to start from with this image tokenizer.

    Of other image codes than the decoder's it knows what `together` tells (see `seen_together`), nothing without.
    """
    own, codebook, state = decoder.embedding, tokenizer.codebook, decoder.state_dict()
    if not knows_codes(decoder, tokenizer):
        if together is None:
            log.warning("the decoder starts from one that was trained on other image codes; it learns these anew")
            del state["embedding.code_projection.weight"]
            state["embedding.learned.weight"] = state["embedding.learned.weight"].clone()
            state["embedding.learned.weight"][own.image_ids.start:own.image_ids.stop] = 0.0
        else:
            log.info("the decoder starts from one that was trained on other image codes, which are translated")
            state |= _translated(decoder, codebook, together)
    positions = resized_grid(state["embedding.image_positions"], decoder.config.image_grid, tokenizer.grid)
    # Even the same codebook is this tokenizer's: that of a model folder is rounded.
    return {**state, "embedding.codebook": codebook, "embedding.image_positions": positions}


def knows_codes(decoder: Decoder, tokenizer: ImageTokenizer) -> bool:
    """Whether a decoder was trained on the codes of this image tokenizer."""
    own, codebook = decoder.embedding.codebook, tokenizer.codebook
    return own.shape == codebook.shape and torch.allclose(own, codebook, atol=1e-2)


def seen_together(codes: Tensor, before: Tensor, count: int) -> Tensor:
    """(count, count) float32: how often each code stands in a cell where, of the same image, each stood before; of
    codes (N, cells) of two tokenizers with `count` codes each.
    """
    pairs = torch.bincount(codes.flatten().long() * count + before.flatten().long(), minlength=count**2)
    return pairs.view(count, count).float()


@torch.no_grad()
def _translated(decoder: Decoder, codebook: Tensor, together: Tensor) -> dict[str, Tensor]:
    """Weights with a row for each new code that is the mean of those of the codes that stood where it stands.

    What follows from the codebook (K, C) alone goes into its projection: codes that were never seen have that, too.
    """
    state, ids = decoder.state_dict(), decoder.embedding.image_ids
    seen = together.sum(dim=1, keepdim=True)
    share = together / seen.clamp(min=1)
    wanted = share @ decoder.embedding.table()[ids.start:ids.stop]
    weighted = codebook.T * seen.T
    square = weighted @ codebook
    square += 1e-3 * square.trace() / len(square) * torch.eye(len(square), device=square.device)
    projection = torch.linalg.solve(square, weighted @ wanted)  # (C, D)
    learned, head = state["embedding.learned.weight"].clone(), state["head.weight"].clone()
    learned[ids.start:ids.stop] = (wanted - codebook @ projection) * (seen > 0)
    head[ids.start:ids.stop] = share @ head[ids.start:ids.stop]
    return {"embedding.code_projection.weight": projection.T.contiguous(), "embedding.learned.weight": learned,
            "head.weight": head}


def resized_grid(table: Tensor, before: tuple[int, int], after: tuple[int, int]) -> Tensor:
    """A row for each cell of a grid (rows * columns, D) for the cells of another grid over the same image."""
    if before == after:
        return table
    image = table.T.reshape(1, -1, *before)
    return torch.nn.functional.interpolate(image, after, mode="bilinear").flatten(2)[0].T.contiguous()

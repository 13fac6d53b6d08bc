"""How the losses of single tokens become the one of a batch: the first codes of a written image may weigh more.

Two ways to norm it. `targets`, ours: the weighted mean over the tokens that are to be learned, so that neither prompts
nor padding count. `published`, as the published code does: masked and padded tokens count in the denominator, each
sequence weighs the same where tokens are weighted, and the weighted ones are found by position (see `_first_position`).
It knows labels, not what made them.
Source: numbers that the published code's loss gave when it was run (AadSah/kyvo, commit be438d3), which a test
reproduces; there, drawing and editing weigh 5 tokens by 10, all else none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NORMALISATIONS = ("targets", "published")
#: What is no target, as in the published labels.
IGNORED = -100
#: The one task whose weighted tokens the published code seeks by [IMAGE-START]: its target begins with a scene.
_SCENE_FIRST = "3+I+T->3+I"


@dataclass(frozen=True)
class LossSettings:
    """What the loss of a full-size run is."""

    normalisation: str = "targets"  # one of NORMALISATIONS
    first_tokens: int = 0  # codes at the beginning of a written image that weigh more
    first_weight: float = 1.0  # how much more, against all other tokens; the published training has 5 tokens by 10

    def __post_init__(self) -> None:
        if self.normalisation not in NORMALISATIONS:
            raise ValueError(f"normalisation must be one of {NORMALISATIONS}, got {self.normalisation!r}")
        if self.first_tokens < 0 or not 0 < self.first_weight < float("inf"):
            raise ValueError(f"first_tokens must not be negative and first_weight positive, got {self}")
        if (self.first_tokens > 0) != (self.first_weight != 1.0):
            raise ValueError("first_tokens and first_weight belong together; give both (the published ones are 5 and "
                             f"10), or neither, got {self}")


def token_weights(labels: np.ndarray, settings: LossSettings, image_start: int, task: str = "") -> np.ndarray:
    """(B, T) what is to be predicted, IGNORED where nothing is -> (B, T) float32; the loss of the batch is the sum of
    the tokens' losses times these.

    Args:
        labels: one at least is a target; T is the length of the longest sequence of the batch.
        image_start: id of [IMAGE-START].
        task: that of all sequences; empty where a batch has several, as in the published mixture.
    """
    first = _first_position if settings.normalisation == "published" else _first_code
    weights = np.ones(labels.shape)
    for row, label in zip(weights, labels):
        start = first(label, image_start, task)
        if start is not None:
            row[start:start + settings.first_tokens] = settings.first_weight
    if settings.normalisation == "targets":
        weights *= labels != IGNORED
        return (weights / weights.sum()).astype(np.float32)
    return (weights / weights.sum(axis=1, keepdims=True) / len(weights)).astype(np.float32)


def _first_code(label: np.ndarray, image_start: int, task: str) -> int | None:
    """Behind the [IMAGE-START] of the target; None where it has none."""
    starts = np.flatnonzero(label == image_start)
    return int(starts[0]) + 1 if len(starts) else None


def _first_position(label: np.ndarray, image_start: int, task: str) -> int | None:
    """Faithful to the published code: behind the first target, whatever it is; where the target begins with a scene, at
    [IMAGE-START] itself, or at the first position of the sequence where there is none. None without targets.
    """
    if not (label != IGNORED).any():
        return None
    if task == _SCENE_FIRST:
        return int(np.argmax(label == image_start))
    return int(np.argmax(label != IGNORED)) + 1

"""Whether confidences mean what they say: average precision and calibration of scored predictions."""

from __future__ import annotations

import numpy as np


def average_precision(confidence: np.ndarray, correct: np.ndarray, truths: int) -> float:
    """Area under precision over recall when predictions are taken from the surest on.

    `confidence` and `correct` are (N,); `truths` counts the true objects, of which those never predicted count as
    missed. At each correct prediction the precision so far is summed (no interpolation). Ties are taken together, so
    the order of equal confidences does not matter. 1 without truths and predictions, 0 without truths otherwise.
    """
    confidence, correct = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if not truths:
        return float(not len(confidence))
    levels, group = np.unique(-confidence, return_inverse=True)
    taken = np.cumsum(np.bincount(group, minlength=len(levels)))
    hits = np.bincount(group, weights=correct, minlength=len(levels))
    return float((hits * np.cumsum(hits) / np.maximum(taken, 1)).sum() / truths)


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 10) -> float:
    """Mean gap between stated confidence and share of correct predictions, over equal-width bins by their counts.

    0 without predictions.
    """
    confidence, correct = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if not len(confidence):
        return 0.0
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(index, weights=confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))

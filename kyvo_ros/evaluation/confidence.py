"""Whether confidences mean what they say: average precision, calibration and coverage of scored predictions.

Correct is an object that the Jaccard index matches at CONFIDENCE_TAU_M, and an attribute that the object at the same
place (`match_by_place`) has; attributes and positions of predictions where nothing stands are not judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from kyvo_ros.evaluation.jaccard import match_scene
from kyvo_ros.evaluation.place import match_by_place, rights
from kyvo_ros.scene import Scene

#: A prediction counts as correct for its confidence when it matches at this distance.
CONFIDENCE_TAU_M = 0.25


@dataclass(frozen=True, eq=False)
class Claims:
    """Stated probabilities (N,) and whether each claim was correct (N,)."""

    confidence: np.ndarray
    correct: np.ndarray

    def calibration_error(self) -> float | None:
        """As the function below; None without claims."""
        return calibration_error(self.confidence, self.correct) if len(self.confidence) else None


def object_claims(pairs: Sequence[tuple[Scene, Scene]]) -> Claims:
    """Every predicted object of pairs (predicted, truth), in their order."""
    correct = []
    for predicted, truth in pairs:
        matched = {i for i, _ in match_scene(predicted, truth, CONFIDENCE_TAU_M)}
        correct += [i in matched for i in range(len(predicted))]
    confidence = [o.confidence for predicted, _ in pairs for o in predicted.objects]
    return Claims(np.array(confidence, dtype=np.float64), np.array(correct, dtype=bool))


def attribute_claims(pairs: Sequence[tuple[Scene, Scene]]) -> dict[str, Claims]:
    """For each attribute of true objects, the predictions matched by place that state a confidence in it."""
    stated = {name: [] for _, truth in pairs for true in truth.objects for name in true.attributes}
    for predicted, truth in pairs:
        for i, j in match_by_place(predicted, truth):
            guess = predicted.objects[i]
            for name, right in rights(guess, truth.objects[j]).items():
                if name in guess.attribute_confidence:
                    stated[name].append((guess.attribute_confidence[name], right))
    return {name: Claims(*np.array(rows, dtype=np.float64).reshape(-1, 2).T) for name, rows in stated.items()}


def position_errors(pairs: Sequence[tuple[Scene, Scene]]) -> tuple[np.ndarray, np.ndarray]:
    """Errors (M, 2) in x and y, metres, and the covariances (M, 2, 2) that predictions matched by place state."""
    errors, covariances = [], []
    for predicted, truth in pairs:
        for i, j in match_by_place(predicted, truth):
            guess = predicted.objects[i]
            if guess.position_covariance_m2 is not None:
                errors.append((guess.position_m - truth.objects[j].position_m)[:2])
                covariances.append(guess.position_covariance_m2[:2, :2])
    return np.array(errors).reshape(-1, 2), np.array(covariances).reshape(-1, 2, 2)


def coverage(errors_m: np.ndarray, covariances_m2: np.ndarray, level: float) -> float | None:
    """Share of errors (M, 2) within the ellipse that holds `level` of a Gaussian of the stated covariance (M, 2, 2).

    Of a true covariance it is `level`; more means that the covariance is too large. None without errors.
    """
    if not len(errors_m):
        return None
    solved = np.linalg.solve(covariances_m2, errors_m[..., None])[..., 0]
    return float(np.mean((errors_m * solved).sum(axis=1) <= chi2.ppf(level, df=2)))


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


@dataclass(frozen=True, eq=False)
class ReliabilityBins:
    """Claims in bins of equal width, without the empty ones: mean confidence, share correct and number of each (B,)."""

    confidence: np.ndarray
    correct: np.ndarray
    count: np.ndarray


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = 10) -> ReliabilityBins:
    """What a reliability plot shows; a confidence on the edge of two bins is in the upper one, 1 in the last."""
    confidence, correct = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(index, minlength=bins)
    full = count > 0
    sums = (np.bincount(index, weights=values, minlength=bins)[full] for values in (confidence, correct))
    return ReliabilityBins(*(total / count[full] for total in sums), count[full])


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 10) -> float:
    """Mean gap between stated confidence and share of correct predictions, over equal-width bins by their counts.

    0 without predictions.
    """
    found = reliability(confidence, correct, bins)
    gaps = np.abs(found.confidence - found.correct)
    return float(gaps @ found.count / max(found.count.sum(), 1))

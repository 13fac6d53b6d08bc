"""The Jaccard index of a recognised scene: the score of the Kyvo paper (arXiv 2506.08002, section 4).

A predicted object matches a true one when all attributes are equal (in CLEVR size, colour, material and shape) and
their distance in the ground plane is under tau (strictly). Matching is greedy as in the published script: predictions
in their order, each takes the first free true object that matches, not the nearest. A duplicate therefore counts as
wrong, and an object without attributes matches nothing. The score of a scene is matches / (predictions + truths -
matches), the score of a data set is the mean over its scenes. One thing differs: two empty scenes score 1 here (they
agree), -1 in the script.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kyvo_ros.scene import Scene, SceneError, SceneObject

def match_scene(predicted: Scene, truth: Scene, tau_m: float) -> list[tuple[int, int]]:
    """Pairs (index of the prediction, index of the truth), greedy in prediction order.

    Raises SceneError where the two scenes are in different frames.
    """
    distance_m = ground_distances_m(predicted, truth)
    free = list(range(len(truth)))
    pairs = []
    for i, guess in enumerate(predicted.objects):
        for j in free:
            if distance_m[i, j] < tau_m and same_attributes(guess, truth.objects[j]):
                pairs.append((i, j))
                free.remove(j)
                break
    return pairs


def jaccard_index(predicted: Scene, truth: Scene, tau_m: float) -> float:
    """Matches over the union, in [0, 1]; two empty scenes score 1. Raises SceneError as `match_scene` does."""
    matches = len(match_scene(predicted, truth, tau_m))
    union = len(predicted) + len(truth) - matches
    return matches / union if union else 1.0


def ground_distances_m(predicted: Scene, truth: Scene) -> np.ndarray:
    """Distances in the ground plane, (predictions, truths). Raises SceneError for different frames."""
    if predicted.frame_id != truth.frame_id:
        raise SceneError(f"scenes must meet in one frame, got a prediction in {predicted.frame_id} and a truth in "
                         f"{truth.frame_id}; bring one over with Scene.transformed")
    apart = predicted.positions_m()[:, None, :2] - truth.positions_m()[None, :, :2]
    return np.sqrt((apart**2).sum(axis=-1))


def same_attributes(one: SceneObject, other: SceneObject) -> bool:
    """Whether both have the same attributes, and any."""
    return bool(one.attributes) and one.attributes == other.attributes


def bootstrap_interval(
        scores: Sequence[float], level: float = 0.95, resamples: int = 2000, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of the mean when scenes are drawn again with replacement; the same seed, the same interval.

    Raises ValueError without scores.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if not len(scores):
        raise ValueError("an interval needs at least one score")
    rng = np.random.default_rng(seed)
    means = np.array([scores[rng.integers(len(scores), size=len(scores))].mean() for _ in range(resamples)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)

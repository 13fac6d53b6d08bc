"""The scores of the published Kyvo scripts, oddities included, so that numbers compare with theirs.

The package's own definition is `jaccard`; the published one differs in that
- two empty scenes score -1, and the -1 goes into the mean (CLEVR, ObjaWorld);
- whatever cannot be compared (a missing attribute, no coordinates, text for a number) is no match, silently, while a
  single coordinate counts for both axes;
- rotations are compared without wrapping (ObjaWorld);
- images without true objects, or that no prediction was written for, are left out (Objectron);
- the range of SSIM is that of the generated image.
Objects are dictionaries as in the published files (see `tokens.published_text`), coordinates in the data set's units.
Source: outputs of the published scripts (AadSah/kyvo, commit be438d3), which the tests reproduce.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.distance import euclidean  # as in the script, for equality at the limit

from kyvo_ros.evaluation.image_metrics import ssim
from kyvo_ros.scene import Scene

Object = Mapping[str, Any]
#: Distance of the commands in the published README.
TAU = 0.05
#: ObjaWorld's other two limits, and Objectron's on the mean error of the dimensions in metres.
_HEIGHT_TAU, _ROTATION_TAU, DIMENSIONS_TAU = 0.05, 0.15, 0.05
DATASETS = ("CLEVR", "ObjaWorld", "Objectron")
#: What must be equal for a match in CLEVR.
_CLEVR_ATTRIBUTES = ("size", "color", "material", "shape")
#: Weights of red, green and blue in a grey image (ITU-R BT.709, as scikit-image has them).
_GREY = (0.2125, 0.7154, 0.0721)


class PublishedMetricError(ValueError):
    """There is nothing that the published script would score."""


@dataclass(frozen=True)
class Counts:
    """Of one scene."""

    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def score(self) -> float:
        """Jaccard index; -1 for two empty scenes."""
        union = self.true_positives + self.false_positives + self.false_negatives
        return self.true_positives / union if union else -1.0


@dataclass(frozen=True)
class PublishedJaccard:
    """Of a data set."""

    mean: float  # over the scenes that were scored
    scenes: tuple[Counts, ...]  # one a scored scene
    left_out: int  # scenes that the published script does not count


def published_jaccard(dataset: str, pairs: Iterable[tuple[Sequence[Object] | None, Sequence[Object]]], tau: float = TAU,
                      dimensions_tau: float = DIMENSIONS_TAU) -> PublishedJaccard:
    """The mean score of pairs (predicted objects, true objects); None is a scene that no prediction was written for.

    Args:
        dataset: one of DATASETS.
        tau: largest distance of a match, exclusive: in the ground plane, for Objectron in space (metres).
        dimensions_tau: Objectron's largest mean error of the dimensions, inclusive, metres.

    Raises PublishedMetricError where no scene is left to score.
    """
    if dataset not in DATASETS:
        raise PublishedMetricError(f"the data set must be one of {DATASETS}, got {dataset!r}")
    pairs = list(pairs)
    if dataset == "Objectron":
        scored = [_objectron_counts(p, t, tau, dimensions_tau) for p, t in pairs if p is not None and t]
    else:
        same = {"CLEVR": _same_clevr, "ObjaWorld": _same_objaworld}[dataset]
        scored = [_first_free_counts(p, t, lambda a, b: same(a, b, tau)) for p, t in pairs if p is not None]
    if not scored:
        raise PublishedMetricError(f"none of {len(pairs)} scenes can be scored as the published script does; Objectron "
                                   "needs scenes with true objects and a prediction")
    mean = sum(counts.score for counts in scored) / len(scored)
    return PublishedJaccard(mean, tuple(scored), len(pairs) - len(scored))


def _first_free_counts(predicted: Sequence[Object], truth: Sequence[Object],
                       same: Callable[[Object, Object], bool]) -> Counts:
    """Predictions in their order, each takes the first free true object that matches, not the nearest."""
    free = list(truth)
    for guess in predicted:
        index = next((i for i, true in enumerate(free) if _comparable_and(same, guess, true)), None)
        if index is not None:
            del free[index]
    found = len(truth) - len(free)
    return Counts(found, len(predicted) - found, len(free))


def _comparable_and(same: Callable[[Object, Object], bool], guess: Object, true: Object) -> bool:
    """Faithful to the published scripts: what raises an exception when it is compared is no match."""
    try:
        return same(guess, true)
    except (KeyError, IndexError, TypeError, ValueError):
        return False


def _same_clevr(guess: Object, true: Object, tau: float) -> bool:
    return all(guess[name] == true[name] for name in _CLEVR_ATTRIBUTES) and _ground_distance(guess, true) < tau


def _same_objaworld(guess: Object, true: Object, tau: float) -> bool:
    # The truth names a shape and its instance, as barrel-12.
    return (guess["shape"] == true["shape"].split("-")[0] and _ground_distance(guess, true) < tau
            and abs(guess["3d_coords"][2] - true["3d_coords"][2]) < _HEIGHT_TAU
            and abs(guess["3d_coords"][3] - true["rotation"]) < _ROTATION_TAU)


def _ground_distance(guess: Object, true: Object) -> float:
    # Subtraction spreads a single coordinate over both axes.
    return float(np.linalg.norm(np.subtract(guess["3d_coords"][:2], true["3d_coords"][:2])))


def _objectron_counts(predicted: Sequence[Object], truth: Sequence[Object], tau: float,
                      dimensions_tau: float) -> Counts:
    """Predictions in their order, each takes the nearest free true object of its category that matches."""
    free = list(range(len(truth)))
    for guess in predicted:
        near = [(distance, i) for i in free if guess["category"] == truth[i]["category"]
                and (distance := euclidean(guess["center_cam"], truth[i]["center_cam"])) < tau
                and np.mean(np.abs(np.subtract(guess["dimensions"], truth[i]["dimensions"]))) <= dimensions_tau]
        if near:
            free.remove(min(near)[1])
    found = len(truth) - len(free)
    return Counts(found, len(predicted) - found, len(free))


def clevr_objects(scene: Scene) -> list[dict[str, Any]]:
    """The objects of a scene as the published CLEVR files have them; its frame serves as well as CLEVR's own."""
    return [{**o.attributes, "3d_coords": o.position_m.tolist()} for o in scene.objects]


def text_accuracy(answers: Sequence[str], truths: Sequence[str]) -> float:
    """Percent of answers that equal the truth letter by letter, tokens of the text's brackets and outer space aside."""
    if len(answers) != len(truths) or not answers:
        raise PublishedMetricError("expected as many answers as truths, and some, "
                                   f"got {len(answers)} and {len(truths)}")
    return 100.0 * float(np.mean([_clean(a) == _clean(t) for a, t in zip(answers, truths)]))


def _clean(answer: str) -> str:
    return re.sub(r"\[TEXT-START\]|\[TEXT-END\]|<\|end_of_text\|>", "", answer).strip()


def image_scores(generated: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """SSIM and L2 of two grey images; `generated` and `truth` are (H, W, 3) in [0, 1], of one size.

    L2 is the mean squared difference. The published script brings the truth to the generated size first (256 x 256).
    """
    grey, true_grey = (np.asarray(image, np.float64) @ np.array(_GREY) for image in (generated, truth))
    structural = ssim(true_grey[..., None], grey[..., None], data_range=float(np.ptp(grey)))
    return structural, float(np.mean((grey - true_grey) ** 2))


def mean_image_scores(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """Means of `image_scores` over pairs (generated, truth) of uint8. Raises PublishedMetricError without any."""
    scores = [image_scores(generated / 255.0, truth / 255.0) for generated, truth in pairs]
    if not scores:
        raise PublishedMetricError("there are no images to score")
    return tuple(map(float, np.mean(scores, axis=0)))

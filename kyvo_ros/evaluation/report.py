"""The recognition report: every number that says how well scenes were recognised, as a table and as JSON.

Objects are pooled over the data set for shares and errors; the Jaccard index is a mean over scenes. Where nothing
was there to measure, a value is None (JSON null) and shows as a dash.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from kyvo_ros.evaluation.confidence import (
    CONFIDENCE_TAU_M, attribute_claims, average_precision, coverage, object_claims, position_errors,
)
from kyvo_ros.evaluation.jaccard import bootstrap_interval, match_scene
from kyvo_ros.evaluation.place import SAME_PLACE_M, PlaceMatch, compare_by_place
from kyvo_ros.scene import Scene, YawPeriods

#: Distances at which the Jaccard index is reported; the paper uses the first.
TAUS_M = (0.05, 0.1, 0.25, 0.5)
#: Least scores for which precision and recall at CONFIDENCE_TAU_M are reported.
THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
#: Shares of a Gaussian whose ellipses are checked for the share of errors that they hold.
COVERAGE_LEVELS = (0.5, 0.9)


def in_units(pairs: Iterable[tuple[Scene, Scene]], metres_per_unit: float) -> list[tuple[Scene, Scene]]:
    """The pairs in a model's units instead of metres, so that the distances of the report mean the same for a model of
    small objects as for one of large ones.
    """
    return [(p.scaled(1 / metres_per_unit), t.scaled(1 / metres_per_unit)) for p, t in pairs]


@dataclass(frozen=True)
class TauScore:
    """Scores at one distance."""

    jaccard: float  # mean over scenes
    interval: tuple[float, float]  # 95 % bootstrap interval of it
    precision: float | None  # matches over predicted objects
    recall: float | None  # matches over true objects


@dataclass(frozen=True)
class ThresholdScore:
    """What is left when predictions with a lower score are left out."""

    precision: float | None  # matches over predicted objects
    recall: float | None  # matches over true objects


@dataclass(frozen=True)
class RecognitionReport:
    """All scores of one data set; see the module for how objects are pooled."""

    scenes: int
    predicted_objects: int
    true_objects: int
    by_tau: dict[float, TauScore]  # keys are TAUS_M
    count_right: float  # share of scenes with the right number of objects
    placed: int  # predictions matched by place alone
    attributes: dict[str, float | None]  # of those, the share with this attribute right
    all_attributes: float | None  # of those, the share with every attribute right
    location_error_m: float | None  # of those, mean ground distance
    location_error_median_m: float | None
    yaw_error_deg: float | None  # of those with a yaw in both, mean, modulo the turn after which they look the same
    yaw_error_median_deg: float | None
    average_precision: float  # over confidences, at CONFIDENCE_TAU_M
    calibration_error: float | None  # mean gap of confidence and truth, at CONFIDENCE_TAU_M
    attribute_calibration_errors: dict[str, float | None]  # the same of each attribute, where matched by place
    coverage: dict[float, float | None]  # share of the positions' errors in the stated ellipse of COVERAGE_LEVELS
    by_threshold: dict[float, ThresholdScore]  # keys are THRESHOLDS; at CONFIDENCE_TAU_M

    def to_dict(self) -> dict:
        """For JSON."""
        def at(name: str) -> dict:
            return {f"{tau:g}": getattr(score, name) for tau, score in self.by_tau.items()}
        return {
            "jaccard": at("jaccard"), "jaccard_interval_95": {k: list(v) for k, v in at("interval").items()},
            "precision": at("precision"), "recall": at("recall"),
            "all_attributes": self.all_attributes, "attributes": dict(self.attributes),
            "location_error_m": self.location_error_m, "location_error_median_m": self.location_error_median_m,
            "yaw_error_deg": self.yaw_error_deg, "yaw_error_median_deg": self.yaw_error_median_deg,
            "placed": self.placed, "count_right": self.count_right,
            "average_precision": self.average_precision, "calibration_error": self.calibration_error,
            "attribute_calibration_errors": dict(self.attribute_calibration_errors),
            "coverage": {f"{level:g}": share for level, share in self.coverage.items()},
            "by_threshold": {f"{least:g}": asdict(score) for least, score in self.by_threshold.items()},
            "scenes": self.scenes, "predicted_objects": self.predicted_objects, "true_objects": self.true_objects,
        }

    def table(self) -> str:
        """For a terminal; every row is also a row of `markdown`."""
        head, scores, rest = self._rows()
        lines = ["  ".join(f"{cell:>13}" for cell in row) for row in [head, *scores]]
        width = max(len(name) for name, _ in rest)
        return "\n".join([*lines, "", *[f"{name:<{width}}  {value}" for name, value in rest]])

    def markdown(self) -> str:
        """The same as two Markdown tables, for a README or a model card."""
        head, scores, rest = self._rows()
        def row(cells: Iterable[str]) -> str:
            return "| " + " | ".join(cells) + " |"
        return "\n".join([row(head), row(["---"] * len(head)), *map(row, scores), "",
                          row(["measure", "value"]), row(["---"] * 2), *map(row, rest)])

    def _rows(self) -> tuple[list[str], list[list[str]], list[tuple[str, str]]]:
        head = ["tau (m)", "Jaccard index", "95% interval", "precision", "recall"]
        scores = [[f"{tau:g}", _number(s.jaccard), f"{s.interval[0]:.3f}-{s.interval[1]:.3f}", _number(s.precision),
                   _number(s.recall)] for tau, s in self.by_tau.items()]
        rest = [
            ("scenes", str(self.scenes)),
            ("objects, true and predicted", f"{self.true_objects} and {self.predicted_objects}"),
            ("scenes with the right number of objects", _number(self.count_right)),
            (f"predictions within {SAME_PLACE_M:g} m of an object", str(self.placed)),
            *[(f"- {name} right", _number(share)) for name, share in self.attributes.items()],
            ("- all of them right", _number(self.all_attributes)),
            ("- location error (m), mean and median",
             f"{_number(self.location_error_m)} and {_number(self.location_error_median_m)}"),
            ("- yaw error (deg), mean and median",
             f"{_number(self.yaw_error_deg, 1)} and {_number(self.yaw_error_median_deg, 1)}"),
            *self.confidence_rows(),
        ]
        return head, scores, rest

    def confidence_rows(self) -> list[tuple[str, str]]:
        """What confidences and covariances are worth: (measure, value) in words."""
        return [
            (f"average precision at {CONFIDENCE_TAU_M:g} m", _number(self.average_precision)),
            ("confidence: mean gap to the share correct", _number(self.calibration_error)),
            *[(f"- of {name}", _number(gap)) for name, gap in self.attribute_calibration_errors.items()],
            *[(f"positions within the stated {level:.0%} ellipse", _number(share))
              for level, share in self.coverage.items()],
            *[(f"precision and recall, scores from {least:g}", f"{_number(s.precision)} and {_number(s.recall)}")
              for least, s in self.by_threshold.items()],
        ]


def evaluate_recognition(pairs: Iterable[tuple[Scene, Scene]], yaw: YawPeriods = YawPeriods()) -> RecognitionReport:
    """The report of pairs (predicted, truth), each pair in one frame, metres; `yaw` says after which turn objects look
    the same. The distances suit objects of CLEVR's size: see `in_units` for others.

    Raises ValueError without pairs and SceneError where the scenes of a pair are in different frames.
    """
    pairs = list(pairs)
    if not pairs:
        raise ValueError("nothing to evaluate: expected at least one pair of scenes")
    predicted, true = sum(len(p) for p, _ in pairs), sum(len(t) for _, t in pairs)
    placed = [match for p, t in pairs for match in compare_by_place(p, t, yaw)]
    names = dict.fromkeys(name for _, t in pairs for true in t.objects for name in true.attributes)
    claims, (errors_m, covariances_m2) = object_claims(pairs), position_errors(pairs)
    return RecognitionReport(
        scenes=len(pairs), predicted_objects=predicted, true_objects=true,
        by_tau={tau: _score(pairs, tau, predicted, true) for tau in TAUS_M},
        count_right=float(np.mean([len(p) == len(t) for p, t in pairs])),
        average_precision=average_precision(claims.confidence, claims.correct, true),
        calibration_error=claims.calibration_error(),
        attribute_calibration_errors={n: c.calibration_error() for n, c in attribute_claims(pairs).items()},
        coverage={level: coverage(errors_m, covariances_m2, level) for level in COVERAGE_LEVELS},
        by_threshold={least: threshold_score(pairs, least) for least in THRESHOLDS}, **_place_fields(placed, names))


def threshold_score(pairs: Sequence[tuple[Scene, Scene]], least: float) -> ThresholdScore:
    """Precision and recall at CONFIDENCE_TAU_M of the predictions with a confidence of at least `least`."""
    kept = [(replace(p, objects=tuple(o for o in p.objects if o.confidence >= least)), t) for p, t in pairs]
    found = sum(len(match_scene(p, t, CONFIDENCE_TAU_M)) for p, t in kept)
    predicted, true = sum(len(p) for p, _ in kept), sum(len(t) for _, t in kept)
    return ThresholdScore(found / predicted if predicted else None, found / true if true else None)


def _score(pairs: list[tuple[Scene, Scene]], tau_m: float, predicted: int, true: int) -> TauScore:
    matches = np.array([len(match_scene(p, t, tau_m)) for p, t in pairs])
    unions = np.array([len(p) + len(t) for p, t in pairs]) - matches
    scores = np.where(unions > 0, matches / np.maximum(unions, 1), 1.0)
    found = int(matches.sum())
    return TauScore(float(scores.mean()), bootstrap_interval(scores), found / predicted if predicted else None,
                    found / true if true else None)


def _place_fields(placed: list[PlaceMatch], names: Iterable[str]) -> dict:
    distances = [match.distance_m for match in placed]
    yaws = [math.degrees(match.yaw_error_rad) for match in placed if match.yaw_error_rad is not None]
    return {
        "placed": len(placed),
        "attributes": {name: _over(np.mean, [m.right[name] for m in placed if name in m.right]) for name in names},
        "all_attributes": _over(np.mean, [all(match.right.values()) for match in placed]),
        "location_error_m": _over(np.mean, distances), "location_error_median_m": _over(np.median, distances),
        "yaw_error_deg": _over(np.mean, yaws), "yaw_error_median_deg": _over(np.median, yaws),
    }


def _over(statistic, values) -> float | None:
    return float(statistic(values)) if len(values) else None


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"

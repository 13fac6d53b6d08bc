"""The picture of what confidences are worth: reliability of objects and attributes, precision and recall."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kyvo_ros.evaluation.confidence import (
    CONFIDENCE_TAU_M, Claims, ReliabilityBins, attribute_claims, object_claims, reliability,
)
from kyvo_ros.evaluation.report import threshold_score
from kyvo_ros.scene import Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Okabe and Ito's colours, which colour-blind readers can tell apart.
_OBJECT = "#0072B2"
_ATTRIBUTES = ("#E69F00", "#009E73", "#D55E00", "#CC79A7")
_INK, _PALE = "0.25", "0.85"
#: Of so few claims the share correct says nothing.
_FEW = 4
#: 95 % of a Gaussian, in standard deviations.
_Z = 1.96


def plot_reliability(path: Path, pairs: Sequence[tuple[Scene, Scene]], title: str) -> None:
    """Write a PNG on pairs (predicted, truth): two reliability plots with their counts, and precision and recall."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    style = {"font.size": 10, "axes.edgecolor": _INK, "axes.labelcolor": _INK, "xtick.color": _INK, "ytick.color": _INK,
             "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left"}
    with pyplot.rc_context(style):
        figure, axes = pyplot.subplots(2, 3, figsize=(13.5, 5.6), height_ratios=(4, 1), sharex="col",
                                       layout="constrained")
        objects = {"objects": object_claims(pairs)}
        _reliability(axes[0, 0], axes[1, 0], objects, (_OBJECT,), "Objects")
        _reliability(axes[0, 1], axes[1, 1], attribute_claims(pairs), _ATTRIBUTES, "Attributes of objects in place")
        _precision_recall(axes[0, 2], axes[1, 2], pairs)
        figure.suptitle(f"{title}: what its confidences are worth on {len(pairs)} images", x=0.01, ha="left",
                        weight="bold")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)
        pyplot.close(figure)


def _reliability(axes: Axes, counts: Axes, claims: dict[str, Claims], colors: Sequence[str], title: str) -> None:
    """Share correct over confidence, by bins; below how many claims a bin has. Bins of _FEW or less are pale."""
    axes.plot([0, 1], [0, 1], color=_PALE, linewidth=1.5, zorder=0)
    edges = np.linspace(0, 1, 11)
    width = 0.085 / max(len(claims), 1)
    for index, ((name, found), color) in enumerate(zip(claims.items(), colors)):
        error = found.calibration_error()
        label = f"{name}, ECE {'-' if error is None else f'{error:.3f}'}"
        _bins(axes, reliability(found.confidence, found.correct), color, label)
        where = edges[:-1] + 0.0075 + width * (index + 0.5)
        counts.bar(where, np.histogram(found.confidence, edges)[0], width=width, color=color)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="share correct", title=title)
    axes.legend(loc="upper left", frameon=False)
    counts.set(xlabel="stated confidence", ylabel="number", yscale="symlog", ylim=(0, None))


def _bins(axes: Axes, bins: ReliabilityBins, color: str, label: str) -> None:
    """Points, with a line and the 95 % interval of the share where there are enough claims to tell it."""
    many = bins.count > _FEW
    low, high = wilson_interval(bins.correct, bins.count)
    axes.plot(bins.confidence[~many], bins.correct[~many], "o", color=color, alpha=0.3, markersize=5,
              markeredgecolor="none")
    axes.vlines(bins.confidence[many], low[many], high[many], color=color, alpha=0.45, linewidth=2.5)
    axes.plot(bins.confidence[many], bins.correct[many], "o-", color=color, markersize=7, linewidth=1.5,
              markeredgecolor="white", label=label)


def wilson_interval(share: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's 95 % interval of shares (B,) out of counts (B,): low and high, within [0, 1]."""
    centre = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z * np.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2)) / (1 + _Z**2 / count)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def _precision_recall(axes: Axes, kept: Axes, pairs: Sequence[tuple[Scene, Scene]]) -> None:
    """Both over the score under which predictions are left out; below the share of predictions that stay."""
    thresholds = np.linspace(0, 0.99, 100)
    scores = [threshold_score(pairs, least) for least in thresholds]
    for name, color in (("precision", _OBJECT), ("recall", _ATTRIBUTES[2])):
        values = [np.nan if (value := getattr(score, name)) is None else value for score in scores]
        axes.plot(thresholds, values, color=color, linewidth=2, label=name)
    confidence = np.array([o.confidence for predicted, _ in pairs for o in predicted.objects])
    stays = [np.mean(confidence >= least) if len(confidence) else 0.0 for least in thresholds]
    kept.fill_between(thresholds, stays, color=_PALE)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), title=f"Precision and recall within {CONFIDENCE_TAU_M:g} m")
    axes.legend(loc="lower left", frameon=False)
    axes.grid(color=_PALE, linewidth=0.6)
    kept.set(xlabel="least score that is kept", ylabel="share kept", ylim=(0, 1.05))

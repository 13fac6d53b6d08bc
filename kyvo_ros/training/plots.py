"""Curves of training: one stage's, from its metrics file, and a model's over all its runs, from `training.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path


def read_metrics(path: Path) -> list[dict]:
    """The rows of a metrics file (JSON lines), later rows replacing earlier ones of the same step and kind."""
    rows: dict[tuple[int, bool], dict] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:  # cut off, when a disk was full or the process was killed
                continue
            rows[row["step"], "evaluation" in row] = row
    return [rows[key] for key in sorted(rows)]


def plot_metrics(metrics: Path, picture: Path) -> None:
    """Write a PNG with the loss on the left axis and every evaluated number between 0 and 1 on the right."""
    rows = read_metrics(metrics)
    if not rows:
        return
    pyplot = pyplot_without_screen()
    figure, left = pyplot.subplots(figsize=(8, 4.5))
    losses = [(r["step"], r["loss"]) for r in rows if "loss" in r]
    left.plot(*zip(*losses), color="0.6", linewidth=0.8, label="loss")
    left.set(xlabel="optimizer step", ylabel="loss", title=f"{metrics.parent.name}")
    right = left.twinx()
    evaluations = [r for r in rows if "evaluation" in r]
    for name in sorted({n for r in evaluations for n in r["evaluation"]}):
        points = [(r["step"], r["evaluation"][name]) for r in evaluations if name in r["evaluation"]]
        if all(0 <= value <= 1 for _, value in points):
            right.plot(*zip(*points), marker="o", markersize=3, label=name)
    right.set(ylim=(0, 1), ylabel="held-out renders")
    if right.get_legend_handles_labels()[0]:
        right.legend(loc="center right", fontsize=8)
    figure.tight_layout()
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def plot_learning(runs: Sequence[dict], picture: Path) -> None:
    """Write a PNG: Jaccard index on held-out renders over the hours that a model was trained, run after run.

    `runs` as in `training.json`. The hours of the stages before the decoder count too; where they lie is shaded, and
    each run is named with its hardware.
    """
    pyplot = pyplot_without_screen()
    figure, axes = pyplot.subplots(figsize=(9, 4.5))
    curves: dict[str, list[tuple[float, float]]] = {}
    begin = 0.0
    for run in runs:
        axes.axvline(begin / 3600, color="0.4", linewidth=0.8)
        axes.text(begin / 3600, 1.01, f" {run['recipe']}, {run['hardware']}", fontsize=7, va="bottom")
        before = sum(stage["seconds"] for name, stage in run["stages"].items() if name != "decoder")
        axes.axvspan(begin / 3600, (begin + before) / 3600, color="0.93")
        decoder = run["stages"].get("decoder", {"seconds": 0, "evaluations": []})
        for row in decoder["evaluations"]:
            for name in (n for n in row if n.startswith("jaccard_")):
                curves.setdefault(name, []).append(((begin + before + row["seconds"]) / 3600, row[name]))
        for points in curves.values():
            points.append((math.nan, math.nan))  # no line from one run to the next
        begin += before + decoder["seconds"]
    for name, points in sorted(curves.items(), reverse=True):
        axes.plot(*zip(*points), marker="o", markersize=3, label=f"tau {name.removeprefix('jaccard_')}")
    axes.set(xlabel="hours of training (shaded: image tokenizer)", ylabel="Jaccard index, held-out renders",
             ylim=(0, 1))
    if curves:
        axes.legend(loc="center left", fontsize=8)
    figure.tight_layout()
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def pyplot_without_screen():
    """Matplotlib's drawing module, without a screen."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    return pyplot

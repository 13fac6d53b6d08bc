"""The curve of a training run, drawn from its metrics file."""

from __future__ import annotations

import json
from pathlib import Path


def read_metrics(path: Path) -> list[dict]:
    """The rows of a metrics file (JSON lines), later rows replacing earlier ones of the same step and kind."""
    rows: dict[tuple[int, bool], dict] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            rows[row["step"], "evaluation" in row] = row
    return [rows[key] for key in sorted(rows)]


def plot_metrics(metrics: Path, picture: Path) -> None:
    """Write a PNG with the loss on the left axis and every evaluated number between 0 and 1 on the right."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = read_metrics(metrics)
    if not rows:
        return
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

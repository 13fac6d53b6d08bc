"""The report of the cookbook: a table and a plot an experiment, beside the paper's figures, of what has run so far."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kyvo_ros.training.cookbook.kitchen import Kitchen
from kyvo_ros.training.cookbook.rows import Experiment, Row
from kyvo_ros.training.cookbook.scores import SCORE_NAMES
from kyvo_ros.training.plots import pyplot_without_screen

REPORT = "README.md"
_INTRODUCTION = """# The cookbook

The ablations of Kyvo (arXiv 2506.08002, version 2) at a small size, made by `kyvo cookbook` with the image tokenizer and
the decoder of `{model}`. Rows start, where nothing else is said, from that decoder without all that it knows of numbers,
and learn in minutes what is new, on ray-cast scenes of at most {most} objects. Those of the paper trained
Llama-3.2-1B-Instruct for ten epochs on renders of CLEVR, so what compares is the order of the rows, not their height. A
row of these minutes may see a part of its scenes only: the column of sequences tells. One run a row, one seed:
{held_out} held-out scenes leave an uncertainty of some hundredths. Columns in italics are the paper's; an empty cell has
no figure there, a dash has not run yet. {finished} of {rows} rows have run{hardware}.
"""


def write_report(out: Path, experiments: Sequence[Experiment], kitchen: Kitchen) -> Path:
    """Write REPORT and the plots into a folder; the path of REPORT."""
    out.mkdir(parents=True, exist_ok=True)
    results = {row.path: kitchen.result(row) for experiment in experiments for row in experiment.rows}
    parts = [_introduction(experiments, results, kitchen)]
    for experiment in experiments:
        parts.append(f"## {experiment.title}\n\n{experiment.text.strip()}\n\n{_table(experiment, results)}")
        if any(results[row.path] for row in experiment.rows):
            _plot(experiment, results, out / f"{experiment.name}.png")
            parts.append(f"![{experiment.title}]({experiment.name}.png)")
    path = out / REPORT
    path.write_text("\n\n".join(part.strip() for part in parts) + "\n", encoding="utf-8")
    return path


def _introduction(experiments: Sequence[Experiment], results: dict[str, dict | None], kitchen: Kitchen) -> str:
    done = [result for result in results.values() if result]
    recipe = experiments[0].rows[0].recipe
    machines = sorted({result["hardware"] for result in done})
    return _INTRODUCTION.format(model=kitchen.bundle.name,
                                most=recipe.max_objects or kitchen.bundle.schema.max_objects,
                                held_out=recipe.examples.held_out, finished=len(done), rows=len(results),
                                hardware=f" on {'; '.join(machines)}" if machines else "")


def _table(experiment: Experiment, results: dict[str, dict | None]) -> str:
    """Own scores, the paper's, and what the row took."""
    own = _names(experiment, [(results[row.path] or {}).get("scores", {}) for row in experiment.rows])
    theirs = _names(experiment, [row.paper for row in experiment.rows])
    heads = ["row", *(SCORE_NAMES[name][0] for name in own),
             *(f"*{experiment.source}: {SCORE_NAMES[name][0].split(',')[0]}*" for name in theirs),
             "trained parameters", "sequences", "minutes", "command"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in experiment.rows:
        result = results[row.path]
        scores = result["scores"] if result else {}
        cells = [row.name, *(_number(name, scores.get(name), "-") for name in own),
                 *(_number(name, row.paper.get(name), "") for name in theirs),
                 *((f"{result['trained']:,}", f"{result['sequences']:,}", f"{result['minutes']:g}") if result
                   else ("-", "-", "-")), f"`kyvo cookbook --only {row.path}`"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _names(experiment: Experiment, found: Sequence[dict]) -> list[str]:
    """The scores that any row has, in the order of SCORE_NAMES."""
    return [name for name in SCORE_NAMES if any(name in scores for scores in found)]


def _number(name: str, value: float | None, missing: str) -> str:
    return missing if value is None else f"{value:.{SCORE_NAMES[name][1]}f}"


def _plot(experiment: Experiment, results: dict[str, dict | None], picture: Path) -> None:
    """Write a PNG: the first own score on the left and the same of the paper, where it has one, on the right."""
    pyplot = pyplot_without_screen()
    rows = [row for row in experiment.rows if results[row.path]]
    score = _leading(rows[0], results)
    panels = [("here", {row.name: results[row.path]["scores"][score] for row in rows}),
              (experiment.source, {row.name: row.paper[score] for row in experiment.rows if score in row.paper})]
    panels = [(title, values) for title, values in panels if values]
    figure, axes = pyplot.subplots(1, len(panels), figsize=(5 * len(panels), 3.4), squeeze=False)
    for axis, (title, values) in zip(axes[0], panels):
        _draw(axis, values)
        axis.set(title=title, ylabel=SCORE_NAMES[score][0])
        if SCORE_NAMES[score][2]:
            axis.set_ylim(0, max(1.05 * max(values.values()), 1e-3))
    figure.tight_layout()
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def _leading(row: Row, results: dict[str, dict | None]) -> str:
    """The score that is plotted: one that the paper has too, if there is any."""
    scores = results[row.path]["scores"]
    return next((name for name in SCORE_NAMES if name in scores and name in row.paper), next(iter(scores)))


def _draw(axis, values: dict[str, float]) -> None:
    """Lines over the number of scenes where names are such as `both-500`, else a bar a row."""
    parts = {name: name.rpartition("-") for name in values}
    if all(head and tail.isdigit() for head, _, tail in parts.values()) and len({p[2] for p in parts.values()}) > 1:
        for line in dict.fromkeys(head for head, _, _ in parts.values()):
            points = sorted((int(parts[name][2]), value) for name, value in values.items() if parts[name][0] == line)
            axis.plot(*zip(*points), marker="o", label=line)
        axis.set(xscale="log", xlabel="scenes")
        axis.legend(fontsize=8)
        return
    axis.bar(range(len(values)), list(values.values()), color="0.55")
    axis.set_xticks(range(len(values)), list(values), rotation=20, ha="right", fontsize=8)

"""The rows of the cookbook: what each changes of the common recipe, and what the paper (arXiv 2506.08002) says of it.

A folder holds `common.yaml`, a recipe, and one file an experiment. It knows neither images nor weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kyvo_ros.training.recipe import Recipe, RecipeError, read_block, read_document, recipe_of

COMMON = "common.yaml"
#: `body`: the weights of the model folder, but all that it knows of numbers is new; `base`: all its weights; `fresh`:
#: random ones.
STARTS = ("body", "base", "fresh")
METHODS = ("full", "lora")
#: What a row may be scored on.
SCORES = ("recognition", "drawing", "answers")
#: What all rows share, since images and their codes are made once.
_SHARED = ("examples", "canonical", "tokenizer", "schema", "max_objects")


@dataclass(frozen=True)
class Row:
    """One short run."""

    experiment: str
    name: str
    recipe: Recipe
    scores: tuple[str, ...]  # of SCORES
    start: str  # one of STARTS
    method: str  # one of METHODS; `lora` trains low-rank additions
    scenes: int | None  # how many of the training images; None takes all
    blocks: int | None  # how many of the model folder's first blocks it has; None takes all
    paper: dict[str, float]  # the paper's figures by the names of scores

    @property
    def path(self) -> str:
        """What `--only` calls it."""
        return f"{self.experiment}/{self.name}"


@dataclass(frozen=True)
class Experiment:
    """Rows that differ in one thing."""

    name: str
    title: str
    text: str  # what differs, and what to know when comparing with the paper
    source: str  # where in the paper its figures stand
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class _RowEntry:
    """A row as it is written in a file."""

    name: str
    changes: dict | None = None  # of the common recipe; blocks entry by entry
    start: str = "body"
    method: str = "full"
    scenes: int | None = None
    blocks: int | None = None
    paper: dict | None = None

    def __post_init__(self) -> None:
        for setting, known in (("start", STARTS), ("method", METHODS)):
            if getattr(self, setting) not in known:
                raise ValueError(f"{setting} must be one of {known}, got {getattr(self, setting)!r}")
        for setting in ("scenes", "blocks"):
            value = getattr(self, setting)
            if value is not None and value < 1:
                raise ValueError(f"{setting} must be at least 1, got {value}")
        if self.blocks is not None and self.start != "body":
            raise ValueError(f"row {self.name} takes some blocks of the body, and starts from {self.start!r}")


@dataclass(frozen=True)
class _ExperimentEntry:
    """An experiment as it is written in a file."""

    title: str
    text: str
    source: str
    scores: list[str]
    rows: list[dict]

    def __post_init__(self) -> None:
        if not self.scores or not set(self.scores) <= set(SCORES):
            raise ValueError(f"scores must be of {SCORES}, got {self.scores}")


def load_experiments(folder: Path) -> list[Experiment]:
    """All experiments of a folder, by name. Raises RecipeError with the file and the entry that is wrong."""
    common = read_document(folder / COMMON)
    recipe_of(common, folder / COMMON)
    paths = sorted(path for path in folder.glob("*.yaml") if path.name != COMMON)
    if not paths:
        raise RecipeError(f"{folder} holds no experiments beside {COMMON}")
    return [_experiment(path, common) for path in paths]


def chosen_rows(experiments: Sequence[Experiment], only: Sequence[str]) -> list[Row]:
    """The rows that `--only` names, as experiment or experiment/row; all where it names none. Raises RecipeError."""
    rows = [row for experiment in experiments for row in experiment.rows]
    known = {name for row in rows for name in (row.experiment, row.path)}
    unknown = [name for name in only if name not in known]
    if unknown:
        raise RecipeError(f"the cookbook has no {', '.join(unknown)}; it has {', '.join(row.path for row in rows)}")
    return [row for row in rows if not only or row.experiment in only or row.path in only]


def _experiment(path: Path, common: dict) -> Experiment:
    try:
        entry = read_block(_ExperimentEntry, read_document(path), path.stem)
        rows = tuple(_row(path, read_block(_RowEntry, row, "row"), entry.scores, common) for row in entry.rows)
    except (TypeError, ValueError) as error:
        raise error if isinstance(error, RecipeError) else RecipeError(f"{path}: {error}") from error
    return Experiment(path.stem, entry.title, entry.text, entry.source, rows)


def _row(path: Path, entry: _RowEntry, scores: Sequence[str], common: dict) -> Row:
    changes = entry.changes or {}
    shared = [name for name in _SHARED if name in changes]
    if shared:
        raise RecipeError(f"{path}: row {entry.name} changes {', '.join(shared)}, which all rows share")
    merged = {**common, **{name: {**common.get(name, {}), **value} if isinstance(value, dict) else value
                           for name, value in changes.items()}}
    recipe = recipe_of(merged, path)
    for score, ratio in (("drawing", recipe.rendering_ratio), ("answers", recipe.answer_ratio)):
        if score in scores and not ratio:
            raise RecipeError(f"{path}: row {entry.name} is scored on {score} and does not train it")
    return Row(path.stem, entry.name, recipe, tuple(scores), entry.start, entry.method, entry.scenes, entry.blocks,
               entry.paper or {})

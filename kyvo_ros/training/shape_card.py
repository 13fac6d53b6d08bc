"""The card of a shape tokenizer: how it was trained, and what `kyvo evaluate shapes` has found; as `card` does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from kyvo_ros.model.files import CONFIG
from kyvo_ros.training.card import CARD, EVALUATION, HISTORY, hardware, stage_history
from kyvo_ros.training.trainer import METRICS

if TYPE_CHECKING:
    from kyvo_ros.training.shapes import ShapeRecipe

#: Key of the runs in `training.json`, which tells it from that of other models.
RUNS = "shape_runs"

_TEMPLATE = """# {name}

A 3D VQ-VAE (Kyvo, arXiv 2506.08002, section 3.2): the shape and the colours of an object as {length} codes of {codes}, and
back to a mesh. Files: `config.json` (sizes), `shape_tokenizer.safetensors`, and what this card was made from,
`training.json` and `evaluation.json`.

    kyvo tokenize mug.glb --model models/{name} --out mug.json
    kyvo detokenize mug.json --model models/{name} --out mug.ply

## Training

    kyvo train shapes --recipe {recipe}{start} --out models/{name}

On {hardware} (torch {torch}). Data: {objects} objects of the project's procedural library, turned by quarters, mirrored, and
with their colour channels swapped at random. The last column was measured on {held_out} other instances of their
categories.

| stage | steps | batch | minutes | on held-out instances |
|---|---|---|---|---|
{stages}
{scores}
## Limits

Made for objects like those of the library: smooth, of a handful of parts, in plain colours. What is thinner than a voxel,
1/{resolution} of the longest side, is closed or lost, and so are fine textures. Colours come back block by block, and are
patchy where the codes have learned them for a short time.
"""

_SCORES = """
## Scores

    kyvo evaluate shapes --model models/{name} --count {count} --baselines --json models/{name}/{file}

{count} held-out instances of the categories that were trained on, and {count} objects of categories that were not. `codes` is
what came through the tokens, `unquantised` bounds what another codebook could reach, `slat` what any network could; the
baselines hold as many bytes as the codes ({bytes:g}). Lengths are shares of the diagonal of the true bounding box. {used}
codes were used ({usage:.0%}).

| | {columns} |
|---|{rule}
{rows}
"""


def write_shape_history(folder: Path, work: Path, recipe: ShapeRecipe, recipe_path: str,
                        source: Path | None = None) -> None:
    """Write `training.json` beside the weights of a shape tokenizer, from the metrics of its stages in `work`, behind
    the history of the one that training started from.
    """
    stages = {name: {**stage_history(work / name / METRICS), "batch_size": settings.batch_size}
              for name, settings in recipe.stages.items()}
    run = {"recipe": recipe_path, "hardware": hardware(), "torch": torch.__version__, "objects": recipe.objects,
           "held_out": recipe.held_out, "started_from": source and str(source), "stages": stages}
    earlier = json.loads((source / HISTORY).read_text(encoding="utf-8"))[RUNS] if source and is_of_shapes(source) else []
    document = {RUNS: [*earlier, run]}
    (folder / HISTORY).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def is_of_shapes(folder: Path) -> bool:
    """Whether a folder's `training.json` is that of a shape tokenizer."""
    path = folder / HISTORY
    return path.is_file() and RUNS in json.loads(path.read_text(encoding="utf-8"))


def write_shape_card(folder: Path) -> None:
    """Write the card of a folder from `training.json`, `config.json` and, where it is there, `evaluation.json`."""
    runs = json.loads((folder / HISTORY).read_text(encoding="utf-8"))[RUNS]
    run = runs[-1]
    sizes = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["shape_tokenizer"]
    stages = "\n".join(_stage_line(name, stage, one["started_from"]) for one in runs
                       for name, stage in one["stages"].items())
    card = _TEMPLATE.format(
        name=folder.name, length=(sizes["resolution"] // sizes["block"])**3, codes=sizes["codebook_size"],
        recipe=run["recipe"], start=f" --from {run['started_from']}" if run["started_from"] else "", hardware=run["hardware"], torch=run["torch"], objects=run["objects"],
        held_out=run["held_out"], stages=stages, scores=_scores(folder), resolution=sizes["resolution"])
    (folder / CARD).write_text(card, encoding="utf-8")


def _stage_line(name: str, stage: dict, source: str | None) -> str:
    last = stage["evaluations"][-1] if stage["evaluations"] else {}
    numbers = ", ".join(f"{key} {value:.4g}" for key, value in last.items() if key not in ("step", "seconds"))
    name += f", started from `{source}`" if source else ""
    return f"| {name} | {stage['steps']} | {stage['batch_size']} | {stage['seconds'] / 60:.0f} | {numbers} |"


def _scores(folder: Path) -> str:
    """The table of `kyvo evaluate shapes`; nothing where it has not been run."""
    if not (folder / EVALUATION).exists():
        return ""
    report = json.loads((folder / EVALUATION).read_text(encoding="utf-8"))
    columns = [(f"{group}, {variant}", scores) for group in ("instances", "categories")
               for variant, scores in report[group].items()]
    rows = [f"| {score} | " + " | ".join(f"{scores[score]:.4f}" if score in scores else "" for _, scores in columns) + " |"
            for score in columns[0][1]]
    return _SCORES.format(
        name=folder.name, count=report["objects_a_group"], file=EVALUATION, bytes=report["bytes_a_shape"],
        used=report["codes_used"], usage=report["code_usage"], columns=" | ".join(name for name, _ in columns),
        rule="---|" * len(columns), rows="\n".join(rows))

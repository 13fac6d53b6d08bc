"""The card of a model: what it was trained on, by which command, for how long, on what, and how it scores.

Everything on it is read from files that training and `kyvo evaluate` wrote; nothing is typed by hand.
"""

from __future__ import annotations

import json
import platform
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from kyvo_ros.model.files import TRAINING_HEADS
from kyvo_ros.training import distributed
from kyvo_ros.training.plots import plot_learning, read_metrics
from kyvo_ros.training.recipe import Recipe
from kyvo_ros.training.trainer import METRICS, TrainingError

CARD, HISTORY, EVALUATION, LEARNING = "README.md", "training.json", "evaluation.json", "learning.png"
STARTED_FROM = "started_from.txt"
RUN = "run.txt"
TRAINED = ("encoder", "codes", "pixels", "decoder")
#: The folder of a head that learns alone before its stage, in that of the stage.
HEAD = "head"

_TEMPLATE = """# {name}

A small Kyvo model (arXiv 2506.08002) that reads CLEVR scenes: image tokens in, a grammatical scene out, in the
support-plane frame of the camera. Files: `config.json` (sizes, vocabulary, grammar, canonical camera),
`decoder.safetensors`, `image_tokenizer.safetensors`, `tokenizer.json`,{heads} and what this card was made from,
`training.json` and `evaluation.json`. `reconstructions.png` shows images (upper rows) and what their codes hold.

## Training

    python3 -m kyvo_ros.cli train all --recipe {recipe}{start} --renders DIR

Data: scenes of the project's own ray caster, a part of them from other distances and elevations than CLEVR's camera,
images without objects (the empty plane, noise, patterns, text, clutter, desks), and Cycles renders of CLEVR scenes
under small virtual turns of the camera; all mirrored at random. The image encoder is trained with an auxiliary dense
head on ground-truth objects, which the paper's VQGAN does not have; the decoder's image states have one, too, in
training. The numbers in the last column were measured on renders held out of the training folder; `programs` are shares
of questions and instructions whose program was right token by token.

![Jaccard index on held-out renders over all hours of training](learning.png)

{runs}
{scores}
## Limits

CLEVR's classes only (cubes, spheres, cylinders; two sizes, eight colours, rubber and metal), at most ten objects on one
plane{cameras}. `config.json` lists the tasks that it offers; others were trained too little to be of use. How well the
image decoder draws, which recognition does not need, `reconstructions.png` shows.
"""


_OBJECTS_TEMPLATE = """# {name}

A small Kyvo model (arXiv 2506.08002) that reads scenes of whole objects: image tokens in, category, pose, extents and
the codes of a shape for every object out, in the support-plane frame of the camera. Files: `config.json` (sizes,
vocabulary, grammar, canonical camera), `decoder.safetensors`, `image_tokenizer.safetensors`,
`shape_tokenizer.safetensors`, `tokenizer.json`,{heads} and what this card was made from, `training.json` and
`evaluation.json`. `reconstructions.png` shows images (upper rows) and what their codes hold.

## Training

    python3 -m kyvo_ros.cli train all --recipe {recipe}{start} --shapes DIR{renders} --out models/{name}

Data: synthetic scenes of the project's procedural objects, {objects}, drawn by a
rasteriser{pictures}, and images without objects; all mirrored at random. The image
encoder is trained with an auxiliary dense head on ground-truth objects{sketch}, which the paper's VQGAN does not have; the
decoder's image states have one, too, in training. The numbers in the last column were measured on scenes of instances
held out of training.

![Jaccard index on held-out scenes over all hours of training](learning.png)

{runs}
{scores}
## Limits

Synthetic pictures of these categories only, on one plane, seen by cameras near the nominal one. Yaws of round objects
mean nothing. `config.json` lists the tasks that it offers; others were trained too little to be of use.
"""


def hardware() -> str:
    """The processor or GPU that training runs on, in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass  # not Linux: the platform's own word stays
    return f"{model}, {torch.get_num_threads()} threads"


def stage_history(metrics: Path) -> dict[str, Any]:
    """Steps, seconds over all resumed runs, and every evaluation with its seconds, of one stage's metrics file."""
    rows = read_metrics(metrics)
    seconds = last = 0.0
    evaluations = []
    for row in rows:
        now = row.get("seconds", last)
        seconds += now - last if now >= last else now  # a resumed run counts from zero again
        last = now
        if "evaluation" in row:
            evaluations.append({"step": row["step"], "seconds": round(seconds), **row["evaluation"]})
    return {"steps": max((r["step"] for r in rows), default=0), "seconds": round(seconds), "evaluations": evaluations}


def run_id(work: Path) -> str:
    """The name of a run, which its work folder keeps."""
    path = work / RUN
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        path.write_text(uuid.uuid4().hex + "\n", encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()


def note_start(stage: Path, source: Path | None) -> None:
    """Note in a stage's folder which model folder it was started from, for `write_history`."""
    if source is not None and distributed.rank() == 0:
        (stage / STARTED_FROM).write_text(f"{source}\n", encoding="utf-8")


def _started_from(stage: Path) -> str | None:
    path = stage / STARTED_FROM
    return path.read_text(encoding="utf-8").strip() if path.exists() else None


def write_history(folder: Path, work: Path, recipe: Recipe, examples: dict[str, int], source: str | None) -> None:
    """Write `training.json` beside the weights, behind the history of the model that the run started from; what the
    same run wrote before is replaced.
    """
    path, before, own = folder / HISTORY, Path(source or "") / HISTORY, run_id(work)
    runs = json.loads(before.read_text(encoding="utf-8"))["runs"] if source and before.exists() else []
    earlier = [run for run in runs if run.get("id") != own]
    stages = {name: {**stage_history(work / name / METRICS), "batch_size": getattr(recipe, stage).batch_size,
                     "started_from": _started_from(work / name)}
              for stage in TRAINED for name in (f"{stage}/{HEAD}", stage) if (work / name / METRICS).exists()}
    seen = recipe.examples
    cameras = {"elevation_deg": seen.elevation_deg, "distance_factor": seen.distance_factor}
    run = {"id": own, "recipe": recipe.name, "started_from": source,
           "cameras": cameras if seen.other_cameras and recipe.objects is None else None,
           "objects": None if recipe.objects is None else asdict(recipe.objects), "hardware": hardware(),
           "kept": list(recipe.without_steps) if source else [], "sketch_weight": recipe.sketch_weight,
           "torch": torch.__version__, "examples": examples, "stages": stages}
    path.write_text(json.dumps({"runs": [*earlier, run]}, indent=1) + "\n", encoding="utf-8")


def write_card(folder: Path, recipe_path: str) -> None:
    """Write the card of a model folder from `training.json` and, where it is there, `evaluation.json`."""
    if not (folder / HISTORY).is_file():
        raise TrainingError(f"there is no {HISTORY} in {folder}, from which a card is made; export a model there first")
    history = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
    runs = "\n".join(line for run in history["runs"] for line in _run_lines(run))
    scores, last = "", history["runs"][-1]
    heads = f" `{TRAINING_HEADS}` (of use to further training alone)," if (folder / TRAINING_HEADS).exists() else ""
    objects, start = last.get("objects"), f" --from {last['started_from']}" if last.get("started_from") else ""
    if (folder / EVALUATION).exists():
        report = json.loads((folder / EVALUATION).read_text(encoding="utf-8"))
        scores = "\n".join((_object_score_lines if objects else _score_lines)(report, folder.name))
    if objects:
        words = (f"{objects['min_objects']} to {objects['max_objects']} of {objects['instances']} instances of "
                 f"{len(objects['categories']) or 'all'} categories")
        mixed = last["examples"].get("views of renders")
        renders, pictures = (" --renders DIR", ", some by another renderer") if mixed else ("", "")
        sketched = any(run.get("sketch_weight") for run in history["runs"])
        sketch = " and a small head that draws the images" if sketched else ""
        card = _OBJECTS_TEMPLATE.format(name=folder.name, recipe=recipe_path, start=start, heads=heads, runs=runs,
                                        scores=scores, objects=words, renders=renders, pictures=pictures, sketch=sketch)
    else:
        cameras = _cameras_in_words(last.get("cameras"))
        card = _TEMPLATE.format(name=folder.name, recipe=recipe_path, start=start, heads=heads, runs=runs,
                                scores=scores, cameras=cameras)
    (folder / CARD).write_text(card, encoding="utf-8")
    plot_learning(history["runs"], folder / LEARNING)


def _cameras_in_words(cameras: dict | None) -> str:
    if not cameras:
        return ", seen by CLEVR's camera"
    (low, high), (near, far) = cameras["elevation_deg"], cameras["distance_factor"]
    return (f", seen by cameras that look down by {low:g} to {high:g} degrees from {near:g} to {far:g} times the "
            "distance of CLEVR's")


def _run_lines(run: dict) -> list[str]:
    counts = ", ".join(f"{count} {name}" for name, count in run["examples"].items())
    lines = [f"Recipe `{run['recipe']}` on {run['hardware']} (torch {run['torch']})"
             + (f", started from `{run['started_from']}`" if run["started_from"] else "")
             + (f" (kept as it is there: {', '.join(run['kept'])})" if run.get("kept") else "")
             + f". Images: {counts}.", "",
             "| stage | steps | batch | images or sequences | minutes | on held-out renders |",
             "|---|---|---|---|---|---|"]
    for name, stage in run["stages"].items():
        last = stage["evaluations"][-1] if stage["evaluations"] else {}
        numbers = ", ".join(f"{k} {v:.3g}" for k, v in last.items() if k not in ("step", "seconds"))
        if stage.get("started_from") not in (None, run["started_from"]):
            name += f", started from `{stage['started_from']}`"
        lines.append(f"| {name} | {stage['steps']} | {stage['batch_size']} | {stage['steps'] * stage['batch_size']} | "
                     f"{stage['seconds'] / 60:.0f} | {numbers} |")
    return [*lines, ""]


def _object_score_lines(report: dict, name: str) -> list[str]:
    """Of `kyvo evaluate objects`."""
    scenes = "".join(f" --{option} {report[key]}" for option, key in (("seed", "seed"), ("count", "scenes")) if key in report)
    draw = " --draw" if any(key.startswith("drawn_") for key in report) else ""
    command = f"kyvo evaluate objects --model models/{name}{scenes}{draw} --json models/{name}/{EVALUATION}"
    lines = ["## Scores", "", f"    {command}", "",
             f"On {report['scenes']} scenes of objects that were never trained on, shapes in order {report['order']}, "
             f"effort {report.get('effort', 'fast')}:",
             "", "| measure | mean |", "|---|---|"]
    shown = {key: value for key, value in report.items() if key not in ("model", "scenes", "seed", "order", "effort")}
    return [*lines, *(f"| {key} | {value:.3f} |" for key, value in shown.items() if value is not None), ""]


def _score_lines(report: dict, name: str) -> list[str]:
    command = f"kyvo evaluate recognition --data DIR --model models/{name} --json models/{name}/{EVALUATION}"
    lines = ["## Scores", "", f"    {command}", "",
             f"On {report['scenes']} Cycles renders that were never trained on:", "",
             "| measure | value |", "|---|---|"]
    lines += [f"| Jaccard index, tau {tau} | {value:.3f} |" for tau, value in report["jaccard"].items()]
    lines.append(f"| all attributes right, of objects matched by place | {report['all_attributes']:.3f} |")
    lines += [f"| {attribute} right | {value:.3f} |" for attribute, value in report["attributes"].items()]
    lines += [f"| {label} | {report[key]:.3f} |" for key, label in
              (("location_error_m", "location error, units"), ("yaw_error_deg", "yaw error, degrees"))
              if report.get(key) is not None]
    return [*lines, ""]

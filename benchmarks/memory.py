"""The persistent scene graph on synthetic sequences: id switches, precision, recall, position error, time a frame.

    python3 benchmarks/memory.py [--seeds 10] [--frames 600] [--recognizer] [--json FILE]

Each row is a setting of `kyvo_ros.evaluation.memory_sequences`, scored by `kyvo_ros.evaluation.memory_metrics`:
switches over all object-frames of the seeds, of the rest the mean over the seeds. The standard sequence comes first,
the others change one thing of it. With --recognizer the one row (the standard one, or --only) has no invented
detections: the ray caster draws every frame, and the model says what it sees. Times are CPU time of `SceneMemory.fuse`
(median), to which other processes add little.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from kyvo_ros.data.placement import SceneBatch
from kyvo_ros.evaluation.memory_metrics import MemoryReport, evaluate_memory
from kyvo_ros.evaluation.memory_sequences import FRAME, LENS, SequenceFrame, SequenceSettings, standard_sequence
from kyvo_ros.scene import PlaneNotVisibleError, Scene, view_from_pose
from kyvo_ros.scene.memory import SceneMemory, Viewpoint

STANDARD = SequenceSettings()
SETTINGS = {
    "standard": STANDARD,
    "nothing moves": replace(STANDARD, moved=0, added=0, removed=0),
    "perfect detections": replace(STANDARD, missed=0.0, sigma_m=0.01, false=0.0, flipped=0.0),
    "20 % missed": replace(STANDARD, missed=0.2),
    "10 % false": replace(STANDARD, false=0.1),
    "15 % flipped": replace(STANDARD, flipped=0.15),
    "sigma 0.2 m": replace(STANDARD, sigma_m=0.2),
    "20 objects": replace(STANDARD, objects=20, table_m=6.0),
}


class Recognizer:
    """A model that looks at what the ray caster draws of a frame."""

    def __init__(self, model: str) -> None:
        from kyvo_ros.data.raycaster import Raycaster
        from kyvo_ros.pipeline import KyvoPipeline
        self._pipeline = KyvoPipeline.from_pretrained(model or None)
        self._raycaster = Raycaster(LENS.width, LENS.height, LENS.fx, LENS.fy, LENS.cx, LENS.cy)

    def __call__(self, frame: SequenceFrame) -> tuple[Scene, Viewpoint] | None:
        """What it sees, in FRAME, and where it looked; None where the camera does not look down on the plane."""
        try:
            view = view_from_pose(LENS, frame.viewpoint.frame_T_optical)
        except PlaneNotVisibleError:
            return None
        batch = SceneBatch.of([frame.truth], [frame.viewpoint.frame_T_optical])
        image = self._raycaster.render(batch, seed=1)[0][0].numpy()  # one seed: the light of a sequence is the same
        scene = self._pipeline.recognize(image, view)
        viewpoint = Viewpoint.of(view, view.world_T_plane, field=self._pipeline.field(view.plane))
        return scene.transformed(view.world_T_plane, FRAME), viewpoint


def scored(settings: SequenceSettings, seed: int, seconds: list[float],
           recognizer: Recognizer | None = None) -> MemoryReport:
    """One sequence through a new memory; the CPU time of every frame is added to `seconds`."""
    def frames() -> Iterator[tuple[Scene, Scene, frozenset[str]]]:
        memory = SceneMemory(FRAME)
        for frame in standard_sequence(seed, settings):
            sight = recognizer(frame) if recognizer else (frame.detections, frame.viewpoint)
            if sight is not None:
                start = time.process_time()
                memory.fuse(*sight, frame.stamp_ns)
                seconds.append(time.process_time() - start)
            yield memory.snapshot().scene(), frame.truth, frame.visible
    return evaluate_memory(frames())


def summary(settings: SequenceSettings, seeds: int, recognizer: Recognizer | None = None) -> dict:
    """The means over the seeds, and switches over all object-frames."""
    seconds: list[float] = []
    reports = [scored(settings, seed, seconds, recognizer) for seed in tqdm(range(seeds), leave=False)]
    object_frames, switches = (sum(getattr(r, name) for r in reports) for name in ("object_frames", "id_switches"))
    means = {name: _mean(getattr(r, name) for r in reports) for name in (
        "precision", "recall", "words_right", "position_error_m", "position_error_95_m")}
    by_part = zip(*(r.position_error_by_part_m for r in reports))
    return {"object_frames": object_frames, "id_switches": switches, **means,
            "switches_per_1000": 1000 * switches / max(1, object_frames),
            "worst_precision": min(r.precision for r in reports), "worst_recall": min(r.recall for r in reports),
            "position_error_by_part_m": [_mean(part) for part in by_part],
            "fuse_ms": 1e3 * statistics.median(seconds), "sequences": [r.to_dict() for r in reports]}


def _mean(values: Iterable[float | None]) -> float | None:
    """Of those that are there."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _said(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def table(rows: dict[str, dict]) -> str:
    """The numbers for people."""
    lines = [f"{'':20}{'obj-frames':>11}{'switches':>9}{'per 1000':>9}{'precision':>10}{'recall':>8}{'words':>7}"
             f"{'error m':>9}{'95 %':>7}{'fuse ms':>9}"]
    for name, row in rows.items():
        lines.append(f"{name:20}{row['object_frames']:11}{row['id_switches']:9}{row['switches_per_1000']:9.2f}"
                     f"{row['precision']:10.3f}{row['recall']:8.3f}{_said(row['words_right']):>7}"
                     f"{_said(row['position_error_m']):>9}{_said(row['position_error_95_m']):>7}{row['fuse_ms']:9.1f}")
    errors = "  ".join(map(_said, next(iter(rows.values()))["position_error_by_part_m"]))
    return "\n".join([*lines, "", f"position error (m) by tenth of the sequence, {next(iter(rows))}: {errors}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="sequences a row (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=STANDARD.frames, help="of a sequence (default: %(default)s)")
    parser.add_argument("--only", choices=tuple(SETTINGS), help="one row instead of all")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--recognizer", action="store_true", help="the model's own detections (a second for 5 frames)")
    parser.add_argument("--model", default="", help="model folder of --recognizer (default: the shipped one)")
    args = parser.parse_args()
    recognizer = Recognizer(args.model) if args.recognizer else None
    names = [args.only or "standard"] if args.recognizer else [args.only] if args.only else list(SETTINGS)
    rows = {name: summary(replace(SETTINGS[name], frames=args.frames), args.seeds, recognizer) for name in names}
    print(f"{args.seeds} sequences of {args.frames} frames each")
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

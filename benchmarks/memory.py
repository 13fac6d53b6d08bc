"""The persistent scene graph on synthetic sequences: id switches, precision, recall, position error, time a frame.

    python3 benchmarks/memory.py [--seeds 10] [--frames 600] [--json FILE]

Each row is a setting of `kyvo_ros.evaluation.memory_sequences`, scored by `kyvo_ros.evaluation.memory_metrics`:
switches over all object-frames of the seeds, of the rest the mean over the seeds. The standard sequence comes first,
the others change one thing of it. Times are CPU time of `SceneMemory.fuse` (median), to which other processes add
little.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from kyvo_ros.evaluation.memory_metrics import MemoryReport, evaluate_memory
from kyvo_ros.evaluation.memory_sequences import FRAME, SequenceSettings, standard_sequence
from kyvo_ros.scene import Scene
from kyvo_ros.scene.memory import SceneMemory

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


def scored(settings: SequenceSettings, seed: int, seconds: list[float]) -> MemoryReport:
    """One sequence through a new memory; the CPU time of every frame is added to `seconds`."""
    def frames() -> Iterator[tuple[Scene, Scene, frozenset[str]]]:
        memory = SceneMemory(FRAME)
        for frame in standard_sequence(seed, settings):
            start = time.process_time()
            memory.fuse(frame.detections, frame.viewpoint, frame.stamp_ns)
            seconds.append(time.process_time() - start)
            yield memory.snapshot().scene(), frame.truth, frame.visible
    return evaluate_memory(frames())


def summary(settings: SequenceSettings, seeds: int) -> dict:
    """The means over the seeds, and switches over all object-frames."""
    seconds: list[float] = []
    reports = [scored(settings, seed, seconds) for seed in tqdm(range(seeds), leave=False)]
    object_frames, switches = (sum(getattr(r, name) for r in reports) for name in ("object_frames", "id_switches"))
    means = {name: statistics.fmean(getattr(r, name) for r in reports) for name in (
        "precision", "recall", "words_right", "position_error_m", "position_error_95_m")}
    by_part = zip(*(r.position_error_by_part_m for r in reports))
    return {"object_frames": object_frames, "id_switches": switches, **means,
            "switches_per_1000": 1000 * switches / object_frames,
            "worst_precision": min(r.precision for r in reports), "worst_recall": min(r.recall for r in reports),
            "position_error_by_part_m": [statistics.fmean(e for e in part if e is not None) for part in by_part],
            "fuse_ms": 1e3 * statistics.median(seconds), "sequences": [r.to_dict() for r in reports]}


def table(rows: dict[str, dict]) -> str:
    """The numbers for people."""
    lines = [f"{'':20}{'obj-frames':>11}{'switches':>9}{'per 1000':>9}{'precision':>10}{'recall':>8}{'words':>7}"
             f"{'error m':>9}{'95 %':>7}{'fuse ms':>9}"]
    for name, row in rows.items():
        lines.append(f"{name:20}{row['object_frames']:11}{row['id_switches']:9}{row['switches_per_1000']:9.2f}"
                     f"{row['precision']:10.3f}{row['recall']:8.3f}{row['words_right']:7.3f}"
                     f"{row['position_error_m']:9.3f}{row['position_error_95_m']:7.3f}{row['fuse_ms']:9.1f}")
    errors = "  ".join(f"{e:.3f}" for e in next(iter(rows.values()))["position_error_by_part_m"])
    return "\n".join([*lines, "", f"position error (m) by tenth of the sequence, {next(iter(rows))}: {errors}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="sequences a row (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=STANDARD.frames, help="of a sequence (default: %(default)s)")
    parser.add_argument("--only", choices=tuple(SETTINGS), help="one row instead of all")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    args = parser.parse_args()
    names = [args.only] if args.only else list(SETTINGS)
    rows = {name: summary(replace(SETTINGS[name], frames=args.frames), args.seeds) for name in names}
    print(f"{args.seeds} sequences of {args.frames} frames each")
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

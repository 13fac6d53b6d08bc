"""How well a memory keeps a scene: id switches, precision and recall of the graph, and position error over time.

In every frame the graph is matched to the objects that truly stand there, by place (optimal assignment within
`SAME_PLACE_M`). Asked of the graph are the objects that could be seen at some time so far; the truth changes at once
when an object is moved, added or removed, also while nobody looks. A graph object that matches none of the truth,
asked for or not, is false. An id switch is a true object matched under another id than the last time. Without objects
in graph or truth, precision or recall is 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np

from kyvo_ros.evaluation.place import match_by_place
from kyvo_ros.scene import Scene, SceneObject

#: Parts of a sequence for which the position error is told one by one.
PARTS = 10


@dataclass(frozen=True)
class MemoryReport:
    """Scores of one sequence, or of several pooled."""

    frames: int
    object_frames: int  # matched pairs of graph and truth over all frames
    id_switches: int
    switches_per_1000: float  # per 1000 object-frames
    precision: float
    recall: float
    words_right: float | None  # of matched objects, the share with every word right; None without any
    position_error_m: float | None  # mean distance in the ground plane
    position_error_95_m: float | None  # 95th percentile
    position_error_by_part_m: tuple[float | None, ...]  # means of the PARTS of the sequence, in order

    def to_dict(self) -> dict:
        """For JSON."""
        return asdict(self)


@dataclass
class _Counts:
    switches: int = 0
    matched: int = 0
    told: int = 0  # objects in the graph
    asked: int = 0  # objects of the truth that could be seen so far
    asked_matched: int = 0
    words_right: int = 0


def evaluate_memory(frames: Iterable[tuple[Scene, Scene, frozenset[str]]]) -> MemoryReport:
    """The report of frames (graph, truth, ids of the truth visible in this frame); both scenes have ids and one frame.

    Raises ValueError without frames, SceneError where the scenes of a frame are in different frames.
    """
    counts, errors = _Counts(), []
    last_id: dict[str, str] = {}
    known: set[str] = set()
    for graph, truth, visible in frames:
        known |= visible
        pairs = [(graph.objects[i], truth.objects[j]) for i, j in match_by_place(graph, truth)]
        _count(counts, graph, truth, known, pairs, last_id)
        errors.append([float(np.hypot(*(guess.position_m - true.position_m)[:2])) for guess, true in pairs])
    if not errors:
        raise ValueError("nothing to evaluate: expected at least one frame")
    return _report(counts, errors)


def _count(counts: _Counts, graph: Scene, truth: Scene, known: set[str], pairs: list[tuple[SceneObject, SceneObject]],
           last_id: dict[str, str]) -> None:
    counts.told += len(graph)
    counts.matched += len(pairs)
    counts.asked += sum(o.id in known for o in truth.objects)
    counts.asked_matched += sum(true.id in known for _, true in pairs)
    for guess, true in pairs:
        counts.switches += last_id.get(true.id, guess.id) != guess.id
        counts.words_right += dict(guess.attributes) == dict(true.attributes)
        last_id[true.id] = guess.id


def _report(counts: _Counts, errors: list[list[float]]) -> MemoryReport:
    pooled = [e for frame in errors for e in frame]
    parts = [[e for frame in part for e in frame] for part in _split(errors)]
    return MemoryReport(
        len(errors), counts.matched, counts.switches, 1000 * counts.switches / max(1, counts.matched),
        precision=counts.matched / counts.told if counts.told else 1.0,
        recall=counts.asked_matched / counts.asked if counts.asked else 1.0,
        words_right=counts.words_right / counts.matched if counts.matched else None,
        position_error_m=_mean(pooled), position_error_95_m=float(np.quantile(pooled, 0.95)) if pooled else None,
        position_error_by_part_m=tuple(map(_mean, parts)))


def _split(errors: list[list[float]]) -> list[list[list[float]]]:
    edges = np.linspace(0, len(errors), PARTS + 1).astype(int)
    return [errors[a:b] for a, b in zip(edges, edges[1:])]


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None

"""The memory's scores: hand-worked examples, the sequences themselves, and the standard sequence in a short form."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from kyvo_ros.evaluation.memory_metrics import PARTS, MemoryReport, evaluate_memory
from kyvo_ros.evaluation.memory_sequences import FRAME, SequenceSettings, standard_sequence
from kyvo_ros.scene import Scene, SceneError, SceneObject
from kyvo_ros.scene.memory import SceneMemory


def _scene(*things: tuple[str, float], color: str = "red") -> Scene:
    return Scene([SceneObject({"color": color}, [x, 0.0, 0.3], id=name) for name, x in things], FRAME)


def test_hand_worked_scores() -> None:
    a, b, both = frozenset("a"), frozenset("b"), frozenset("ab")
    report = evaluate_memory([
        (_scene(), _scene(("a", 0), ("b", 5)), a),  # a is asked for and missing, b was never visible
        (_scene(("1", 0.1), ("2", 5.3)), _scene(("a", 0), ("b", 5)), a),  # b is right, and not asked for
        (_scene(("1", 0.2), ("2", 5.0)), _scene(("a", 0), ("b", 5)), both),
        (_scene(("3", 0.0), ("2", 2.0)), _scene(("a", 0), ("b", 5)), frozenset()),  # a has another id, 2 is false
        (_scene(("2", 0.0), color="blue"), _scene(("a", 0)), b),  # another id once more, and a wrong word
    ])
    assert (report.frames, report.object_frames, report.id_switches) == (5, 6, 2)
    assert report.switches_per_1000 == pytest.approx(2000 / 6)
    assert report.precision == pytest.approx(6 / 7)
    assert report.recall == pytest.approx(5 / 7)
    assert report.words_right == pytest.approx(5 / 6)
    assert report.position_error_m == pytest.approx(0.6 / 6)


def test_empty_graphs_and_no_frames() -> None:
    report = evaluate_memory([(_scene(), _scene(), frozenset())] * 3)
    assert (report.precision, report.recall, report.position_error_m) == (1.0, 1.0, None)
    assert report.position_error_by_part_m == (None,) * PARTS and report.to_dict()["id_switches"] == 0
    with pytest.raises(ValueError, match="at least one frame"):
        evaluate_memory([])
    with pytest.raises(SceneError):
        evaluate_memory([(_scene(), Scene((), "odom"), frozenset())])


def test_position_error_is_told_by_part() -> None:
    frames = [(_scene(("1", 0.01 * i)), _scene(("a", 0)), frozenset("a")) for i in range(20)]
    parts = evaluate_memory(frames).position_error_by_part_m
    assert parts == pytest.approx([0.02 * i + 0.005 for i in range(PARTS)])


def test_a_sequence_has_the_errors_that_it_says() -> None:
    settings = SequenceSettings(frames=150, missed=0.2, false=0.1, flipped=0.1)
    frames = list(standard_sequence(3, settings))
    visible = sum(len(f.visible) for f in frames)
    count = Counter(name != "" for f in frames for name in f.detected)
    assert count[True] / visible == pytest.approx(0.8, abs=0.04)
    assert count[False] / visible == pytest.approx(0.1, abs=0.05)
    errors, flips, words = [], 0, 0
    for frame in frames:
        truth = {o.id: o for o in frame.truth.objects}
        for item, name in zip(frame.detections.objects, frame.detected):
            if name:
                assert name in frame.visible
                errors.append((item.position_m - truth[name].position_m)[:2])
                flips += sum(item.attributes[k] != v for k, v in truth[name].attributes.items())
                words += len(item.attributes)
    assert np.std(errors) == pytest.approx(0.1, rel=0.1) and flips / words == pytest.approx(0.1, abs=0.02)


def test_a_sequence_has_the_events_that_it_says_and_is_the_same_again() -> None:
    settings = SequenceSettings(frames=60, moved=3, added=2, removed=4)
    frames = list(standard_sequence(1, settings))
    places = [{o.id: tuple(o.position_m) for o in f.truth.objects} for f in frames]
    assert len(places[0]) == 10 and len({name for p in places for name in p}) <= 12
    assert len(places[-1]) == 10 + 2 - 4
    moved = sum(name in b and b[name] != a[name] for a, b in zip(places, places[1:]) for name in a)
    assert 1 <= moved <= 3
    for frame, again in zip(frames, standard_sequence(1, settings)):
        assert (frame.detections.positions_m() == again.detections.positions_m()).all()
        assert frame.visible == again.visible and frame.stamp_ns == again.stamp_ns


def test_the_camera_looks_away_and_objects_hide_each_other() -> None:
    frames = list(standard_sequence(0, SequenceSettings(frames=100)))
    assert all(not f.visible for f in frames[50:60])
    assert any(0 < len(f.visible) < len(f.truth) for f in frames)
    assert all(f.visible for f in standard_sequence(0, SequenceSettings(frames=20, looks_away=False)))


def _score(settings: SequenceSettings, seed: int) -> MemoryReport:
    memory, scored = SceneMemory(FRAME), []
    for frame in standard_sequence(seed, settings):
        memory.fuse(frame.detections, frame.viewpoint, frame.stamp_ns)
        scored.append((memory.snapshot().scene(), frame.truth, frame.visible))
    return evaluate_memory(scored)


def test_the_standard_sequence_in_a_short_form() -> None:
    report = _score(SequenceSettings(frames=250, moved=2, added=1, removed=1), seed=0)
    assert report.switches_per_1000 <= 1.0
    assert report.precision >= 0.95 and report.recall >= 0.95 and report.words_right >= 0.98
    first, *_, last = report.position_error_by_part_m
    assert last < 0.03 < first < 0.1  # metres, from detections with a sigma of 0.1 an axis


def test_a_memory_that_trusted_single_frames_would_fail_it() -> None:
    frames = list(standard_sequence(0, replace(SequenceSettings(), frames=100)))
    def named(scene: Scene, k: int) -> Scene:
        return Scene([replace(o, id=f"{k}_{i}") for i, o in enumerate(scene.objects)], FRAME)
    report = evaluate_memory([(named(f.detections, k), f.truth, f.visible) for k, f in enumerate(frames)])
    assert report.switches_per_1000 > 500 and report.recall < 0.9 and report.words_right < 0.9

"""A memory as a JSON document, and back, exactly.

The document holds objects, candidates and relations, not the settings and not the cameras' clocks: a restored memory
takes frames of any time. Numbers are written so that they come back as the same doubles.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kyvo_ros.scene.memory.beliefs import MAX_EVIDENCE, AttributeBeliefs
from kyvo_ros.scene.memory.checks import MOST_M, checked_covariance, checked_stamp
from kyvo_ros.scene.memory.config import MemoryRecordError
from kyvo_ros.scene.files import write_whole
from kyvo_ros.scene.memory.filters import PositionFilter, YawFilter
from kyvo_ros.scene.memory.graph import MemoryState, SceneMemory
from kyvo_ros.scene.memory.relations import NamedRelation
from kyvo_ros.scene.memory.track import MOST, Status, Track
from kyvo_ros.scene.mesh import Mesh, MeshError
from kyvo_ros.scene.types import SceneError

FORMAT, VERSION = "kyvo scene memory", 1


def save_memory(memory: SceneMemory, path: str | Path) -> None:
    """Write a memory to a file, whole or not at all (a file of that name is replaced at the end). Raises OSError."""
    write_whole(path, record_to_text(memory_to_dict(memory)))


def load_memory(memory: SceneMemory, path: str | Path) -> None:
    """Put what a file of `save_memory` holds in place of what `memory` holds.

    Raises OSError, and MemoryRecordError where the file is no such document; the memory then stays as it was.
    """
    restore_memory(memory, read_record(path))


def record_to_text(record: Mapping[str, Any]) -> str:
    """The record as JSON."""
    return json.dumps(record, indent=1, allow_nan=False)


def read_record(path: str | Path) -> Any:
    """What a JSON file holds. Raises OSError, and MemoryRecordError where it is none."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise MemoryRecordError(f"{path} is not a JSON document: {error}") from error


def memory_to_dict(memory: SceneMemory) -> dict[str, Any]:
    """All that a memory holds, ready for JSON. Inverse of `restore_memory`."""
    state = memory.state()
    return {
        "format": FORMAT, "version": VERSION, "frame_id": memory.frame_id, "stamp_ns": state.stamp_ns,
        "next_number": state.next_number, "behind_rad": float(state.behind_rad), "revision": state.revision,
        "objects": [_track_to_dict(t) for t in state.tracks],
        "relations": [[r.subject_id, r.predicate, r.object_id] for r in state.relations],
    }


def restore_memory(memory: SceneMemory, record: Any) -> None:
    """Put a record in place of what `memory` holds; names are not used again by either. Inverse of `memory_to_dict`.

    Raises MemoryRecordError where the record is of another version or frame, malformed, or has more objects than the
    memory may hold; the memory then stays as it was.
    """
    if not isinstance(record, Mapping) or record.get("format") != FORMAT:
        raise MemoryRecordError(f"not the record of a memory: expected an object with format '{FORMAT}'")
    if record.get("version") != VERSION:
        raise MemoryRecordError(f"expected version {VERSION} of a memory's record, got {record.get('version')!r}")
    if record.get("frame_id") != memory.frame_id:
        raise MemoryRecordError(f"the record is in frame {record.get('frame_id')!r}, the memory in {memory.frame_id!r}")
    try:
        memory.restore(_state_from_dict(record))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise MemoryRecordError(f"not the record of a memory: {error!r}") from error


def _state_from_dict(record: Mapping[str, Any]) -> MemoryState:
    stamp = record["stamp_ns"]
    return MemoryState(
        tracks=[_track_from_dict(t) for t in record["objects"]],
        relations=tuple(NamedRelation(*map(_word, entry)) for entry in record["relations"]),
        next_number=_count(record["next_number"]), stamp_ns=None if stamp is None else checked_stamp(stamp),
        behind_rad=_number(record["behind_rad"]), revision=_count(record["revision"]))


def _track_to_dict(track: Track) -> dict[str, Any]:
    yaw = track.yaw
    return {
        "id": track.id, "status": track.status.value, "existence": float(track.existence),
        "position_m": track.position.mean_m.tolist(), "covariance_m2": track.position.covariance_m2.tolist(),
        "shift_m": track.position.shift_m.tolist(), "told_m": _listed(track.told_m), "told_label": track.told_label,
        "yaw": yaw and {"period_rad": yaw.period_rad, "cosine": yaw.cosine, "sine": yaw.sine, "weight": yaw.weight},
        "size_m": _listed(track.size_m), "size_label": track.size_label, "size_count": track.size_count,
        "evidence": track.beliefs.to_dict(), "first_seen_ns": track.first_seen_ns, "last_seen_ns": track.last_seen_ns,
        "drifted_to_ns": track.drifted_to_ns, "sightings": track.sightings, "misses": track.misses,
        "moves": track.moves, **({} if track.mesh is None else {"mesh": _mesh_to_dict(track.mesh)}),
    }


def _track_from_dict(record: Mapping[str, Any]) -> Track:
    covariance = np.array(record["covariance_m2"], dtype=np.float64).reshape(3, 3)
    checked_covariance(covariance, 2 * MOST_M)  # a sighting's and what was added to it
    position = PositionFilter(_vector(record["position_m"]), covariance, _vector(record["shift_m"]))
    return Track(
        _word(record["id"]), position, _beliefs_from_dict(record["evidence"]),
        **{name: checked_stamp(record[name]) for name in ("first_seen_ns", "last_seen_ns", "drifted_to_ns")},
        yaw=None if record["yaw"] is None else _yaw_from_dict(record["yaw"]),
        size_m=_maybe_vector(record["size_m"], least=0.0), size_label=_word(record["size_label"]),
        status=Status(record["status"]), existence=_number(record["existence"], -MOST, MOST),
        **{name: _count(record[name]) for name in ("size_count", "sightings", "misses", "moves")},
        told_m=_maybe_vector(record["told_m"]), told_label=_word(record["told_label"]),
        mesh=_mesh_from_dict(record["mesh"]) if "mesh" in record else None)


def _beliefs_from_dict(record: Mapping[str, Any]) -> AttributeBeliefs:
    evidence = {_word(name): {_word(word): _number(e, 0.0, MAX_EVIDENCE) for word, e in words.items()}
                for name, words in record.items()}
    if not all(evidence.values()):
        raise SceneError(f"an attribute needs a word, got {record}")
    return AttributeBeliefs(evidence)


def _yaw_from_dict(record: Mapping[str, Any]) -> YawFilter:
    return YawFilter(_number(record["period_rad"], 1e-9, 2 * math.pi), _number(record["cosine"]),
                     _number(record["sine"]), _number(record["weight"], 1.0))


def _mesh_to_dict(mesh: Mesh) -> dict[str, Any]:
    return {"vertices_m": mesh.vertices.tolist(), "faces": mesh.faces.tolist(), "colors": mesh.colors.tolist()}


def _mesh_from_dict(record: Mapping[str, Any]) -> Mesh:
    """Raises MeshError, TypeError and ValueError where the record is none."""
    vertices = [_vector(vertex) for vertex in record["vertices_m"]]
    faces, colors = ([[_count(value) for value in row] for row in record[name]] for name in ("faces", "colors"))
    if any(value > 255 for color in colors for value in color):
        raise MeshError("colours must be from 0 to 255")
    return Mesh(np.reshape(vertices, (-1, 3)), np.reshape(faces, (-1, 3)), np.reshape(colors, (-1, 3)))


def _listed(values: np.ndarray | None) -> list[float] | None:
    return None if values is None else values.tolist()


def _maybe_vector(values: Any, least: float = -MOST_M) -> np.ndarray | None:
    return None if values is None else _vector(values, least)


def _vector(values: Any, least: float = -MOST_M) -> np.ndarray:
    vector = np.array([_number(v, least, MOST_M) for v in values])
    if vector.shape != (3,):
        raise SceneError(f"expected three numbers, got {values}")
    return vector


def _number(value: Any, least: float = -MOST_M, most: float = MOST_M) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise SceneError(f"expected a number from {least:g} to {most:g}, got {value!r}")
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise SceneError(f"expected a whole number from 0 on, got {value!r}")
    return value


def _word(value: Any) -> str:
    if not isinstance(value, str):
        raise SceneError(f"expected a string, got {value!r}")
    value.encode()  # JSON can spell half a character, which no message can hold; a ValueError
    return value

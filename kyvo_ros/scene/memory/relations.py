"""Relations between the objects of a memory, with hysteresis so that noise does not make them flicker.

left, right, front and behind are CLEVR's (see `kyvo_ros.scene.relations`) from a stated viewpoint; near means a small
gap between the objects' outlines; on means standing on the support plane. A relation begins to hold a quarter of its
threshold inside, and ends a quarter outside.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from kyvo_ros.scene.memory.config import MemoryConfig
from kyvo_ros.scene.memory.track import Track
from kyvo_ros.scene.relations import RELATIONS

NEAR, ON = "near", "on"
#: Relations between two objects; ON is between an object and the support plane.
PAIR_RELATIONS = (*RELATIONS, NEAR)
#: What ON refers to in place of an object's id.
SUPPORT_PLANE_ID = "support_plane"

#: Direction of each of RELATIONS, turned from the viewpoint's behind.
_TURNS = {"left": math.pi / 2, "right": -math.pi / 2, "front": math.pi, "behind": 0.0}
_HYSTERESIS = 0.25


@dataclass(frozen=True, order=True)
class NamedRelation:
    """The object `subject_id` stands `predicate` of `object_id`; both are ids, the latter may be SUPPORT_PLANE_ID."""

    subject_id: str
    predicate: str  # one of PAIR_RELATIONS or ON
    object_id: str


class RelationKeeper:
    """Which relations hold between objects that come, go and shake."""

    def __init__(self, ids: Iterable[str] = (), held: Iterable[NamedRelation] = ()) -> None:
        """`held` are the relations that hold so far between the objects `ids`. Raises KeyError for other objects."""
        self._ids = list(ids)
        row = {name: i for i, name in enumerate(self._ids)}
        self._pairs = np.zeros((len(PAIR_RELATIONS), len(self._ids), len(self._ids)), dtype=bool)
        self._on = np.zeros(len(self._ids), dtype=bool)
        for r in held:
            if r.predicate == ON:
                self._on[row[r.subject_id]] = True
            else:
                self._pairs[PAIR_RELATIONS.index(r.predicate), row[r.subject_id], row[r.object_id]] = True

    def update(self, tracks: Sequence[Track], behind_rad: float, config: MemoryConfig) -> bool:
        """The relations now, among `tracks`, seen along `behind_rad` (an angle from +x); True where any changed."""
        ids = [t.id for t in tracks]
        before, on_before = self._carried(ids)
        pairs = _pairs_hold(tracks, behind_rad, config, before)
        on = _on_holds(tracks, config, on_before)
        changed = ids != self._ids or bool((pairs != before).any() or (on != on_before).any())
        self._ids, self._pairs, self._on = ids, pairs, on
        return changed

    def relations(self) -> tuple[NamedRelation, ...]:
        """All that hold, by predicate, subject, object in the order of the objects."""
        pairs = [NamedRelation(self._ids[i], PAIR_RELATIONS[p], self._ids[j]) for p, i, j in np.argwhere(self._pairs)]
        return (*pairs, *(NamedRelation(self._ids[i], ON, SUPPORT_PLANE_ID) for i in np.flatnonzero(self._on)))

    def _carried(self, ids: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """What held before, for these objects; False for new ones."""
        old = {name: i for i, name in enumerate(self._ids)}
        rows = [(new, old[name]) for new, name in enumerate(ids) if name in old]
        pairs = np.zeros((len(PAIR_RELATIONS), len(ids), len(ids)), dtype=bool)
        on = np.zeros(len(ids), dtype=bool)
        if rows:
            here, there = map(list, zip(*rows))
            pairs[np.ix_(range(len(PAIR_RELATIONS)), here, here)] = self._pairs[:, there][:, :, there]
            on[here] = self._on[there]
        return pairs, on


def _pairs_hold(tracks: Sequence[Track], behind_rad: float, config: MemoryConfig, before: np.ndarray) -> np.ndarray:
    """(P, N, N): whether each of PAIR_RELATIONS holds between subject and object."""
    ground = np.array([t.position.mean_m[:2] for t in tracks]).reshape(-1, 2)
    radius = np.array([0.0 if t.size_m is None else t.size_m[:2].max() / 2 for t in tracks])
    apart = ground[:, None] - ground[None]
    angles = np.array([behind_rad + _TURNS[name] for name in RELATIONS])
    along = np.einsum("ijk,pk->pij", apart, np.stack([np.cos(angles), np.sin(angles)], axis=-1))
    gap = np.linalg.norm(apart, axis=-1) - radius[:, None] - radius[None]
    directed = along > config.relation_margin_m * np.where(before[:-1], 1 - _HYSTERESIS, 1 + _HYSTERESIS)
    near = gap < config.near_gap_m * np.where(before[-1], 1 + _HYSTERESIS, 1 - _HYSTERESIS)
    np.fill_diagonal(near, False)
    return np.concatenate([directed, near[None]])


def _on_holds(tracks: Sequence[Track], config: MemoryConfig, before: np.ndarray) -> np.ndarray:
    """(N,): whether each object's underside is at the support plane; never where its size is unknown."""
    if config.plane_height_m is None:
        return np.zeros(len(tracks), dtype=bool)
    under = np.array([np.inf if t.size_m is None else t.position.mean_m[2] - t.size_m[2] / 2 for t in tracks])
    limit = config.relation_margin_m * np.where(before, 1 + _HYSTERESIS, 1 - _HYSTERESIS)
    return np.abs(under - config.plane_height_m) < limit

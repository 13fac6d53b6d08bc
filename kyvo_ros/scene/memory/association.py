"""Which sighting belongs to which object: the cheapest assignment over place and words, with gates.

The cost of a pair is half its squared Mahalanobis distance plus the cost of the words that differ (both in nats, see
`beliefs`); leaving both alone costs UNMATCHED_COST. Within the gates one wrong word, or two of four, is no reason for a
new object, and where alike objects stand side by side the assignment as a whole decides, not the nearest pair.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kyvo_ros.scene.memory.beliefs import AttributeBeliefs
from kyvo_ros.scene.memory.config import MemoryConfig
from kyvo_ros.scene.memory.filters import GATE
from kyvo_ros.scene.memory.track import Track
from kyvo_ros.scene.types import SceneObject

#: A pair that costs more is none (nats): about the log-odds of a miss and a false sighting at once.
UNMATCHED_COST = 10.0
#: Differing attributes up to which what turns up elsewhere may be the object that is missing.
_SAME_WORDS = 0.75


def noise(sighting: SceneObject, config: MemoryConfig) -> np.ndarray:
    """Covariance (3, 3) of a sighting's position: its own, or the assumed one, and the calibration's."""
    own = sighting.position_covariance_m2
    if own is None:
        own = config.position_sigma_m**2 * np.eye(3)
    return own + config.calibration_sigma_m**2 * np.eye(3)


def pair_noise(track: Track, sighting: SceneObject, config: MemoryConfig) -> np.ndarray:
    """As `noise`, for a sighting of a known object: a wrong height moves a standing object's centre by half of it."""
    covariance = noise(sighting, config)
    if track.size_m is not None and sighting.size_m is not None:
        covariance[2, 2] += ((sighting.size_m[2] - track.size_m[2]) / 2) ** 2
    return covariance


def associate(tracks: Sequence[Track], sightings: Sequence[SceneObject],
              config: MemoryConfig) -> list[tuple[int, int]]:
    """Pairs (track, sighting), each in one pair at most, of least total cost."""
    distance = _squared_distances(tracks, sightings, config)
    cost = np.full(distance.shape, np.inf)
    readings = [AttributeBeliefs.of(s.attributes, s.attribute_confidence) for s in sightings]
    for i, j in np.argwhere(distance <= GATE):
        words, differing = tracks[i].beliefs.cost_against(readings[j])
        if differing <= _most_differing(len(readings[j])):
            cost[i, j] = distance[i, j] / 2 + words
    return cheapest_pairs(cost, UNMATCHED_COST)


def match_moved(missing: Sequence[Track], appeared: Sequence[Track], config: MemoryConfig) -> list[tuple[int, int]]:
    """Pairs (missing, appeared) of objects that may be one: the same words, within the radius of a move, the second
    first seen after the first was last seen; of least total distance.
    """
    cost = np.full((len(missing), len(appeared)), np.inf)
    for i, old in enumerate(missing):
        for j, new in enumerate(appeared):
            distance = float(np.linalg.norm(old.position.mean_m - new.position.mean_m)) / config.move_radius_m
            if distance <= 1 and old.last_seen_ns < new.first_seen_ns and alike(old, new):
                cost[i, j] = distance
    return cheapest_pairs(cost, UNMATCHED_COST)


def alike(one: Track, other: Track) -> bool:
    """Whether two objects could be the same by their words."""
    return one.beliefs.cost_against(other.beliefs)[1] <= _SAME_WORDS


def cheapest_pairs(cost: np.ndarray, unmatched: float) -> list[tuple[int, int]]:
    """Pairs (row, column) of the least total cost, where each pair left out costs `unmatched`; inf is never a pair."""
    from scipy.optimize import linear_sum_assignment  # half a second, which a node's start need not wait for
    rows, columns = linear_sum_assignment(np.minimum(cost, unmatched))
    return [(int(i), int(j)) for i, j in zip(rows, columns) if cost[i, j] < unmatched]


def _squared_distances(tracks: Sequence[Track], sightings: Sequence[SceneObject], config: MemoryConfig) -> np.ndarray:
    """Squared Mahalanobis distances (T, D)."""
    if not tracks or not sightings:
        return np.zeros((len(tracks), len(sightings)))
    apart = (np.stack([s.position_m for s in sightings])[None] - np.stack([t.position.mean_m for t in tracks])[:, None])
    spread = np.stack([t.position.covariance_m2 for t in tracks])[:, None] \
        + np.stack([noise(s, config) for s in sightings])[None]
    heights = [np.array([np.nan if o.size_m is None else o.size_m[2] for o in group]) for group in (tracks, sightings)]
    spread[..., 2, 2] += np.nan_to_num((heights[0][:, None] - heights[1][None]) / 2) ** 2  # as in `pair_noise`
    return (apart * np.linalg.solve(spread, apart[..., None])[..., 0]).sum(axis=-1)


def _most_differing(attributes: int) -> float:
    """Differing attributes that a pair may have: one of one or two, two of three or four."""
    return max(1.0, attributes / 2) + 0.1  # unsure words that agree cost a little, too

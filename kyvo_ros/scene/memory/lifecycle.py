"""Which tracks enter the graph, keep their name after a move, leave it, and are forgotten.

A confirmed object that is missing where it stood and has its likeness appear within the radius of a move is taken for
moved. The likeness must have appeared after the object was last seen: two alike objects that were once seen side by
side stay two.
"""

from __future__ import annotations

from kyvo_ros.scene.memory.association import match_moved
from kyvo_ros.scene.memory.config import MemoryConfig
from kyvo_ros.scene.memory.track import CONFIRMED_FROM, DROPPED_BELOW, Status, Track
from kyvo_ros.scene.memory.visibility import at_one_place

#: Misses after which a confirmed object may be thought to stand elsewhere.
_MISSING_AFTER = 2
#: Seconds for which a candidate waits for its next sighting, and a lost object for its return.
_CANDIDATE_S, _LOST_S = 10.0, 60.0


def promote(tracks: list[Track], config: MemoryConfig) -> tuple[list[Track], dict[str, str]]:
    """Confirm the candidates that have been seen enough: under the name of what moved there, or their own.

    Returns the tracks without the candidates that turned out to be another object, and those candidates' ids with the
    other object's.
    """
    ready = [t for t in tracks if t.status is Status.TENTATIVE and t.misses == 0
             and t.existence >= CONFIRMED_FROM and t.sightings >= config.confirm_sightings
             and not any(at_one_place(t, o) for o in tracks if o.status is Status.CONFIRMED and o.misses == 0)]
    missing = [t for t in tracks if _may_have_moved(t)]
    merged: dict[str, str] = {}
    for i, j in match_moved(missing, ready, config):
        missing[i].move_to(ready[j])
        merged[ready[j].id] = missing[i].id
    for track in ready:
        track.status = Status.CONFIRMED
    return [t for t in tracks if t.id not in merged], merged


def retire(tracks: list[Track], now_ns: int, config: MemoryConfig) -> list[Track]:
    """The tracks worth keeping; confirmed ones that have been missed too often are lost.

    A lost object may still turn up elsewhere, unless its likeness is in the graph since: then it has, while nobody
    looked at its old place.
    """
    for track in (t for t in tracks if t.status is Status.CONFIRMED and t.existence < DROPPED_BELOW):
        track.status = Status.LOST
    lost = [t for t in tracks if t.status is Status.LOST]
    since = [t for t in tracks if t.status is Status.CONFIRMED]
    explained = {lost[i].id for i, _ in match_moved(lost, since, config)}
    kept = [t for t in tracks if t.id not in explained and not _is_over(t, now_ns, config)]
    if len(kept) <= config.max_objects:
        return kept
    best = sorted(kept, key=_worth, reverse=True)[:config.max_objects]
    ids = {t.id for t in best}
    return [t for t in kept if t.id in ids]


def _may_have_moved(track: Track) -> bool:
    return track.status is Status.LOST or (track.status is Status.CONFIRMED and track.misses >= _MISSING_AFTER)


def _is_over(track: Track, now_ns: int, config: MemoryConfig) -> bool:
    unseen_s = (now_ns - track.last_seen_ns) / 1e9
    if track.status is Status.TENTATIVE:
        return track.existence < DROPPED_BELOW or unseen_s > _CANDIDATE_S
    if track.status is Status.LOST and unseen_s > _LOST_S:
        return True
    return config.forget_after_s is not None and unseen_s > config.forget_after_s


def _worth(track: Track) -> tuple[int, int]:
    """What is kept when there is no room: confirmed before candidates before lost, then the last seen."""
    rank = {Status.CONFIRMED: 2, Status.TENTATIVE: 1, Status.LOST: 0}
    return rank[track.status], track.last_seen_ns

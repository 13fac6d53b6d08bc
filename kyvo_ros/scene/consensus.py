"""One scene out of several looks at the same objects: what the majority of looks saw, where they saw it on average.

Each look is a Scene of its own, brought into one frame; the looks know nothing of each other. An object of a look is
associated with at most one of every other look, by place and by how many words agree. Of an object speak the looks that
show it; where none does, all. What fewer than half of these saw is dropped. Words are never mixed: an object gets
all its words from the looks that said exactly them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from kyvo_ros.scene.types import Scene, SceneError, SceneObject

#: Two looks mean one object where they place it nearer than this, in model units.
SAME_OBJECT_UNITS = 0.5
#: What each attribute that differs adds to that distance.
DIFFERENT_WORD_UNITS = 0.3
#: Correlation of the errors of two looks at one image: by what share of the covariance more looks help no more. Five
#: looks had a third of one look's squared error on Cycles renders.
LOOK_CORRELATION = 0.2
#: The least that a variance counts for in a weight: a look may claim to err by nothing.
_LEAST_VARIANCE_M2 = 1e-8


def consensus(looks: Sequence[Scene], shows: Sequence[Callable[[SceneObject], bool]] | None = None, *,
              yaw_period_rad: float | None, unit_m: float = 1.0) -> Scene:
    """The scene that several scenes of one frame agree on.

    An object needs half of the looks that speak of it, here called its looks. Its words are those with the largest sum of
    probabilities over its looks; size, height and yaw are means over the looks that said them, of the yaw over the most
    looks that agree (`agreed_yaw`), its place in the plane is the mean over all of its looks that saw it, weighted by the
    inverse of their variances.
      confidence: 1 - (1 - surest) (1 - mean), of the looks that said these words, where a look that did not counts as
        0 in the mean: to be wrong, both the surest look and the looks as a whole must be;
      attribute_confidence: the mean over the looks that said these words;
      position_covariance_m2: theirs too, and smaller for many looks, as that of a mean with LOOK_CORRELATION.

    Args:
        shows: whether each look shows an object of the frame; None: every look shows everything.
        yaw_period_rad: yaws are equal modulo this, None means a whole turn; unit_m: metres in a model unit.

    Raises SceneError where the scenes are not in one frame, or there are none.
    """
    frames = {scene.frame_id for scene in looks}
    if len(frames) != 1:
        raise SceneError(f"expected looks in one frame, got {sorted(frames)}")
    if len(looks) == 1:
        return looks[0]
    objects = []
    for group in _associated(looks, unit_m):
        speakers = _speakers(group, len(looks), shows)
        seen = [item for look, item in group.items() if look in speakers]
        if seen and 2 * len(seen) >= len(speakers):
            objects.append(_fused(seen, len(speakers), yaw_period_rad))
    return replace(looks[0], objects=tuple(objects))


def _speakers(group: Mapping[int, SceneObject], looks: int,
              shows: Sequence[Callable[[SceneObject], bool]] | None) -> set[int]:
    """Which of the looks speak of the object that a group means."""
    if shows is None:
        return set(range(looks))
    surest = max(group.values(), key=lambda item: item.confidence)
    return {look for look in range(looks) if shows[look](surest)} or set(range(looks))


def mirrored(scene: Scene) -> Scene:
    """The scene as a mirror beside the camera shows it, x -> -x. Its own inverse. Things with two like sides, left and
    right of their front, are the same things there, turned: what looked along x looks along -x.
    """
    flip = np.diag([-1.0, 1.0, 1.0])
    return replace(scene, objects=tuple(replace(
        o, position_m=flip @ o.position_m, yaw_rad=None if o.yaw_rad is None else math.pi - o.yaw_rad,
        position_covariance_m2=None if o.position_covariance_m2 is None else flip @ o.position_covariance_m2 @ flip,
    ) for o in scene.objects))


def _associated(looks: Sequence[Scene], unit_m: float) -> list[dict[int, SceneObject]]:
    """Groups of objects, by the number of their look, with at most one from each: the nearest pairs are joined first."""
    owners = [look for look, scene in enumerate(looks) for _ in scene.objects]
    objects = [item for scene in looks for item in scene.objects]
    groups = [{index} for index in range(len(objects))]  # one set a group, shared by its members
    for i, j in _near_pairs(objects, unit_m):
        one, other = groups[i], groups[j]
        if one is other or {owners[k] for k in one} & {owners[k] for k in other}:
            continue
        one |= other
        for k in other:
            groups[k] = one
    firsts = [index for index, group in enumerate(groups) if min(group) == index]
    return [{owners[k]: objects[k] for k in sorted(groups[index])} for index in firsts]


def _near_pairs(objects: Sequence[SceneObject], unit_m: float) -> np.ndarray:
    """Indices (P, 2) of the pairs that may be one object, by their distance in place and words."""
    places = np.array([o.position_m[:2] for o in objects]).reshape(-1, 2) / unit_m
    names = sorted({name for o in objects for name in o.attributes})
    words = np.array([[o.attributes.get(name, "") for name in names] for o in objects])
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    apart = apart + DIFFERENT_WORD_UNITS * (words[:, None] != words[None]).sum(axis=-1)
    pairs = np.argwhere(np.triu(apart < SAME_OBJECT_UNITS, k=1))
    return pairs[np.argsort(apart[tuple(pairs.T)], kind="stable")]


def _fused(group: Sequence[SceneObject], looks: int, yaw_period_rad: float | None) -> SceneObject:
    """One object from the looks that saw it."""
    votes: dict[str, float] = {}
    for item in group:
        votes[item.label] = votes.get(item.label, 0.0) + math.prod(item.attribute_confidence.values())
    agreeing = [item for item in group if item.label == max(votes, key=votes.get)]
    first = agreeing[0]
    place = _place(group)
    surest, mean = max(item.confidence for item in agreeing), sum(item.confidence for item in agreeing) / looks
    spread = [item.position_covariance_m2 for item in agreeing]
    shrunk = LOOK_CORRELATION + (1.0 - LOOK_CORRELATION) / len(group)
    return replace(
        first,
        position_m=np.array([place[0], place[1], np.mean([item.position_m[2] for item in agreeing])]),
        yaw_rad=None if first.yaw_rad is None else agreed_yaw([item.yaw_rad for item in agreeing], yaw_period_rad),
        size_m=None if first.size_m is None else np.mean([item.size_m for item in agreeing], axis=0),
        confidence=1.0 - (1.0 - min(surest, 1.0)) * (1.0 - min(mean, 1.0)),
        attribute_confidence={name: float(np.mean([item.attribute_confidence[name] for item in agreeing]))
                              for name in first.attribute_confidence},
        position_covariance_m2=None if any(c is None for c in spread) else shrunk * np.mean(spread, axis=0),
    )


def _place(group: Sequence[SceneObject]) -> np.ndarray:
    """(2,) place in the plane: each look counts as its variance along an axis says, alike where one has none."""
    places = np.array([item.position_m[:2] for item in group])
    if any(item.position_covariance_m2 is None for item in group):
        return places.mean(axis=0)
    variances = np.array([np.diag(item.position_covariance_m2)[:2] for item in group])
    weights = 1.0 / np.maximum(variances, _LEAST_VARIANCE_M2)
    return (weights * places).sum(axis=0) / weights.sum(axis=0)


def agreed_yaw(angles_rad: Sequence[float], period_rad: float | None) -> float:
    """The circular mean of the most angles that lie within a quarter of the period of one of them.

    Looks that take the back of a thing for its front are half a period off: a mean over both would point aside.
    """
    period, angles = period_rad or 2 * math.pi, np.asarray(angles_rad, dtype=float)
    apart = np.abs((angles[:, None] - angles[None] + period / 2) % period - period / 2)
    near = apart <= period / 4
    most = max(range(len(angles)), key=lambda i: (near[i].sum(), -apart[i][near[i]].sum()))
    return circular_mean(angles[near[most]], period_rad)


def circular_mean(angles_rad: Sequence[float], period_rad: float | None) -> float:
    """Mean direction of angles that are equal modulo a period (None: a whole turn), in [0, period).

    Angles that cancel out have no mean; the first one is as good as any.
    """
    period = period_rad or 2 * math.pi
    total = np.exp(2j * math.pi * np.asarray(angles_rad) / period).sum()
    if abs(total) < 1e-9:
        return float(angles_rad[0] % period)
    return float(np.angle(total) / (2 * math.pi) * period % period)

"""A buffer of coordinate transforms over time: what tf2 answers, for machines without tf2_ros.

Frames form a tree of edges parent -> child, each with a history or static. A look-up walks both frames to their common
ancestor at one moment and interpolates each edge (translation linearly, rotation along the great arc); it never
extrapolates. Time 0 means the newest moment that all edges of the chain know. Knows nothing of ROS messages.

A sample that comes late finds its place among the others, as in tf2. Unlike there, time may jump back (a bag that
loops): `clear_after` says so, and so does an edge of which nothing but old samples comes any more.

Source: the behaviour of tf2's BufferCore (static edges survive `clear`; one sample answers only for its own stamp; what
is older than the buffer keeps is ignored).
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np

from kyvo_ros.scene import Transform

#: A stamp this much older than the newest is late, or time has jumped back (a bag that loops): images tell which.
JUMP_BACK_NS = 500_000_000
#: Such samples of an edge that span so much time, with no newer one between them, are not late: time has jumped back.
_STAYS_BACK_NS = 1_000_000_000
_DEEPEST_TREE = 1000
#: How far the square of a quaternion's length may be from 1, as in tf2.
_UNIT_TOLERANCE = 0.01
#: Farther than this nothing is meant.
_FARTHEST_M = 1e9
#: Stamp in nanoseconds, quaternion (x, y, z, w), translation in metres.
_Sample = tuple[int, tuple[float, ...], tuple[float, ...]]


class TransformError(LookupError):
    """The transform asked for cannot be given; the message says why and what to do."""


@dataclass
class _Edge:
    """The transform parent_T_child: one static pose, or a history sorted by stamp."""

    parent: str
    static: bool
    samples: list[_Sample] = field(default_factory=list)
    #: What came since the newest and is far older: late, or the first of a time that has jumped back.
    behind: list[_Sample] = field(default_factory=list)

    def newest_ns(self) -> int:
        return self.samples[-1][0]

    def at(self, stamp_ns: int) -> Transform | None:
        """parent_T_child at a moment, None outside the history."""
        if self.static:
            return _transform(self.samples[0])
        index = bisect_left(self.samples, (stamp_ns,))
        if index == len(self.samples):
            return None
        after = self.samples[index]
        if after[0] == stamp_ns:
            return _transform(after)
        if index == 0:
            return None
        return _interpolate(self.samples[index - 1], after, stamp_ns)

    def insert(self, sample: _Sample, length_ns: int) -> None:
        """Take a sample into the history, which is so long."""
        if sample[0] >= self.newest_ns() - JUMP_BACK_NS:
            self.behind.clear()  # time goes on, so those were late
        else:
            _insert(self.behind, sample, length_ns)
            if self.behind[-1][0] - self.behind[0][0] >= _STAYS_BACK_NS:
                self.go_back()
                return
        _insert(self.samples, sample, length_ns)

    def go_back(self) -> None:
        """Time has jumped back: where samples of the new time have come, those of the old one are no more."""
        self.samples, self.behind = self.behind or self.samples, []


class TransformBuffer:
    """Thread-safe; keeps `length_s` seconds of history an edge, and no more edges than `max_frames`."""

    def __init__(self, length_s: float = 30.0, max_frames: float = math.inf) -> None:
        if not length_s > 0:
            raise ValueError(f"the buffer's length must be positive seconds, got {length_s}")
        self._length_ns = int(length_s * 1e9)
        self._max_frames = max_frames
        self._edges: dict[str, _Edge] = {}
        self._changed = threading.Condition()

    def set(self, parent: str, child: str, quaternion_xyzw: tuple[float, ...], translation_m: tuple[float, ...],
            stamp_ns: int, static: bool = False) -> None:
        """Store parent_T_child, also where it comes late; what is older than the edge's history is ignored.

        Raises ValueError for empty or equal frame names, for numbers that make no rigid transform, and for a new frame
        where there are too many.
        """
        parent, child = parent.lstrip("/"), child.lstrip("/")
        check_transform(parent, child, quaternion_xyzw, translation_m)
        sample = (stamp_ns, tuple(quaternion_xyzw), tuple(translation_m))
        with self._changed:
            edge = self._edges.get(child)
            if edge is None and len(self._edges) >= self._max_frames:
                raise ValueError(f"TF has more than {self._max_frames} frames, and '{child}' is one too many; find out "
                                 "who publishes them, or raise max_tf_frames")
            if static or edge is None or edge.static or edge.parent != parent:
                self._edges[child] = _Edge(parent, static, [sample])
            else:
                edge.insert(sample, self._length_ns)
            self._changed.notify_all()

    def clear_after(self, stamp_ns: int) -> None:
        """Forget what lies later than a moment that has come (again): it belongs to a time that is no more."""
        with self._changed:
            for child, edge in list(self._edges.items()):
                if not edge.static:
                    edge.go_back()
                    del edge.samples[bisect_left(edge.samples, (stamp_ns + JUMP_BACK_NS,)):]
                    if not edge.samples:
                        del self._edges[child]

    def frames(self) -> list[str]:
        """Names of all frames, sorted."""
        with self._changed:
            return sorted(set(self._edges) | {edge.parent for edge in self._edges.values()})

    def lookup(self, target: str, source: str, stamp_ns: int, timeout_s: float = 0.0) -> Transform:
        """target_T_source at a moment (0: the newest), waited for up to `timeout_s` seconds of real time.

        Raises TransformError naming the frame or the gap in time.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                try:
                    return self._lookup(target.lstrip("/"), source.lstrip("/"), stamp_ns)
                except TransformError:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise
                    self._changed.wait(left)

    def _lookup(self, target: str, source: str, stamp_ns: int) -> Transform:
        if target == source:
            return Transform.identity()
        up_target, up_source = self._ancestors(target), self._ancestors(source)
        common = next((name for name in up_source if name in up_target), None)
        if common is None:
            raise TransformError(self._no_chain(target, source, up_target, up_source))
        down, up = up_target[:up_target.index(common)], up_source[:up_source.index(common)]
        stamp_ns = stamp_ns or self._newest_common_ns([*down, *up])
        return self._compose(down, stamp_ns).inverse() @ self._compose(up, stamp_ns)

    def _ancestors(self, frame: str) -> list[str]:
        """The frame itself, its parent, and so on to the root."""
        chain = [frame]
        while (edge := self._edges.get(chain[-1])) is not None:
            chain.append(edge.parent)
            if len(chain) > _DEEPEST_TREE:
                raise TransformError(f"TF contains a loop at frame '{frame}'; two publishers disagree about the tree")
        return chain

    def _newest_common_ns(self, children: list[str]) -> int:
        newest = [self._edges[child].newest_ns() for child in children if not self._edges[child].static]
        return min(newest, default=0)

    def _compose(self, children: list[str], stamp_ns: int) -> Transform:
        """ancestor_T_frame over the edges from a frame upwards."""
        result = Transform.identity()
        for child in children:
            step = self._edges[child].at(stamp_ns)
            if step is None:
                raise TransformError(self._gap(child, stamp_ns))
            result = step @ result
        return result

    def _gap(self, child: str, stamp_ns: int) -> str:
        edge = self._edges[child]
        first_s, last_s, stamp_s = edge.samples[0][0] / 1e9, edge.newest_ns() / 1e9, stamp_ns / 1e9
        if stamp_s > last_s:
            advice = (f"{stamp_s - last_s:.3f} s after its newest; check that TF and the images run on one clock, "
                      "publish TF faster or raise tf_timeout_s")
        else:
            advice = f"{first_s - stamp_s:.3f} s before its oldest; the image comes too late, or TF has just started"
        return (f"TF from '{edge.parent}' to '{child}' is known from {first_s:.3f} to {last_s:.3f} s; "
                f"the image is {advice}")

    def _no_chain(self, target: str, source: str, up_target: list[str], up_source: list[str]) -> str:
        known = set(self._edges) | {edge.parent for edge in self._edges.values()}
        unknown = [name for name in (target, source) if name not in known]
        if unknown:
            names = ", ".join(sorted(known)[:20]) or "none at all"
            return (f"TF does not know frame '{unknown[0]}' (known: {names}); start its publisher or correct the name "
                    "in the node's parameters or the image's header")
        return (f"TF has no chain between '{target}' (root '{up_target[-1]}') and '{source}' (root '{up_source[-1]}'); "
                "publish the missing transform")


def _insert(samples: list[_Sample], sample: _Sample, length_ns: int) -> None:
    """Put a sample in its place by its stamp, unless it is older than what is kept; another of its stamp goes."""
    index = bisect_left(samples, (sample[0],))
    if index < len(samples) and samples[index][0] == sample[0]:
        samples[index] = sample
    else:
        samples.insert(index, sample)
    oldest_ns = samples[-1][0] - length_ns
    if samples[0][0] < oldest_ns:
        del samples[: bisect_left(samples, (oldest_ns,))]


def check_transform(parent: str, child: str, quaternion_xyzw: tuple[float, ...],
                    translation_m: tuple[float, ...]) -> None:
    """Raises ValueError for empty or equal frame names, and for numbers that make no rigid transform."""
    parent, child = parent.lstrip("/"), child.lstrip("/")
    if not parent or not child or parent == child:
        raise ValueError(f"a transform must join two different named frames, got '{parent}' and '{child}'")
    values = np.array([*quaternion_xyzw, *translation_m], dtype=np.float64)
    fine = values.shape == (7,) and np.isfinite(values).all() and np.abs(values[4:]).max() <= _FARTHEST_M and (
        np.abs(values[:4]).max() < 2.0 and abs(values[:4] @ values[:4] - 1.0) <= _UNIT_TOLERANCE)
    if not fine:
        raise ValueError(f"expected a unit quaternion (x, y, z, w) and a translation of up to {_FARTHEST_M:g} m, "
                         f"got {quaternion_xyzw} and {translation_m}")


def _transform(sample: _Sample) -> Transform:
    return Transform.from_quaternion(np.array(sample[1]), np.array(sample[2]))


def _interpolate(before: _Sample, after: _Sample, stamp_ns: int) -> Transform:
    """Between two samples: translation linearly, rotation by slerp."""
    share = (stamp_ns - before[0]) / (after[0] - before[0])
    translation = (1 - share) * np.array(before[2]) + share * np.array(after[2])
    q0, q1 = (np.array(s[1]) / np.linalg.norm(s[1]) for s in (before, after))
    cosine = float(q0 @ q1)
    if cosine < 0:  # the same rotation has two quaternions; take the near one
        q1, cosine = -q1, -cosine
    angle = np.arccos(min(cosine, 1.0))
    if angle < 1e-6:
        return Transform.from_quaternion(q0, translation)
    quaternion = (np.sin((1 - share) * angle) * q0 + np.sin(share * angle) * q1) / np.sin(angle)
    return Transform.from_quaternion(quaternion, translation)

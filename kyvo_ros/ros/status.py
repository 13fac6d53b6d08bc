"""What the node knows about its own health: stages, drops by reason, latency, age and rates.

A frame passes the stages image -> camera_info -> transforms -> depth -> model -> inference. A stage is healthy,
starved (what it waits for has not come) or failing (the last thing that went wrong, since when). It fails until a
frame has passed it, however long the next one takes to come, or until it is used no more. Thread-safe; knows nothing of
ROS.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

OK, WARN, ERROR = 0, 1, 2

#: In the order in which they are named when several are equally bad.
STAGES = ("model", "image", "camera_info", "transforms", "depth", "inference")

#: Why a frame was dropped -> the stage at fault and how bad that is; OK for what is normal.
DROP_REASONS: Mapping[str, tuple[str, int]] = {
    "newer_frame": ("inference", OK), "rate_limit": ("inference", OK), "no_listener": ("inference", OK),
    "time_jump": ("image", OK), "camera_off": ("image", OK), "bad_message": ("image", ERROR),
    "bad_image": ("image", ERROR), "bad_region": ("image", ERROR),
    "no_camera_info": ("camera_info", WARN), "bad_camera_info": ("camera_info", ERROR),
    "no_transform": ("transforms", ERROR), "plane_not_visible": ("transforms", ERROR),
    "no_depth": ("depth", WARN), "no_model": ("model", OK), "inference_failed": ("inference", ERROR),
}
#: Reasons that say that no frame goes through: what has failed is not used.
_UNUSED = ("no_listener", "camera_off")
#: A fault stays in the report at least this long after it last happened, so that a report a second misses none.
HOLD_S = 2.5
_WINDOW_S = 10.0
_LATENCIES = 500


@dataclass
class _Fault:
    message: str
    first_s: float
    last_s: float
    lasts: bool  # until a frame passes the stage
    count: int = 1

    def is_fresh(self, now: float) -> bool:
        return now - self.last_s <= HOLD_S

    def holds(self, now: float) -> bool:
        return self.lasts or self.is_fresh(now)


@dataclass(frozen=True)
class StageReport:
    """One stage at one time."""

    stage: str
    level: int  # OK, WARN or ERROR
    message: str
    since_s: float | None = None  # for how long it has been so; None where that says nothing


@dataclass(frozen=True)
class Report:
    """The node at one time: stages in the order of STAGES, and figures by name."""

    stages: tuple[StageReport, ...]
    values: dict[str, str]

    def worst(self) -> StageReport:
        """The worst stage, the first of equals."""
        return max(self.stages, key=lambda stage: (stage.level, -STAGES.index(stage.stage)))


class Status:
    """Collects events from all threads; `report` sums them up. `clock` gives seconds that never run back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._start_s = clock()
        self._faults: dict[tuple[str, int], _Fault] = {}  # the newest of each stage and level
        self._drops: Counter[str] = Counter()
        self._last_drop = ""
        self._images: deque[float] = deque(maxlen=2000)
        #: Time, latency, inference, age (all seconds; NaN where unknown) and number of objects of the newest frames.
        self._done: deque[tuple[float, float, float, float, int]] = deque(maxlen=_LATENCIES)
        self._computing: deque[float] = deque()  # when the frames that are being computed began, oldest first
        self._frames = 0
        self._received = 0
        self._time_jumps = 0

    def image_arrived(self) -> None:
        with self._guard:
            self._images.append(self._clock())
            self._received += 1

    def dropped(self, reason: str, message: str = "") -> None:
        """A frame was dropped; `reason` is a key of DROP_REASONS, `message` what was wrong and what to do."""
        stage, level = DROP_REASONS[reason]
        with self._guard:
            self._drops[reason] += 1
            if reason in _UNUSED:
                self._end_faults(STAGES)
            if level > OK:
                self._last_drop = f"{reason}: {message}"
                self._end_faults(STAGES[:STAGES.index(stage)], self._began_s())  # so far it has come
                self._fail(stage, level, message)

    def failed(self, stage: str, level: int, message: str) -> None:
        """Something is wrong at a stage, or worth saying (level OK), although no frame was dropped for it.

        A warning that comes while no frame is being computed is of an image that a caller has brought; as no frame may
        follow, it does not last until one passes.
        """
        with self._guard:
            self._fail(stage, level, message, level >= ERROR or level == WARN and bool(self._computing))

    def _fail(self, stage: str, level: int, message: str, lasts: bool = True) -> None:
        now, fault = self._clock(), self._faults.get((stage, level))
        if fault is None or not fault.holds(now):
            self._faults[stage, level] = _Fault(message, now, now, lasts)
            return
        fault.message, fault.last_s, fault.count, fault.lasts = message, now, fault.count + 1, fault.lasts or lasts

    def _end_faults(self, stages: Collection[str], before_s: float = math.inf) -> None:
        """What has failed at these stages, last before a time, does so no more."""
        for (stage, _), fault in self._faults.items():
            if stage in stages and fault.last_s < before_s:
                fault.lasts = False

    def _began_s(self) -> float:
        """When the oldest of the frames that are being computed began, which are done in this order; else now."""
        return self._computing[0] if self._computing else self._clock()

    def time_jumped(self, back_s: float) -> None:
        """The images' time went back."""
        with self._guard:
            self._time_jumps += 1
            self._fail("image", WARN, (
                f"time jumped back by {back_s:.2f} s (a bag that loops, or a clock that was set): newer transforms and "
                "the objects' names were forgotten; nothing to do"), lasts=False)

    def frame_done(self, latency_s: float, inference_s: float, objects: int, age_s: float | None = None) -> None:
        """A scene was published; latency from the image's arrival to the last message sent, age from the image's stamp
        to the same moment by the node's clock, None where it has no stamp.
        """
        with self._guard:
            self._end_faults(STAGES, self._began_s())
            self._done.append((self._clock(), latency_s, inference_s, math.nan if age_s is None else age_s, objects))
            self._frames += 1

    def computing_began(self) -> None:
        """A frame is being computed; `computing_ended` follows, whatever comes of it."""
        with self._guard:
            self._computing.append(self._clock())

    def computing_ended(self) -> None:
        """The oldest of the frames that were being computed is not any more."""
        with self._guard:
            self._computing.popleft()

    def computing_s(self) -> float:
        """For how long the oldest frame has been computed; 0 where none is."""
        with self._guard:
            return self._clock() - self._computing[0] if self._computing else 0.0

    def frames(self) -> int:
        """Scenes published since the start."""
        with self._guard:
            return self._frames

    def drops(self) -> dict[str, int]:
        """Frames dropped since the start by reason."""
        with self._guard:
            return dict(self._drops)

    def report(self, waiting: Mapping[str, StageReport] | None = None) -> Report:
        """The state now. `waiting` holds what the node finds starved, by stage, or (level OK) not in use; where that is
        the model or the image, no stage is. A worse fault hides it, and so does one as bad that has just happened.
        """
        waiting = waiting or {}
        unused = [stage for stage, found in waiting.items() if found.level == OK]
        with self._guard:
            now = self._clock()
            self._end_faults(STAGES if "model" in unused or "image" in unused else unused)
            stages = tuple(self._stage(stage, now, waiting.get(stage)) for stage in STAGES)
            return Report(stages, self._values(now))

    def seconds_since_image(self) -> float:
        """Since the newest image, or the start where none came."""
        with self._guard:
            return self._clock() - (self._images[-1] if self._images else self._start_s)

    def _stage(self, stage: str, now: float, waiting: StageReport | None) -> StageReport:
        level = max((level for (where, level), fault in self._faults.items() if where == stage and fault.holds(now)),
                    default=None)
        if level is not None:
            fault = self._faults[stage, level]
            if waiting is None or waiting.level < level or waiting.level == level and fault.is_fresh(now):
                return StageReport(stage, level, _said(fault, now, waiting), now - fault.first_s)
        if waiting is not None:
            return waiting
        return StageReport(stage, OK, self._overrun(now) if stage == "inference" else "ok")

    def _overrun(self, now: float) -> str:
        """What the inference stage says of itself when all is well."""
        arriving, done = _rate(self._images, now), _rate([d[0] for d in self._done], now)
        if not done and self._computing:
            return f"an image has been computed for {now - self._computing[0]:.1f} s"
        if not done:
            return "no frame yet" if not self._done else "idle"
        if arriving > 1.2 * done:
            return (f"images arrive at {arriving:.1f} Hz and {done:.1f} Hz are computed: the newest frame wins, older "
                    "ones are dropped; normal, a slower camera saves bandwidth")
        return "ok"

    def _values(self, now: float) -> dict[str, str]:
        values = {
            "uptime [s]": f"{now - self._start_s:.1f}", "images received": str(self._received),
            "image rate [Hz]": f"{_rate(self._images, now):.2f}", "frames published": str(self._frames),
            "frame rate [Hz]": f"{_rate([d[0] for d in self._done], now):.2f}",
            "time jumps back": str(self._time_jumps),
        }
        if self._done:
            when, latency, inference, age, objects = np.array(self._done).T
            for name, seconds in (("latency", latency), ("inference", inference), ("age", age[np.isfinite(age)])):
                if len(seconds):
                    p50, p95 = np.percentile(1000 * seconds, [50, 95])
                    values |= {f"{name} p50 [ms]": f"{p50:.1f}", f"{name} p95 [ms]": f"{p95:.1f}"}
            values["since the last scene [s]"] = f"{now - when[-1]:.1f}"
            values["objects in the last frame"] = str(int(objects[-1]))
        values["frames dropped"] = str(sum(self._drops.values()))
        values |= {f"dropped: {reason}": str(self._drops[reason]) for reason in DROP_REASONS if self._drops[reason]}
        if self._last_drop:
            values["last drop"] = self._last_drop
        return values


def _said(fault: _Fault, now: float, waiting: StageReport | None) -> str:
    """What a stage says that has failed; where that was a while ago, also what it waits for since."""
    times = f" ({fault.count} times)" if fault.count > 1 else ""
    starved = waiting is not None and waiting.level > OK and not fault.is_fresh(now)
    return fault.message + times + (f"; now {waiting.message}" if starved else "")


def _rate(times, now: float) -> float:
    """Events a second over the last `_WINDOW_S` seconds (less where the first event is younger)."""
    recent = [t for t in times if now - t <= _WINDOW_S]
    if len(recent) < 2:
        return 0.0
    return (len(recent) - 1) / max(recent[-1] - recent[0], 1e-6) if now - recent[-1] < 2.0 else len(recent) / _WINDOW_S

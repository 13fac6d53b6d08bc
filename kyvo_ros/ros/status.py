"""What the node knows about its own health: stages, drops by reason, latency and rates.

A frame passes the stages image -> camera_info -> transforms -> depth -> model -> inference. A stage is healthy,
starved (what it waits for has not come) or failing (the last thing that went wrong, since when). Thread-safe; knows
nothing of ROS.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
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
#: A fault stays in the report this long after it last happened, so that a report a second misses none.
HOLD_S = 2.5
_WINDOW_S = 10.0
_LATENCIES = 500


@dataclass
class _Fault:
    level: int
    message: str
    first_s: float
    last_s: float
    count: int = 1


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
        self._faults: dict[str, _Fault] = {}
        self._drops: Counter[str] = Counter()
        self._last_drop = ""
        self._images: deque[float] = deque(maxlen=2000)
        #: Time, latency, inference (all seconds) and number of objects of the newest frames.
        self._done: deque[tuple[float, float, float, int]] = deque(maxlen=_LATENCIES)
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
            if level > OK:
                self._last_drop = f"{reason}: {message}"
                self._fail(stage, level, message)

    def failed(self, stage: str, level: int, message: str) -> None:
        """Something is wrong at a stage, or worth saying (level OK), although no frame was dropped for it."""
        with self._guard:
            self._fail(stage, level, message)

    def _fail(self, stage: str, level: int, message: str) -> None:
        now, fault = self._clock(), self._faults.get(stage)
        if fault is None or now - fault.last_s > HOLD_S:
            self._faults[stage] = _Fault(level, message, now, now)
        elif level >= fault.level:
            fault.level, fault.message, fault.last_s, fault.count = level, message, now, fault.count + 1

    def time_jumped(self, back_s: float) -> None:
        """The images' time went back."""
        with self._guard:
            self._time_jumps += 1
            self._fail("image", WARN, (
                f"time jumped back by {back_s:.2f} s (a bag that loops, or a clock that was set): newer transforms and "
                "the objects' names were forgotten; nothing to do"))

    def frame_done(self, latency_s: float, inference_s: float, objects: int) -> None:
        """A scene was published; latency from the image's arrival to the last message sent."""
        with self._guard:
            self._done.append((self._clock(), latency_s, inference_s, objects))
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
        """The state now. `waiting` holds what the node finds starved, by stage; a fault at least as bad hides it."""
        with self._guard:
            now = self._clock()
            stages = tuple(self._stage(stage, now, (waiting or {}).get(stage)) for stage in STAGES)
            return Report(stages, self._values(now))

    def seconds_since_image(self) -> float:
        """Since the newest image, or the start where none came."""
        with self._guard:
            return self._clock() - (self._images[-1] if self._images else self._start_s)

    def _stage(self, stage: str, now: float, waiting: StageReport | None) -> StageReport:
        fault = self._faults.get(stage)
        if fault is not None and now - fault.last_s <= HOLD_S and (waiting is None or waiting.level <= fault.level):
            times = f" ({fault.count} times)" if fault.count > 1 else ""
            return StageReport(stage, fault.level, fault.message + times, now - fault.first_s)
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
            _, latency, inference, objects = np.array(self._done).T
            for name, seconds in (("latency", latency), ("inference", inference)):
                p50, p95 = np.percentile(1000 * seconds, [50, 95])
                values |= {f"{name} p50 [ms]": f"{p50:.1f}", f"{name} p95 [ms]": f"{p95:.1f}"}
            values["objects in the last frame"] = str(int(objects[-1]))
        values["frames dropped"] = str(sum(self._drops.values()))
        values |= {f"dropped: {reason}": str(self._drops[reason]) for reason in DROP_REASONS if self._drops[reason]}
        if self._last_drop:
            values["last drop"] = self._last_drop
        return values


def _rate(times, now: float) -> float:
    """Events a second over the last `_WINDOW_S` seconds (less where the first event is younger)."""
    recent = [t for t in times if now - t <= _WINDOW_S]
    if len(recent) < 2:
        return 0.0
    return (len(recent) - 1) / max(recent[-1] - recent[0], 1e-6) if now - recent[-1] < 2.0 else len(recent) / _WINDOW_S

"""Where an object stands and how it is turned, filtered over sightings.

Objects stand still, apart from a small drift. The position is a Kalman filter over (x, y, z); yaw is a mean direction
on the circle of the object's symmetry. Both forget slowly, so that what is nudged is followed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

#: Squared Mahalanobis distance that one in a thousand sightings exceeds (chi-square, 3 degrees of freedom).
GATE = 16.27
#: Beyond this a sighting counts less, the less the farther off it is (Huber's weight).
_SOFT_GATE = 9.0
#: Weight of the newest sighting in the smoothed innovation that tells a nudged object from noise.
_SHIFT_RATE = 0.3
#: Sightings that a yaw remembers.
_YAW_MEMORY = 30.0
#: Spread of a yaw that nothing is known about, in periods (uniform).
_UNIFORM_PERIODS = 1 / math.sqrt(12)


@dataclass(eq=False)
class PositionFilter:
    """A position with covariance, in the memory's frame."""

    mean_m: np.ndarray  # (3,)
    covariance_m2: np.ndarray  # (3, 3)
    shift_m: np.ndarray = field(default_factory=lambda: np.zeros(3))  # smoothed innovation

    def drift(self, variance_m2: float) -> None:
        """Let time pass: the object may have moved by this variance, each axis."""
        self.covariance_m2 = self.covariance_m2 + variance_m2 * np.eye(3)

    def update(self, position_m: np.ndarray, covariance_m2: np.ndarray) -> None:
        """Take in a sighting at `position_m` (3,) with its covariance (3, 3)."""
        innovation = position_m - self.mean_m
        self._notice_shift(innovation, covariance_m2)
        expected = self.covariance_m2 + covariance_m2
        squared = float(innovation @ np.linalg.solve(expected, innovation))
        covariance_m2 = covariance_m2 * max(1.0, squared / _SOFT_GATE)
        gain = np.linalg.solve(self.covariance_m2 + covariance_m2, self.covariance_m2).T
        keep = np.eye(3) - gain
        self.mean_m = self.mean_m + gain @ innovation
        self.covariance_m2 = keep @ self.covariance_m2 @ keep.T + gain @ covariance_m2 @ gain.T  # stays symmetric

    def _notice_shift(self, innovation: np.ndarray, covariance_m2: np.ndarray) -> None:
        """Innovations that keep pointing one way mean that the object was nudged: doubt the position again."""
        self.shift_m = (1 - _SHIFT_RATE) * self.shift_m + _SHIFT_RATE * innovation
        steady = (self.covariance_m2 + covariance_m2) * (_SHIFT_RATE / (2 - _SHIFT_RATE))  # of white innovations
        if self.shift_m @ np.linalg.solve(steady, self.shift_m) > GATE:
            self.covariance_m2 = self.covariance_m2 + covariance_m2
            self.shift_m = np.zeros(3)


@dataclass
class YawFilter:
    """A mean direction on a circle of `period_rad`: the weighted sum of unit vectors at 2 pi yaw / period."""

    period_rad: float
    cosine: float = 0.0
    sine: float = 0.0
    weight: float = 0.0

    def update(self, yaw_rad: float) -> None:
        """Take in a sighting; the oldest fade."""
        angle = 2 * math.pi * yaw_rad / self.period_rad
        fade = 1.0 if self.weight < _YAW_MEMORY else (_YAW_MEMORY - 1) / _YAW_MEMORY
        self.cosine = fade * self.cosine + math.cos(angle)
        self.sine = fade * self.sine + math.sin(angle)
        self.weight = fade * self.weight + 1.0

    @property
    def yaw_rad(self) -> float:
        """In [-period / 2, period / 2]."""
        return math.atan2(self.sine, self.cosine) * self.period_rad / (2 * math.pi)

    @property
    def sigma_rad(self) -> float:
        """Standard deviation of `yaw_rad`, at most that of a uniform one over the period.

        One sighting says nothing of its own spread and counts as uniform.
        """
        length = min(1.0, math.hypot(self.cosine, self.sine) / self.weight)
        if self.weight < 2 or length < 1e-9:
            return _UNIFORM_PERIODS * self.period_rad
        spread_periods = math.sqrt(max(0.0, -2 * math.log(length)) / (self.weight - 1)) / (2 * math.pi)
        return min(spread_periods, _UNIFORM_PERIODS) * self.period_rad

"""Where a recogniser finds objects: less than an image shows, since it looks at a part and writes small numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from kyvo_ros.scene.camera import PinholeCamera


@dataclass(frozen=True)
class YawPeriods:
    """After which turn about z objects look the same to a recogniser: `period_rad` for some, a whole turn for others.

    By default those of CLEVR. Raises ValueError for a period outside (0, 2 pi].
    """

    period_rad: float = math.pi / 2
    attribute: str | None = "shape"  # that decides for which objects; None: for all
    values: tuple[str, ...] = ("cube",)  # of it

    def __post_init__(self) -> None:
        if not 0 < self.period_rad <= 2 * math.pi:
            raise ValueError(f"the period of a yaw must lie in (0, 2 pi], got {self.period_rad}")

    def of(self, words: Mapping[str, str]) -> float:
        """For an object with these attributes, rad."""
        some = self.attribute is None or words.get(self.attribute) in self.values
        return self.period_rad if some else 2 * math.pi


@dataclass(frozen=True)
class RecognizedField:
    """What a recogniser can tell of one image."""

    intrinsics: PinholeCamera  # of the level image along the optical axis that it looks at
    reach_units: float = math.inf  # largest |x| and |y| of a centre in the support-plane frame, model units
    max_objects: int | None = None  # that it names at most; None: any number
    yaw: YawPeriods = YawPeriods()

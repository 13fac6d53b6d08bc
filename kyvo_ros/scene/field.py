"""Where a recogniser finds objects: less than an image shows, since it looks at a part and writes small numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kyvo_ros.scene.camera import PinholeCamera


@dataclass(frozen=True)
class RecognizedField:
    """What a recogniser can tell of one image."""

    intrinsics: PinholeCamera  # of the level image along the optical axis that it looks at
    reach_units: float = math.inf  # largest |x| and |y| of a centre in the support-plane frame, model units
    max_objects: int | None = None  # that it names at most; None: any number

"""What another camera costs: Jaccard indices of two cameras on the same objects, their paired difference, a table.

Scores are means over images, intervals 95 % bootstrap intervals over images. A paired score compares an image with
itself as another camera sees it, over the objects that count for both (`region`), so that the scenes' own difficulty
drops out of the difference. Images without such an object are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kyvo_ros.evaluation.jaccard import bootstrap_interval

#: Distances at which cameras are compared.
CAMERA_TAUS_M = (0.05, 0.25)


@dataclass(frozen=True)
class Mean:
    """A mean over images and its interval."""

    value: float
    interval: tuple[float, float]

    @classmethod
    def of(cls, scores: Sequence[float]) -> Mean:
        return cls(float(np.mean(scores)), bootstrap_interval(scores))

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.interval[0]:.3f} to {self.interval[1]:.3f})"


@dataclass(frozen=True)
class CameraScore:
    """One camera; `original` and `difference` (camera minus original) only where there are pairs."""

    name: str
    images: int
    camera: Mapping[float, Mean]  # keys are CAMERA_TAUS_M
    original: Mapping[float, Mean] | None = None
    difference: Mapping[float, Mean] | None = None

    @classmethod
    def of(cls, name: str, scores: Sequence[Mapping[float, float]],
           originals: Sequence[Mapping[float, float]] | None = None) -> CameraScore:
        """From Jaccard indices by tau, one mapping an image. Raises ValueError without images."""
        def means(rows: Sequence[Mapping[float, float]]) -> dict[float, Mean]:
            return {tau: Mean.of([row[tau] for row in rows]) for tau in CAMERA_TAUS_M}
        if originals is None:
            return cls(name, len(scores), means(scores))
        apart = [{tau: a[tau] - b[tau] for tau in CAMERA_TAUS_M} for a, b in zip(scores, originals, strict=True)]
        return cls(name, len(scores), means(scores), means(originals), means(apart))

    def to_dict(self) -> dict:
        """For JSON."""
        parts = {key: getattr(self, key) for key in ("camera", "original", "difference")}
        return {"name": self.name, "images": self.images, **{
            key: None if part is None else {
                f"{tau:g}": {"mean": mean.value, "interval_95": list(mean.interval)} for tau, mean in part.items()}
            for key, part in parts.items()}}


def camera_table(scores: Sequence[CameraScore]) -> str:
    """Markdown, a row a camera; a dash where nothing is paired."""
    head = ["camera", "images"]
    for tau in sorted(CAMERA_TAUS_M, reverse=True):
        head += [f"Jaccard at {tau:g} m", "original", "difference (95 % interval)"]
    rows = [head, ["---"] * len(head)]
    for score in scores:
        row = [score.name, str(score.images)]
        for tau in sorted(CAMERA_TAUS_M, reverse=True):
            if score.difference is None:
                row += [str(score.camera[tau]), "-", "-"]
            else:
                row += [f"{part[tau].value:.3f}" for part in (score.camera, score.original)]
                row.append(str(score.difference[tau]))
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)

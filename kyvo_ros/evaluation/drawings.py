"""How good drawn scenes are: cycle consistency first, likeness of pixels beside it.

The cycle score is the mean Jaccard index between the scenes asked for and those that recognition finds in the drawings,
at distances in metres. Pixels are compared with the true images: PSNR, SSIM, and L2, the mean squared difference, all
of values in [0, 1]. An image tokenizer's reconstructions of the true images, put to the same tests, say what the codes
alone lose. Source: rendering in Kyvo (arXiv 2506.08002); the cycle is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kyvo_ros.evaluation.image_metrics import l2, psnr, ssim
from kyvo_ros.evaluation.jaccard import bootstrap_interval, jaccard_index
from kyvo_ros.evaluation.report import TAUS_M
from kyvo_ros.scene import Scene

_LIKENESS = {"psnr": psnr, "ssim": ssim, "l2": l2}


@dataclass(frozen=True)
class PictureScores:
    """Scores of pictures of scenes, one entry a picture."""

    jaccard: dict[float, list[float]]  # by distance
    likeness: dict[str, list[float]]  # by metric

    @classmethod
    def of(cls, asked: Sequence[Scene], seen: Sequence[Scene], pictures: Sequence[np.ndarray],
           truths: Sequence[np.ndarray]) -> PictureScores:
        """Of pictures (H, W, 3) uint8, what was `seen` in them, what they should show, and true images of it.

        Raises SceneError for scenes in different frames, ValueError for images of different size.
        """
        pairs = [(picture / 255.0, truth / 255.0) for picture, truth in zip(pictures, truths)]
        return cls({tau: [jaccard_index(s, a, tau) for s, a in zip(seen, asked)] for tau in TAUS_M},
                   {name: [metric(*pair) for pair in pairs] for name, metric in _LIKENESS.items()})

    def to_dict(self) -> dict:
        """Means, and the 95 % interval of each Jaccard index, for JSON; None for the PSNR of pictures that are equal to
        the truth.
        """
        means = {name: float(np.mean(values)) for name, values in self.likeness.items()}
        return {"cycle_jaccard": {f"{tau:g}": float(np.mean(scores)) for tau, scores in self.jaccard.items()},
                "cycle_interval": {f"{tau:g}": bootstrap_interval(scores) for tau, scores in self.jaccard.items()},
                **{name: value if np.isfinite(value) else None for name, value in means.items()}}


@dataclass(frozen=True)
class DrawingReport:
    """Scores of drawings, and of reconstructions of the true images of the same scenes."""

    drawings: PictureScores
    reconstructions: PictureScores

    def to_dict(self) -> dict:
        """The scores of the drawings, with those of the reconstructions under `reconstruction`."""
        return {"scenes": len(self.drawings.jaccard[TAUS_M[0]]), **self.drawings.to_dict(),
                "reconstruction": self.reconstructions.to_dict()}

    def markdown(self) -> str:
        """As a table."""
        columns = [scores.to_dict() for scores in (self.drawings, self.reconstructions)]
        lines = ["| measure | drawn | reconstruction of the true image |", "|---|---|---|"]
        for tau in TAUS_M:
            cells = (f"{c['cycle_jaccard'][f'{tau:g}']:.3f} [{c['cycle_interval'][f'{tau:g}'][0]:.3f}, "
                     f"{c['cycle_interval'][f'{tau:g}'][1]:.3f}]" for c in columns)
            lines.append(f"| cycle: Jaccard index at {tau:g} m [95 % interval] | {' | '.join(cells)} |")
        for name, words, digits in (("psnr", "PSNR (dB)", 1), ("ssim", "SSIM", 3), ("l2", "L2 (mean squared)", 4)):
            cells = ("equal" if c[name] is None else f"{c[name]:.{digits}f}" for c in columns)
            lines.append(f"| {words} | {' | '.join(cells)} |")
        return "\n".join(lines)

"""How alike two shapes are: Chamfer distance, F-score, normal consistency, volume IoU.

The first three compare points drawn evenly from both surfaces (N, 3), in the truth's units. Source of the F-score:
Tatarchenko et al. 2019 (arXiv 1905.03678).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree


@dataclass(frozen=True)
class SurfaceScores:
    """Of one shape against its truth."""

    chamfer: float  # mean of both directions' mean distances, as a share of the diagonal
    f_scores: dict[float, float]  # by distance, as a share of the diagonal
    normal_consistency: float  # mean |cosine| between normals of nearest points, both directions


def surface_scores(points: np.ndarray, normals: np.ndarray, truth: np.ndarray, truth_normals: np.ndarray,
                   diagonal: float, thresholds: tuple[float, ...] = (0.01, 0.02)) -> SurfaceScores:
    """Compare points (N, 3) with normals (N, 3) to those of the truth, whose bounding box has this diagonal.

    Raises ValueError for empty sets or a diagonal that is not positive.
    """
    if not len(points) or not len(truth) or not diagonal > 0:
        raise ValueError(f"expected points of both shapes and a positive diagonal, got {len(points)}, {len(truth)} "
                         f"and {diagonal}")
    to_truth, nearest = cKDTree(truth).query(points)
    to_shape, back = cKDTree(points).query(truth)
    alike = np.abs(np.einsum("nd,nd->n", normals, truth_normals[nearest])).mean()
    alike_back = np.abs(np.einsum("nd,nd->n", truth_normals, normals[back])).mean()
    return SurfaceScores(
        float((to_truth.mean() + to_shape.mean()) / 2 / diagonal),
        {t: f_score(to_truth, to_shape, t * diagonal) for t in thresholds}, float((alike + alike_back) / 2))


def f_score(to_truth: np.ndarray, to_shape: np.ndarray, threshold: float) -> float:
    """Harmonic mean of precision and recall: shares of both sides' nearest distances up to a threshold; 0 for none."""
    precision, recall = float((to_truth <= threshold).mean()), float((to_shape <= threshold).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def volume_iou(inside: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of two grids (bool) of what lies inside; 1 where both are empty."""
    if inside.shape != truth.shape:
        raise ValueError(f"expected grids of one shape, got {inside.shape} and {truth.shape}")
    union = (inside | truth).sum()
    return float((inside & truth).sum() / union) if union else 1.0

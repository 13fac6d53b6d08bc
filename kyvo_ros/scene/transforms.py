"""Rigid transforms between named frames (REP-103: metres, radians, quaternions x y z w).

`a_T_b` maps coordinates in frame b to coordinates in frame a, so that `a_T_c = a_T_b @ b_T_c`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Transform:
    """A rotation (3, 3) followed by a translation (3,), metres.

    Raises ValueError where the rotation is not a proper rotation matrix or a number is not finite.
    """

    rotation: np.ndarray
    translation: np.ndarray

    def __post_init__(self) -> None:
        rotation = np.asarray(self.rotation, dtype=np.float64)
        translation = np.asarray(self.translation, dtype=np.float64)
        if rotation.shape != (3, 3) or translation.shape != (3,):
            raise ValueError("expected rotation (3, 3) and translation (3,), "
                             f"got {rotation.shape} and {translation.shape}")
        if not (np.isfinite(rotation).all() and np.isfinite(translation).all()):
            raise ValueError("a transform must be finite; got NaN or infinity")
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-4) or np.linalg.det(rotation) < 0:
            raise ValueError("expected a proper rotation matrix (orthonormal, determinant +1)")
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "translation", translation)

    @classmethod
    def identity(cls) -> Transform:
        return cls(np.eye(3), np.zeros(3))

    @classmethod
    def from_matrix(cls, matrix: np.ndarray) -> Transform:
        """From a homogeneous (4, 4) matrix; inverse of `matrix`."""
        matrix = np.asarray(matrix, dtype=np.float64)
        if matrix.shape != (4, 4):
            raise ValueError(f"expected a (4, 4) matrix, got shape {matrix.shape}")
        return cls(matrix[:3, :3], matrix[:3, 3])

    def matrix(self) -> np.ndarray:
        """Homogeneous (4, 4) matrix; inverse of `from_matrix`."""
        out = np.eye(4)
        out[:3, :3], out[:3, 3] = self.rotation, self.translation
        return out

    @classmethod
    def from_quaternion(cls, quaternion_xyzw: np.ndarray, translation: np.ndarray) -> Transform:
        """From a quaternion (x, y, z, w) of any non-zero length; inverse of `quaternion`."""
        q = np.asarray(quaternion_xyzw, dtype=np.float64)
        norm = np.linalg.norm(q)
        if q.shape != (4,) or not np.isfinite(norm) or norm < 1e-9:
            raise ValueError(f"expected a non-zero quaternion (x, y, z, w), got {quaternion_xyzw}")
        x, y, z, w = q / norm
        return cls(np.array([
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]), translation)

    def quaternion(self) -> np.ndarray:
        """Unit quaternion (x, y, z, w) with w >= 0; inverse of `from_quaternion`."""
        r = self.rotation
        # The symmetric 4x4 form whose eigenvector of the largest eigenvalue is the quaternion (Bar-Itzhack 2000).
        k = np.array([
            [r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[2, 1] - r[1, 2]],
            [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], r[1, 2] + r[2, 1], r[0, 2] - r[2, 0]],
            [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r[0, 0] + r[1, 1] + r[2, 2]],
        ])
        q = np.linalg.eigh(k)[1][:, -1]
        return -q if q[3] < 0 else q

    @classmethod
    def from_yaw(cls, yaw_rad: float, translation: np.ndarray = (0.0, 0.0, 0.0)) -> Transform:
        """A turn by `yaw_rad` about z."""
        c, s = np.cos(yaw_rad), np.sin(yaw_rad)
        return cls(np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]), translation)

    def inverse(self) -> Transform:
        return Transform(self.rotation.T, -self.rotation.T @ self.translation)

    def __matmul__(self, other: Transform) -> Transform:
        return Transform(self.rotation @ other.rotation, self.rotation @ other.translation + self.translation)

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Map points (..., 3) from the right-hand frame to the left-hand one."""
        return np.asarray(points, dtype=np.float64) @ self.rotation.T + self.translation

    def rotate_covariance(self, covariance: np.ndarray) -> np.ndarray:
        """Turn a position covariance (3, 3) into the left-hand frame."""
        return self.rotation @ np.asarray(covariance, dtype=np.float64) @ self.rotation.T

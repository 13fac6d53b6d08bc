"""Rigid transforms: inverse pairs, composition, and what is no rotation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

from kyvo_ros.scene import Transform

numbers = st.floats(-10, 10)
vectors = st.tuples(numbers, numbers, numbers).map(np.array)
quaternions = st.tuples(*[st.floats(-1, 1)] * 4).map(np.array).filter(lambda q: np.linalg.norm(q) > 1e-3)
transforms = st.builds(Transform.from_quaternion, quaternions, vectors)


@settings(deadline=None)
@given(quaternions, vectors)
def test_quaternions_survive(quaternion: np.ndarray, translation: np.ndarray) -> None:
    unit = quaternion / np.linalg.norm(quaternion)
    assume(abs(unit[3]) > 1e-6)  # at w = 0 both signs are right
    back = Transform.from_quaternion(quaternion, translation).quaternion()
    np.testing.assert_allclose(back, unit * np.sign(unit[3]), atol=1e-9)


@pytest.mark.parametrize("axis", range(3))
def test_half_turns_survive(axis: int) -> None:
    quaternion = np.eye(4)[axis]
    back = Transform.from_quaternion(quaternion, np.zeros(3)).quaternion()
    np.testing.assert_allclose(np.abs(back), quaternion, atol=1e-9)


@settings(deadline=None)
@given(transforms, transforms, vectors)
def test_composition_and_inverse(a_T_b: Transform, b_T_c: Transform, point: np.ndarray) -> None:
    np.testing.assert_allclose((a_T_b @ b_T_c).apply(point), a_T_b.apply(b_T_c.apply(point)), atol=1e-8)
    np.testing.assert_allclose(a_T_b.inverse().apply(a_T_b.apply(point)), point, atol=1e-8)
    np.testing.assert_allclose((a_T_b @ a_T_b.inverse()).matrix(), np.eye(4), atol=1e-8)
    np.testing.assert_allclose(Transform.from_matrix(a_T_b.matrix()).matrix(), a_T_b.matrix())
    homogeneous = a_T_b.matrix() @ np.append(point, 1.0)
    np.testing.assert_allclose(a_T_b.apply(point), homogeneous[:3], atol=1e-9)


def test_yaw_turns_x_to_y() -> None:
    quarter = Transform.from_yaw(math.pi / 2, [1.0, 0.0, 0.0])
    np.testing.assert_allclose(quarter.apply([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), [[1, 1, 0], [0, 0, 0]], atol=1e-12)


def test_covariance_turns_with_the_frame() -> None:
    turned = Transform.from_yaw(math.pi / 2).rotate_covariance(np.diag([4.0, 1.0, 0.25]))
    np.testing.assert_allclose(turned, np.diag([1.0, 4.0, 0.25]), atol=1e-12)


@pytest.mark.parametrize("make, message", [
    (lambda: Transform(np.diag([1.0, 1.0, -1.0]), np.zeros(3)), "proper rotation"),
    (lambda: Transform(np.eye(3) * 2, np.zeros(3)), "proper rotation"),
    (lambda: Transform(np.eye(3), [0.0, np.nan, 0.0]), "finite"),
    (lambda: Transform(np.eye(4), np.zeros(3)), r"got \(4, 4\)"),
    (lambda: Transform.from_matrix(np.eye(3)), r"\(4, 4\) matrix"),
    (lambda: Transform.from_quaternion([0.0, 0.0, 0.0, 0.0], np.zeros(3)), "non-zero quaternion"),
    (lambda: Transform.from_quaternion([0.0, 0.0, np.nan, 1.0], np.zeros(3)), "non-zero quaternion"),
])
def test_what_is_no_transform_is_rejected(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()

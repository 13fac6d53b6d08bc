"""Names that last from frame to frame."""

from __future__ import annotations

import numpy as np
import pytest

from kyvo_ros.ros.identity import PATIENCE_FRAMES, IdentityKeeper
from kyvo_ros.scene import SceneObject


def _thing(color: str, x: float, y: float = 0.0, shape: str = "cube") -> SceneObject:
    return SceneObject({"size": "large", "color": color, "material": "rubber", "shape": shape}, [x, y, 0.7])


def _assign(keeper: IdentityKeeper, *things: SceneObject) -> list[str]:
    return keeper.assign(things, np.array([t.position_m for t in things]).reshape(-1, 3))


def test_names_follow_objects_whatever_their_order() -> None:
    keeper = IdentityKeeper()
    assert _assign(keeper, _thing("red", 0.0), _thing("blue", 2.0)) == ["object_0", "object_1"]
    assert _assign(keeper, _thing("blue", 2.1), _thing("red", 0.1)) == ["object_1", "object_0"]


def test_one_wrong_attribute_keeps_the_name_and_two_do_not() -> None:
    keeper = IdentityKeeper(radius_m=0.5)
    _assign(keeper, _thing("red", 0.0))
    assert _assign(keeper, _thing("brown", 0.1)) == ["object_0"]
    assert _assign(keeper, _thing("cyan", 0.1, shape="sphere")) == ["object_1"]


def test_far_away_is_another_object() -> None:
    keeper = IdentityKeeper()
    _assign(keeper, _thing("red", 0.0))
    assert _assign(keeper, _thing("red", 0.6)) == ["object_1"]
    assert keeper.assign([_thing("red", 1.5)], np.array([[1.5, 0.0, 0.7]]), radius_m=2.0) == ["object_1"]


def test_the_nearest_of_two_alike_wins_and_names_stay_unique() -> None:
    keeper = IdentityKeeper()
    _assign(keeper, _thing("red", 0.0))
    names = _assign(keeper, _thing("red", 0.3), _thing("red", 0.05))
    assert names == ["object_1", "object_0"]


def test_an_object_may_be_missed_for_a_while_and_no_longer() -> None:
    keeper = IdentityKeeper()
    _assign(keeper, _thing("red", 0.0))
    for _ in range(PATIENCE_FRAMES):
        assert _assign(keeper) == []
    assert _assign(keeper, _thing("red", 0.0)) == ["object_0"]
    for _ in range(PATIENCE_FRAMES + 1):
        _assign(keeper)
    assert _assign(keeper, _thing("red", 0.0)) == ["object_1"]


def test_reset_forgets_but_never_uses_a_name_again() -> None:
    keeper = IdentityKeeper()
    _assign(keeper, _thing("red", 0.0))
    keeper.reset()
    assert _assign(keeper, _thing("red", 0.0)) == ["object_1"]


def test_a_radius_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        IdentityKeeper(0.0)

"""What several looks agree on, by scenes made by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from kyvo_ros.scene import Scene, SceneError, SceneObject
from kyvo_ros.scene.consensus import agreed_yaw, circular_mean, consensus, mirrored

QUARTER = math.pi / 2


def cube(x: float, y: float = 0.0, color: str = "red", sure: float = 0.9, **other) -> SceneObject:
    values = {"yaw_rad": 0.3, "size_m": [1.0] * 3, "confidence": sure,
              "attribute_confidence": {"color": sure, "shape": 1.0}, "position_covariance_m2": 0.01 * np.eye(3)}
    return SceneObject({"color": color, "shape": "cube"}, [x, y, 0.5], **{**values, **other})


def agreed(*looks: tuple[SceneObject, ...], shows=None, **options) -> tuple[SceneObject, ...]:
    return consensus([Scene(look) for look in looks], shows, yaw_period_rad=QUARTER, **options).objects


def left(item: SceneObject) -> bool:
    """What a look to the left shows."""
    return item.position_m[0] < 0


def everything(item: SceneObject) -> bool:
    return True


def test_one_look_stays_as_it_is() -> None:
    scene = Scene((cube(1.0),), stamp_ns=5)
    assert consensus([scene], yaw_period_rad=QUARTER) is scene


def test_places_are_averaged_and_objects_kept_apart() -> None:
    one, other = agreed((cube(0.0), cube(2.0, 1.0)), (cube(2.2, 1.2), cube(0.1)))
    assert one.position_m == pytest.approx((0.05, 0.0, 0.5)) and other.position_m == pytest.approx((2.1, 1.1, 0.5))


def test_the_minority_is_dropped() -> None:
    ghost = cube(3.0)
    assert len(agreed((cube(0.0), ghost), (cube(0.0),), (cube(0.0),))) == 1
    assert len(agreed((cube(0.0), ghost), (cube(0.0), ghost), (cube(0.0),), (cube(0.0),))) == 2  # half is enough
    assert agreed((), ()) == ()
    assert agreed((), (), (ghost,)) == ()


def test_looks_speak_of_what_they_show() -> None:
    """A narrow look neither votes against what it cannot show nor moves what it shows in part."""
    shows = (everything, left, left)
    assert len(agreed((cube(1.0), cube(-1.0)), (cube(-1.0),), (cube(-1.0),), shows=shows)) == 2
    assert agreed((cube(1.0),), (), ()) == ()
    (item,) = agreed((cube(1.0),), (cube(1.3),), (cube(1.3),), shows=shows)
    assert item.position_m[0] == 1.0 and item.confidence == pytest.approx(1 - (1 - 0.9) * (1 - 0.9))
    (item,) = agreed((cube(-1.0),), (), (cube(-1.2),), shows=shows)
    assert item.position_m[0] == pytest.approx(-1.1) and item.confidence == pytest.approx(1 - 0.1 * (1 - 1.8 / 3))


def test_what_no_look_shows_whole_all_speak_of() -> None:
    assert len(agreed((cube(1.0),), (cube(1.0),), (), shows=(left, left, left))) == 1
    assert agreed((cube(1.0),), (), (), shows=(left, left, left)) == ()


def test_what_only_looks_see_that_cannot_show_it_is_dropped() -> None:
    assert agreed((), (cube(1.0),), shows=(everything, left)) == ()


def test_a_look_gives_one_object_to_a_group() -> None:
    """Two neighbours that look alike stay two, though all four places are near each other."""
    objects = agreed((cube(0.0), cube(0.4)), (cube(0.05), cube(0.42)))
    assert [round(o.position_m[0], 3) for o in objects] == [0.025, 0.41]


def test_like_goes_with_like() -> None:
    red, blue = agreed((cube(0.0), cube(0.3, color="blue")), (cube(0.2), cube(0.1, color="blue")))
    assert (red.attributes["color"], blue.attributes["color"]) == ("red", "blue")
    assert red.position_m[0] == pytest.approx(0.1) and blue.position_m[0] == pytest.approx(0.2)


def test_the_surer_words_win_and_bring_their_size_and_height() -> None:
    small = replace(cube(0.0, color="blue", sure=0.4, size_m=[0.5] * 3), position_m=np.array([0.0, 0.0, 0.25]))
    (item,) = agreed((cube(0.1, sure=0.9),), (small,))
    assert item.attributes["color"] == "red" and item.size_m == pytest.approx([1.0] * 3)
    assert item.position_m == pytest.approx((0.05, 0.0, 0.5))  # the place is everybody's, the height the winner's
    (item,) = agreed((cube(0.1, sure=0.7),), (small,), (small,))
    assert item.attributes["color"] == "blue" and item.position_m[2] == pytest.approx(0.25)


def test_yaw_is_a_mean_on_the_circle() -> None:
    (item,) = agreed((cube(0.0, yaw_rad=0.05),), (cube(0.0, yaw_rad=QUARTER - 0.03),))
    assert item.yaw_rad == pytest.approx(0.01)
    assert circular_mean([0.1, 2 * math.pi - 0.2], None) == pytest.approx(2 * math.pi - 0.05)
    assert circular_mean([0.0, QUARTER / 2], QUARTER) == 0.0  # opposite directions


def test_what_takes_the_back_for_the_front_is_outvoted() -> None:
    """A mean over a yaw and those half a turn off points aside."""
    around = [0.3, 0.5, 0.4 + math.pi, 0.4 - math.pi, 0.4]
    assert agreed_yaw(around, None) == pytest.approx(0.4)
    assert circular_mean(around[:4], None) != pytest.approx(0.4, abs=0.3)
    assert agreed_yaw([0.1, 0.1 + math.pi], None) in (pytest.approx(0.1), pytest.approx(0.1 + math.pi))
    assert agreed_yaw([0.02, QUARTER - 0.04], QUARTER) == pytest.approx(QUARTER - 0.01), "of cubes as before"


def test_size_is_a_mean_over_the_looks_that_said_it() -> None:
    looks = [(cube(0.0, size_m=[1.0, 2.0, side]),) for side in (1.0, 1.3)] + [(cube(0.0, color="blue", size_m=[9.0] * 3),)]
    (item,) = agreed(*looks)
    assert item.size_m == pytest.approx([1.0, 2.0, 1.15])


def test_distances_are_in_model_units() -> None:
    """On a table-top of a twentieth the size, what is 0.3 m apart is two objects."""
    looks = (cube(0.0),), (cube(0.3),)
    assert len(agreed(*looks)) == 1 and len(agreed(*looks, unit_m=0.05)) == 2


def test_confidence_and_covariance_by_hand() -> None:
    (item,) = agreed((cube(0.0, sure=0.8),), (cube(0.0, sure=0.6),), (cube(0.0, color="blue", sure=0.5),), ())
    assert item.confidence == pytest.approx(1 - (1 - 0.8) * (1 - (0.8 + 0.6) / 4))  # blue and the blind look count 0
    assert item.attribute_confidence["color"] == pytest.approx(0.7)
    assert item.position_covariance_m2 == pytest.approx((0.2 + 0.8 / 3) * 0.01 * np.eye(3))  # three saw its place


def test_surer_looks_count_for_more_along_each_axis() -> None:
    sharp, dull = np.diag([0.01, 0.04, 0.01]), np.diag([0.03, 0.04, 0.01])
    (item,) = agreed((cube(0.0, 0.0, position_covariance_m2=sharp),), (cube(0.2, 0.2, position_covariance_m2=dull),))
    assert item.position_m[:2] == pytest.approx((0.05, 0.1))
    (item,) = agreed((cube(0.0, position_covariance_m2=np.zeros((3, 3))),), (cube(0.2),))
    assert item.position_m[0] == pytest.approx(0.0, abs=1e-6)
    (item,) = agreed((cube(0.0, position_covariance_m2=None),), (cube(0.2),))
    assert item.position_m[0] == pytest.approx(0.1)


def test_looks_must_meet_in_one_frame() -> None:
    with pytest.raises(SceneError, match="map"):
        consensus([Scene(), Scene(frame_id="map")], yaw_period_rad=None)
    with pytest.raises(SceneError):
        consensus([], yaw_period_rad=None)


def test_objects_without_probabilities_can_agree() -> None:
    bare = SceneObject({"shape": "ball"}, [0.0, 0.0, 0.5])
    (item,) = agreed((bare,), (bare,))
    assert item.position_covariance_m2 is None and dict(item.attribute_confidence) == {}
    assert item.confidence == 1.0


def test_a_mirror_is_its_own_inverse() -> None:
    scene = Scene((cube(1.0, 2.0, position_covariance_m2=np.array([[1.0, 0.2, 0], [0.2, 1.0, 0], [0, 0, 1]])),))
    (item,) = mirrored(scene).objects
    assert item.position_m == pytest.approx((-1.0, 2.0, 0.5)) and item.yaw_rad == pytest.approx(math.pi - 0.3)
    assert item.position_covariance_m2[0, 1] == pytest.approx(-0.2)
    (back,) = mirrored(mirrored(scene)).objects
    assert back.position_m == pytest.approx((1.0, 2.0, 0.5)) and back.yaw_rad == pytest.approx(0.3)

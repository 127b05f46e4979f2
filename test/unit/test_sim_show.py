"""What simulated cameras show over time."""

import numpy as np
import pytest

from qwenvl_ros.settings import SettingError
from qwenvl_ros.sim.show import Show, ShowSettings

SMALL = {"width": 160, "height": 120}


def test_same_settings_same_show():
    settings = ShowSettings(seed=4, move_objects=True, move_cameras=True, **SMALL)
    with Show(settings) as one, Show(settings) as other:
        for seconds in (0.0, 1.7, 3.1):
            for a, b in zip(one.shots(seconds), other.shots(seconds), strict=True):
                np.testing.assert_array_equal(a.image, b.image)
                np.testing.assert_array_equal(a.depth, b.depth)
                assert a.scene == b.scene and a.intrinsics == b.intrinsics


def test_a_still_show_stands_still_and_a_moving_one_moves():
    with Show(ShowSettings(seed=4, **SMALL)) as still:
        first, later = (next(iter(still.shots(t))) for t in (0.0, 60.0))
        np.testing.assert_array_equal(first.image, later.image)
    with Show(ShowSettings(seed=4, move_objects=True, **SMALL)) as moving:
        first, later = (next(iter(moving.shots(t))) for t in (0.0, 2.0))
        assert (first.image != later.image).any()
        np.testing.assert_array_equal(first.pose.translation, later.pose.translation)
    with Show(ShowSettings(seed=4, move_cameras=True, **SMALL)) as moving:
        first, later = (next(iter(moving.shots(t))) for t in (0.0, 2.0))
        assert np.linalg.norm(first.pose.translation - later.pose.translation) > 0.005
        assert [o.position for o in first.scene.objects if o.id in {p.id for p in later.scene.objects}] == [
            o.position for o in later.scene.objects if o.id in {p.id for p in first.scene.objects}
        ]


def test_cameras_by_name():
    with Show(ShowSettings(cameras=("front", "left"), seed=2, **SMALL)) as show:
        shots = list(show.shots(0.0))
    assert [s.camera for s in shots] == ["front", "left"]
    assert [s.scene.camera for s in shots] == ["front", "left"]
    assert [s.scene.frame_id for s in shots] == ["front_optical_frame", "left_optical_frame"]
    assert (shots[0].image != shots[1].image).any()
    assert shots[0].image.shape == (120, 160, 3) and shots[0].depth.shape == (120, 160)


def test_what_is_not_asked_for_is_left_out():
    with Show(ShowSettings(**SMALL)) as show:
        (shot,) = show.shots(0.0, depth=False, scene=False)
    assert shot.depth is None and shot.scene is None and shot.image.any()


def test_new_objects_before_the_same_camera():
    with Show(ShowSettings(seed=1, scene_seconds=2.0, move_cameras=True, **SMALL)) as show:
        early, late, second = (next(iter(show.shots(t))) for t in (0.0, 1.99, 2.01))
        again = next(iter(show.shots(0.0)))
    assert {o.id for o in early.scene.objects} != {o.id for o in second.scene.objects}
    assert np.linalg.norm(late.pose.translation - second.pose.translation) < 0.01
    np.testing.assert_array_equal(again.image, early.image)
    with Show(ShowSettings(seed=2, **SMALL)) as next_seed:
        assert {o.label for o in next_seed.layout(0.0).things} >= {o.label for o in second.scene.objects}


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"rate_hz": 0.0}, "rate_hz"),
        ({"width": 5}, "width"),
        ({"cameras": ()}, "at least one"),
        ({"cameras": ("a", "a")}, "each given once"),
        ({"cameras": ("a", "")}, r"cameras = \[''\]: a name is letters"),
        ({"cameras": ("a", "a b")}, r"cameras = \['a b'\]: a name is letters"),
        ({"cameras": ("1st",)}, "a letter first"),
        ({"fewest": 5, "most": 2}, "fewest"),
        ({"seed": -1}, "seed"),
    ],
)
def test_impossible_settings_are_refused(wrong, reason):
    with pytest.raises(SettingError, match=reason):
        Show(ShowSettings(**wrong))

"""Images find their depth, and none is held up when there is none."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qwenvl_ros.pairing import Pairing, PairingSettings, joined
from qwenvl_ros.types import Frame, Intrinsics

MS = 1_000_000


def pairing(**changes):
    return Pairing(PairingSettings(**changes))


def plain(pairs):
    return [(pair.image, pair.depth) for pair in pairs]


def test_depth_before_its_image():
    each = pairing()
    assert each.add_depth(100 * MS, "d", now=0.0) == []
    assert plain(each.add_image(100 * MS, "i", now=0.01)) == [("i", "d")]


def test_depth_after_its_image():
    each = pairing()
    each.add_depth(0, "old", now=0.0)
    assert each.add_image(100 * MS, "i", now=0.1) == []
    assert plain(each.add_depth(100 * MS, "d", now=0.12)) == [("i", "d")]
    assert each.due(now=9.0) == []


def test_the_nearest_depth_within_the_tolerance_is_taken():
    each = pairing(depth_tolerance=0.02)
    each.add_depth(85 * MS, "far", now=0.0)
    each.add_depth(105 * MS, "near", now=0.0)
    each.add_depth(118 * MS, "farther", now=0.0)
    assert plain(each.add_image(100 * MS, "i", now=0.01)) == [("i", "near")]


def test_the_depth_of_the_image_before_does_not_pass_for_its_own():
    """60 Hz: the last depth is within the tolerance, but the image's own is about to come."""
    each = pairing()
    each.add_depth(0, "d0", now=0.0)
    each.add_depth(17 * MS, "d1", now=0.017)
    assert each.add_image(33 * MS, "i2", now=0.034) == []
    assert plain(each.add_depth(33 * MS, "d2", now=0.036)) == [("i2", "d2")]
    assert each.add_image(50 * MS, "i3", now=0.05) == []
    assert each.due(now=0.14) == []
    assert plain(each.due(now=0.151)) == [("i3", "d2")], "patience is over, and it is within the tolerance"


def test_depth_that_is_always_somewhat_early_is_not_waited_past():
    each = pairing()
    for beat in range(3):
        each.add_depth((beat * 33 + 25) * MS, f"d{beat}", now=0.033 * beat)
        assert plain(each.add_image((beat * 33 + 30) * MS, f"i{beat}", now=0.033 * beat + 0.005)) == [
            (f"i{beat}", f"d{beat}")
        ]


def test_the_tolerance_is_a_setting():
    each = pairing(depth_tolerance=0.001)
    each.add_depth(102 * MS, "d", now=0.0)
    (pair,) = each.add_image(100 * MS, "i", now=0.0)
    assert pair.depth is None
    assert "+0.002 s off" in pair.reason and "depth_tolerance is 0.001" in pair.reason


def test_an_image_goes_without_once_patience_is_over():
    each = pairing(depth_patience=0.1)
    each.add_depth(0, "old", now=0.0)
    assert each.add_image(100 * MS, "i", now=0.1) == []
    assert each.due(now=0.19) == []
    (pair,) = each.due(now=0.21)
    assert (pair.image, pair.depth) == ("i", None) and "within 0.1 s" in pair.reason


def test_no_waiting_for_a_depth_that_never_came_or_died():
    each = pairing()
    (pair,) = each.add_image(0, "i", now=0.0)
    assert pair.depth is None and "none has arrived yet" in pair.reason
    each.add_depth(0, "d", now=0.0)
    assert each.add_image(5000 * MS, "j", now=5.0) == [], "a slow camera's depth may be about to come"
    (pair,) = each.due(now=5.11)
    assert pair.depth is None and "within 0.1 s" in pair.reason
    (pair,) = each.add_image(5200 * MS, "k", now=5.2)
    assert pair.depth is None and "5.2 s ago" in pair.reason


def test_a_camera_of_less_than_one_image_a_second_gets_its_depth():
    each = pairing()
    found = []
    for beat in range(5):
        stamp, now = beat * 2000 * MS, beat * 2.0
        found += each.add_image(stamp, f"i{beat}", now)
        found += each.add_depth(stamp, f"d{beat}", now + 0.005)
    assert plain(found) == [("i0", None), *((f"i{beat}", f"d{beat}") for beat in range(1, 5))]


def test_patience_is_kept_at_any_rate():
    """Depth 0.6 s behind images at 60 Hz."""
    each, found = pairing(depth_patience=1.0), []
    each.add_depth(0, "first", now=0.0)
    for number in range(1, 120):
        now = number / 60
        found += plain(each.add_image((1000 + number * 16) * MS, number, now))
        if number > 36:
            found += plain(each.add_depth((1000 + (number - 36) * 16) * MS, number - 36, now))
    assert len(found) > 70 and all(depth is not None for _, depth in found)


def test_images_that_wait_are_bounded():
    each = pairing(depth_patience=2.0)
    each.add_depth(0, "d", now=0.0)
    found = [pair for n in range(1, 70) for pair in each.add_image(n * MS * 100, n, now=n / 1000)]
    assert [pair.image for pair in found] == [1, 2, 3, 4, 5]
    assert "lower depth_patience or the camera's rate" in found[0].reason


def test_an_image_that_comes_when_its_depth_is_forgotten_is_not_told_to_tolerate_more():
    each = pairing()
    for number in range(60):
        each.add_depth(number * 33 * MS, number, now=number / 30)
    (pair,) = each.add_image(300 * MS, "i", now=2.0)
    assert pair.depth is None and "do images come that late" in pair.reason
    assert "depth_tolerance" not in pair.reason


def test_depth_of_before_is_gone_when_the_first_image_of_a_looped_bag_comes_before_its_own():
    each = pairing()
    each.add_depth(60_000 * MS, "old", now=0.0)
    each.add_image(60_000 * MS, "before", now=0.0)
    assert each.add_image(100 * MS, "i", now=0.1) == []
    assert plain(each.add_depth(100 * MS, "d", now=0.12)) == [("i", "d")]


def test_depth_of_a_looped_bag_that_comes_before_its_first_image_is_kept():
    each = pairing()
    each.add_depth(60_000 * MS, "old", now=0.0)
    each.add_image(60_000 * MS, "before", now=0.0)
    each.add_depth(100 * MS, "d", now=0.1)
    assert plain(each.add_image(100 * MS, "i", now=0.12)) == [("i", "d")]


def test_depth_is_kept_for_images_that_come_later_than_it():
    """Images compressed on the robot, depth at 60 Hz beside them."""
    each, found = pairing(), []
    for number in range(60):
        each.add_depth(number * 16 * MS, number, now=number * 0.016)
        if number >= 25:
            found += plain(each.add_image((number - 25) * 16 * MS, "i", now=number * 0.016))
    assert found == [("i", number) for number in range(35)]


def test_depth_without_stamps_is_not_kept_without_end():
    each = pairing()
    for number in range(1000):
        each.add_depth(0, number, now=number / 30)
    assert len(each._depths) == each.MOST


def test_depth_that_moved_past_an_image_lets_it_go():
    each = pairing()
    each.add_depth(0, "a", now=0.0)
    assert each.add_image(50 * MS, "i", now=0.05) == []
    (pair,) = each.add_depth(100 * MS, "b", now=0.1)
    assert (pair.image, pair.depth) == ("i", None)


def test_after_time_jumped_back_the_old_depth_is_gone():
    each = pairing()
    each.add_depth(60_000 * MS, "old", now=0.0)
    each.add_depth(100 * MS, "new", now=0.1)
    assert plain(each.add_image(100 * MS, "i", now=0.1)) == [("i", "new")]
    assert each.add_image(140 * MS, "j", now=0.14) == []
    assert plain(each.add_depth(140 * MS, "newer", now=0.15)) == [("j", "newer")]


def test_clear_forgets():
    each = pairing()
    each.add_depth(0, "d", now=0.0)
    each.add_image(100 * MS, "i", now=0.0)
    each.clear()
    assert each.due(now=9.0) == []
    assert plain(each.add_image(0, "j", now=0.0)) == [("j", None)]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4000), st.integers(0, 100)), max_size=60))
def test_every_image_comes_out_once_soon_and_with_fitting_depth(events):
    each = pairing()
    now, out, offered = 0.0, [], {}
    for number, (is_image, stamp, wait) in enumerate(events):
        now += wait / 1000
        if is_image:
            offered[number] = now
            ready = each.add_image(stamp * MS, (number, stamp), now)
        else:
            ready = each.add_depth(stamp * MS, stamp, now)
        for pair in ready:
            assert pair.depth is None or abs(pair.depth - pair.image[1]) <= 20
            assert (pair.depth is None) == bool(pair.reason)
        out += [pair.image[0] for pair in ready]
    out += [pair.image[0] for pair in each.due(now + 0.11)]
    assert sorted(out) == sorted(offered)


def test_depth_that_is_known_to_come_is_waited_for():
    each = Pairing(PairingSettings(depth_patience=0.1), expected_since=5.0)
    assert each.add_image(100 * MS, "i", now=5.0) == []
    assert plain(each.add_depth(100 * MS, "d", now=5.05)) == [("i", "d")]


def test_depth_of_another_view_is_told_from_a_scaled_one():
    frame = Frame("c", np.zeros((480, 640, 3), np.uint8), 5)

    def join(depth, info):
        camera = Intrinsics(*info, 500.0, 500.0, 0.0, 0.0) if info else None
        return joined(frame, np.ones(depth[::-1], np.float32), camera, "no CameraInfo yet")

    whole, note = join((320, 240), (1280, 960))
    assert note == "" and whole.depth.shape == (240, 320) and whole.intrinsics.width == 1280
    for nothing in (np.nan, np.inf):
        camera = Intrinsics(640, 480, 500.0, 500.0, 0.0, 0.0)
        whole, note = joined(frame, np.full((240, 320), nothing, np.float32), camera, "")
        assert "holds no return" in note and whole.depth is not None
    for depth, info, says in (
        ((320, 200), (640, 480), "depth is 320x200"),
        ((320, 240), (640, 400), "CameraInfo is 640x400"),
        ((320, 240), None, "no CameraInfo yet"),
    ):
        same, note = join(depth, info)
        assert same is frame and says in note

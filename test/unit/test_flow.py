"""How boxes move: images shifted and scaled by known amounts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from qwenvl_ros.tracking.flow import FEWEST, corners, follow, grey_of, motion_of
from qwenvl_ros.types import Box

BOX = Box(200.0, 150.0, 300.0, 260.0)


def textured(seed=0, shape=(480, 640)):
    rng, image = np.random.default_rng(seed), np.full((*shape, 3), 128.0)
    for size in (2, 8, 32):
        noise = rng.normal(0, 40, (shape[0] // size, shape[1] // size, 3))
        image += cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(image, 0, 255).astype(np.uint8)


def warped(image, scale, x, y, about=(250.0, 205.0)):
    """The image scaled about a point (continuous pixels) and moved by x, y."""
    u, v = about[0] - 0.5, about[1] - 0.5
    matrix = np.array([[scale, 0.0, u - scale * u + x], [0.0, scale, v - scale * v + y]])
    return cv2.warpAffine(image, matrix, image.shape[1::-1], flags=cv2.INTER_CUBIC)


def points_of(image, box=BOX):
    grey = grey_of(image)
    return corners(grey, box, np.ones(grey.pixels.shape, bool))


def moved(before, after, box=BOX):
    """The box after the motion of its points, or None."""
    points = points_of(before, box)
    there, found = follow(grey_of(before), grey_of(after), points)
    motion = motion_of(points[found], there[found])
    return None if motion is None else motion[0].of(box, grey_of(before).shrink)


@pytest.mark.parametrize(
    ("scale", "x", "y"), [(1.0, 7.3, -4.6), (1.0, 40.0, 25.0), (1.1, 3.0, 2.0), (0.9, -5.0, 0.0)]
)
def test_a_box_follows_shift_and_scale(scale, x, y):
    before = textured()
    box = moved(before, warped(before, scale, x, y))
    half = (scale * 50, scale * 55)
    expected = (250 + x - half[0], 205 + y - half[1], 250 + x + half[0], 205 + y + half[1])
    assert box.corners == pytest.approx(expected, abs=0.5)


@pytest.mark.parametrize(("factor", "shrink"), [(2, 2), (3, 2), (4, 3)])
def test_large_images_are_shrunk_and_boxes_stay_in_their_pixels(factor, shrink):
    before = textured()
    after = warped(before, 1.05, 6.0, -3.0)
    large = [cv2.resize(each, None, fx=factor, fy=factor) for each in (before, after)]
    assert grey_of(large[0]).shrink == shrink and grey_of(before).shrink == 1
    box = moved(*large, Box(*(factor * v for v in BOX.corners)))
    expected = [factor * v for v in moved(before, after).corners]
    assert box.corners == pytest.approx(expected, abs=0.7 * factor)


def test_points_of_another_thing_do_not_count():
    """A third of the box holds something that stays where it is."""
    before = textured()
    after = warped(before, 1.0, 9.0, 0.0)
    after[:, :233] = before[:, :233]
    box = moved(before, after)
    assert box.corners == pytest.approx((209, 150, 309, 260), abs=2.0)


def test_misfit_tells_how_far_points_disagree():
    rng = np.random.default_rng(1)
    before = rng.uniform(0, 100, (200, 2)).astype(np.float32)
    exact = motion_of(before, before + np.float32([5, 5]))[0]
    loose = motion_of(before, (before + 5 + rng.normal(0, 0.5, before.shape)).astype(np.float32))[0]
    assert exact.misfit < 0.01 < 0.3 < loose.misfit < 1.5


@pytest.mark.parametrize("what", ["blank", "another image", "noise"])
def test_points_are_not_found_where_they_are_not(what):
    before = textured()
    noise = np.random.default_rng(9).integers(0, 256, before.shape, np.uint8)
    after = {"blank": np.full_like(before, 90), "another image": textured(5), "noise": noise}[what]
    _, found = follow(grey_of(before), grey_of(after), points_of(before))
    assert found.sum() < FEWEST


def test_points_that_leave_the_image_are_lost():
    before = textured()
    box = Box(560.0, 100.0, 640.0, 200.0)
    points = points_of(before, box)
    there, found = follow(grey_of(before), grey_of(warped(before, 1.0, 60.0, 0.0)), points)
    assert len(points) > 10 and found.sum() < len(points) / 2
    assert (there[found][:, 0] <= 639).all()


def test_nothing_to_follow():
    flat = np.full((48, 64, 3), 90, np.uint8)
    points = points_of(flat, Box(10.0, 10.0, 30.0, 30.0))
    there, found = follow(grey_of(flat), grey_of(flat), points)
    assert len(points) == len(there) == len(found) == 0
    assert motion_of(points, there) is None


def test_a_motion_that_blows_a_box_up_is_none():
    before = np.random.default_rng(2).uniform(0, 50, (30, 2)).astype(np.float32)
    assert motion_of(before, 2.5 * before) is None and motion_of(before, np.float32(0.3) * before) is None
    assert motion_of(before, np.zeros_like(before)) is None

"""Visible fraction, occluder, and that what cannot be observed is UNKNOWN."""

from __future__ import annotations

from dataclasses import replace
from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenvl_ros import geometry, occlusion
from qwenvl_ros.types import Box, Frame, Intrinsics, Occlusion

WIDTH, HEIGHT = 160, 120
LENS = Intrinsics(WIDTH, HEIGHT, 150.0, 150.0, 80.0, 60.0)


def picture(depth: np.ndarray) -> Frame:
    return Frame(
        "cam", np.full((HEIGHT, WIDTH, 3), 99, np.uint8), 0, "optical", depth.astype(np.float32), LENS
    )


def wall() -> np.ndarray:
    return np.full((HEIGHT, WIDTH), 3.0)


def judge(
    boxes: list[Box], depth: np.ndarray, **more: object
) -> tuple[list[occlusion.Hidden], occlusion.Cover]:
    frame = picture(depth)
    return occlusion.estimate(boxes, geometry.lift_all(boxes, frame), frame, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [
        (1.0, Occlusion.NONE),
        (0.91, Occlusion.NONE),
        (0.9, Occlusion.PARTIAL),
        (0.61, Occlusion.PARTIAL),
        (0.6, Occlusion.HEAVY),
        (0.21, Occlusion.HEAVY),
        (0.2, Occlusion.FULL),
        (0.0, Occlusion.FULL),
        (nan, Occlusion.UNKNOWN),
    ],
)
def test_classes_of_the_contract(fraction: float, expected: Occlusion) -> None:
    assert occlusion.classify(fraction) == expected


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (Box(10, 10, 50, 50), False),
        (Box(0, 10, 50, 50), True),
        (Box(10, 0.5, 50, 50), True),
        (Box(10, 10, WIDTH, 50), True),
        (Box(10, 10, 50, HEIGHT - 1), True),
        (Box(2, 2, WIDTH - 2, HEIGHT - 2), False),
    ],
)
def test_truncated_is_touching_the_border(box: Box, expected: bool) -> None:
    assert occlusion.truncated(box, WIDTH, HEIGHT) is expected


def test_nothing_in_front_is_fully_visible() -> None:
    depth = wall()
    depth[40:80, 60:100] = 1.0
    (hidden,), cover = judge([Box(60, 40, 100, 80)], depth)
    assert hidden == occlusion.Hidden(Occlusion.NONE, 1.0, None)
    assert cover.share.tolist() == [[0.0]]


def test_half_hidden_by_a_nearer_object_with_the_whole_extent_known() -> None:
    depth = wall()
    depth[40:80, 60:100] = 2.0
    depth[30:90, 80:120] = 1.0
    boxes = [Box(60, 40, 80, 80), Box(80, 30, 120, 90)]
    hidden, cover = judge(boxes, depth, extents=[Box(60, 40, 100, 80), None])
    assert hidden[0].visible_fraction == pytest.approx(0.5)
    assert (hidden[0].occlusion, hidden[0].occluder) == (Occlusion.HEAVY, 1)
    assert hidden[1] == occlusion.Hidden(Occlusion.NONE, 1.0, None)
    assert cover.share[1, 0] == pytest.approx(0.5) and cover.share[0, 1] == 0.0
    assert cover.gap[1, 0] == pytest.approx(1.0)


def test_the_whole_extent_is_completed_where_something_nearer_cuts_it() -> None:
    depth = wall()
    depth[40:80, 60:100] = 2.0
    depth[30:90, 80:120] = 1.0
    hidden, _ = judge([Box(60, 40, 80, 80), Box(80, 30, 120, 90)], depth)
    assert hidden[0].visible_fraction == pytest.approx(0.5, abs=0.1) and hidden[0].occluder == 1


def test_a_hole_in_what_stands_behind_does_not_make_it_hide_anything() -> None:
    """It meets the upper edge of a drum, whose hidden top is as round as its foot, but 4 cm farther away."""
    depth = wall()
    depth[30:60, 60:100] = 1.04
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    foot = 80 + 8 * np.sqrt(np.clip(1 - ((columns - 80) / 20) ** 2, 0, 1))
    depth[(rows > 60) & (rows < foot) & (abs(columns - 80) < 20)] = 1.0
    boxes, frame = [Box(60, 60, 100, 88), Box(60, 30, 100, 60)], picture(depth)
    lifted = [replace(each, sigma=0.02) for each in geometry.lift_all(boxes, frame) if each]
    for gap, hole, share in ((0.0, 0, 0.0), (0.0, 4, 0.0), (0.03, 0, 0.1), (0.03, 4, 0.1)):
        pierced = np.where(depth == 1.04, depth - gap, depth)
        pierced[50:60, 60 : 60 + 10 * hole : 4] = nan
        _, cover = occlusion.estimate(boxes, lifted, picture(pierced))
        assert cover.share[1, 0] == pytest.approx(share, abs=0.08) and (cover.share[1, 0] > 0) == (share > 0)


def test_camera_info_of_a_scaled_image_gives_the_same_metres() -> None:
    depth = wall()
    depth[40:80, 60:100] = 2.0
    depth[30:90, 80:120] = 1.0
    boxes, frame = [Box(60, 40, 80, 80), Box(80, 30, 120, 90)], picture(depth)
    doubled = replace(frame, intrinsics=Intrinsics(2 * WIDTH, 2 * HEIGHT, 300.0, 300.0, 160.0, 120.0))
    beyond = [
        occlusion.estimate(boxes, geometry.lift_all(boxes, each), each)[1].beyond for each in (frame, doubled)
    ]
    assert beyond[0].max() > 0.1
    np.testing.assert_allclose(beyond[1], beyond[0], rtol=1e-6)


def test_a_narrow_object_with_nothing_in_front_is_not_completed() -> None:
    depth = wall()
    depth[40:80, 60:70] = 1.0
    (hidden,), _ = judge([Box(60, 40, 70, 80)], depth)
    assert hidden.visible_fraction == 1.0


def test_something_behind_hides_nothing() -> None:
    depth = wall()
    depth[30:90, 80:120] = 2.0
    depth[40:80, 60:81] = 1.0
    hidden, _ = judge([Box(60, 40, 81, 80), Box(81, 30, 120, 90)], depth)
    assert hidden[0].visible_fraction == 1.0


def test_the_occluder_is_the_one_that_hides_most_and_may_be_no_detection() -> None:
    depth = wall()
    depth[40:80, 40:120] = 2.0
    depth[30:90, 40:50] = 1.0
    depth[30:90, 90:120] = 1.2
    whole = Box(40, 40, 120, 80)
    boxes = [Box(50, 40, 90, 80), Box(40, 30, 50, 90), Box(90, 30, 120, 90)]
    hidden, cover = judge(boxes, depth, extents=[whole, None, None])
    assert hidden[0].occluder == 2 and hidden[0].visible_fraction == pytest.approx(0.5)
    assert cover.share[1, 0] == pytest.approx(1 / 8) and cover.share[2, 0] == pytest.approx(3 / 8)
    alone, _ = judge(boxes[:1], depth, extents=[whole])
    assert alone[0].occluder is None and alone[0].visible_fraction == pytest.approx(0.5)


def test_without_depth_it_is_unknown() -> None:
    frame = replace(picture(wall()), depth=None)
    boxes = [Box(10, 10, 50, 50), Box(30, 30, 70, 70)]
    hidden, cover = occlusion.estimate(boxes, geometry.lift_all(boxes, frame), frame)
    assert all(
        h.occlusion == Occlusion.UNKNOWN and isnan(h.visible_fraction) and h.occluder is None for h in hidden
    )
    assert np.isnan(cover.share).all()


def test_an_object_without_returns_is_unknown_and_the_others_are_not() -> None:
    depth = wall()
    depth[10:30, 10:30] = np.nan
    depth[40:80, 60:100] = 1.0
    hidden, cover = judge([Box(10, 10, 30, 30), Box(60, 40, 100, 80)], depth)
    assert hidden[0].occlusion == Occlusion.UNKNOWN and hidden[1].occlusion == Occlusion.NONE
    assert np.isnan(cover.share[:, 0]).all() and cover.share[0, 1] == 0.0


def test_no_objects() -> None:
    hidden, cover = judge([], wall())
    assert hidden == [] and cover.share.shape == (0, 0)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_hostile_depth_keeps_fractions_in_range(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = np.array([np.nan, 0, np.inf, -3, 1e-30, 1e30, 0.5, 2.0, 7.0], np.float32)
    depth = np.kron(kinds[rng.integers(len(kinds), size=(HEIGHT // 10, WIDTH // 10))], np.ones((10, 10)))
    boxes = [Box(x, y, x + abs(w) + 1, y + abs(h) + 1) for x, y, w, h in rng.uniform(-20, 130, (6, 4))]
    hidden, cover = judge(boxes, depth, extents=[None, Box(-50, -50, 500, 500), *[None] * 4])
    for each in hidden:
        assert isnan(each.visible_fraction) or 0.0 < each.visible_fraction <= 1.0
        assert (each.occlusion == Occlusion.UNKNOWN) == isnan(each.visible_fraction)
    shares = cover.share[np.isfinite(cover.share)]
    assert ((shares >= 0) & (shares <= 1)).all()

"""Depth of a camera of its own, laid onto the picture: against what the renderer sees from the picture's place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qwenvl_ros.geometry import inverse, registered
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import sample
from qwenvl_ros.types import Intrinsics, Pose

SEEDS = range(70_000, 70_004)
LENS = Intrinsics(64, 48, 60.0, 60.0, 32.0, 24.0)
PLUMB_BOB = replace(LENS, distortion=(-0.28, 0.09, 0.0006, -0.0004, 0.0))
FISHEYE = replace(LENS, distortion_model="equidistant", distortion=(-0.02, 0.004, -0.001, 0.0002))


def beside(layout, shift: float):
    """The layout with its camera moved to the side by `shift` metres, looking the same way, through a wider lens."""
    camera = layout.cameras[0]
    step = camera.pose.rotation @ [shift, 0.0, 0.01]
    moved = replace(
        camera,
        position=tuple(np.add(camera.position, step).tolist()),
        target=tuple(np.add(camera.target, step).tolist()),
        fov=camera.fov + 12,
    )
    return replace(layout, cameras=(moved,))


@pytest.mark.parametrize("shift", [0.0, 0.025])
def test_it_is_what_the_pictures_camera_would_have_measured(shift):
    """640x360 depth of a wider lens, 2.5 cm to the side, against the renderer's own depth in 640x480."""
    errors, holes = [], []
    for seed in SEEDS:
        layout = sample(seed)
        other = beside(layout, shift)
        with Renderer(640, 360) as renderer:
            depth = renderer.depth(other)
        with Renderer(640, 480) as renderer:
            true = renderer.depth(layout)
        camera, moved = layout.cameras[0], other.cameras[0]
        back = inverse(camera.pose)
        place = Pose(
            back.rotation @ moved.pose.rotation, back.rotation @ moved.pose.translation + back.translation
        )
        laid = registered(depth, moved.intrinsics(640, 360), place, camera.intrinsics(640, 480))
        height, width = laid.shape
        assert height / width == pytest.approx(480 / 640, abs=0.01)
        rows = ((np.arange(height) + 0.5) * 480 / height).astype(int)
        columns = ((np.arange(width) + 0.5) * 640 / width).astype(int)
        wanted = true[np.ix_(rows, columns)]
        seen = np.isfinite(laid) & np.isfinite(wanted)
        errors.append(np.abs(laid - wanted)[seen])
        holes.append(1 - np.isfinite(laid)[5:-5, 5:-5].mean())
    everything = np.concatenate(errors)
    assert np.median(everything) < 0.004
    assert (
        everything < 0.01
    ).mean() > 0.95  # the rest: borders of things, and what only one of the two can see
    assert max(holes) < 0.08


@pytest.mark.parametrize("lens", [LENS, PLUMB_BOB, FISHEYE], ids=["none", "plumb", "fisheye"])
def test_a_lens_onto_itself_changes_nothing_but_edges(lens):
    depth = np.full((48, 64), 2.0, np.float32)
    depth[20:30, 20:40] = 1.0
    laid = registered(depth, lens, None, lens)
    assert laid.shape == depth.shape
    assert laid.dtype == np.float32
    same = np.ones(depth.shape, bool)
    same[18:32, 18:42] = False
    assert np.allclose(laid[same], 2.0)
    assert np.allclose(laid[21:29, 21:39], 1.0)


def test_the_nearer_of_two_things_on_one_ray_counts():
    """Seen from 20 cm to the side, the near half hides a strip of the far one."""
    depth = np.full((48, 64), 4.0, np.float32)
    depth[:, 32:] = 1.0
    laid = registered(depth, LENS, Pose(np.eye(3), np.array([-0.2, 0.0, 0.0])), LENS)
    assert np.allclose(laid[:, 21:50], 1.0)  # 12 pixels to the left
    assert np.allclose(laid[:, 2:18], 4.0)
    assert np.isnan(laid[:, 54:]).all()


def test_what_is_no_measurement_stays_none():
    depth = np.array([[np.nan, 0.0, -1.0, np.inf]] * 4, np.float32)
    lens = Intrinsics(4, 4, 4.0, 4.0, 2.0, 2.0)
    assert np.isnan(registered(depth, lens, None, LENS)).all()


def test_what_lies_far_outside_the_picture_is_not_folded_into_it_by_its_lens():
    """The polynomial of a plumb bob turns back beyond the field it was fitted to."""
    wide = Intrinsics(200, 20, 20.0, 20.0, 100.0, 10.0)
    narrow = replace(LENS, distortion=(-0.4, 0.0, 0.0, 0.0, 0.0))
    depth = np.full((20, 200), np.nan, np.float32)
    depth[:, :40] = depth[:, 160:] = 1.0
    assert np.isnan(registered(depth, wide, None, narrow)).all()


def test_it_is_no_finer_than_the_depth_was():
    depth = np.full((24, 32), 1.0, np.float32)
    onto = replace(LENS, width=1920, height=1440, fx=1800.0, fy=1800.0, cx=960.0, cy=720.0)
    laid = registered(depth, LENS, None, onto)
    assert laid.shape == (24, 32)
    assert np.isfinite(laid).all()


def test_a_round_fisheye_picture_has_depth_where_it_is_bright():
    """No ray leads to its border."""
    round_one = replace(LENS, distortion_model="equidistant", distortion=(-2.5, 0.0, 0.0, 0.0))
    depth = np.full((48, 64), 1.0, np.float32)
    laid = registered(depth, replace(LENS, fx=200.0, fy=200.0), None, round_one)
    assert np.isfinite(laid[23:25, 31:33]).all()

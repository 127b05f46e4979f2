"""Cameras, transforms and lifting: round trips, known scenes, hostile depth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from qwenvl_ros import geometry
from qwenvl_ros.geometry import extents
from qwenvl_ros.geometry.camera import bent
from qwenvl_ros.geometry.parts import settle
from qwenvl_ros.types import Box, Frame, Intrinsics, Pose

WIDTH, HEIGHT = 160, 120
LENS = Intrinsics(WIDTH, HEIGHT, 150.0, 148.0, 81.0, 58.5)
PLUMB_BOB = replace(LENS, distortion=(-0.28, 0.09, 0.0006, -0.0004, 0.0))
RATIONAL = replace(
    LENS,
    distortion_model="rational_polynomial",
    distortion=(0.4, -0.2, 0.0003, 0.0002, 0.02, 0.7, -0.1, 0.01),
)
FISHEYE = replace(LENS, distortion_model="equidistant", distortion=(-0.02, 0.004, -0.001, 0.0002))
LENSES = pytest.mark.parametrize(
    "lens", [LENS, PLUMB_BOB, RATIONAL, FISHEYE], ids=["none", "plumb", "rational", "fisheye"]
)


def test_a_pixel_that_no_ray_of_a_fisheye_reaches_has_no_position():
    """theta * (1 - 0.5 theta^2) has its greatest value, 0.54, at 0.82: a pixel farther out than that is dark."""
    lens = replace(LENS, distortion_model="equidistant", distortion=(-0.5, 0.0, 0.0, 0.0))
    pixels = [(lens.cx + 60.0, lens.cy), (lens.cx + 300.0, lens.cy)]
    near, dark = geometry.deproject(lens, pixels, [1.0, 1.0])
    assert np.isfinite(near).all()
    assert np.isnan(dark[:2]).all()


def picture(depth: np.ndarray, **more: object) -> Frame:
    """A frame of this depth; grey, so that nothing but depth tells things apart."""
    image = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    return replace(Frame("cam", image, 1, "optical", depth.astype(np.float32), LENS), **more)


def plane(height: float = 0.5, pitch: float = 35.0) -> tuple[np.ndarray, Pose]:
    """Depth of a table under a camera that looks down by `pitch` degrees, and the camera's pose over it."""
    tilt = np.radians(pitch)
    forward = np.array([np.cos(tilt), 0.0, -np.sin(tilt)])
    right = np.array([0.0, -1.0, 0.0])
    rotation = np.stack([right, np.cross(forward, right), forward], axis=-1)
    pose = Pose(rotation, np.array([0.0, 0.0, height]))
    return _trace(pose, lambda p, d: -p[2] / d[..., 2]), pose


def _trace(pose: Pose, hit) -> np.ndarray:  # type: ignore[no-untyped-def]
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    rays = geometry.deproject(LENS, np.column_stack([columns.ravel(), rows.ravel()]), np.ones(rows.size))
    world = (rays @ pose.rotation.T).reshape(HEIGHT, WIDTH, 3)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = hit(pose.translation, world)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.nan)


def ball(pose: Pose, centre: tuple[float, float, float], radius: float) -> np.ndarray:
    """Depth of a sphere, NaN beside it."""

    def hit(origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
        to = np.asarray(centre) - origin
        a, b = (direction**2).sum(-1), direction @ to
        root = b**2 - a * (to @ to - radius**2)
        return np.where(root >= 0, (b - np.sqrt(np.maximum(root, 0))) / a, np.nan)

    return _trace(pose, hit)


def box_of(mask: np.ndarray) -> Box:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return Box(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


def owned(lifted: geometry.Lifted, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    whole = np.zeros(shape, bool)
    row, column = lifted.corner
    whole[row : row + lifted.mask.shape[0], column : column + lifted.mask.shape[1]] = lifted.mask
    return whole


# Cameras


@LENSES
@given(
    st.lists(
        st.tuples(st.floats(5, WIDTH - 5), st.floats(5, HEIGHT - 5), st.floats(0.05, 50)),
        min_size=1,
        max_size=20,
    )
)
@settings(max_examples=25)
def test_project_undoes_deproject(lens: Intrinsics, seen: list[tuple[float, float, float]]) -> None:
    pixels, depth = np.array(seen)[:, :2], np.array(seen)[:, 2]
    points = geometry.deproject(lens, pixels, depth)
    np.testing.assert_allclose(points[:, 2], depth)
    np.testing.assert_allclose(geometry.project(lens, points), pixels, atol=0.02)


def test_the_axis_goes_through_the_principal_point_and_pixels_are_continuous() -> None:
    np.testing.assert_allclose(geometry.project(LENS, [[0, 0, 3]]), [[LENS.cx, LENS.cy]])
    np.testing.assert_allclose(
        geometry.deproject(LENS, [[LENS.cx + 150, LENS.cy - 148]], [2.0]), [[2.0, -2.0, 2.0]]
    )


@LENSES
def test_points_behind_the_camera_and_no_returns_are_nan(lens: Intrinsics) -> None:
    behind = [[0, 0, -1], [0, 0, 0], [np.nan, 0, 1], [0, np.inf, 1], [0, 0, 1]]
    assert np.isnan(geometry.project(lens, behind)).all(axis=1).tolist() == [True, True, True, True, False]
    depth = [np.nan, 0.0, -1.0, np.inf, 1.0]
    assert np.isnan(geometry.deproject(lens, [[50, 50]] * 5, depth)[:, 2]).tolist() == [True] * 4 + [False]
    assert geometry.deproject(lens, np.empty((0, 2)), []).shape == (0, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("model", "coefficients"),
    [
        ("plumb_bob", (-0.28, 0.09, 0.0006, -0.0004)),
        ("plumb_bob", (-0.28, 0.09, 0.0006, -0.0004, 0.01)),
        ("rational_polynomial", (0.4, -0.1, 0.001, -0.002, 0.02, 0.6, -0.05, 0.03)),
        ("rational_polynomial", (0.4, -0.1, 0.001, -0.002, 0.02, 0.6, -0.05, 0.03, 0.01, -0.02, 0.03, -0.01)),
        ("equidistant", (-0.02, 0.004, -0.001, 0.0002)),
    ],
)
def test_a_lens_bends_rays_as_opencv_says(model, coefficients, dtype) -> None:
    lens = replace(LENS, distortion_model=model, distortion=coefficients)
    x, y = np.meshgrid(np.linspace(-0.8, 0.8, 33, dtype=dtype), np.linspace(-0.6, 0.6, 25, dtype=dtype))
    across, down = bent(lens, x, y)
    assert across.shape == down.shape == x.shape and across.dtype == down.dtype == dtype
    points = np.column_stack([x.ravel(), y.ravel(), np.ones(x.size)])
    found = np.column_stack([lens.fx * across.ravel() + lens.cx, lens.fy * down.ravel() + lens.cy])
    np.testing.assert_allclose(
        found, geometry.project(lens, points), atol=1e-9 if dtype is np.float64 else 1e-3
    )


def test_a_camera_scaled_to_another_image_size_sees_the_same_rays() -> None:
    half = geometry.scaled(LENS, WIDTH // 2, HEIGHT // 2)
    pixels = np.array([[10.0, 20.0], [81.0, 58.5], [159.5, 0.5]])
    np.testing.assert_allclose(
        geometry.deproject(half, pixels / 2, np.ones(3)),
        geometry.deproject(LENS, pixels, np.ones(3)),
        atol=1e-12,
    )


@given(st.tuples(*[st.floats(-1, 1)] * 4), st.tuples(*[st.floats(-10, 10)] * 3))
def test_rigid_transforms_keep_distances_and_have_inverses(quaternion: tuple, translation: tuple) -> None:
    if np.linalg.norm(quaternion) < 1e-3:
        quaternion = (0.0, 0.0, 0.0, 1.0)
    there = geometry.pose(translation, quaternion)
    points = np.random.default_rng(0).normal(size=(6, 3))
    moved = geometry.apply(there, points)
    np.testing.assert_allclose(
        np.linalg.norm(np.diff(moved, axis=0), axis=1), np.linalg.norm(np.diff(points, axis=0), axis=1)
    )
    np.testing.assert_allclose(geometry.apply(geometry.inverse(there), moved), points, atol=1e-9)


def test_a_quaternion_is_x_y_z_w_as_in_ros() -> None:
    turn = geometry.pose((1, 2, 3), (0, 0, np.sqrt(0.5), np.sqrt(0.5)))
    np.testing.assert_allclose(geometry.apply(turn, np.array([[1.0, 0, 0]])), [[1, 3, 3]], atol=1e-12)


@pytest.mark.parametrize("bad", [(0, 0, 0, 0), (np.nan, 0, 0, 1)])
def test_a_quaternion_that_is_none_is_refused(bad: tuple) -> None:
    with pytest.raises(ValueError):
        geometry.pose((0, 0, 0), bad)


def test_the_view_of_a_frame_follows_rep_103() -> None:
    frame = picture(np.ones((HEIGHT, WIDTH)))
    optical = geometry.view_of(frame)
    assert optical.frame_id == "optical"
    np.testing.assert_array_equal(optical.axes(), [[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    body = geometry.view_of(
        replace(frame, pose=Pose(np.eye(3), np.array([1.0, 2, 3])), reference_frame="base")
    )
    assert body.frame_id == "base"
    np.testing.assert_array_equal(body.axes(), [[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_array_equal(body.viewpoint, [1, 2, 3])


# Lifting


def test_a_ball_on_a_table_is_lifted_where_it_is() -> None:
    table, pose = plane()
    sphere = ball(pose, (0.65, 0.1, 0.05), 0.05)
    seen = np.nan_to_num(sphere, nan=9) < np.nan_to_num(table, nan=9)
    frame = picture(np.fmin(table, sphere), pose=pose, reference_frame="base")
    lifted = geometry.lift(box_of(seen), frame)
    assert lifted is not None
    assert (owned(lifted) & seen).sum() > 0.9 * (owned(lifted) | seen).sum()
    # Of the ball the half that faces the camera is seen: its width, its top, not its back.
    assert lifted.position[1] == pytest.approx(0.1, abs=0.004)
    assert lifted.high[2] == pytest.approx(0.1, abs=0.004)
    assert lifted.size[1] == pytest.approx(0.1, abs=0.008)
    assert np.linalg.norm(np.subtract(lifted.position, (0.65, 0.1, 0.05))) < 0.025
    assert lifted.range == pytest.approx(
        np.linalg.norm(np.subtract((0.65, 0.1, 0.05), pose.translation)), abs=0.05
    )
    assert lifted.sigma < 0.005


def test_six_returns_of_which_each_is_at_an_end_are_lifted() -> None:
    depth = np.full((HEIGHT, WIDTH), np.nan)
    depth[100:102, 120:123] = [[1.003, 1.006, 1.002], [1.005, 1.001, 1.004]]
    lifted = geometry.lift(Box(120, 100, 123, 102), picture(depth))
    assert lifted is not None and np.isfinite(lifted.outline).all()
    assert lifted.position[2] == pytest.approx(1.0035, abs=0.001)


def test_the_foot_is_on_the_table_and_not_on_the_floor_below_it() -> None:
    """The floor leans a little towards the camera, so that it is the more upright of the two in the image."""
    table, pose = plane()
    floor = _trace(pose, lambda p, d: (-0.7 - 0.05 * p[0] - p[2]) / (d[..., 2] + 0.05 * d[..., 0]))
    sphere = ball(pose, (0.65, 0.1, 0.05), 0.05)
    seen = np.nan_to_num(sphere, nan=9) < np.nan_to_num(table, nan=9)
    table[:, : WIDTH // 4] = floor[:, : WIDTH // 4]
    lifted = geometry.lift(box_of(seen), picture(np.fmin(table, sphere), pose=pose, reference_frame="base"))
    assert lifted is not None
    assert lifted.foot == pytest.approx(np.flatnonzero(seen.any(axis=1))[-1], abs=8)


def test_many_boxes_over_a_pile_are_settled_in_bounded_memory() -> None:
    """All ways to share 6 parts among 20 boxes are 64 million."""
    boxes, parts = 20, 6
    claims = np.zeros((boxes, parts + 1), dtype=bool)
    claims[:, 1:] = True
    low = np.array([(0, 0), *((10 * k, 0) for k in range(parts))])
    first = np.array([(2 * n, 0) for n in range(boxes)])
    settle(
        range(1, parts + 1),
        claims,
        (first, first + np.array([30, 10])),
        (low, low + 10),
        np.full(parts + 1, 100),
        np.full(claims.shape, 1 / boxes),
    )
    assert (claims[:, 1:].sum(axis=0) == 1).all()


def test_the_background_in_the_box_is_not_the_object() -> None:
    depth = np.full((HEIGHT, WIDTH), 3.0)
    depth[40:80, 60:80] = 1.0  # a third of the box: the mean would lie between, in empty space
    lifted = geometry.lift(Box(50, 30, 90, 90), picture(depth))
    assert lifted is not None
    assert lifted.depth == 1.0 and lifted.position[2] == pytest.approx(1.0)
    assert lifted.size[:2] == pytest.approx((20 / 150, 40 / 148), abs=0.01)


def test_holes_and_noise_are_borne_and_sigma_tells_of_the_noise() -> None:
    rng = np.random.default_rng(0)
    depth = np.full((HEIGHT, WIDTH), 3.0)
    depth[40:80, 60:100] = 1.0
    noisy = depth * (1 + 0.01 * rng.standard_normal(depth.shape))
    noisy[rng.random(depth.shape) < 0.05] = 0.0
    noisy[rng.random(depth.shape) < 0.02] = np.inf
    lifted = geometry.lift(Box(60, 40, 100, 80), picture(noisy))
    assert lifted is not None
    assert lifted.position[2] == pytest.approx(1.0, abs=0.01)
    assert lifted.sigma == pytest.approx(0.01, rel=0.3)


def test_noise_does_not_widen_the_outline() -> None:
    """The outermost of many noisy points lie too far out; of eight noises, so that none decides."""
    table, pose = plane()
    sphere = ball(pose, (0.8, 0.0, 0.08), 0.08)
    depth, box = np.fmin(table, sphere), box_of(sphere < table)

    def wide(depth: np.ndarray) -> np.ndarray:
        (lifted,) = geometry.lift_all([box], picture(depth, pose=pose))
        assert lifted is not None
        return lifted.outline[:, 1] - lifted.outline[:, 0]

    noises = [np.random.default_rng(seed).normal(1.0, 0.01, depth.shape) for seed in range(8)]
    wider = np.array([wide(depth * noise) - wide(depth) for noise in noises])
    assert abs(wider.mean()) < 0.006  # 0.009 with those points as they are


def test_of_overlapping_boxes_the_nearer_object_keeps_its_pixels() -> None:
    depth = np.full((HEIGHT, WIDTH), 3.0)
    depth[30:90, 40:120] = 2.0
    depth[50:100, 60:100] = 1.0
    # The far object's box is mostly filled by the near one.
    near, far = geometry.lift_all([Box(60, 50, 100, 100), Box(40, 30, 120, 90)], picture(depth))
    assert near is not None and far is not None
    assert (near.depth, far.depth) == (1.0, 2.0)
    assert not (owned(near) & owned(far)).any()
    assert owned(far).sum() == 60 * 80 - 40 * 40


def test_things_that_touch_are_told_apart_by_colour() -> None:
    table, pose = plane()
    depth = table.copy()
    depth[30:90, 60:100] = np.nanmin(table[30:90, 60:100])
    frame = picture(depth, pose=pose)
    frame.image[30:60, 60:100] = (200, 20, 20)
    frame.image[60:90, 60:100] = (20, 20, 200)
    upper, lower = geometry.lift_all([Box(60, 30, 100, 66), Box(60, 54, 100, 90)], frame)
    assert upper is not None and lower is not None
    assert owned(upper)[30:60, 60:100].mean() > 0.98 and owned(upper)[60:].mean() < 0.01
    assert owned(lower)[60:90, 60:100].mean() > 0.9  # its foot is level with the table


def test_the_order_of_the_boxes_does_not_matter() -> None:
    depth = np.full((HEIGHT, WIDTH), 3.0)
    depth[30:90, 40:120] = 2.0
    depth[50:100, 60:100] = 1.0
    boxes = [Box(60, 50, 100, 100), Box(40, 30, 120, 90), Box(0, 0, 30, 30)]
    forward, backward = (geometry.lift_all(b, picture(depth)) for b in (boxes, boxes[::-1]))
    assert [a and a.low for a in forward] == [b and b.low for b in backward[::-1]]


def test_depth_of_another_size_than_the_image_gives_the_same_place() -> None:
    depth = np.full((HEIGHT, WIDTH), 3.0)
    depth[40:80, 60:100] = 1.0
    whole = geometry.lift(Box(58, 38, 102, 82), picture(depth))
    half = geometry.lift(Box(58, 38, 102, 82), picture(depth[::2, ::2]))
    assert whole is not None and half is not None
    np.testing.assert_allclose(half.position, whole.position, atol=0.01)


@LENSES
def test_a_distorted_lens_does_not_shift_the_object(lens: Intrinsics) -> None:
    at = np.array([0.3, -0.2, 1.0])
    middle = geometry.project(lens, at[None])[0]
    depth = np.full((HEIGHT, WIDTH), 3.0)
    x, y = int(middle[0]), int(middle[1])
    depth[y - 5 : y + 5, x - 5 : x + 5] = 1.0
    lifted = geometry.lift(Box(x - 5, y - 5, x + 5, y + 5), picture(depth, intrinsics=lens))
    assert lifted is not None
    np.testing.assert_allclose(lifted.position, at, atol=0.012)


@given(st.tuples(*[st.floats(-5, 5)] * 3))
@settings(max_examples=15, deadline=None)
def test_moving_the_camera_frame_moves_the_position_and_nothing_else(
    shift: tuple[float, float, float],
) -> None:
    table, pose = plane()
    sphere = ball(pose, (0.65, 0.1, 0.05), 0.05)
    seen = np.nan_to_num(sphere, nan=9) < np.nan_to_num(table, nan=9)
    frame = picture(np.fmin(table, sphere), pose=pose)
    here = geometry.lift(box_of(seen), frame)
    there = geometry.lift(box_of(seen), replace(frame, pose=Pose(pose.rotation, pose.translation + shift)))
    assert here is not None and there is not None
    np.testing.assert_allclose(np.subtract(there.position, here.position), shift, atol=1e-9)
    np.testing.assert_allclose(there.size, here.size, atol=1e-9)
    assert (there.range, there.sigma) == (here.range, here.sigma)


def test_a_turned_reference_frame_turns_the_position() -> None:
    depth = np.full((HEIGHT, WIDTH), 3.0)
    depth[40:80, 60:100] = 1.0
    turn = Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix()
    plain = geometry.lift(Box(60, 40, 100, 80), picture(depth))
    turned = geometry.lift(Box(60, 40, 100, 80), picture(depth, pose=Pose(turn, np.zeros(3))))
    assert plain is not None and turned is not None
    np.testing.assert_allclose(turned.position, turn @ plain.position, atol=0.02)


@pytest.mark.parametrize("value", [np.nan, 0.0, np.inf, -np.inf, -1.0])
def test_depth_without_a_return_gives_no_position(value: float) -> None:
    assert geometry.lift(Box(10, 10, 50, 50), picture(np.full((HEIGHT, WIDTH), value))) is None


def test_what_is_missing_gives_no_position() -> None:
    depth = np.ones((HEIGHT, WIDTH))
    assert geometry.lift(Box(10, 10, 50, 50), picture(depth, intrinsics=None)) is None
    assert geometry.lift(Box(10, 10, 50, 50), replace(picture(depth), depth=None)) is None
    assert geometry.lift(Box(10, 10, 50, 50), picture(np.ones((0, 0)))) is None
    assert geometry.lift_all([], picture(depth)) == []


@pytest.mark.parametrize(
    "box",
    [
        Box(10.2, 10.2, 10.4, 10.4),  # no pixel centre inside
        Box(10, 10, 11, 11),  # one pixel
        Box(-50, -50, -10, -10),  # outside
        Box(WIDTH + 5, 0, WIDTH + 50, 50),
    ],
)
def test_a_box_with_too_few_pixels_gives_no_position(box: Box) -> None:
    assert geometry.lift(box, picture(np.ones((HEIGHT, WIDTH)))) is None


def test_a_box_that_reaches_out_of_the_image_uses_what_is_inside() -> None:
    lifted = geometry.lift(Box(-100, -100, 20, 20), picture(np.ones((HEIGHT, WIDTH))))
    assert lifted is not None and lifted.position[2] == pytest.approx(1.0)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_hostile_depth_never_raises_and_never_gives_nonsense(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = np.array([np.nan, 0, np.inf, -np.inf, -3, 1e-30, 1e30, 0.5, 2.0, 7.0], np.float32)
    depth = kinds[rng.integers(len(kinds), size=(HEIGHT, WIDTH))]
    boxes = []
    for x, y, w, h in rng.uniform(-30, 150, (8, 4)):
        boxes.append(Box(x, y, x + abs(w) + 0.1, y + abs(h) + 0.1))
    for lifted in geometry.lift_all(boxes, picture(depth)):
        if lifted is not None:
            assert np.isfinite([*lifted.position, *lifted.size, lifted.sigma, lifted.range]).all()
            assert min(lifted.size) >= 0 and lifted.sigma > 0


def test_the_gap_of_things_on_one_axis_does_not_depend_on_their_order() -> None:
    """A narrow thing in the middle of a wide one: they overlap by as much in both directions."""
    low = np.array([[-0.125, -0.125, 0.0], [-0.5, -0.25, 0.0]])
    high = -low + np.array([0.0, 0.0, 2.0])
    nothing = np.full((2, extents.AXES, 2), np.nan)
    gaps = extents.gap(low, high, extents.whole(low, high, nothing, np.array([0.0, -2.0, 1.0])))
    np.testing.assert_allclose(gaps, gaps.T)
    assert gaps[0, 1] == pytest.approx(-0.375)


def test_a_wide_lens_is_undone_up_to_the_corner_and_what_no_ray_reaches_is_nan() -> None:
    wide = Intrinsics(640, 480, 300.0, 300.0, 320.0, 240.0, distortion=(-0.28, 0.09, 0.0, 0.0, -0.013))
    folded = Intrinsics(640, 480, 400.0, 400.0, 320.0, 240.0, distortion=(-0.3, 0.0, 0.0, 0.0))
    rows, columns = np.mgrid[2.5:480:5, 2.5:640:5]
    pixels = np.column_stack([columns.ravel(), rows.ravel()])
    points = geometry.deproject(wide, pixels, np.ones(len(pixels)))
    known = np.isfinite(points).all(axis=1)
    off = np.abs(geometry.project(wide, points[known]) - pixels[known]).max(axis=1)
    assert known.mean() > 0.85 and np.mean(off < 0.05) > 0.99 and off.max() <= 0.5
    beyond = geometry.deproject(folded, [(580.0, 430.0), (600.0, 440.0), (330.0, 250.0)], np.ones(3))
    assert np.isnan(beyond[:2, :2]).all() and np.isfinite(beyond[2]).all()

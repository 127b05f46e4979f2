"""What things stand on, and what hides them, in ray-cast scenes of boxes with exact depth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qwenvl_ros import relations
from qwenvl_ros.geometry import apply, deproject, lift_all, upright, view_of
from qwenvl_ros.geometry.camera import rays
from qwenvl_ros.occlusion import estimate, truncated
from qwenvl_ros.perception import PerceptionSettings, objects_of
from qwenvl_ros.types import Box, Detection, Frame, Intrinsics, Occlusion, Pose, Truth

CAMERA = Intrinsics(640, 480, 600.0, 600.0, 320.0, 240.0)
TABLE = ((1.0, -0.6, -0.04), (2.4, 0.6, 0.0))  # its top at 0, the floor 0.7 m below it
FLOOR = ((-5.0, -5.0, -0.8), (9.0, 5.0, -0.7))
WALL = ((4.0, -5.0, -0.8), (4.1, 5.0, 3.0))

Solid = tuple[tuple[float, float, float], tuple[float, float, float]]


def seen(
    solids: list[Solid], *, height: float = 0.8, pitch: float = 30.0, roll: float = 0.0
) -> tuple[Frame, np.ndarray]:
    """The frame of a camera that looks along +x and down, and which solid each pixel shows, -1 = none.

    pitch, roll: degrees; rolled to the right.
    """
    down = np.radians(pitch)
    forward, right = np.array([np.cos(down), 0, -np.sin(down)]), np.array([0.0, -1.0, 0.0])
    below = np.cross(forward, right)
    cosine, sine = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    rotation = np.column_stack([cosine * right + sine * below, cosine * below - sine * right, forward])
    origin = np.array([0.0, 0.0, height])
    along = rays(CAMERA).astype(np.float64) @ rotation.T
    depth, who = np.full((480, 640), np.inf), np.full((480, 640), -1)
    for index, (low, high) in enumerate(solids):
        with np.errstate(divide="ignore", invalid="ignore"):
            a, b = (np.array(low) - origin) / along, (np.array(high) - origin) / along
        near, far = np.minimum(a, b).max(-1), np.maximum(a, b).min(-1)
        hit = (near <= far) & (near > 0) & (near < depth)
        depth[hit], who[hit] = near[hit], index
    depth = np.where(np.isfinite(depth), depth, np.nan).astype(np.float32)
    frame = Frame(
        camera="c", image=np.full((480, 640, 3), 128, np.uint8), stamp=0, frame_id="optical",
        depth=depth, intrinsics=CAMERA, pose=Pose(rotation, origin), reference_frame="base_link",
    )  # fmt: skip
    return frame, who


def box_of(who: np.ndarray, index: int) -> Box:
    rows, columns = np.nonzero(who == index)
    return Box(float(columns.min()), float(rows.min()), float(columns.max()) + 1, float(rows.max()) + 1)


def judged(frame: Frame, boxes: dict[str, Box]):
    """Objects by label, and the truth of "subject predicate object"; FALSE is not among them."""
    found = [Detection(label, "", box, 1.0) for label, box in boxes.items()]
    objects, cover = objects_of(found, frame, PerceptionSettings(), {})
    stated, _ = relations.find(objects, view_of(frame), cover=cover)
    labels = {one.id: one.label for one in objects}
    truths = {f"{labels[r.subject_id]} {r.predicate} {labels[r.object_id]}": r.truth for r in stated}
    return {one.label: one for one in objects}, truths


@pytest.mark.parametrize("x", [1.3, 1.5, 1.8])
@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_a_table_that_was_asked_for_hides_nothing_of_what_stands_on_it(x: float, noise: float) -> None:
    cup = ((x, -0.05, 0.0), (x + 0.08, 0.03, 0.1))
    frame, who = seen([FLOOR, TABLE, cup])
    rng = np.random.default_rng(3)
    frame.depth[:] *= 1 + noise * rng.standard_normal(frame.depth.shape).astype(np.float32)
    alone, _ = judged(frame, {"cup": box_of(who, 2)})
    both, truths = judged(frame, {"table": box_of(who, 1), "cup": box_of(who, 2)})
    assert alone["cup"].occlusion is both["cup"].occlusion is Occlusion.NONE
    assert both["cup"].visible_fraction == pytest.approx(alone["cup"].visible_fraction, abs=0.03)
    assert "table occludes cup" not in truths
    if not noise:
        assert truths["cup on table"] is Truth.TRUE


def test_what_hides_the_foot_of_a_thing_on_a_table_hides_it_down_to_the_table() -> None:
    crate, board = ((1.5, -0.1, 0.0), (1.7, 0.1, 0.2)), ((1.3, -0.3, 0.0), (1.32, 0.3, 0.12))
    frame, who = seen([FLOOR, TABLE, crate, board])
    boxes = {"table": box_of(who, 1), "crate": box_of(who, 2), "board": box_of(who, 3)}
    _, whole = seen([FLOOR, TABLE, crate])
    true = (who == 2).sum() / (whole == 2).sum()
    found, truths = judged(frame, boxes)
    assert found["crate"].visible_fraction == pytest.approx(true, abs=0.08)
    assert truths["board occludes crate"] is Truth.TRUE and "table occludes crate" not in truths


@pytest.mark.parametrize("half", [0.05, 0.09, 0.13])
def test_an_arm_over_a_flat_thing_hides_what_it_hides(half: float) -> None:
    """Where the rest of the upper edge is seen, nothing of the thing goes on above it."""
    tray, arm = ((1.4, -0.25, 0.0), (1.7, 0.25, 0.03)), ((1.3, -half, 0.15), (1.4, half, 0.9))
    frame, who = seen([FLOOR, TABLE, tray, arm])
    _, whole = seen([FLOOR, TABLE, tray])
    found, _ = judged(frame, {"tray": box_of(who, 2), "arm": box_of(who, 3)})
    true = (who == 2).sum() / (whole == 2).sum()
    assert 0.5 < true < 1 and found["tray"].visible_fraction == pytest.approx(true, abs=0.1)


@pytest.mark.parametrize("detected", [True, False])
def test_clear_is_open_where_something_nearer_hides_the_top(detected: bool) -> None:
    crate, board = ((2.0, -0.25, 0.0), (2.5, 0.25, 0.5)), ((1.2, -1.0, 0.38), (1.22, 1.0, 1.2))
    frame, who = seen([FLOOR, TABLE, crate, board, WALL], height=0.6, pitch=10.0)
    boxes = {"crate": box_of(who, 2)} | ({"board": box_of(who, 3)} if detected else {})
    found, truths = judged(frame, boxes)
    assert truths["crate clear crate"] is Truth.UNKNOWN
    assert found["crate"].visible_fraction < 0.95
    whole, _ = seen([FLOOR, TABLE, crate, WALL], height=0.6, pitch=10.0)
    _, free = judged(whole, {"crate": box_of(who, 2)})
    assert free["crate clear crate"] is Truth.TRUE


@pytest.mark.parametrize("share", [0.07, 0.17])
def test_what_gives_no_depth_does_not_stand_where_the_background_is(share: float) -> None:
    """Glass, black or too near: the corners of its box see the wall behind it."""
    frame, _ = seen([WALL], height=0.0, pitch=0.0)
    box, edge = Box(300, 150, 380, 350), round(160 * share / 4)
    frame.depth[150 + edge : 350 - edge, 300 + edge : 380 - edge] = np.nan
    assert lift_all([box], frame) == [None]
    hidden, _ = estimate([box], [None], frame)
    assert hidden[0].occlusion is Occlusion.UNKNOWN


def test_boxes_that_are_one_by_one_the_same_share_one_surface() -> None:
    plate = ((1.4, -0.1, 0.0), (1.5, 0.1, 0.03))
    frame, who = seen([FLOOR, TABLE, plate])
    box = box_of(who, 2)
    step = 0.085 * box.width
    boxes = [Box(box.x_min + k * step, box.y_min, box.x_max + k * step, box.y_max) for k in (0, 1, 2)]
    assert boxes[0].iou(boxes[1]) > 0.83 and boxes[0].iou(boxes[2]) < 0.75
    boxes[1] = Box(boxes[1].x_min - 0.01 * box.width, box.y_min, boxes[1].x_max - 0.01 * box.width, box.y_max)
    boxes[2] = Box(boxes[2].x_min - 0.02 * box.width, box.y_min, boxes[2].x_max - 0.02 * box.width, box.y_max)
    first, second, third = lift_all(boxes, frame)
    assert first is second is third is not None


@pytest.mark.parametrize("size", [(640, 480), (1280, 720), (1920, 1080)])
@pytest.mark.parametrize(
    "corners", [(0, 300, 400, 600), (300, 1, 400, 600), (300, 300, 999, 600), (300, 300, 400, 999)]
)
def test_the_last_steps_of_the_grid_are_the_border(size: tuple[int, int], corners: tuple[int, ...]) -> None:
    width, height = size
    box = Box(*(c * s / 1000 for c, s in zip(corners, (width, height) * 2, strict=True)))
    assert truncated(box, width, height)
    assert not truncated(Box(0.3 * width, 0.3 * height, 0.99 * width, 0.99 * height), width, height)


@pytest.mark.parametrize("roll", [90.0, 180.0, 270.0])
def test_a_camera_upside_down_or_on_its_side_sees_the_same(roll: float) -> None:
    """Rows are heights only in the picture of a camera that stands upright."""
    crate, board = ((1.6, -0.1, 0.0), (1.8, 0.1, 0.2)), ((1.2, -0.2, 0.0), (1.32, 0.2, 0.12))
    solids = [FLOOR, TABLE, crate, board]
    told = []
    for angle in (0.0, roll):
        frame, who = seen(solids, pitch=20.0, height=0.6, roll=angle)
        boxes = {"table": box_of(who, 1), "crate": box_of(who, 2), "board": box_of(who, 3)}
        told.append(judged(frame, boxes))
    (upright, truths), (rolled, same) = told
    # near and touching name the one first that is first in the picture.
    sides = [
        {k: v for k, v in each.items() if " near " not in k and " touching " not in k}
        for each in (truths, same)
    ]
    assert sides[0] == sides[1]
    assert truths["board occludes crate"] is Truth.TRUE
    for name in ("crate", "board"):
        assert rolled[name].position == pytest.approx(upright[name].position, abs=0.01)
        assert rolled[name].visible_fraction == pytest.approx(upright[name].visible_fraction, abs=0.05)


@pytest.mark.parametrize("roll", [0.0, 90.0, 180.0, 270.0])
def test_clear_is_open_where_the_picture_ends_at_the_top(roll: float) -> None:
    crate = ((0.9, -0.1, 0.0), (1.1, 0.1, 0.6))
    frame, who = seen([FLOOR, TABLE, crate], pitch=30.0, height=0.4, roll=roll)
    _, truths = judged(frame, {"crate": box_of(who, 2)})
    assert truths["crate clear crate"] is Truth.UNKNOWN


@pytest.mark.parametrize("model", ["plumb_bob", "rational_polynomial", "equidistant"])
def test_a_turned_lens_with_distortion_sees_the_same_points(model: str) -> None:
    tail = {"plumb_bob": (0.02,), "rational_polynomial": (0.02, 0.1, 0.02, 0.0), "equidistant": ()}[model]
    lens = Intrinsics(640, 480, 500.0, 510.0, 330.0, 235.0, model, (-0.1, 0.03, 0.004, -0.006, *tail))
    frame, _ = seen([FLOOR, TABLE], roll=90.0)
    frame = replace(frame, intrinsics=lens)
    turned, (box,) = upright(frame, [Box(100.0, 50.0, 101.0, 51.0)])
    assert turned.image.shape[:2] == (640, 480) and turned.intrinsics and turned.pose
    here = apply(frame.pose, deproject(lens, [(100.5, 50.5)], [1.3]))
    there = apply(turned.pose, deproject(turned.intrinsics, [(box.x_min + 0.5, box.y_min + 0.5)], [1.3]))
    np.testing.assert_allclose(there, here, atol=1e-4)

"""What things stand on, and what hides them, in ray-cast scenes of boxes with exact depth."""

from __future__ import annotations

import numpy as np
import pytest

from qwenvl_ros import relations
from qwenvl_ros.geometry import lift_all, view_of
from qwenvl_ros.geometry.camera import rays
from qwenvl_ros.occlusion import estimate, truncated
from qwenvl_ros.perception import PerceptionSettings, objects_of
from qwenvl_ros.types import Box, Detection, Frame, Intrinsics, Occlusion, Pose, Truth

CAMERA = Intrinsics(640, 480, 600.0, 600.0, 320.0, 240.0)
TABLE = ((1.0, -0.6, -0.04), (2.4, 0.6, 0.0))  # its top at 0, the floor 0.7 m below it
FLOOR = ((-5.0, -5.0, -0.8), (9.0, 5.0, -0.7))
WALL = ((4.0, -5.0, -0.8), (4.1, 5.0, 3.0))

Solid = tuple[tuple[float, float, float], tuple[float, float, float]]


def seen(solids: list[Solid], *, height: float = 0.8, pitch: float = 30.0) -> tuple[Frame, np.ndarray]:
    """The frame of a camera that looks along +x and down, and which solid each pixel shows, -1 = none."""
    down = np.radians(pitch)
    forward, right = np.array([np.cos(down), 0, -np.sin(down)]), np.array([0.0, -1.0, 0.0])
    rotation = np.column_stack([right, np.cross(forward, right), forward])
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

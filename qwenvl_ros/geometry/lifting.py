"""From boxes and depth to positions and extents in metres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from qwenvl_ros.geometry.camera import Floats, apply, pixel_points, project, scaled, view_of
from qwenvl_ros.geometry.extents import spans
from qwenvl_ros.geometry.segment import Segments, segment
from qwenvl_ros.geometry.sharing import FEWEST_PIXELS
from qwenvl_ros.types import Box, Depth, Frame, Intrinsics, Pose, Vector

Mask = NDArray[np.bool_]

_ENOUGH = 640 * 480  # pixels of depth: more cost time and tell little more
_SAME_BOX = 0.85  # intersection over union from which on two boxes are on the same object
_TRIM = 0.5  # per cent of the points left out at either end of an extent: flying pixels
_FOOT = 2.5  # an object that reaches down to this many tolerances over a plane stands on it
_UPRIGHT = 0.2  # least cosine between the image's up and the normal of a plane that things can stand on
_OUTERMOST = 1.2  # the outermost points lie so many standard deviations of what noise is left too far out
_LEAST_NOISE = 0.001  # depth is never better than this share of range


@dataclass(frozen=True, slots=True)
class Lifted:
    """The visible surface of one object, lifted from depth.

    low, high: axis-aligned extent, metres, in the reference frame (optical frame without a pose).
    sigma: standard deviation of the depth noise, metres. range: median distance from the camera, metres.
    depth: median depth along the optical axis, metres.
    front: what is nearest of it, metres, in the optical frame.
    foot: row of the depth image, pixels, where the front of the object would meet the plane below it; NaN = none.
    lean: how upright lines lean in the image there, columns per row; 0 when there is no plane below it.
    mask: (h, w) bool over the depth image from `corner` = (row, column): the pixels that are the object.
    outline: (AXES, 2), `extents.spans` of the visible surface in columns right, forward, up of the view, metres.
    tops: for each box of the frame, the height up to which the object is seen outside that box, metres in the reference
    frame; NaN where the two do not overlap, or where nothing is seen outside.
    """

    low: Vector
    high: Vector
    sigma: float
    range: float
    depth: float
    front: Vector
    foot: float
    lean: float
    corner: tuple[int, int]
    mask: Mask
    outline: Floats
    tops: tuple[float, ...]

    @property
    def position(self) -> Vector:
        """Centre of the visible surface's extent, metres, in the reference frame."""
        a, b = self.low, self.high
        return ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2)

    @property
    def size(self) -> Vector:
        """Axis-aligned extent of the visible surface, metres, in the reference frame."""
        a, b = self.low, self.high
        return (b[0] - a[0], b[1] - a[1], b[2] - a[2])


def thinned(frame: Frame) -> Frame:
    """The frame with every second, third ... row and column of a depth image that is much larger than VGA.

    No depth is averaged: across an edge that would make points where nothing is.
    """
    depth = frame.depth
    if depth is None or depth.ndim != 2 or (step := round((depth.size / _ENOUGH) ** 0.5)) < 2:
        return frame
    size = (max(1, round(depth.shape[1] / step)), max(1, round(depth.shape[0] / step)))
    thin = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST_EXACT)
    return replace(frame, depth=thin.astype(np.float32, copy=False))


def lift(box: Box, frame: Frame) -> Lifted | None:
    """The visible surface of the one object in a box; see `lift_all`."""
    return lift_all([box], frame)[0]


def lift_all(boxes: Sequence[Box], frame: Frame) -> list[Lifted | None]:
    """The visible surfaces of the objects in boxes (pixels of frame.image), one for each box.

    All boxes of a frame belong in one call: a pixel counts for one object only, unless two boxes are the same. The
    depth image may be of another size than the image, seen through the same lens. None where there is no
    depth, no intrinsics, or fewer than FEWEST_PIXELS returns.
    """
    depth, intrinsics = frame.depth, frame.intrinsics
    if depth is None or intrinsics is None or depth.ndim != 2 or 0 in depth.shape or not boxes:
        return [None] * len(boxes)
    height, width = depth.shape
    camera = scaled(intrinsics, width, height)
    x, y = width / frame.width, height / frame.height
    inside = [Box(b.x_min * x, b.y_min * y, b.x_max * x, b.y_max * y) for b in boxes]
    image = frame.image
    if image.shape[:2] != depth.shape:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
    # Boxes on the same object (queries that it answers) share its pixels, also where they are so one by one.
    first: list[int] = []
    for box in inside:
        same = next(i for i, other in enumerate(inside) if box.iou(other) > _SAME_BOX)
        first.append(first[same] if same < len(first) else same)
    kept = sorted(set(first))
    found = segment([inside[i] for i in kept], depth, image, camera)
    axes = view_of(frame).axes()
    lifted = {i: _lifted(index, found, camera, frame.pose, inside, axes) for index, i in enumerate(kept)}
    return [lifted[i] for i in first]


def owners(lifted: Sequence[Lifted | None], depth: Depth) -> NDArray[np.int32]:
    """Index of the object each pixel of the depth image belongs to, -1 for none."""
    owner = np.full(depth.shape, -1, dtype=np.int32)
    for index, surface in enumerate(lifted):
        if surface is not None:
            row, column = surface.corner
            rows, columns = surface.mask.shape
            owner[row : row + rows, column : column + columns][surface.mask] = index
    return owner


def _lifted(
    index: int, found: Segments, camera: Intrinsics, pose: Pose | None, boxes: Sequence[Box], axes: Floats
) -> Lifted | None:
    window, mask = found.masks[index]
    rows, columns = np.nonzero(mask)
    if len(rows) < FEWEST_PIXELS:
        return None
    depth = found.depth[window][mask].astype(np.float64)
    rows, columns = rows + window[0].start + found.corner[0], columns + window[1].start + found.corner[1]
    points = pixel_points(camera, rows, columns, depth)
    fit = np.isfinite(points).all(axis=1)
    rows, columns, depth, points = rows[fit], columns[fit], depth[fit], points[fit]
    if len(rows) < FEWEST_PIXELS:
        return None
    placed = apply(pose, np.concatenate([points, _feet(points, found)]))
    low, high = np.percentile(placed, (_TRIM, 100 - _TRIM), axis=0)
    within = ((placed >= low) & (placed <= high)).all(axis=1)
    steady = placed[within] if within.any() else placed  # of few points each may be at an end
    median = float(np.median(depth))
    # Points are pixel centres; the surface goes on to the pixels' edges.
    across = np.eye(3)[:, :2] if pose is None else pose.rotation[:, :2]
    edge = 0.5 * median * np.linalg.norm(across / (camera.fx, camera.fy), axis=1)
    top, left = int(rows.min()), int(columns.min())
    mask = np.zeros((int(rows.max()) - top + 1, int(columns.max()) - left + 1), dtype=bool)
    mask[rows - top, columns - left] = True
    front = np.median(points[points[:, 2] <= np.percentile(points[:, 2], 20)], axis=0)
    foot, lean = _foot(front, found, camera)
    up, wide = axes[2], np.array([-1.0, 1.0]) * edge.max()
    sight = steady.mean(axis=0) - (0.0 if pose is None else pose.translation)
    noise = _OUTERMOST * found.left * median * sight / np.linalg.norm(sight)
    return Lifted(
        low=_vector(low - edge),
        high=_vector(high + edge),
        sigma=max(found.noise, _LEAST_NOISE) * median,
        range=float(np.median(np.linalg.norm(points, axis=1))),
        depth=median,
        front=_vector(front),
        foot=foot,
        lean=lean,
        corner=(top, left),
        mask=mask,
        outline=spans(steady @ axes.T, axes @ noise) + wide,
        tops=_tops(columns, rows, placed[: len(rows)] @ up, boxes, float(np.abs(up) @ edge)),
    )


def _tops(
    columns: NDArray[np.int64], rows: NDArray[np.int64], heights: Floats, boxes: Sequence[Box], edge: float
) -> tuple[float, ...]:
    """See Lifted.tops; of pixels (N,) each with their heights, metres."""
    tops = np.full(len(boxes), np.nan)
    left, right, top, bottom = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    for index, box in enumerate(boxes):
        if box.x_max < left or box.x_min > right or box.y_max < top or box.y_min > bottom:
            continue
        within = (columns + 0.5 >= box.x_min) & (columns + 0.5 <= box.x_max)
        within &= (rows + 0.5 >= box.y_min) & (rows + 0.5 <= box.y_max)
        if within.any() and (~within).sum() >= FEWEST_PIXELS:
            tops[index] = np.percentile(heights[~within], 100 - _TRIM) + edge
    return tuple(tops.tolist())


def _feet(points: Floats, found: Segments) -> Floats:
    """Points on the plane an object stands on, under those of its points that are only just above it."""
    for plane in found.planes:
        height = points @ plane.normal + plane.offset
        near = (height > 0) & (height < _FOOT * plane.tolerance)
        if near.sum() >= 0.01 * len(points):
            feet: Floats = points[near] - height[near, None] * plane.normal
            return feet
    return points[:0]


def _foot(front: Floats, found: Segments, camera: Intrinsics) -> tuple[float, float]:
    """Where the front of an object would meet the plane below it, and how upright lines lean: see Lifted."""
    upright = [plane for plane in found.planes if -plane.normal[1] >= _UPRIGHT]
    heights = [float(front @ plane.normal + plane.offset) for plane in upright]
    under = [each for each in zip(heights, upright, strict=True) if each[0] >= -each[1].tolerance]
    if not under:
        return float("nan"), 0.0
    height, plane = min(under, key=lambda each: each[0])  # of table and floor the one that it is over
    dropped = front - height * plane.normal
    below = front - 0.01 * plane.normal
    pixels = project(camera, [dropped, front, below])
    step = pixels[2] - pixels[1]
    return float(pixels[0, 1]), float(step[0] / step[1]) if step[1] > 0 else 0.0


def _vector(values: Floats) -> Vector:
    x, y, z = values.tolist()
    return (x, y, z)

"""How much of each object is hidden, by which other object, or that it cannot be told.

Over the object's whole (amodal) extent, the hidden share is that of the pixels with valid depth nearer than the
object: by max(0.05 m, 2 % of range), and by less (`nearer_object`) where the pixel belongs to another object, as
that is no noise. The whole extent is the tracked or last unoccluded one where the caller has it, else the visible
silhouette completed by symmetry where something nearer cuts it off (completion.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, isnan, nan

import cv2
import numpy as np
from numpy.typing import NDArray

from qwenvl_ros.completion import BESIDE, complete, with_top
from qwenvl_ros.geometry import Lifted, owners, scaled, standing
from qwenvl_ros.geometry.extents import AXES
from qwenvl_ros.settings import setting
from qwenvl_ros.types import Box, Depth, Frame, Occlusion

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Crop = tuple[slice, slice]
Labels = NDArray[np.int32]

_BORDER, _STEPS = (
    1.0,
    1.5 / 1000,
)  # pixels, and share of the image, from the border within which a box touches it
_ABOVE = 0.01  # metres, at the least, by which what the upper border cuts off goes on above it

_DRAWN, _DRAWN_SHARE = 3.0, 0.2  # pixels, and share of its size, by which a box may be drawn too large
_ABOUT = BESIDE + 1  # pixels about an object in which what cuts it off is looked for first
_BEHIND = 0.025  # metres by which what hides a thing may be farther than the middle of what is seen of it: on its top
_MEETS = 0.15  # share of an object's columns at whose upper edge another one must meet it to stand on it
_DOWN = 0.03  # metres by which what stands on an object may reach down below its top


@dataclass(frozen=True)
class Thresholds:
    """When a pixel counts as in front of an object."""

    nearer: float = setting(
        0.05,
        "Least depth by which a hiding pixel is nearer than the object.",
        unit="m",
        minimum=0.0,
        maximum=1.0,
    )
    nearer_share: float = setting(
        0.02, "The same as a share of range; the larger of the two counts.", minimum=0.0, maximum=0.5
    )
    nearer_object: float = setting(
        0.01,
        "The same where the pixel belongs to another object; at least 3 sigma of depth.",
        unit="m",
        minimum=0.0,
        maximum=1.0,
    )


@dataclass(frozen=True, slots=True)
class Hidden:
    """Of one object: class, visible fraction [0, 1] (NaN = not observable), index of what hides most of it."""

    occlusion: Occlusion = Occlusion.UNKNOWN
    visible_fraction: float = nan
    occluder: int | None = None


@dataclass(frozen=True, slots=True)
class Cover:
    """Who covers whom, each (N, N) float64: entry [i, j] tells how object i covers object j.

    share: of j's whole extent that i hides, [0, 1]; gap: median depth by which i is nearer there, metres (NaN
    where it hides nothing). share is NaN where it could not be observed.
    beyond: (N, 4), how far each object's whole silhouette goes beyond the visible one to the left, up, right and
    down in the image, metres at its depth; 0 where it is not cut off (but for the border left, right and below).
    outline: (N, AXES, 2), `Lifted.outline` of each object; NaN where it was not lifted.
    top: height up to which object j is seen outside the box of object i, metres; NaN where that is not known.
    """

    share: Floats
    gap: Floats
    beyond: Floats
    top: Floats
    outline: Floats


def classify(visible_fraction: float) -> Occlusion:
    """NONE above 0.9, PARTIAL above 0.6, HEAVY above 0.2, else FULL; UNKNOWN for NaN."""
    if isnan(visible_fraction):
        return Occlusion.UNKNOWN
    if visible_fraction > 0.9:
        return Occlusion.NONE
    if visible_fraction > 0.6:
        return Occlusion.PARTIAL
    return Occlusion.HEAVY if visible_fraction > 0.2 else Occlusion.FULL


def truncated(box: Box, width: int, height: int) -> bool:
    """Whether a box comes to the border of a width x height image.

    A model answers on a grid of 1000 steps and may say 1 or 999 there, which is more than a pixel of a large image.
    """
    across, down = _margin(width), _margin(height)
    return (
        box.x_min <= across or box.y_min <= down or box.x_max >= width - across or box.y_max >= height - down
    )


def _margin(side: int) -> float:
    return max(_BORDER, _STEPS * side)


def estimate(
    boxes: Sequence[Box],
    lifted: Sequence[Lifted | None],
    frame: Frame,
    thresholds: Thresholds | None = None,
    extents: Sequence[Box | None] | None = None,
) -> tuple[list[Hidden], Cover]:
    """What is hidden of each object, and who covers whom.

    Args:
        boxes: of the objects, pixels of frame.image.
        lifted: what `geometry.lift_all` made of them.
        extents: whole extents known from tracking, pixels of frame.image, None where unknown.
    """
    limits = thresholds or Thresholds()
    count = len(boxes)
    nothing = np.full((count, count), nan)
    cover = Cover(
        nothing.copy(), nothing.copy(), np.zeros((count, 4)), nothing.copy(), np.full((count, AXES, 2), nan)
    )
    hidden = [Hidden()] * count
    depth, camera = frame.depth, frame.intrinsics
    if depth is None or camera is None:
        return hidden, cover
    camera = scaled(camera, depth.shape[1], depth.shape[0])
    owner, corners = owners(lifted, depth), standing.ends(lifted, frame)
    bottom, top = corners[..., 2].T
    feet, over = standing.feet(lifted, corners, frame, camera), standing.over(corners)
    scale = (depth.shape[1] / frame.width, depth.shape[0] / frame.height)
    for index, surface in enumerate(lifted):
        if surface is None:
            continue
        known = extents[index] if extents is not None else None
        cover.top[:, index], cover.outline[index] = surface.tops, surface.outline
        # Where nothing nearer is about it, an object does not go on beyond what is seen of it.
        # Its top may have been lent by what stands on it.
        high = bottom >= np.fmin(surface.tops, top[index]) - _DOWN
        crop = _crop(surface, known, depth, scale, _ABOUT)
        visible, others, near, carried = _around(surface, owner[crop], depth[crop], crop, high, limits)
        if near.any() or carried.any():
            crop = _crop(surface, known, depth, scale, max(surface.mask.shape))
            visible, others, near, carried = _around(surface, owner[crop], depth[crop], crop, high, limits)
        if known is None:
            above = near & ~np.isin(others, np.flatnonzero(high & over[:, index]))
            whole = complete(visible, near, feet[index] - crop[0].start, surface.lean, above)
        else:
            whole, carried = visible | _inside(crop, known, scale), np.zeros_like(visible)
        metres = surface.depth / np.array([camera.fx, camera.fy] * 2)
        seen = _edges(visible)
        cut = np.maximum((_edges(whole) - seen) * (-1, -1, 1, 1), 0)
        cover.beyond[index] = np.maximum(cut, _unfilled(boxes[index], seen, crop, scale)) * metres
        if boxes[index].y_min <= _margin(frame.height):
            cover.beyond[index, 1] = max(cover.beyond[index, 1], _ABOVE)
        if carried.any():
            whole = with_top(whole, carried)
        covered = whole & (near | carried)
        for other in np.unique(others[covered & (others >= 0)]):
            part = covered & (others == other)
            ranges = depth[crop][part]
            ranges = ranges[np.isfinite(ranges) & (ranges > 0)]
            gap = surface.depth - float(np.median(ranges)) if len(ranges) else nan
            if gap >= -_BEHIND:
                cover.gap[other, index] = gap
            else:  # it stands behind and touches, or nothing tells where it stands
                covered &= ~part
        total = int(visible.sum()) + int(covered.sum())
        who = np.bincount(others[covered] + 1, minlength=count + 1)[1:]
        cover.share[:, index] = who / total
        fraction = int(visible.sum()) / total
        hidden[index] = Hidden(classify(fraction), fraction, int(np.argmax(who)) if who.any() else None)
    _share_names(cover, lifted)
    return hidden, cover


def _share_names(cover: Cover, lifted: Sequence[Lifted | None]) -> None:
    """One thing under two names (see lift_all) covers others under both."""
    owners = {id(surface): index for index, surface in enumerate(lifted) if surface is not None}
    for index, surface in enumerate(lifted):
        if surface is not None and (owner := owners[id(surface)]) != index:
            cover.share[index], cover.gap[index] = cover.share[owner], cover.gap[owner]


def _around(
    surface: Lifted, owner: Labels, depth: Depth, crop: Crop, high: Flags, limits: Thresholds
) -> tuple[Flags, Labels, Flags, Flags]:
    """Of a crop of owners and depth: an object's own pixels, others' owners, what is nearer, and what stands on it.

    high: (N,), which objects are high enough to stand on it.
    """
    visible = _silhouette(surface, crop)
    others = np.where(visible, np.int32(-1), owner)
    near = _nearer(depth, visible, others, surface, limits)
    return visible, others, near, _carried(depth, visible, others, surface, high, limits)


def _crop(surface: Lifted, known: Box | None, depth: Depth, scale: tuple[float, float], margin: int) -> Crop:
    """The part of the depth image with what is seen and known of an object and `margin` pixels on every side."""
    (top, left), (rows, columns) = surface.corner, surface.mask.shape
    low, high = [top - margin, left - margin], [top + rows + margin, left + columns + margin]
    if known is not None:
        low = [min(low[0], int(known.y_min * scale[1])), min(low[1], int(known.x_min * scale[0]))]
        high = [max(high[0], ceil(known.y_max * scale[1])), max(high[1], ceil(known.x_max * scale[0]))]
    rows_, columns_ = (slice(max(a, 0), min(b, n)) for a, b, n in zip(low, high, depth.shape, strict=True))
    return rows_, columns_


def _silhouette(surface: Lifted, crop: Crop) -> Flags:
    visible = np.zeros((crop[0].stop - crop[0].start, crop[1].stop - crop[1].start), dtype=bool)
    top, left = surface.corner[0] - crop[0].start, surface.corner[1] - crop[1].start
    visible[top : top + surface.mask.shape[0], left : left + surface.mask.shape[1]] = surface.mask
    return visible


def _edges(mask: Flags) -> NDArray[np.int64]:
    """First column, first row, last column and last row of a mask."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return np.array([columns[0], rows[0], columns[-1], rows[-1]])


def _unfilled(box: Box, seen: NDArray[np.int64], crop: Crop, scale: tuple[float, float]) -> Floats:
    """(4,) pixels on each side of what is seen of an object that its box holds for the object all the same."""
    corners = np.array(box.corners) * (scale * 2)
    drawn = corners - np.array([crop[1].start, crop[0].start] * 2)
    short = (drawn - seen - (0, 0, 1, 1)) * (-1, -1, 1, 1)
    slack = np.maximum(_DRAWN, _DRAWN_SHARE * np.tile(corners[2:] - corners[:2], 2))
    missing: Floats = np.where(short > slack, short, 0.0)
    return missing


def _inside(crop: Crop, box: Box, scale: tuple[float, float]) -> Flags:
    """The pixels of a crop whose centres lie in a box."""
    y, x = np.arange(crop[0].start, crop[0].stop) + 0.5, np.arange(crop[1].start, crop[1].stop) + 0.5
    rows = (y >= box.y_min * scale[1]) & (y <= box.y_max * scale[1])
    columns = (x >= box.x_min * scale[0]) & (x <= box.x_max * scale[0])
    return rows[:, None] & columns[None, :]


def _carried(
    depth: Depth, visible: Flags, others: Labels, surface: Lifted, high: Flags, limits: Thresholds
) -> Flags:
    """The pixels of what stands on the object: it is high enough and meets the upper edge at the same depth.

    There the two are equally near, and all the same the upper one hides the top behind the edge.
    """
    columns = np.flatnonzero(visible.any(axis=0))
    edge = np.argmax(visible[:, columns], axis=0)
    above = np.maximum(edge - 2, 0)
    with np.errstate(invalid="ignore"):
        level = np.abs(depth[above, columns] - depth[edge, columns]) < _level(surface, limits)
    who = np.bincount((others[above, columns] + 1)[level], minlength=len(high) + 1)[1:]
    carried: Flags = np.isin(others, np.flatnonzero(high & (who > _MEETS * len(columns))))
    return carried


def _level(surface: Lifted, limits: Thresholds) -> float:
    """Metres of depth from which on one of two objects counts as nearer."""
    return max(limits.nearer_object, 3.0 * surface.sigma)


def _nearer(depth: Depth, visible: Flags, others: Labels, surface: Lifted, limits: Thresholds) -> Flags:
    """The pixels that are nearer than the object's visible pixel next to them."""
    labels = cv2.distanceTransformWithLabels(
        (~visible).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )[1]
    known = depth[visible]
    with np.errstate(invalid="ignore"):
        known = np.where(np.isfinite(known) & (known > 0), known, np.float32(surface.depth))
    own = np.zeros(int(labels.max()) + 1, dtype=np.float32)
    own[labels[visible]] = known
    objects, rest = _level(surface, limits), max(limits.nearer, limits.nearer_share * surface.range)
    margin = np.where(others >= 0, np.float32(objects), np.float32(rest))
    with np.errstate(invalid="ignore"):
        near: Flags = (depth > 0) & (depth < own[labels] - margin) & ~visible
    return near

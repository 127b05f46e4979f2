"""How much of each object is hidden, by which other object, or that it cannot be told.

Over the object's whole (amodal) extent, the hidden share is that of the pixels with valid depth nearer than the
object by max(0.05 m, 2 % of range). The whole extent is the tracked or last unoccluded one where the caller has
it, else the visible surface completed on the sides where something nearer cuts it off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan

import numpy as np
from numpy.typing import NDArray

from qwenvl_ros.geometry import Lifted
from qwenvl_ros.settings import setting
from qwenvl_ros.types import Box, Depth, Frame, Occlusion

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


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
    """

    share: Floats
    gap: Floats


def classify(visible_fraction: float) -> Occlusion:
    """NONE above 0.9, PARTIAL above 0.6, HEAVY above 0.2, else FULL; UNKNOWN for NaN."""
    if isnan(visible_fraction):
        return Occlusion.UNKNOWN
    if visible_fraction > 0.9:
        return Occlusion.NONE
    if visible_fraction > 0.6:
        return Occlusion.PARTIAL
    return Occlusion.HEAVY if visible_fraction > 0.2 else Occlusion.FULL


def truncated(box: Box, width: int, height: int, margin: float = 1.0) -> bool:
    """Whether a box comes within `margin` pixels of the border of a width x height image."""
    return (
        box.x_min <= margin
        or box.y_min <= margin
        or box.x_max >= width - margin
        or box.y_max >= height - margin
    )


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
    share, gap = np.full((count, count), nan), np.full((count, count), nan)
    hidden = [Hidden()] * count
    depth = frame.depth
    if depth is None:
        return hidden, Cover(share, gap)
    owner = _owners(lifted, depth)
    scale = (depth.shape[1] / frame.width, depth.shape[0] / frame.height)
    for index, surface in enumerate(lifted):
        if surface is None:
            continue
        known = extents[index] if extents is not None else None
        top, bottom, left, right = _window(surface, known, depth, scale, limits)
        window = depth[top:bottom, left:right]
        own = owner[top:bottom, left:right] == index
        with np.errstate(invalid="ignore"):
            nearer = (
                np.isfinite(window)
                & (window > 0)
                & (window < surface.depth - _margin(surface, limits))
                & ~own
            )
        visible, covered = int(own.sum()), int(nearer.sum())
        if not visible:
            continue
        whole = visible + covered
        who = np.bincount(owner[top:bottom, left:right][nearer] + 1, minlength=count + 1)[1:]
        share[:, index] = who / whole
        for other in np.flatnonzero(who):
            pixels = nearer & (owner[top:bottom, left:right] == other)
            gap[other, index] = surface.depth - float(np.median(window[pixels]))
        fraction = visible / whole
        hidden[index] = Hidden(classify(fraction), fraction, int(np.argmax(who)) if who.any() else None)
    return hidden, Cover(share, gap)


def _margin(surface: Lifted, limits: Thresholds) -> float:
    return max(limits.nearer, limits.nearer_share * surface.range)


def _owners(lifted: Sequence[Lifted | None], depth: Depth) -> NDArray[np.int64]:
    """Index of the object each pixel of the depth image belongs to, -1 for none."""
    owner = np.full(depth.shape, -1, dtype=np.int64)
    for index, surface in enumerate(lifted):
        if surface is not None:
            row, column = surface.corner
            rows, columns = surface.mask.shape
            owner[row : row + rows, column : column + columns][surface.mask] = index
    return owner


def _window(
    surface: Lifted,
    known: Box | None,
    depth: Depth,
    scale: tuple[float, float],
    limits: Thresholds,
) -> tuple[int, int, int, int]:
    """The whole extent, as rows [top, bottom) and columns [left, right) of the depth image."""
    height, width = depth.shape
    rows, columns = np.flatnonzero(surface.mask.any(axis=1)), np.flatnonzero(surface.mask.any(axis=0))
    top, bottom = surface.corner[0] + int(rows[0]), surface.corner[0] + int(rows[-1]) + 1
    left, right = surface.corner[1] + int(columns[0]), surface.corner[1] + int(columns[-1]) + 1
    if known is not None:
        left, right = min(left, round(known.x_min * scale[0])), max(right, round(known.x_max * scale[0]))
        top, bottom = min(top, round(known.y_min * scale[1])), max(bottom, round(known.y_max * scale[1]))
    else:
        # Completed to as wide as high (or as high as wide) on the sides that something nearer cuts off.
        limit = surface.depth - _margin(surface, limits)
        tall, wide = bottom - top, right - left
        with np.errstate(invalid="ignore"):
            cut_left = _cut(depth[top:bottom, max(left - 3, 0) : left], limit)
            cut_right = _cut(depth[top:bottom, right : right + 3], limit)
            cut_top = _cut(depth[max(top - 3, 0) : top, left:right], limit)
            cut_bottom = _cut(depth[bottom : bottom + 3, left:right], limit)
        missing = max(tall - wide, 0)
        left -= missing // (1 + cut_right) if cut_left else 0
        right += missing // (1 + cut_left) if cut_right else 0
        missing = max(wide - tall, 0)
        top -= missing // (1 + cut_bottom) if cut_top else 0
        bottom += missing // (1 + cut_top) if cut_bottom else 0
    return max(top, 0), min(bottom, height), max(left, 0), min(right, width)


def _cut(strip: Depth, limit: float) -> bool:
    """Whether something nearer lies along this side of the object."""
    valid = strip > 0
    return bool(strip.size and (valid & (strip < limit)).sum() > 0.2 * strip.size)

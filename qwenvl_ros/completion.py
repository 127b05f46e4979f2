"""The whole silhouette of an object of which a part is hidden, completed by symmetry.

Seen upright, most things are about as wide to the left of their axis as to the right. Where a row of the visible
silhouette ends against something nearer, its other end is mirrored about the axis; where the silhouette ends below
against something nearer, it goes on down to where it would stand, and above, up to as high as it is wide. What is
nowhere cut off is left as it is.
"""

from __future__ import annotations

from math import isfinite

import cv2
import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

BESIDE = 3  # pixels beyond the silhouette in which something nearer cuts it off
_CUT = 0.3  # share of the columns that must be cut off below for the object to go on down
_TOP_CUT = 0.7  # the same above: where it is seen to end, no more of it is behind an arm that reaches in
_TALLEST = 3.0  # heights for a width, beyond which it does not go on down


def complete(
    visible: Flags, nearer: Flags, foot: float, lean: float = 0.0, above: Flags | None = None
) -> Flags:
    """(H, W) bool, the whole silhouette: the convex hull of the visible one, mirrored and carried on where cut off.

    Args:
        visible: (H, W), the visible silhouette; at least one pixel.
        nearer: (H, W), what is nearer than the object.
        foot: row at which the object would stand on what is below it; NaN when unknown.
        lean: how upright lines lean there, columns per row.
        above: (H, W), of what is nearer what may cut it off above, and not stand on it; None = all.
    """
    hull = _hull(visible)
    rows = np.flatnonzero(hull.any(axis=1))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left = np.argmax(hull[top:bottom], axis=1).astype(np.float64)
    right = hull.shape[1] - np.argmax(hull[top:bottom, ::-1], axis=1).astype(np.float64)
    cut_left = _cut(nearer[top:bottom], left - 1, -1)
    cut_right = _cut(nearer[top:bottom], right, 1)
    axis = _axis(left, right, ~cut_left & ~cut_right, lean)
    if axis is not None:
        half = np.maximum(np.where(cut_left, 0, axis - left), np.where(cut_right, 0, right - axis))
        both = cut_left & cut_right
        if both.any() and not both.all():
            half[both] = np.interp(np.flatnonzero(both), np.flatnonzero(~both), half[~both])
        left = np.where(cut_left, np.minimum(left, axis - half), left)
        right = np.where(cut_right, np.maximum(right, axis + half), right)
    elif cut_left.any() != cut_right.any():
        # No row shows both ends: mirrored at the highest point, or as wide as high.
        peak = float(np.flatnonzero(hull[top : top + max((bottom - top) // 20, 1)].any(axis=0)).mean()) + 0.5
        first, last = float(left.min()), float(right.max())
        square = (bottom - top) - float((right - left).max())
        left = np.where(cut_left, left - max(square, first + last - 2 * peak, 0.0), left)
        right = np.where(cut_right, right + max(square, 2 * peak - first - last, 0.0), right)
    columns = np.arange(hull.shape[1]) + 0.5
    whole = hull.copy()
    whole[top:bottom] |= (columns >= left[:, None]) & (columns <= right[:, None])
    whole = _down(whole, visible, nearer, foot)
    return _up(whole, visible, nearer if above is None else above)


def with_top(whole: Flags, carried: Flags) -> Flags:
    """The silhouette with its top where something stands on it: the bottom turned by half a circle.

    Args:
        whole: (H, W), the silhouette without the hidden top.
        carried: (H, W), the pixels of what stands on it; the top is looked for only there.
    """
    rows = np.flatnonzero(whole.any(axis=1))
    widths = whole[rows].sum(axis=1)
    broad = rows[widths >= 0.9 * widths.max()]  # where the walls are, above the curve of the bottom
    middle = 0.5 * float(broad[0] + broad[-1])
    columns = np.flatnonzero(whole[int(middle)])
    turn = np.array([[-1.0, 0.0, float(columns[0] + columns[-1])], [0.0, -1.0, 2 * middle]])
    turned = cv2.warpAffine(whole.astype(np.uint8), turn, whole.shape[::-1], flags=cv2.INTER_NEAREST)
    return whole | (turned.astype(bool) & carried)


def _hull(visible: Flags) -> Flags:
    rows = np.flatnonzero(visible.any(axis=1))
    first = np.argmax(visible[rows], axis=1)
    last = visible.shape[1] - 1 - np.argmax(visible[rows, ::-1], axis=1)
    ends = np.column_stack([np.concatenate([first, last]), np.concatenate([rows, rows])]).astype(np.int32)
    filled = cv2.fillConvexPoly(np.zeros(visible.shape, np.uint8), cv2.convexHull(ends), 1)
    return filled.astype(bool)


def _cut(nearer: Flags, edge: Floats, step: int) -> Flags:
    """Per row, whether something nearer lies within a few pixels beyond the edge."""
    rows, last = np.arange(len(nearer)), nearer.shape[1] - 1
    cut = np.zeros(len(nearer), dtype=bool)
    for distance in range(BESIDE):
        cut |= nearer[rows, np.clip(edge.astype(np.int64) + step * distance, 0, last)]
    return cut


def _axis(left: Floats, right: Floats, free: Flags, lean: float) -> Floats | None:
    """Middle column per row, from the rows that show both ends; None when there are too few."""
    rows = np.flatnonzero(free)
    if len(rows) < max(3, 0.1 * len(free)):
        return None
    middle, every = 0.5 * (left + right)[rows], np.arange(len(free))
    if len(rows) >= max(10, 0.4 * len(free)):
        slope, start = np.polyfit(rows, middle, 1)
        return np.asarray(start + slope * every)
    # Between a ball, whose axis does not lean in the image, and a box, whose axis leans as upright lines do.
    slope = 0.5 * lean
    return np.asarray(np.median(middle - slope * rows) + slope * every)


def _up(whole: Flags, visible: Flags, nearer: Flags) -> Flags:
    """The silhouette carried up where something nearer cuts it off above: as high as wide, and a fifth at least."""
    columns = np.flatnonzero(visible.any(axis=0))
    highest = np.argmax(visible[:, columns], axis=0)
    if _cut_off(nearer, highest, columns, -1) < _TOP_CUT:  # the rest of the columns shows where it ends
        return whole
    rows = np.flatnonzero(whole.any(axis=1))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    base = min(bottom - int(whole[rows].sum(axis=1).max()), top - max((bottom - top) // 5, BESIDE))
    result = whole.copy()
    result[max(base, 0) : top] |= whole[top : top + 4].any(axis=0)
    return result


def _cut_off(nearer: Flags, ends: NDArray[np.int64], columns: NDArray[np.int64], step: int) -> float:
    """Share of the columns with something nearer within a few pixels beyond their ends."""
    cut = np.zeros(len(columns), dtype=bool)
    for distance in range(1, BESIDE + 1):
        cut |= nearer[np.clip(ends + step * distance, 0, len(nearer) - 1), columns]
    return float(cut.mean())


def _down(whole: Flags, visible: Flags, nearer: Flags, foot: float) -> Flags:
    """The silhouette carried down to its foot where something nearer cuts it off below."""
    height = whole.shape[0]
    columns = np.flatnonzero(visible.any(axis=0))
    lowest = height - 1 - np.argmax(visible[::-1, columns], axis=0)
    if _cut_off(nearer, lowest, columns, 1) < _CUT:
        return whole
    rows = np.flatnonzero(whole.any(axis=1))
    widths = whole[rows].sum(axis=1)
    wide, top, bottom = int(widths.max()), int(rows[0]), int(rows[-1]) + 1
    base = top + wide if not isfinite(foot) else int(min(foot, top + _TALLEST * wide))
    result = whole.copy()
    span = slice(max(bottom - 4, top), bottom)
    middle = whole[span].any(axis=0)
    result[bottom : max(min(base, height), bottom)] |= middle
    return result

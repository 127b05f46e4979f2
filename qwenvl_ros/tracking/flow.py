"""How points and boxes move from one image to a later one.

Pyramidal Lucas-Kanade with a forward-backward check, and of the points of one box their median shift and scale: the
median flow of Kalal, Mikolajczyk and Matas, "Forward-Backward Error: Automatic Detection of Tracking Failures" (2010).
OpenCV's Python takes no prebuilt pyramids, so each call builds its own; all boxes of an image share one call.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

import cv2
import numpy as np
from numpy.typing import NDArray

from qwenvl_ros.types import Box, Image

Points = NDArray[np.float32]
Flags = NDArray[np.bool_]

FEWEST = 4  # points, or a box cannot be followed
_MOST = 25  # points of one box
_WIDEST = 1000  # pixels; larger images are shrunk by a whole factor
_WINDOW = (17, 17)  # pixels around a point that are compared
_LEVELS = 3
_BACK = 1.0  # pixels; a point that does not come back to within this was not followed
_APART, _ASTRAY = (
    1.5,
    3.0,
)  # pixels, and medians of the others, from the common shift: such a point is another thing's
_GROWTH = 2.0  # times, either way, that a box may grow from one image to the next
_QUALITY = 0.005  # of a corner, as a share of the best one's in its box


@dataclass(frozen=True, slots=True, eq=False)
class Grey:
    """An image as flow sees it: (h, w) uint8, and how many pixels of the image one of its pixels is wide and high."""

    pixels: NDArray[np.uint8]
    shrink: int


@dataclass(frozen=True, slots=True)
class Motion:
    """Of one box: where the point `centre` went, and the scale about it; misfit: how far the points disagree.

    All in pixels of Grey, the first pixel's centre being (0, 0).
    """

    centre: tuple[float, float]
    to: tuple[float, float]
    scale: float
    misfit: float

    def of(self, box: Box, shrink: int) -> Box:
        """A box, in pixels of the image, after the motion."""
        x, y, u, v = ((p + 0.5) * shrink for p in (*self.centre, *self.to))
        s = self.scale
        return Box(
            u + s * (box.x_min - x), v + s * (box.y_min - y), u + s * (box.x_max - x), v + s * (box.y_max - y)
        )


def grey_of(image: Image) -> Grey:
    """An (H, W, 3) uint8 RGB image made ready."""
    shrink = ceil(image.shape[1] / _WIDEST)
    if shrink > 1:
        size = (image.shape[1] // shrink, image.shape[0] // shrink)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return Grey(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY).astype(np.uint8), shrink)


def corners(grey: Grey, box: Box, mask: Flags) -> Points:
    """(N, 2) float32: points of a box that can be followed, in pixels of Grey, the pixel's centre being an integer.

    box: pixels of the image. mask: (h, w) over Grey, where points may be.
    """
    height, width = grey.pixels.shape
    x_min, y_min, x_max, y_max = (v / grey.shrink for v in box.corners)
    room = 8  # so that corners on the box's edge are seen whole
    rows = slice(max(int(y_min) - room, 0), min(ceil(y_max) + room, height))
    columns = slice(max(int(x_min) - room, 0), min(ceil(x_max) + room, width))
    part, where = grey.pixels[rows, columns], mask[rows, columns].astype(np.uint8)
    if not where.any():
        return np.zeros((0, 2), np.float32)
    spacing = max(2.0, 0.06 * sqrt((x_max - x_min) * (y_max - y_min)))
    found = cv2.goodFeaturesToTrack(part, _MOST, _QUALITY, spacing, mask=where)
    if found is None:
        return np.zeros((0, 2), np.float32)
    points: Points = found.reshape(-1, 2).astype(np.float32) + np.array(
        (columns.start, rows.start), np.float32
    )
    return points


def follow(before: Grey, after: Grey, points: Points) -> tuple[Points, Flags]:
    """Where points (N, 2) went, and which of them were really found there: they lead back, and lie in the image."""
    if not len(points):
        return points, np.zeros(0, dtype=bool)
    there, found = _lucas_kanade(before, after, points)
    back, returned = _lucas_kanade(after, before, there)
    height, width = after.pixels.shape
    inside = ((there >= 0) & (there <= (width - 1, height - 1))).all(axis=1)
    with np.errstate(invalid="ignore"):
        close = np.linalg.norm(back - points, axis=1) < _BACK
    return there, found & returned & inside & close


def motion_of(before: Points, after: Points) -> tuple[Motion, Flags] | None:
    """The common motion of one box's points (N, 2), and which of them take part in it; None when there is none."""
    if len(before) < FEWEST:
        return None
    shift = after - before
    away = np.linalg.norm(shift - np.median(shift, axis=0), axis=1)
    kept = away < _APART + _ASTRAY * float(np.median(away))
    if kept.sum() < FEWEST:
        return None
    old, new = before[kept].astype(np.float64), after[kept].astype(np.float64)
    scale = _scale(old, new)
    if not 1 / _GROWTH <= scale <= _GROWTH:
        return None
    centre = np.median(old, axis=0)
    rest = new - centre - scale * (old - centre)
    to = centre + np.median(rest, axis=0)
    misfit = 1.4826 * float(np.median(np.linalg.norm(rest - np.median(rest, axis=0), axis=1)))
    (x, y), (u, v) = centre.tolist(), to.tolist()
    return Motion((x, y), (u, v), scale, misfit), kept


def _scale(old: NDArray[np.float64], new: NDArray[np.float64]) -> float:
    """Median ratio of the distances between points."""
    first, second = np.triu_indices(len(old), 1)
    was = np.linalg.norm(old[first] - old[second], axis=1)
    far = was > 3.0
    if not far.any():
        return 1.0
    now = np.linalg.norm(new[first[far]] - new[second[far]], axis=1)
    return float(np.median(now / was[far]))


def _lucas_kanade(before: Grey, after: Grey, points: Points) -> tuple[Points, Flags]:
    there, found, _ = cv2.calcOpticalFlowPyrLK(
        before.pixels,
        after.pixels,
        points[:, None],
        np.zeros_like(points[:, None]),
        winSize=_WINDOW,
        maxLevel=_LEVELS,
        criteria=(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.03),
    )
    moved: Points = there[:, 0].astype(np.float32)
    return moved, found[:, 0] > 0

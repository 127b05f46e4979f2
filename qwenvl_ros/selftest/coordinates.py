"""Where answered boxes lie beside the true ones: the one systematic error that explains them all.

Everything is in units of the model's grid, 0..1000 over the canvas that it was shown, since that is where an engine
goes wrong: an image that is padded on its canvas is moved otherwise than one that is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import nan

import numpy as np
from numpy.typing import NDArray

from qwenvl_ros.grounding.pixels import GRID
from qwenvl_ros.selftest.trial import Answer

FEWEST = 5  # boxes, below which nothing is said
CLOSE = (
    25.0  # grid units: an explanation leaves less than this on average, and a third of what another leaves
)
_BORDER = 1e-3  # pixels: an answer so near to the border may have been clipped there

Floats = NDArray[np.float64]
Pair = tuple[float, float]


class Order(Enum):
    """What the numbers of an answer count."""

    GRID = "x and y over 0..1000"
    SWAPPED = "x and y are swapped"
    PIXELS = "pixels of the image"


@dataclass(frozen=True, slots=True)
class Fit:
    """answered = scale * true + offset, for (x, y), and what is left of it; all NaN where too little was answered.

    error: median distance of a coordinate to this, grid units. boxes: how many it rests on.
    """

    order: Order
    offset: Pair
    scale: Pair
    error: float
    boxes: int

    @property
    def known(self) -> bool:
        return self.boxes >= FEWEST

    @property
    def shift(self) -> Pair:
        """How far the middle of the image is moved, (x, y) in grid units; far better known than the offset."""
        x, y = (o + (s - 1.0) * GRID / 2 for o, s in zip(self.offset, self.scale, strict=True))
        return x, y


def fit(answers: Sequence[Answer]) -> Fit:
    """By Theil and Sen: up to a quarter of the boxes may be on other objects. A scale of 1 stays unless 95 %
    confidence excludes it."""
    true, answered, canvas = _centres(answers)
    if len(true) < FEWEST:
        return Fit(Order.GRID, (nan, nan), (nan, nan), nan, len(true))
    left = {
        Order.GRID: _left(true, answered),
        Order.SWAPPED: _left(true[:, ::-1], answered),
        Order.PIXELS: _left(true * canvas / GRID, answered),
    }
    order = min(
        (o for o in Order if left[o] < CLOSE and 3 * left[o] < left[Order.GRID]),
        key=left.__getitem__,
        default=Order.GRID,
    )
    (x_offset, x_scale), (y_offset, y_scale) = (_line(true[:, axis], answered[:, axis]) for axis in (0, 1))
    offset, scale = (x_offset, y_offset), (x_scale, y_scale)
    return Fit(order, offset, scale, _left(true * scale + offset, answered), len(true))


def _line(true: Floats, answered: Floats) -> Pair:
    """(offset, scale) of one axis."""
    from scipy.stats import theilslopes  # takes long to import, and a node seldom needs it

    there = np.isfinite(answered)
    true, answered = true[there], answered[there]
    if len(true) < FEWEST or np.ptp(true) == 0:
        return nan, nan
    scale, offset, low, high = theilslopes(answered, true, method="joint")
    if low <= 1.0 <= high:
        return float(np.median(answered - true)), 1.0
    return float(offset), float(scale)


def _left(expected: Floats, answered: Floats) -> float:
    gaps = np.abs(answered - expected)
    return float(np.median(gaps[np.isfinite(gaps)])) if np.isfinite(gaps).any() else nan


def _centres(answers: Sequence[Answer]) -> tuple[Floats, Floats, Floats]:
    """(boxes, 2) each: true and answered centres, NaN where a side may have been clipped, and the canvas in pixels.

    Centres, since boxes that are all too wide or too narrow are not moved.
    """
    true, answered, canvas = [], [], []
    for answer in answers:
        if answer.placement is None:
            continue
        sides = np.array(answer.placement.source * 2, dtype=np.float64)
        for pair in answer.pairs:
            if pair.answer is None:
                continue
            box = np.array(pair.answer.box.corners)
            grid = np.array(answer.placement.to_model(pair.answer.box))
            grid[(box <= _BORDER) | (box >= sides - _BORDER)] = nan
            true.append(_centre(np.array(answer.placement.to_model(pair.target.box))))
            answered.append(_centre(grid))
            canvas.append(np.array(answer.placement.canvas, dtype=np.float64))
    shape = (len(true), 2)
    return np.reshape(true, shape), np.reshape(answered, shape), np.reshape(canvas, shape)


def _centre(corners: Floats) -> Floats:
    centre: Floats = 0.5 * (corners[:2] + corners[2:])
    return centre

"""What an object looks like: the colours in its box that its surroundings do not have.

They choose where flow is measured, tell a box that still holds its object from one that does not, and help to
recognise the object in the next keyframe.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

from qwenvl_ros.geometry.colours import Histogram, histogram, numbers
from qwenvl_ros.types import Box, Image

Mask = NDArray[np.bool_]

_AROUND = 0.3  # of a box's longer side: the margin that counts as its surroundings
_DISTINCT = 2.0  # a colour is the object's own where it is so many times more frequent than around it
_LEAST_SHARE = 0.1  # of a box that must be of such colours, or all of its colours are taken for the object's
_SAMPLES = 4096  # pixels of a box that are looked at, about


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """Colours of one object (geometry.colours).

    own: (COLOURS,) bool, those taken for the object's. frequency: (COLOURS,) float64, how the object's pixels divide
    among them, sum 1. share: of the box's pixels that have one of them, [0, 1].
    """

    own: Mask
    frequency: Histogram
    share: float


def looks_of(image: Image, box: Box) -> Looks:
    """What the object in a box, pixels of an (H, W, 3) uint8 RGB image, looks like; the box reaches into the image."""
    margin = _AROUND * max(box.width, box.height)
    wide = Box(box.x_min - margin, box.y_min - margin, box.x_max + margin, box.y_max + margin)
    colours, (top, left, step) = _sampled(image, wide)
    inside = np.zeros(colours.shape, dtype=bool)
    rows = slice(max(round((box.y_min - top) / step), 0), max(round((box.y_max - top) / step), 1))
    columns = slice(max(round((box.x_min - left) / step), 0), max(round((box.x_max - left) / step), 1))
    inside[rows, columns] = True
    within, around = histogram(colours[inside]), histogram(colours[~inside])
    within /= max(within.sum(), 1e-9)
    around /= max(around.sum(), 1e-9)
    own = within > _DISTINCT * around
    share = float(own[colours[inside]].mean()) if inside.any() else 0.0
    if share < _LEAST_SHARE:
        own = within > 0
        share = 1.0
    frequency = np.where(own, within, 0.0)
    return Looks(own, frequency / max(frequency.sum(), 1e-9), share)


def share(looks: Looks, image: Image, box: Box) -> float:
    """Share of a box's pixels in an image that have the object's colours, [0, 1]; 0 where the box is outside."""
    colours, _ = _sampled(image, box)
    return float(looks.own[colours].mean()) if colours.size else 0.0


def difference(one: Looks, other: Looks) -> float:
    """Hellinger distance of the colours of two objects, [0, 1]; about 0.2 between two views of the same one."""
    return sqrt(max(0.0, 1.0 - float(np.sqrt(one.frequency * other.frequency).sum())))


def _sampled(image: Image, box: Box) -> tuple[NDArray[np.int32], tuple[int, int, int]]:
    """Colours of every n-th pixel in the part of a box that lies in the image; its first row and column, and n."""
    height, width = image.shape[:2]
    top, bottom = (int(np.clip(round(v), 0, height)) for v in (box.y_min, box.y_max))
    left, right = (int(np.clip(round(v), 0, width)) for v in (box.x_min, box.x_max))
    step = max(1, ceil(sqrt((bottom - top) * (right - left) / _SAMPLES)))
    part = image[top:bottom:step, left:right:step]
    return (numbers(part) if part.size else np.zeros(part.shape[:2], np.int32)), (top, left, step)

"""The objects of a keyframe made ready to be followed: what they look like, and where flow is measured."""

from __future__ import annotations

from collections.abc import Sequence
from math import dist

import cv2
import numpy as np

from qwenvl_ros.geometry import view_of
from qwenvl_ros.geometry.colours import numbers
from qwenvl_ros.tracking.flow import FEWEST, Flags, Grey, Points, corners
from qwenvl_ros.tracking.looks import Looks, looks_of
from qwenvl_ros.types import Box, Frame, SceneObject

_SAME_BOX = 0.85  # intersection over union of two boxes on the same object
_EDGE = np.ones((3, 3), np.uint8)  # so that corners of the silhouette are taken in


def all_looks(objects: Sequence[SceneObject], frame: Frame) -> list[Looks]:
    """What each object looks like."""
    return [looks_of(frame.image, each.box) for each in objects]


def all_points(
    objects: Sequence[SceneObject], looks: Sequence[Looks], frame: Frame, grey: Grey
) -> list[Points]:
    """Where each object can be followed: corners of its own colours that nothing nearer lies over.

    Where these are too few, those of its own colours, and else all in its box.
    """
    image = frame.image
    if grey.shrink > 1:
        height, width = grey.pixels.shape
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
    colours = numbers(image)
    found = []
    for index, (each, look) in enumerate(zip(objects, looks, strict=True)):
        box = _window(each.box, grey)
        own: Flags = np.zeros(colours.shape, dtype=bool)
        own[box] = look.own[colours[box]]
        own = cv2.dilate(own.view(np.uint8), _EDGE).astype(bool)
        free = own.copy()
        for other in _nearer(index, objects, frame):
            free[_window(other, grey)] = False
        every = np.zeros_like(own)
        every[box] = True
        tried = (corners(grey, each.box, where) for where in (free, own, every))
        found.append(next((points for points in tried if len(points) > FEWEST), np.zeros((0, 2), np.float32)))
    return found


def _window(box: Box, grey: Grey) -> tuple[slice, slice]:
    rows = slice(round(box.y_min / grey.shrink), round(box.y_max / grey.shrink))
    columns = slice(round(box.x_min / grey.shrink), round(box.x_max / grey.shrink))
    return rows, columns


def _nearer(index: int, objects: Sequence[SceneObject], frame: Frame) -> list[Box]:
    """Boxes of objects that lie over another one's and are nearer, or lower in the image where depth is unknown."""
    mine, eye = objects[index], view_of(frame).viewpoint.tolist()
    boxes = []
    for other in objects:
        if other is mine or not mine.box.intersection(other.box) or mine.box.iou(other.box) > _SAME_BOX:
            continue
        if mine.position is not None and other.position is not None:
            nearer = dist(other.position, eye) < dist(mine.position, eye)
        else:
            nearer = other.box.y_max > mine.box.y_max
        if nearer:
            boxes.append(other.box)
    return boxes

"""Cameras that hang upside down or are mounted on their side: a frame as a camera that stands upright would see it.

What lies on what, where a hidden thing goes on and what the border cuts off above is judged in the image, rows being
heights there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from qwenvl_ros.geometry.camera import FISHEYE
from qwenvl_ros.types import Box, Frame, Intrinsics, Pose

_PLAIN = 0.3  # least share of up that lies in the image: a camera that looks straight down has no upright
_TANGENTIAL = 8  # coefficients up to which the lens models are those with p1 and p2 alone
_TURN = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # what was right comes up


def upright(frame: Frame, boxes: Sequence[Box]) -> tuple[Frame, list[Box]]:
    """The frame and boxes in its image, turned by the quarters that bring the pose's up nearest to the image's.

    Positions in the reference frame are the same. Unchanged without a pose.
    """
    found = list(boxes)
    for _ in range(_quarters(frame)):
        width = float(frame.width)
        found = [Box(box.y_min, width - box.x_max, box.y_max, width - box.x_min) for box in found]
        frame = _turned(frame)
    return frame, found


def _quarters(frame: Frame) -> int:
    """Turns to the left, 0..3."""
    lens = frame.intrinsics
    if frame.pose is None or (lens is not None and len(lens.distortion) > _TANGENTIAL):
        return 0
    right, down, _ = frame.pose.rotation[2].tolist()  # up, in the optical frame
    if np.hypot(right, down) < _PLAIN:
        return 0
    return int(np.argmax([-down + 0.05, right, down, -right]))  # as it is, where it is as good


def _turned(frame: Frame) -> Frame:
    """By a quarter to the left."""
    lens, pose = frame.intrinsics, frame.pose
    return replace(
        frame,
        image=np.ascontiguousarray(np.rot90(frame.image)),
        depth=None if frame.depth is None else np.ascontiguousarray(np.rot90(frame.depth)),
        intrinsics=None if lens is None else _turned_lens(lens),
        pose=None if pose is None else Pose(pose.rotation @ _TURN.T, pose.translation),
    )


def _turned_lens(lens: Intrinsics) -> Intrinsics:
    distortion = lens.distortion
    if len(distortion) >= 4 and lens.distortion_model not in FISHEYE:
        first, second, p1, p2, *rest = distortion
        distortion = (first, second, -p2, p1, *rest)
    return Intrinsics(
        width=lens.height,
        height=lens.width,
        fx=lens.fy,
        fy=lens.fx,
        cx=lens.cy,
        cy=lens.width - lens.cx,
        distortion_model=lens.distortion_model,
        distortion=distortion,
    )

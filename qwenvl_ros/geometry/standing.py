"""Where things end below and above, and on what they would stand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qwenvl_ros.geometry.camera import Floats, apply, project, view_of
from qwenvl_ros.geometry.extents import footing
from qwenvl_ros.geometry.lifting import Lifted
from qwenvl_ros.types import Frame, Intrinsics

_LEVEL = (
    0.005  # metres by which a thing may seem to reach down into what it stands on; at least 3 sigma of depth
)
_OVER = 0.3  # share of the footprint that is enough to stand on a thing
_BROAD = 10.0  # footprints that a thing must be broad to be taken for a table: over a block the table's plane holds


def ends(lifted: Sequence[Lifted | None], frame: Frame) -> Floats:
    """(N, 2, 3): low and high corner of each object in columns right, forward, up of the frame's view, metres.

    NaN for what was not lifted.
    """
    axes = view_of(frame).axes()
    corners = np.full((len(lifted), 2, 3), np.nan)
    for index, surface in enumerate(lifted):
        if surface is not None:
            middle, half = axes @ surface.position, np.abs(axes) @ surface.size / 2
            corners[index] = middle - half, middle + half
    return corners


def over(corners: Floats) -> NDArray[np.bool_]:
    """(N, N): whether enough of the first's footprint is over the second's to stand on it. corners: of `ends`."""
    enough: NDArray[np.bool_] = footing(corners[:, 0], corners[:, 1]) >= _OVER
    return enough


def feet(lifted: Sequence[Lifted | None], corners: Floats, frame: Frame, camera: Intrinsics) -> list[float]:
    """Row of the depth image, pixels, where the front of each object would meet what is below it; NaN = not known.

    That is the plane below it (`Lifted.foot`) or a broad object that it is over, such as a table that was asked for.

    Args:
        corners: of `ends`. camera: of the depth image.
    """
    up = view_of(frame).axes()[2]
    down = -up if frame.pose is None else -up @ frame.pose.rotation  # in the optical frame
    low, high = corners[:, 0], corners[:, 1]
    floor = (high - low)[:, :2].prod(axis=1)
    broad = over(corners) & (floor[None, :] >= _BROAD * floor[:, None])
    found: list[float] = []
    for index, surface in enumerate(lifted):
        if surface is None:
            found.append(np.nan)
            continue
        under = broad[index] & (high[:, 2] <= low[index, 2] + max(_LEVEL, 3 * surface.sigma))
        under[index] = False
        if not under.any():
            found.append(surface.foot)
            continue
        front = np.asarray(surface.front)
        fall = float(up @ apply(frame.pose, front)) - float(high[under, 2].max())
        row = project(camera, [front + fall * down])[0, 1]
        found.append(float(np.fmin(row, surface.foot)))
    return found

"""Depth of a camera of its own laid onto the picture of another, as depth_image_proc's register node does."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from qwenvl_ros.geometry.camera import Floats, apply, deproject, project, scaled
from qwenvl_ros.types import Depth, Intrinsics, Pose

_BEYOND = (
    0.1  # of the picture's field: rays farther out are not projected, a lens model may fold them back in
)


def registered(depth: Depth, lens: Intrinsics, place: Pose | None, onto: Intrinsics) -> Depth:
    """(h, w) float32, metres: the depth that a camera with `onto`'s lens sees in the picture's place; NaN = none known.

    Each measured point is put into the four pixels around it and the nearest one counts, which closes the gaps
    between neighbours and widens near things by up to a pixel. It has onto's view, in pixels no finer than depth's.

    Args:
        depth: (H, W) float32, metres along its own optical axis.
        lens: the depth's camera, of any size with its aspect.
        place: of the depth's optical frame in the picture's; None = the same.
        onto: the picture's camera.
    """
    height, width = depth.shape
    seen = scaled(lens, width, height)
    share = min(1.0, seen.fx / onto.fx, seen.fy / onto.fy)
    view = scaled(onto, max(1, round(onto.width * share)), max(1, round(onto.height * share)))
    z = depth.ravel()
    known = np.isfinite(z) & (z > 0)
    points = apply(place, _rays(seen)[known] * z[known, None].astype(np.float64))
    points = points[_within(points, view)]
    corner = np.floor(project(view, points) - 0.5).astype(np.int64)
    laid = np.full(view.height * view.width, np.inf)
    for step in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = (corner + step).T
        inside = (x >= 0) & (x < view.width) & (y >= 0) & (y < view.height)
        np.minimum.at(laid, y[inside] * view.width + x[inside], points[inside, 2])
    laid[np.isinf(laid)] = np.nan
    return laid.reshape(view.height, view.width).astype(np.float32)


@lru_cache(maxsize=16)
def _rays(lens: Intrinsics) -> Floats:
    """(H * W, 3): the point at a depth of 1 m of every pixel."""
    rows, columns = np.mgrid[: lens.height, : lens.width] + 0.5
    return deproject(lens, np.column_stack([columns.ravel(), rows.ravel()]), np.ones(rows.size))


def _within(points: Floats, view: Intrinsics) -> np.ndarray:
    """Which points lie in front of the camera and in its field or just beside it."""
    low, high = _field(view)
    with np.errstate(divide="ignore", invalid="ignore"):
        flat = points[:, :2] / points[:, 2:]
    inside: np.ndarray = (points[:, 2] > 0) & ((flat > low) & (flat < high)).all(axis=1)
    return inside


@lru_cache(maxsize=16)
def _field(view: Intrinsics) -> tuple[Floats, Floats]:
    """Least and greatest x / z and y / z that the picture shows, each (2,), with a margin."""
    x, y = np.linspace(0, view.width, 33), np.linspace(0, view.height, 33)
    border = np.concatenate(
        [np.column_stack([x, np.full(33, edge)]) for edge in (0.0, float(view.height))]
        + [np.column_stack([np.full(33, edge), y]) for edge in (0.0, float(view.width))]
    )
    flat = deproject(view, border, np.ones(len(border)))[:, :2]
    low, high = np.nanmin(flat, axis=0), np.nanmax(flat, axis=0)
    return low - _BEYOND * (high - low), high + _BEYOND * (high - low)

"""Depth of a camera of its own laid onto the picture of another, as depth_image_proc's register node does."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from qwenvl_ros.geometry.camera import Planes, bent, deproject, project, rays, scaled
from qwenvl_ros.types import Depth, Intrinsics, Pose

_BENT = 12  # most coefficients that bent() takes
# Share of the picture's field beyond which rays are not projected: a lens model may fold them back in.
_BEYOND = 0.1


def registered(depth: Depth, lens: Intrinsics, place: Pose | None, onto: Intrinsics) -> Depth:
    """(h, w) float32, metres: the depth that a camera with `onto`'s lens sees in the picture's place; NaN = none known.

    Of the points that fall into one pixel the nearest counts; a pixel that none falls into takes the nearest of its
    neighbours, which closes the gaps between them. It has onto's view, in pixels no finer than depth's.

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
    turn, shift = (np.eye(3), np.zeros(3)) if place is None else (place.rotation, place.translation)
    turned = _turned(seen, np.asarray(turn, np.float64).tobytes())
    far = np.where(depth > 0, depth, np.nan)  # infinity becomes NaN in the products
    x, y, z = (ray * far + np.float32(along) for ray, along in zip(turned, shift, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = _projected(x, y, z, view)
        inside = (z > 0) & (u >= 0) & (u < view.width) & (v >= 0) & (v < view.height)
    pixel = v[inside].astype(np.int32) * view.width + u[inside].astype(np.int32)
    laid = np.full((view.height, view.width), np.inf, np.float32)
    np.minimum.at(laid.ravel(), pixel, z[inside])
    near = cv2.erode(laid, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    laid = np.where(np.isinf(laid), near, laid)
    laid[np.isinf(laid)] = np.nan
    return laid


@lru_cache(maxsize=16)
def _turned(lens: Intrinsics, rotation: bytes) -> Planes:
    """x, y and z, (3, H, W), of the point at a depth of 1 m of every pixel, turned by a (3, 3) float64 rotation."""
    turned = np.frombuffer(rotation).reshape(3, 3) @ rays(lens).reshape(-1, 3).T
    return turned.astype(np.float32).reshape(3, lens.height, lens.width)


def _projected(x: Planes, y: Planes, z: Planes, view: Intrinsics) -> tuple[Planes, Planes]:
    """Pixels of the points; NaN outside of the field of a lens with distortion."""
    if not view.distortion:
        return (
            np.float32(view.fx) * x / z + np.float32(view.cx),
            np.float32(view.fy) * y / z + np.float32(view.cy),
        )
    (left, top), (right, bottom) = _field(view)
    seen = (z > 0) & (x > left * z) & (x < right * z) & (y > top * z) & (y < bottom * z)
    u, v = np.full((2, *x.shape), np.nan, np.float32)
    x, y, z = x[seen], y[seen], z[seen]
    if len(view.distortion) > _BENT:
        u[seen], v[seen] = project(view, np.column_stack([x, y, z])).T
    else:
        across, down = bent(view, x / z, y / z)
        u[seen], v[seen] = view.fx * across + view.cx, view.fy * down + view.cy
    return u, v


@lru_cache(maxsize=16)
def _field(view: Intrinsics) -> tuple[list[float], list[float]]:
    """Least and greatest (x / z, y / z) that the picture shows, with a margin."""
    # Not the border alone: no ray leads to that of a round fisheye picture.
    x, y = np.meshgrid(np.linspace(0, view.width, 33), np.linspace(0, view.height, 33))
    flat = deproject(view, np.column_stack([x.ravel(), y.ravel()]), np.ones(x.size))[:, :2]
    low, high = np.nanmin(flat, axis=0), np.nanmax(flat, axis=0)
    margin = _BEYOND * (high - low)
    return (low - margin).tolist(), (high + margin).tolist()

"""The large planes around objects: table, floor, walls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qwenvl_ros.geometry.camera import Floats, pixel_points, rays
from qwenvl_ros.types import Depth, Intrinsics

Window = tuple[slice, slice]

_PLANE_SHARE = 0.15  # of the sampled surroundings that a plane must hold
_PLANES = 3
_TRIALS = 60
_SAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Plane:
    """normal @ p + offset is the height over the plane, metres, in the optical frame; the camera is above it."""

    normal: Floats
    offset: float
    tolerance: float  # metres; what lies lower is the plane itself


def slopes(camera: Intrinsics, part: Window, planes: Sequence[Plane]) -> list[Depth]:
    """For each plane (h, w) float32: height towards it per metre of depth, for every pixel of a part of the image."""
    rows, columns = (np.arange(each.start, each.stop) + 0.5 for each in part)
    if not any(camera.distortion):
        x, y = (columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy
        return [
            ((p.normal[0] * x)[None, :] + (p.normal[1] * y + p.normal[2])[:, None]).astype(np.float32)
            for p in planes
        ]
    return [rays(camera)[part] @ p.normal.astype(np.float32) for p in planes]


def planes_around(
    depth: Depth, windows: Sequence[Window], camera: Intrinsics, noise: float, left: float
) -> tuple[Plane, ...]:
    """The largest planes of the surroundings of the boxes, by RANSAC with a fixed seed.

    noise: of this depth, left: of the depth that is compared with the planes, both as a share of depth.
    """
    outside = np.isfinite(depth)
    for window in windows:
        outside[window] = False
    around = np.flatnonzero(outside)
    if len(around) < 200:
        return ()
    rng = np.random.default_rng(0)
    rows, columns = np.divmod(rng.choice(around, min(_SAMPLES, len(around))), depth.shape[1])
    rest = pixel_points(camera, rows, columns, depth[rows, columns])
    rest = rest[np.isfinite(rest).all(axis=1)]
    enough = _PLANE_SHARE * len(rest)
    planes: list[Plane] = []
    while len(planes) < _PLANES and len(rest) > max(enough, 50):
        width = np.maximum(0.004, max(0.005, 3.0 * noise) * rest[:, 2])
        a, b, c = (rest[rng.integers(len(rest), size=_TRIALS)] for _ in range(3))
        normals = np.cross(b - a, c - a)
        length = np.linalg.norm(normals, axis=1)
        good = length > 1e-9
        if not good.any():
            break
        normals, a = normals[good] / length[good, None], a[good]
        close = np.abs(rest @ normals.T - (normals * a).sum(axis=1)) < width[:, None]
        inliers = close[:, int(np.argmax(close.sum(axis=0)))]
        for _ in range(2):
            middle = rest[inliers].mean(axis=0)
            normal = np.linalg.svd(rest[inliers] - middle, full_matrices=False)[2][2]
            inliers = np.abs((rest - middle) @ normal) < width
        if inliers.sum() < enough:
            break
        offset = -float(normal @ middle)
        sign = 1.0 if offset > 0 else -1.0  # the camera is at the origin
        tolerance = max(0.004, max(0.005, 3.0 * left) * float(np.median(rest[inliers, 2])))
        planes.append(Plane(normal * sign, offset * sign, tolerance))
        rest = rest[~inliers]
    return tuple(planes)

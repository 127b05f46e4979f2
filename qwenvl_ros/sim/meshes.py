"""Unit meshes of the tabletop's shapes: z from 0 to 1, x and y within a disc (the cube: a square) of diameter 1.

A mesh is scaled by (sx, sy, sz) metres, then rotated and moved. The hollow ones (mug, bowl) have walls,
so that things can lie inside and the far wall is seen from above.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SEGMENTS = 36


@dataclass(frozen=True)
class Mesh:
    """Triangles: vertices (V, 3), normals (V, 3), faces (F, 3) counter-clockwise seen from outside."""

    vertices: Floats
    normals: Floats
    faces: NDArray[np.int32]


def _strips(rows: Floats, normals: Floats, closed: bool) -> Mesh:
    """Rows (R, S, 3) of points joined into quads; `closed` joins the last column to the first."""
    r, s, _ = rows.shape
    index = np.arange(r * s).reshape(r, s)
    right = np.roll(index, -1, axis=1) if closed else index[:, 1:]
    left = index if closed else index[:, :-1]
    a, b, c, d = left[:-1], right[:-1], right[1:], left[1:]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    points = rows.reshape(-1, 3)
    corners = points[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return Mesh(points, normals.reshape(-1, 3), faces[area > 1e-12].astype(np.int32))


def _join(*parts: Mesh) -> Mesh:
    offsets = np.cumsum([0] + [len(p.vertices) for p in parts[:-1]])
    return Mesh(
        np.concatenate([p.vertices for p in parts]),
        np.concatenate([p.normals for p in parts]),
        np.concatenate([p.faces + np.int32(o) for p, o in zip(parts, offsets, strict=True)]),
    )


def _smooth(profile: Floats, bend: float = 40.0) -> list[Floats]:
    """Split a polyline where it bends by more than `bend` degrees, so that edges stay sharp."""
    step = np.diff(profile, axis=0)
    angle = np.arctan2(step[:, 1], step[:, 0])
    turn = np.abs((np.diff(angle) + np.pi) % (2 * np.pi) - np.pi)
    cuts = [0, *(np.flatnonzero(turn > np.radians(bend)) + 1), len(profile) - 1]
    return [profile[i : j + 1] for i, j in pairwise(cuts)]


def lathe(profile: Floats) -> Mesh:
    """Turn a profile of (radius, z), outside first from the bottom axis upwards, about the z axis."""
    angle = np.linspace(0, 2 * np.pi, SEGMENTS, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], -1)
    parts = []
    for run in _smooth(profile):
        tangent = np.gradient(run, axis=0)
        normal = np.stack([tangent[:, 1], -tangent[:, 0]], -1)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        rows = np.concatenate(
            [run[:, None, :1] * ring, np.broadcast_to(run[:, None, 1:], (len(run), SEGMENTS, 1))], -1
        )
        normals = np.concatenate(
            [normal[:, None, :1] * ring, np.broadcast_to(normal[:, None, 1:], (len(run), SEGMENTS, 1))], -1
        )
        parts.append(_strips(rows, normals, closed=True))
    return _join(*parts)


def _arc(
    radius: tuple[float, float], centre: tuple[float, float], start: float, stop: float, n: int
) -> Floats:
    angle = np.radians(np.linspace(start, stop, n))
    return np.stack([centre[0] + radius[0] * np.cos(angle), centre[1] + radius[1] * np.sin(angle)], -1)


MUG_BODY = 0.31  # radius of the mug's body; the handle takes the rest of the unit disc


@cache
def profile(shape: str) -> Floats:
    """(N, 2) outline (radius, z) of a turned shape, from the bottom axis over the outside to the axis."""
    if shape == "sphere":
        return _arc((0.5, 0.5), (0.0, 0.5), -90, 90, 19)
    if shape == "cylinder":
        return np.array([(0, 0), (0.48, 0), (0.5, 0.02), (0.5, 0.98), (0.48, 1), (0, 1)], float)
    if shape == "cone":
        return np.array(
            [(0, 0), (0.5, 0), (0.375, 0.25), (0.25, 0.5), (0.125, 0.75), (0.01, 0.99), (0, 1)], float
        )
    if shape == "mug":
        r = MUG_BODY
        return np.array(
            [(0, 0), (r - 0.03, 0), (r, 0.04), (r, 1), (r - 0.045, 1), (r - 0.045, 0.1), (0, 0.1)], float
        )
    if shape == "bottle":
        shoulder = _arc((0.32, 0.2), (0.18, 0.5), 0, 90, 8)
        return np.concatenate(
            [[(0, 0), (0.47, 0), (0.5, 0.02)], shoulder, [(0.18, 0.88), (0.24, 0.88), (0.24, 1), (0, 1)]]
        )
    if shape == "bowl":
        outside = _arc((0.5, 0.94), (0.0, 1.0), -62, 0, 12)
        inside = _arc((0.455, 0.86), (0.0, 1.0), 0, -90, 14)
        foot = np.array([(0, 0), (outside[0, 0], 0)], float)
        return np.concatenate([foot, outside, inside])
    raise ValueError(f"{shape!r} is not a turned shape")


def cavity(radius: Floats) -> Floats:
    """Height of the unit bowl's inner surface at these radii; inf beyond the rim."""
    inside = np.abs(radius) < 0.455
    share = np.where(inside, radius / 0.455, 0.0)
    return np.where(inside, 1.0 - 0.86 * np.sqrt(1.0 - share**2), np.inf)


def _cube() -> Mesh:
    vertices: list[Floats] = []
    normals: list[Floats] = []
    faces: list[tuple[int, int, int]] = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            n = np.zeros(3)
            n[axis] = sign
            u, v = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
            base = len(vertices)
            for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
                vertices.append(0.5 * (n + a * u + b * v) + (0, 0, 0.5))
                normals.append(n)
            faces += [(base, base + 1, base + 2), (base, base + 2, base + 3)]
    return Mesh(np.array(vertices), np.array(normals), np.array(faces, np.int32))


def _handle() -> Mesh:
    """Half a flattened torus on the mug's +x side."""
    along = np.radians(np.linspace(-90, 90, 13))
    around = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    arm, thick = (0.165, 0.29), 0.045
    centre = MUG_BODY - 0.02  # the ends stay within the wall
    out = np.stack([np.cos(along), np.zeros_like(along), np.sin(along)], -1)
    spine = np.stack(
        [centre + arm[0] * np.cos(along), np.zeros_like(along), 0.52 + arm[1] * np.sin(along)], -1
    )
    normals = np.cos(around)[None, :, None] * out[:, None] + np.sin(around)[None, :, None] * np.array(
        [0.0, 1.0, 0.0]
    )
    return _strips(spine[:, None] + thick * normals, normals, closed=True)


@cache
def mesh(shape: str) -> Mesh:
    """The unit mesh of a shape; faces wind so that they agree with the normals."""
    if shape == "cube":
        made = _cube()
    elif shape == "mug":
        made = _join(lathe(profile("mug")), _handle())
    else:
        made = lathe(profile(shape))
    a, b, c = (made.vertices[made.faces[:, i]] for i in range(3))
    flip = np.einsum("ij,ij->i", np.cross(b - a, c - a), made.normals[made.faces].sum(1)) < 0
    faces = made.faces.copy()
    faces[flip] = faces[flip][:, ::-1]
    return Mesh(made.vertices, made.normals, faces)

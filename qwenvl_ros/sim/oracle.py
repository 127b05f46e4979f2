"""True relations of a scene, from exact geometry: what relations.py is measured against, so written apart from it.

Plain scalar rules on whole things in the world frame (x forward, y left, z up), with the default
thresholds. `near` and `touching` use the distance between surfaces, not between boxes; `on` and `inside` are
known from how the scene was built; `occludes` counts pixels. Only TRUE relations are listed, with GEOMETRY_3D as
source, confidence 1 and the signed gap in metres; one direction of each converse pair.
"""

from __future__ import annotations

from functools import cache
from math import dist, nan

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from qwenvl_ros.sim.layout import Layout, Thing
from qwenvl_ros.sim.meshes import mesh
from qwenvl_ros.sim.truth import TrueObject, Truth
from qwenvl_ros.types import Relation, Source, Vector
from qwenvl_ros.types import Truth as Value

WORLD = "world"
SLACK = 0.1  # left_of, above: allowed overlap as a share of the narrower extent
RANGE_GAP = 0.05  # in_front_of, metres
OVERLAP = 0.3  # above: share of the upper footprint over the lower one
INSIDE = 0.8  # inside: share of the extent
NEAR, TOUCHING = 0.3, 0.02  # metres between surfaces
HIDDEN = 0.05  # occludes: share of the amodal pixels


def relations(layout: Layout, found: Truth) -> list[Relation]:
    """Every true relation between things of which at least one pixel is visible; ids are TrueObject.id."""
    seen = [o for o in found.objects if o.visible_pixels]
    eye = found.pose.translation.tolist()
    clouds = {o.index: _surface(layout.things[o.index]) for o in seen}
    listed: list[Relation] = []

    def state(a: TrueObject, predicate: str, b: TrueObject, gap: float) -> None:
        listed.append(Relation(a.id, predicate, b.id, Value.TRUE, 1.0, gap, Source.GEOMETRY_3D, WORLD))

    for a in seen:
        thing = layout.things[a.index]
        for b in seen:
            if a is b:
                continue
            # Right is -y: the right edge of a against the left edge of b.
            beside = _low(a, 1) - _high(b, 1)
            if beside > -SLACK * min(a.size[1], b.size[1]):
                state(a, "left_of", b, beside)
            rise = _low(a, 2) - _high(b, 2)
            if rise > -SLACK * min(a.size[2], b.size[2]) and _footing(a, b) > OVERLAP:
                state(a, "above", b, rise)
            ahead = dist(b.position, eye) - dist(a.position, eye)
            if ahead > RANGE_GAP:
                state(a, "in_front_of", b, ahead)
            if thing.support == b.index and not thing.contained:
                state(a, "on", b, rise)
            if thing.support == b.index and thing.contained and _shared(a, b) > INSIDE:
                state(a, "inside", b, min(_low(a, 2) - _low(b, 2), _high(b, 2) - _high(a, 2)))
            if b.hidden.get(a.index, 0.0) > HIDDEN:
                state(a, "occludes", b, ahead)
            if a.index < b.index:
                gap = float(clouds[a.index].query(clouds[b.index].data, distance_upper_bound=NEAR)[0].min())
                if gap < NEAR:
                    state(a, "near", b, gap)
                if gap < TOUCHING:
                    state(a, "touching", b, gap)
        carries = any(
            layout.things[o.index].support == a.index and not layout.things[o.index].contained for o in seen
        )
        if not carries:
            state(a, "clear", a, nan)
    return listed


def _low(thing: TrueObject, axis: int) -> float:
    return thing.position[axis] - thing.size[axis] / 2


def _high(thing: TrueObject, axis: int) -> float:
    return thing.position[axis] + thing.size[axis] / 2


def _overlap(a: TrueObject, b: TrueObject, axis: int) -> float:
    """Share of a's extent along one axis that lies within b's."""
    length = min(_high(a, axis), _high(b, axis)) - max(_low(a, axis), _low(b, axis))
    return max(length, 0.0) / a.size[axis]


def _footing(a: TrueObject, b: TrueObject) -> float:
    return _overlap(a, b, 0) * _overlap(a, b, 1)


def _shared(a: TrueObject, b: TrueObject) -> float:
    return _footing(a, b) * _overlap(a, b, 2)


@cache
def _samples(shape: str, size: Vector) -> NDArray[np.float64]:
    """Points about 8 mm apart on the scaled mesh, in its own axes: gaps of 2 cm come out right to half a millimetre."""
    unit = mesh(shape)
    a, b, c = (unit.vertices[unit.faces[:, i]] * size for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    rng = np.random.default_rng(0)
    face = rng.choice(len(area), int(area.sum() / 0.008**2) + 1, p=area / area.sum())
    u, v = np.sqrt(rng.random(len(face)))[:, None], rng.random(len(face))[:, None]
    points: NDArray[np.float64] = (1 - u) * a[face] + u * (1 - v) * b[face] + u * v * c[face]
    return np.concatenate([points, unit.vertices * size])


def _surface(thing: Thing) -> cKDTree:
    return cKDTree(_samples(thing.shape, thing.size) @ thing.rotation.T + thing.position)

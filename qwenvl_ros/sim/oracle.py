"""True relations of a scene, from exact geometry: what relations.py is measured against, so written apart from it.

Plain scalar rules on whole things in the world frame (x forward, y left, z up), with the default
thresholds. `near` and `touching` use the distance between surfaces, not between boxes; `on` and `inside` are
known from how the scene was built; `occludes` counts pixels. As relations only TRUE ones are listed, with GEOMETRY_3D
as source, confidence 1 and the signed gap in metres; one direction of each converse pair. As facts all are, and how
far each is from being otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import dist, inf, nan, prod, sqrt

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
OVERLAP = 0.3  # above, on: share of the upper footprint over the lower one
ON_GAP = 0.03  # on: metres between bottom and top
INSIDE = 0.8  # inside: share of the extent
NEAR, TOUCHING = 0.3, 0.02  # metres between surfaces
HIDDEN = 0.05  # occludes: share of the amodal pixels
_FARTHEST = 0.4  # metres; gaps beyond it are infinite


@dataclass(frozen=True, slots=True)
class Fact:
    """Whether a predicate holds of two things (indices into Layout.things; the same twice for clear).

    value: signed gap, metres. margin: how much the extents may be off before the truth would be another, at least
    0: metres, of `occludes` pixels. It is 0 where the way the scene was built and the rule on extents differ.
    """

    subject: int
    predicate: str
    object: int
    holds: bool
    value: float
    margin: float


def relations(layout: Layout, found: Truth) -> list[Relation]:
    """Every true relation between things of which at least one pixel is visible; ids are TrueObject.id."""
    return [
        Relation(
            found.objects[fact.subject].id,
            fact.predicate,
            found.objects[fact.object].id,
            Value.TRUE,
            1.0,
            fact.value,
            Source.GEOMETRY_3D,
            WORLD,
        )
        for fact in facts(layout, found)
        if fact.holds
    ]


def facts(layout: Layout, found: Truth) -> list[Fact]:
    """Every predicate of every pair of things of which at least one pixel is visible, true or not."""
    seen = [o for o in found.objects if o.visible_pixels]
    eye = found.pose.translation.tolist()
    clouds = {o.index: _surface(layout.things[o.index]) for o in seen}
    listed: list[Fact] = []
    for a in seen:
        carried = []
        for b in seen:
            if a is b:
                continue
            listed += _of_pair(layout, a, b, eye)
            carried.append(_on(layout, b, a))
            if a.index < b.index:
                apart = clouds[a.index].query(clouds[b.index].data, distance_upper_bound=_FARTHEST)[0].min()
                for predicate, most in (("near", NEAR), ("touching", TOUCHING)):
                    listed.append(_fact(a, predicate, b, float(apart), most - float(apart)))
        margin = min((fact.margin for fact in carried), default=inf)
        listed.append(Fact(a.index, "clear", a.index, not any(f.holds for f in carried), nan, margin))
    return listed


def facts_in_view(found: Truth) -> list[Fact]:
    """left_of and above as one camera sees whole things; values and margins in pixels."""
    seen = [(o, o.amodal_box) for o in found.objects if o.visible_pixels]
    listed = []
    for a, first in seen:
        for b, second in seen:
            if a is b or first is None or second is None:
                continue
            beside, over = second.x_min - first.x_max, second.y_min - first.y_max
            listed.append(_fact(a, "left_of", b, beside, beside + SLACK * min(first.width, second.width)))
            listed.append(_fact(a, "above", b, over, over + SLACK * min(first.height, second.height)))
    return listed


def _of_pair(layout: Layout, a: TrueObject, b: TrueObject, eye: list[float]) -> Iterator[Fact]:
    # Right is -y: the right edge of a against the left edge of b.
    beside = _low(a, 1) - _high(b, 1)
    yield _fact(a, "left_of", b, beside, beside + SLACK * min(a.size[1], b.size[1]))
    rise = _low(a, 2) - _high(b, 2)
    over = _shared_margin(a, b, (0, 1), OVERLAP)
    yield _fact(a, "above", b, rise, min(rise + SLACK * min(a.size[2], b.size[2]), over))
    ahead = dist(b.position, eye) - dist(a.position, eye)
    yield _fact(a, "in_front_of", b, ahead, ahead - RANGE_GAP)
    yield _on(layout, a, b)
    lies_in = _carries(layout, a, b, contained=True)
    held = min(_low(a, 2) - _low(b, 2), _high(b, 2) - _high(a, 2))
    room = _shared_margin(a, b, (0, 1, 2), INSIDE)
    yield Fact(
        a.index, "inside", b.index, lies_in and room > 0, held, 0.0 if room > 0 and not lies_in else abs(room)
    )
    hidden = (b.hidden.get(a.index, 0.0) - HIDDEN) * sqrt(b.visible_pixels / b.visible_fraction)
    yield _fact(a, "occludes", b, ahead, hidden)


def _on(layout: Layout, a: TrueObject, b: TrueObject) -> Fact:
    stands = _carries(layout, a, b, contained=False)
    rise = _low(a, 2) - _high(b, 2)
    rule = min(ON_GAP - abs(rise), _shared_margin(a, b, (0, 1), OVERLAP))
    return Fact(a.index, "on", b.index, stands, rise, abs(rule) if stands == (rule > 0) else 0.0)


def _fact(a: TrueObject, predicate: str, b: TrueObject, value: float, margin: float) -> Fact:
    """What holds where the margin is positive."""
    return Fact(a.index, predicate, b.index, margin > 0, value, abs(margin))


def _carries(layout: Layout, a: TrueObject, b: TrueObject, *, contained: bool) -> bool:
    """Whether the scene was built with a on b, or in it."""
    thing = layout.things[a.index]
    return thing.support == b.index and thing.contained == contained


def _low(thing: TrueObject, axis: int) -> float:
    return thing.position[axis] - thing.size[axis] / 2


def _high(thing: TrueObject, axis: int) -> float:
    return thing.position[axis] + thing.size[axis] / 2


def _reach(a: TrueObject, b: TrueObject, axis: int) -> float:
    """How far a reaches into b's extent along one axis, metres; negative = the distance between them."""
    return min(_high(a, axis) - _low(b, axis), _high(b, axis) - _low(a, axis))


def _shared(a: TrueObject, b: TrueObject, axes: Sequence[int], further: float = 0.0) -> float:
    """Share of a's extent along some axes that lies within b's, were every reach greater by `further` metres."""
    return prod(min(max(_reach(a, b, axis) + further, 0.0), a.size[axis]) / a.size[axis] for axis in axes)


def _shared_margin(a: TrueObject, b: TrueObject, axes: Sequence[int], least: float) -> float:
    """How much less far a may reach into b for it to share the least of its extent, metres; negative = must reach."""
    reaches = [_reach(a, b, axis) for axis in axes]
    low, high = -max(reaches), max(a.size) - min(reaches)  # with which it shares nothing, and all
    while high - low > 1e-5:
        middle = (low + high) / 2
        low, high = (low, middle) if _shared(a, b, axes, middle) > least else (middle, high)
    return -high


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

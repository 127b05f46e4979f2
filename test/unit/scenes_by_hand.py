"""Scenes made by hand, part by part."""

from __future__ import annotations

from math import nan

from qwenvl_ros.relations import PREDICATES
from qwenvl_ros.types import Box, Relation, Scene, SceneObject, Source, Truth

BOX = Box(0, 0, 10, 10)


def thing(id: str, label: str, visible: float = 1.0, **fields) -> SceneObject:
    return SceneObject(id, label, BOX, visible_fraction=visible, **fields)


def fact(subject, predicate, object_, truth=Truth.TRUE, value=nan, source=Source.GEOMETRY_3D) -> Relation:
    return Relation(subject, predicate, object_, truth, 1.0, value, source, "base")


def scene(*parts, evaluated=PREDICATES, stamp=0, **fields) -> Scene:
    """Objects and relations, in any order."""
    objects = [p for p in parts if isinstance(p, SceneObject)]
    relations = [p for p in parts if isinstance(p, Relation)]
    return Scene(
        "cam",
        stamp,
        "optical",
        640,
        480,
        objects=objects,
        relations=relations,
        evaluated_predicates=evaluated,
        **fields,
    )

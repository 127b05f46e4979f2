"""Scenes as markers for RViz and Foxglove: what is shown, where and in which colour.

A Marker here has the fields of visualization_msgs/Marker that are used; both ends that make messages of it
(ros/conversions, replay) leave the others at their default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from qwenvl_ros.drawing import colours_of
from qwenvl_ros.relations import PREDICATES, UNARY
from qwenvl_ros.types import Occlusion, Relation, Scene, SceneObject, Truth, Vector

LIFETIME_S = 10  # of markers whose node died; a living one replaces them with each scene
# Relations drawn as arrows, each in a namespace of its own, so that a viewer can hide it; `clear` has one end only.
ARROWS = tuple(predicate for predicate in PREDICATES if predicate not in UNARY)
# How solid a box is. The less is seen the fainter; what is not known looks like nothing else.
OPACITY = {
    Occlusion.NONE: 0.8,
    Occlusion.UNKNOWN: 0.6,
    Occlusion.PARTIAL: 0.45,
    Occlusion.HEAVY: 0.3,
    Occlusion.FULL: 0.15,
}
_THINNEST = 0.005  # metres; a flat cube would not be seen
_TEXT_HEIGHT = 0.03  # metres
_ARROW: Vector = (0.004, 0.01, 0.015)  # metres: shaft, head, length of the head

Colour = tuple[float, float, float, float]


class Kind(IntEnum):
    """`type` of visualization_msgs/Marker."""

    ARROW = 0
    CUBE = 1
    TEXT_VIEW_FACING = 9


@dataclass(frozen=True, slots=True)
class Marker:
    """One marker; it is deleted where kind is None, and then only its namespace and number count.

    position, scale, points: metres in frame_id, without rotation. colour: red, green, blue, opacity, 0..1. stamp:
    nanoseconds.
    """

    namespace: str
    number: int
    kind: Kind | None = None
    stamp: int = 0
    frame_id: str = ""
    position: Vector = (0.0, 0.0, 0.0)
    scale: Vector = (0.0, 0.0, 0.0)
    colour: Colour = (0.0, 0.0, 0.0, 0.0)
    points: Sequence[Vector] = ()
    text: str = ""


class MarkerBuilder:
    """Builds the markers of each scene and remembers them, to delete those that are gone.

    Not with DELETEALL, which in some versions of RViz deletes the markers of the other cameras too.
    """

    def __init__(self) -> None:
        self._shown: dict[str, int] = {}

    def of(self, scene: Scene) -> list[Marker]:
        """Cubes, texts and arrows of the objects that have a position, in the scene's reference frame.

        Namespaces are <camera>/boxes: cubes of the objects' extents, the more solid the more is seen; <camera>/texts:
        their id and how much is seen; and <camera>/<predicate>: arrows from subject to object of what is TRUE.
        """
        placed = [(each, each.position) for each in scene.objects if each.position is not None]
        centres = {each.id: position for each, position in placed}
        groups = {
            "boxes": [_box(scene, number, *item) for number, item in enumerate(placed)],
            "texts": [_text(scene, number, *item) for number, item in enumerate(placed)],
            **{predicate: _arrows(scene, predicate, centres) for predicate in ARROWS},
        }
        markers: list[Marker] = []
        for kind, group in groups.items():
            namespace = f"{scene.camera}/{kind}"
            gone = range(len(group), self._shown.get(namespace, 0))
            markers += group + [Marker(namespace, number) for number in gone]
            self._shown[namespace] = len(group)
        return markers

    def clear(self) -> list[Marker]:
        """Deletes every marker that was shown."""
        gone = [
            Marker(namespace, number) for namespace, shown in self._shown.items() for number in range(shown)
        ]
        self._shown.clear()
        return gone


def _frame(scene: Scene) -> str:
    return scene.reference_frame or scene.frame_id


def _box(scene: Scene, number: int, item: SceneObject, position: Vector) -> Marker:
    length, width, height = (max(float(side), _THINNEST) for side in item.size or (0.0, 0.0, 0.0))
    return Marker(
        f"{scene.camera}/boxes",
        number,
        Kind.CUBE,
        scene.stamp,
        _frame(scene),
        position=position,
        scale=(length, width, height),
        colour=_colour(item.id, [each.id for each in scene.objects], OPACITY[item.occlusion]),
    )


def _text(scene: Scene, number: int, item: SceneObject, position: Vector) -> Marker:
    x, y, z = position
    # Without a pose the frame is the camera's optical one, where up is -y.
    up_is_z = scene.reference_frame not in ("", scene.frame_id)
    above = 0.5 * (item.size[2 if up_is_z else 1] if item.size else 0.0) + _TEXT_HEIGHT
    hidden = item.occlusion in (Occlusion.PARTIAL, Occlusion.HEAVY, Occlusion.FULL)
    return Marker(
        f"{scene.camera}/texts",
        number,
        Kind.TEXT_VIEW_FACING,
        scene.stamp,
        _frame(scene),
        position=(x, y, z + above) if up_is_z else (x, y - above, z),
        scale=(0.0, 0.0, _TEXT_HEIGHT),
        colour=(1.0, 1.0, 1.0, 1.0),
        text=f"{item.id} ({item.visible_fraction:.0%} seen)" if hidden else item.id,
    )


def _arrows(scene: Scene, predicate: str, centres: dict[str, Vector]) -> list[Marker]:
    def drawn(relation: Relation) -> bool:
        known = relation.subject_id in centres and relation.object_id in centres
        return known and relation.truth is Truth.TRUE and relation.predicate == predicate

    return [
        Marker(
            f"{scene.camera}/{predicate}",
            number,
            Kind.ARROW,
            scene.stamp,
            _frame(scene),
            scale=_ARROW,
            colour=_colour(predicate, ARROWS, 0.9),
            points=(centres[relation.subject_id], centres[relation.object_id]),
            text=predicate,
        )
        for number, relation in enumerate(filter(drawn, scene.relations))
    ]


def _colour(name: str, among: Sequence[str], opacity: float) -> Colour:
    """The colour that the annotated picture gives the same id among the same."""
    red, green, blue = colours_of(among)[name]
    return (red / 255.0, green / 255.0, blue / 255.0, opacity)

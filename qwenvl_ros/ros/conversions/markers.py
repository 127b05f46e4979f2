"""Scenes as visualization_msgs/MarkerArray for RViz and Foxglove."""

from __future__ import annotations

from collections.abc import Sequence

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from qwenvl_ros.drawing import colours_of
from qwenvl_ros.ros.conversions.camera import to_header
from qwenvl_ros.types import Occlusion, Relation, Scene, SceneObject, Truth, Vector

LIFETIME_S = 10  # of markers whose node died; a living one replaces them with each scene
_SHOWN = (
    "on",
    "inside",
    "touching",
    "occludes",
)  # relations drawn as arrows; all of them would hide the scene
_THINNEST = 0.005  # metres; a flat cube would not be seen
_TEXT_HEIGHT = 0.03  # metres
_ARROW = Vector3(x=0.004, y=0.01, z=0.015)  # metres: shaft, head, length of the head


class MarkerBuilder:
    """Builds the markers of each scene and remembers them, to delete those that are gone.

    Not with DELETEALL, which in some versions of RViz deletes the markers of the other cameras too.
    """

    def __init__(self) -> None:
        self._shown: dict[str, int] = {}

    def of(self, scene: Scene) -> MarkerArray:
        """Cubes, texts and arrows of the objects that have a position, in the scene's reference frame.

        Cubes carry the objects' extents, texts their id and how much is seen, arrows the TRUE relations on, inside,
        touching and occludes.
        """
        placed = [each for each in scene.objects if each.position is not None]
        frame = scene.reference_frame or scene.frame_id
        centres = {each.id: each.position for each in placed if each.position is not None}
        groups = {
            "boxes": [_box(scene, frame, number, item) for number, item in enumerate(placed)],
            "texts": [_text(scene, frame, number, item) for number, item in enumerate(placed)],
            "relations": _arrows(scene, frame, centres),
        }
        markers: list[Marker] = []
        for kind, group in groups.items():
            namespace = f"{scene.camera}/{kind}"
            gone = range(len(group), self._shown.get(namespace, 0))
            markers += group + [Marker(ns=namespace, id=number, action=Marker.DELETE) for number in gone]
            self._shown[namespace] = len(group)
        return MarkerArray(markers=markers)

    def clear(self) -> MarkerArray:
        """Deletes every marker that was shown."""
        gone = [
            Marker(ns=namespace, id=number, action=Marker.DELETE)
            for namespace, shown in self._shown.items()
            for number in range(shown)
        ]
        self._shown.clear()
        return MarkerArray(markers=gone)


def _marker(scene: Scene, frame: str, kind: str, number: int) -> Marker:
    return Marker(
        header=to_header(scene.stamp, frame),
        ns=f"{scene.camera}/{kind}",
        id=number,
        lifetime=Duration(sec=LIFETIME_S),
        pose=Pose(orientation=Quaternion(w=1.0)),
    )


def _box(scene: Scene, frame: str, number: int, item: SceneObject) -> Marker:
    marker = _marker(scene, frame, "boxes", number)
    marker.type = Marker.CUBE
    assert item.position is not None
    marker.pose.position = _point(item.position)
    length, width, height = (max(float(side), _THINNEST) for side in item.size or (0.0, 0.0, 0.0))
    marker.scale = Vector3(x=length, y=width, z=height)
    marker.color = _colour(item.id, [each.id for each in scene.objects], 0.5)
    return marker


def _text(scene: Scene, frame: str, number: int, item: SceneObject) -> Marker:
    marker = _marker(scene, frame, "texts", number)
    marker.type = Marker.TEXT_VIEW_FACING
    assert item.position is not None
    x, y, z = item.position
    above = 0.5 * (item.size[2] if item.size else 0.0) + _TEXT_HEIGHT
    # Without a pose the frame is the camera's optical one, where up is -y.
    up_is_z = scene.reference_frame not in ("", scene.frame_id)
    if not up_is_z:
        above = 0.5 * (item.size[1] if item.size else 0.0) + _TEXT_HEIGHT
    marker.pose.position = _point((x, y, z + above) if up_is_z else (x, y - above, z))
    marker.scale.z = _TEXT_HEIGHT
    hidden = item.occlusion in (Occlusion.PARTIAL, Occlusion.HEAVY, Occlusion.FULL)
    marker.text = f"{item.id} ({item.visible_fraction:.0%} seen)" if hidden else item.id
    marker.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
    return marker


def _arrows(scene: Scene, frame: str, centres: dict[str, Vector]) -> list[Marker]:
    def drawn(relation: Relation) -> bool:
        known = relation.subject_id in centres and relation.object_id in centres
        apart = relation.subject_id != relation.object_id
        return known and apart and relation.truth is Truth.TRUE and relation.predicate in _SHOWN

    arrows = []
    for number, relation in enumerate(filter(drawn, scene.relations)):
        marker = _marker(scene, frame, "relations", number)
        marker.type = Marker.ARROW
        marker.points = [_point(centres[relation.subject_id]), _point(centres[relation.object_id])]
        marker.scale = _ARROW
        marker.color = _colour(relation.predicate, _SHOWN, 0.9)
        marker.text = relation.predicate
        arrows.append(marker)
    return arrows


def _point(vector: Vector) -> Point:
    return Point(x=float(vector[0]), y=float(vector[1]), z=float(vector[2]))


def _colour(name: str, among: Sequence[str], opacity: float) -> ColorRGBA:
    """The colour that the annotated picture gives the same id among the same."""
    red, green, blue = colours_of(among)[name]
    return ColorRGBA(r=red / 255.0, g=green / 255.0, b=blue / 255.0, a=opacity)

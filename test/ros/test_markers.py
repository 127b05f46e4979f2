"""Markers of scenes: what is shown, where, and that nothing stays behind."""

from __future__ import annotations

from dataclasses import replace

from rclpy.serialization import deserialize_message, serialize_message
from visualization_msgs.msg import Marker, MarkerArray

from qwenvl_ros.markers import Kind, MarkerBuilder
from qwenvl_ros.ros.conversions.markers import to_marker_array
from qwenvl_ros.types import Box, Occlusion, Relation, Scene, SceneObject, Source, Truth

BOX = Box(0, 0, 10, 10)
CUBE = SceneObject("cube_1", "cube", BOX, position=(1.0, 2.0, 0.5), size=(0.1, 0.2, 0.3))
MUG = SceneObject("mug_1", "mug", BOX, position=(1.0, 2.0, 0.8), size=(0.1, 0.0, 0.2))
HIDDEN = replace(MUG, id="mug_2", occlusion=Occlusion.HEAVY, visible_fraction=0.4)
FLAT = SceneObject("picture_1", "picture", BOX)


def scene(objects, relations=(), camera="front"):
    return Scene(camera, 5, "optical", 64, 48, "base_link", objects=objects, relations=relations)


def relation(subject, predicate, other, truth=Truth.TRUE):
    return Relation(subject, predicate, other, truth, 0.9, 0.0, Source.GEOMETRY_3D, "base_link")


def shown(markers):
    array = deserialize_message(serialize_message(to_marker_array(markers)), MarkerArray)
    return {(each.ns, each.id): each for each in array.markers}


def test_objects_are_cubes_with_their_names():
    found = shown(MarkerBuilder().of(scene([CUBE, HIDDEN, FLAT])))
    assert set(found) == {(f"front/{kind}", number) for kind in ("boxes", "texts") for number in (0, 1)}
    cube = found["front/boxes", 0]
    assert (cube.type, cube.action, cube.header.frame_id) == (Marker.CUBE, Marker.ADD, "base_link")
    assert (cube.pose.position.x, cube.pose.position.y, cube.pose.position.z) == (1.0, 2.0, 0.5)
    assert (cube.scale.x, cube.scale.y, cube.scale.z) == (0.1, 0.2, 0.3)
    assert cube.lifetime.sec > 0 and cube.header.stamp.nanosec == 5
    assert found["front/boxes", 1].scale.y > 0  # a flat thing can be seen
    text = found["front/texts", 0]
    assert (text.type, text.text) == (Marker.TEXT_VIEW_FACING, "cube_1")
    assert text.pose.position.z > 0.5 + 0.15  # z is up
    assert found["front/texts", 1].text == "mug_2 (40% seen)"


def test_without_a_pose_the_text_is_above_in_the_optical_frame():
    optical = replace(scene([CUBE]), reference_frame="optical")
    text = shown(MarkerBuilder().of(optical))["front/texts", 0]
    assert text.pose.position.y < 2.0 - 0.1 and text.pose.position.z == 0.5


def test_true_relations_are_arrows():
    relations = [
        relation("mug_1", "on", "cube_1"),
        relation("mug_1", "inside", "cube_1", Truth.UNKNOWN),
        relation("cube_1", "left_of", "mug_1"),
        relation("mug_1", "clear", "mug_1"),
        relation("mug_1", "touching", "picture_1"),
    ]
    found = shown(MarkerBuilder().of(scene([CUBE, MUG, FLAT], relations)))
    arrows = [each for (namespace, _), each in found.items() if namespace == "front/relations"]
    assert [(each.type, each.text) for each in arrows] == [(Marker.ARROW, "on")]
    assert [point.z for point in arrows[0].points] == [0.8, 0.5]


def test_what_is_gone_is_deleted_and_other_cameras_stay():
    builder = MarkerBuilder()
    builder.of(scene([CUBE, MUG]))
    builder.of(scene([CUBE], camera="back"))
    found = shown(builder.of(scene([MUG])))
    gone = {key for key, each in found.items() if each.action == Marker.DELETE}
    assert gone == {("front/boxes", 1), ("front/texts", 1)}
    assert all(namespace.startswith("front/") for namespace, _ in found)
    left = shown(builder.clear())
    assert set(left) == {
        (f"{camera}/{kind}", 0) for camera in ("front", "back") for kind in ("boxes", "texts")
    }
    assert all(each.action == Marker.DELETE for each in left.values())
    assert shown(builder.clear()) == {}


def test_kinds_are_those_of_the_message():
    assert {each.name: each.value for each in Kind} == {
        each.name: getattr(Marker, each.name) for each in Kind
    }

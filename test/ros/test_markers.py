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


def test_the_less_is_seen_the_fainter_a_box_and_unknown_looks_like_nothing_else():
    levels = (Occlusion.NONE, Occlusion.PARTIAL, Occlusion.HEAVY, Occlusion.FULL, Occlusion.UNKNOWN)
    objects = [replace(CUBE, id=each.name, occlusion=each) for each in levels]
    found = shown(MarkerBuilder().of(scene(objects)))
    opacities = [found["front/boxes", number].color.a for number in range(len(levels))]
    assert opacities[:4] == sorted(opacities[:4], reverse=True) and len(set(opacities)) == 5
    assert all(0.1 <= each <= 1.0 for each in opacities)


def test_true_relations_are_arrows_in_a_namespace_for_each_predicate():
    relations = [
        relation("mug_1", "on", "cube_1"),
        relation("mug_1", "inside", "cube_1", Truth.UNKNOWN),
        relation("cube_1", "left_of", "mug_1"),
        relation("mug_1", "clear", "mug_1"),
        relation("mug_1", "touching", "picture_1"),
    ]
    found = shown(MarkerBuilder().of(scene([CUBE, MUG, FLAT], relations)))
    arrows = {key: each for key, each in found.items() if each.type == Marker.ARROW}
    assert {key: each.text for key, each in arrows.items()} == {
        ("front/on", 0): "on",
        ("front/left_of", 0): "left_of",
    }
    assert [point.z for point in arrows["front/on", 0].points] == [0.8, 0.5]
    colours = {(each.color.r, each.color.g, each.color.b) for each in arrows.values()}
    assert len(colours) == 2


def test_an_arrow_whose_relation_ended_is_deleted():
    builder = MarkerBuilder()
    builder.of(scene([CUBE, MUG], [relation("mug_1", "on", "cube_1")]))
    found = shown(builder.of(scene([CUBE, MUG])))
    assert found["front/on", 0].action == Marker.DELETE


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

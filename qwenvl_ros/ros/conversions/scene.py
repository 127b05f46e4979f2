"""Scenes: types <-> messages."""

from __future__ import annotations

from math import nan

from geometry_msgs.msg import Point, Vector3

from qwenvl_ros.msg import Box2D, SpatialRelation
from qwenvl_ros.msg import Scene as SceneMessage
from qwenvl_ros.msg import SceneObject as ObjectMessage
from qwenvl_ros.ros.conversions.camera import stamp_of, to_header, to_time
from qwenvl_ros.scene_json import ros_text
from qwenvl_ros.types import (
    Box,
    Occlusion,
    Origin,
    Relation,
    Scene,
    SceneObject,
    Source,
    Status,
    Truth,
    Vector,
)


def to_message(scene: Scene) -> SceneMessage:
    """msg/Scene; the header is that of the source image."""
    return SceneMessage(
        header=to_header(scene.stamp, ros_text(scene.frame_id)),
        camera=ros_text(scene.camera),
        width=scene.width,
        height=scene.height,
        reference_frame=ros_text(scene.reference_frame),
        objects=[_object_message(each) for each in scene.objects],
        relations=[to_relation(each) for each in scene.relations],
        evaluated_predicates=[ros_text(each) for each in scene.evaluated_predicates],
        status=int(scene.status),
        status_message=ros_text(scene.status_message),
        keyframe=scene.keyframe,
        keyframe_stamp=to_time(scene.keyframe_stamp),
        model=ros_text(scene.model),
        queries=[ros_text(each) for each in scene.queries],
        queue_seconds=float(scene.queue_seconds),
        inference_seconds=float(scene.inference_seconds),
        total_seconds=float(scene.total_seconds),
    )


def scene_of(message: SceneMessage) -> Scene:
    """The scene that a message holds; position_sigma is not published and comes back as NaN.

    Raises:
        ValueError: an enum or a box that the message's definition does not allow.
    """
    return Scene(
        camera=message.camera,
        stamp=stamp_of(message.header.stamp),
        frame_id=message.header.frame_id,
        width=message.width,
        height=message.height,
        reference_frame=message.reference_frame,
        objects=tuple(_object_of(each) for each in message.objects),
        relations=tuple(_relation_of(each) for each in message.relations),
        evaluated_predicates=tuple(message.evaluated_predicates),
        status=Status(message.status),
        status_message=message.status_message,
        keyframe=message.keyframe,
        keyframe_stamp=stamp_of(message.keyframe_stamp),
        model=message.model,
        queries=tuple(message.queries),
        queue_seconds=message.queue_seconds,
        inference_seconds=message.inference_seconds,
        total_seconds=message.total_seconds,
    )


def _object_message(item: SceneObject) -> ObjectMessage:
    x, y, z = item.position or (nan, nan, nan)
    length, width, height = item.size or (nan, nan, nan)
    corners = (float(value) for value in item.box.corners)
    return ObjectMessage(
        id=ros_text(item.id),
        label=ros_text(item.label),
        query=ros_text(item.query),
        score=float(item.score),
        box=Box2D(**dict(zip(("x_min", "y_min", "x_max", "y_max"), corners, strict=True))),
        has_position=item.position is not None,
        position=Point(x=float(x), y=float(y), z=float(z)),
        size=Vector3(x=float(length), y=float(width), z=float(height)),
        occlusion=int(item.occlusion),
        visible_fraction=float(item.visible_fraction),
        truncated=item.truncated,
        origin=int(item.origin),
    )


def _object_of(message: ObjectMessage) -> SceneObject:
    box, position, size = message.box, message.position, message.size
    return SceneObject(
        id=message.id,
        label=message.label,
        box=Box(box.x_min, box.y_min, box.x_max, box.y_max),
        query=message.query,
        score=message.score,
        position=_vector(position) if message.has_position else None,
        size=_vector(size) if message.has_position else None,
        occlusion=Occlusion(message.occlusion),
        visible_fraction=message.visible_fraction,
        truncated=message.truncated,
        origin=Origin(message.origin),
    )


def to_relation(relation: Relation) -> SpatialRelation:
    """msg/SpatialRelation."""
    return SpatialRelation(
        subject_id=ros_text(relation.subject_id),
        predicate=ros_text(relation.predicate),
        object_id=ros_text(relation.object_id),
        truth=int(relation.truth),
        confidence=float(relation.confidence),
        value=float(relation.value),
        source=int(relation.source),
        frame_id=ros_text(relation.frame_id),
    )


def _relation_of(message: SpatialRelation) -> Relation:
    return Relation(
        subject_id=message.subject_id,
        predicate=message.predicate,
        object_id=message.object_id,
        truth=Truth(message.truth),
        confidence=message.confidence,
        value=message.value,
        source=Source(message.source),
        frame_id=message.frame_id,
    )


def _vector(message: Point | Vector3) -> Vector:
    return (message.x, message.y, message.z)

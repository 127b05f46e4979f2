"""Objects as vision_msgs: Detection2DArray, Detection3DArray and LabelInfo, and objects of a Detection2DArray.

vision_msgs is optional, so only who has made sure of it imports this. Written to vision_msgs 4 (Humble and later).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

from geometry_msgs.msg import Point, Pose, PoseWithCovariance, Quaternion, Vector3
from std_msgs.msg import Header
from vision_msgs.msg import (
    BoundingBox2D,
    BoundingBox3D,
    Detection2D,
    Detection2DArray,
    Detection3D,
    Detection3DArray,
    LabelInfo,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
    VisionClass,
)

from qwenvl_ros.ros.conversions.camera import to_header
from qwenvl_ros.scene_json import ros_text
from qwenvl_ros.types import Box, Detection, Scene, SceneObject, Vector


def class_of(item: SceneObject) -> str:
    """class_id of an object: the query that it answers, else what the model called it."""
    return ros_text(item.query or item.label)


def to_detections_2d(scene: Scene) -> Detection2DArray:
    """Every object with its box in pixels; the header is that of the source image. A score that is unknown is NaN.

    The pose of a hypothesis is not told: NaN.
    """
    header = to_header(scene.stamp, ros_text(scene.frame_id))
    return Detection2DArray(
        header=header,
        detections=[
            Detection2D(
                header=header,
                id=ros_text(item.id),
                results=[_hypothesis(item, (nan, nan, nan))],
                bbox=_box(item.box),
            )
            for item in scene.objects
        ],
    )


def to_detections_3d(scene: Scene) -> Detection3DArray:
    """The objects that have a position: centre and axis-aligned extent of the visible surface, metres.

    The header has the stamp of the source image and the scene's reference frame.
    """
    header = to_header(scene.stamp, ros_text(scene.reference_frame or scene.frame_id))
    return Detection3DArray(
        header=header,
        detections=[
            _detection_3d(header, item, item.position) for item in scene.objects if item.position is not None
        ],
    )


def to_label_info(classes: Sequence[str], threshold: float, stamp: int) -> LabelInfo:
    """What class_id may be, numbered in this order; threshold: the least score that is told, [0, 1]."""
    return LabelInfo(
        header=to_header(stamp, ""),
        class_map=[VisionClass(class_id=number, class_name=name) for number, name in enumerate(classes)],
        threshold=float(threshold),
    )


def detections_of(message: Detection2DArray) -> list[Detection]:
    """Each detection by its likeliest hypothesis; one without any has the label "".

    One whose box is empty is left out: nothing of it is in the picture.

    Raises:
        ValueError: a box that is not finite.
    """
    found = []
    for each in message.detections:
        best = max((one.hypothesis for one in each.results), key=lambda one: one.score, default=None)
        x, y = each.bbox.center.position.x, each.bbox.center.position.y
        half, tall = each.bbox.size_x / 2, each.bbox.size_y / 2
        if half <= 0 or tall <= 0:
            continue
        box = Box(x - half, y - tall, x + half, y + tall)
        found.append(Detection(best.class_id if best else "", "", box, best.score if best else nan))
    return found


def _detection_3d(header: Header, item: SceneObject, position: Vector) -> Detection3D:
    length, width, height = (float(side) for side in item.size or (nan, nan, nan))
    return Detection3D(
        header=header,
        id=ros_text(item.id),
        results=[_hypothesis(item, position)],
        bbox=BoundingBox3D(center=_pose(position), size=Vector3(x=length, y=width, z=height)),
    )


def _hypothesis(item: SceneObject, position: Vector) -> ObjectHypothesisWithPose:
    return ObjectHypothesisWithPose(
        hypothesis=ObjectHypothesis(class_id=class_of(item), score=float(item.score)),
        pose=PoseWithCovariance(pose=_pose(position)),
    )


def _box(box: Box) -> BoundingBox2D:
    x_min, y_min, x_max, y_max = (float(value) for value in box.corners)
    made = BoundingBox2D(size_x=x_max - x_min, size_y=y_max - y_min)
    made.center.position.x, made.center.position.y = (x_min + x_max) / 2, (y_min + y_max) / 2
    return made


def _pose(position: Vector) -> Pose:
    x, y, z = (float(value) for value in position)
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(w=1.0))

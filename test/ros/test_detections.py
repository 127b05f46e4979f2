"""Scenes as vision_msgs, converted and published by a real node; needs vision_msgs, which the wheels do not have."""

from __future__ import annotations

import time
from dataclasses import replace
from math import isnan, nan

import numpy as np
import pytest
from by_hand import LENS, picture, scene_for
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, Image

vision = pytest.importorskip(
    "vision_msgs.msg", reason="vision_msgs is not installed: sudo apt-get install ros-$ROS_DISTRO-vision-msgs"
)

from qwenvl_ros.ros.conversions import detections as convert  # noqa: E402
from qwenvl_ros.ros.conversions.camera import to_camera_info, to_depth_image  # noqa: E402
from qwenvl_ros.types import Box, Scene, SceneObject, Status  # noqa: E402

MUG = SceneObject(
    "mug_1", "mug", Box(10.5, 20, 30, 44), "red mug", 0.75, position=(1.0, 2.0, 0.5), size=(0.1, 0.2, 0.3)
)
FLAT = SceneObject("picture_1", "picture", Box(0, 0, 64, 48), "", nan)
SCENE = Scene("front", 7, "optical", 64, 48, "base_link", objects=(MUG, FLAT))


def sent(message):
    return deserialize_message(serialize_message(message), type(message))


def test_boxes_ids_and_scores():
    array = sent(convert.to_detections_2d(SCENE))
    assert (array.header.frame_id, array.header.stamp.nanosec) == ("optical", 7)
    mug, flat = array.detections
    assert mug.id == "mug_1" and mug.header == array.header
    assert (mug.bbox.center.position.x, mug.bbox.center.position.y) == (20.25, 32.0)
    assert (mug.bbox.size_x, mug.bbox.size_y, mug.bbox.center.theta) == (19.5, 24.0, 0.0)
    (hypothesis,) = mug.results
    assert (hypothesis.hypothesis.class_id, hypothesis.hypothesis.score) == ("red mug", 0.75)
    assert isnan(hypothesis.pose.pose.position.x)
    assert flat.results[0].hypothesis.class_id == "picture" and isnan(flat.results[0].hypothesis.score)


def test_only_what_has_a_position_is_in_3d():
    array = sent(convert.to_detections_3d(SCENE))
    assert (array.header.frame_id, array.header.stamp.nanosec) == ("base_link", 7)
    (mug,) = array.detections
    centre, size = mug.bbox.center.position, mug.bbox.size
    assert (centre.x, centre.y, centre.z, mug.bbox.center.orientation.w) == (1.0, 2.0, 0.5, 1.0)
    assert (size.x, size.y, size.z) == (0.1, 0.2, 0.3)
    assert mug.results[0].pose.pose.position == centre
    assert sent(convert.to_detections_3d(replace(SCENE, reference_frame=""))).header.frame_id == "optical"


def test_boxes_come_back_as_they_were():
    mug, flat = convert.detections_of(sent(convert.to_detections_2d(SCENE)))
    assert mug.box == MUG.box and (mug.label, mug.score) == ("red mug", 0.75)
    assert flat.box == FLAT.box and isnan(flat.score)


def test_of_several_hypotheses_the_likeliest_counts_and_boxes_may_be_empty_but_not_broken():
    array = convert.to_detections_2d(SCENE)
    other = vision.ObjectHypothesisWithPose()
    other.hypothesis.class_id, other.hypothesis.score = "bowl", 0.9
    array.detections[0].results = [*array.detections[0].results, other]
    array.detections[1].results = []
    assert [each.label for each in convert.detections_of(array)] == ["bowl", ""]
    array.detections[0].bbox.size_x = 0.0
    assert [each.label for each in convert.detections_of(array)] == [""]
    array.detections[0].bbox.size_x = nan
    with pytest.raises(ValueError):
        convert.detections_of(array)


def test_an_answer_that_failed_is_not_published_as_nothing_there(near):
    from qwenvl_ros.ros.detections import Detections

    published = Detections(near.node, lambda: 0.0)
    heard = near.hear(vision.Detection2DArray, f"{near.node.get_fully_qualified_name()}/detections")
    failed = replace(SCENE, stamp=8, objects=(), status=Status.BACKEND_FAILED)
    end = time.monotonic() + 60.0
    while not any(each.header.stamp.nanosec == 9 for each in heard):
        assert time.monotonic() < end, "nothing was heard"
        published.publish(failed)
        published.publish(replace(SCENE, stamp=9))
        near.executor.spin_once(timeout_sec=0.1)
    assert all(each.detections for each in heard)


def test_the_node_publishes_them_and_latches_its_classes(near, start):
    node = start("queries:=[red cube, blue sphere]", "camera.depth_topic:=/camera/depth/image_raw")
    publisher = near.publisher(Image, "/camera/image_raw")
    depths = near.publisher(Image, "/camera/depth/image_raw")
    infos = near.publisher(CameraInfo, "/camera/camera_info")
    flat = near.hear(vision.Detection2DArray, "/qwenvl/detections")
    solid = near.hear(vision.Detection3DArray, "/qwenvl/detections_3d")
    node.wait_active()

    def with_depth(stamp):
        infos.publish(to_camera_info(LENS, stamp, "optical"))
        depths.publish(to_depth_image(np.full((48, 64), 2.0, np.float32), stamp, "optical"))
        return picture(stamp)

    scene, _ = scene_for(node, publisher, with_depth, status_message="")
    solid.clear()
    scene, _ = scene_for(node, publisher, with_depth, status_message="")

    def same(heard):
        return next((each for each in heard if each.header.stamp == scene.header.stamp), None)

    array = node.until(lambda: same(flat) or node._pause(), "detections")
    assert [each.id for each in array.detections] == [each.id for each in scene.objects]
    array = node.until(lambda: same(solid) or node._pause(), "detections in 3D")
    assert [each.bbox.center.position for each in array.detections] == [o.position for o in scene.objects]

    # Late, and still told.
    infos = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    near.node.create_subscription(vision.LabelInfo, "/qwenvl/label_info", infos.append, latched)
    (info,) = node.until(lambda: infos or node._pause(), "label_info")
    assert {each.class_id: each.class_name for each in info.class_map} == {0: "red cube", 1: "blue sphere"}

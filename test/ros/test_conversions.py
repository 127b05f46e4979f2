"""Messages <-> types, there and back, through real serialisation."""

from __future__ import annotations

from math import inf, isnan, nan

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest

from qwenvl_ros import geometry, images
from qwenvl_ros.camera_info import CameraInfoRefused
from qwenvl_ros.msg import Scene as SceneMessage
from qwenvl_ros.msg import SceneObject as ObjectMessage
from qwenvl_ros.msg import SpatialRelation
from qwenvl_ros.ros.conversions import camera, scene
from qwenvl_ros.ros.conversions.diagnostics import to_diagnostics
from qwenvl_ros.ros.diagnostics import Level, Report
from qwenvl_ros.types import (
    Box,
    Intrinsics,
    Occlusion,
    Origin,
    Pose,
    Relation,
    Scene,
    SceneObject,
    Source,
    Status,
    Truth,
)


def sent(message):
    """The message after a trip over the wire."""
    return deserialize_message(serialize_message(message), type(message))


def test_diagnostics_hold_whatever_an_engine_says():
    half = "the gateway said \ud83d"
    (status,) = sent(
        to_diagnostics([Report("model", Level.ERROR, half, "cpu", {"why": half})], 5, "qwenvl")
    ).status
    assert status.message == status.values[0].value == "the gateway said ?"


MUG = SceneObject(
    "mug_1",
    "mug",
    Box(1.25, 2.5, 30.0, 40.75),
    query="red mug",
    score=0.75,
    position=(1.0, -2.0, 0.125),
    size=(0.5, 0.25, 0.125),
    occlusion=Occlusion.HEAVY,
    visible_fraction=0.25,
    truncated=True,
    origin=Origin.TRACKED,
)
UNKNOWN = SceneObject("box_1", "Kiste \u2603", Box(0.0, 0.0, 640.0, 480.0))
ON = Relation("mug_1", "on", "box_1", Truth.TRUE, 0.5, -0.0078125, Source.GEOMETRY_3D, "base_link")
CLEAR = Relation("box_1", "clear", "box_1", Truth.UNKNOWN, 0.5, nan, Source.GEOMETRY_2D, "camera")


def full_scene():
    return Scene(
        camera="front",
        stamp=1_700_000_000_123_456_789,
        frame_id="camera_optical",
        width=640,
        height=480,
        reference_frame="base_link",
        objects=(MUG, UNKNOWN),
        relations=(ON, CLEAR),
        evaluated_predicates=("on", "clear"),
        status=Status.TRUNCATED,
        status_message="the answer was cut short",
        keyframe=False,
        keyframe_stamp=1_700_000_000_000_000_001,
        model="tiny",
        queries=("red mug", "box"),
        queue_seconds=0.125,
        inference_seconds=0.5,
        total_seconds=0.75,
    )


def test_a_full_scene_comes_back_as_it_was():
    # repr, because NaN is not equal to itself.
    assert repr(scene.scene_of(sent(scene.to_message(full_scene())))) == repr(full_scene())


def test_an_empty_scene_comes_back_as_it_was():
    empty = Scene(camera="c", stamp=0, frame_id="", width=1, height=1)
    assert repr(scene.scene_of(sent(scene.to_message(empty)))) == repr(empty)


def test_fields_say_what_the_message_defines():
    message = sent(scene.to_message(full_scene()))
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1_700_000_000, 123_456_789)
    mug, unknown = message.objects
    assert mug.has_position and (mug.position.x, mug.position.y, mug.position.z) == MUG.position
    assert not unknown.has_position and isnan(unknown.position.x) and isnan(unknown.size.z)
    assert isnan(unknown.score) and isnan(unknown.visible_fraction)
    assert mug.occlusion == ObjectMessage.OCCLUSION_HEAVY and mug.origin == ObjectMessage.ORIGIN_TRACKED
    assert message.relations[0].truth == SpatialRelation.TRUE
    assert message.relations[1].truth == SpatialRelation.UNKNOWN and isnan(message.relations[1].value)


def test_constants_of_messages_and_types_agree():
    for enum, message, prefix in (
        (Status, SceneMessage, "STATUS_"),
        (Occlusion, ObjectMessage, "OCCLUSION_"),
        (Origin, ObjectMessage, "ORIGIN_"),
        (Truth, SpatialRelation, ""),
        (Source, SpatialRelation, ""),
    ):
        for member in enum:
            assert getattr(message, prefix + member.name) == member.value


def test_text_that_ros_cannot_hold_is_replaced():
    odd = Scene(camera="c", stamp=1, frame_id="f", width=1, height=1, status_message="a\0b\ud800c")
    assert scene.scene_of(sent(scene.to_message(odd))).status_message == "a\ufffdb?c"


def test_a_message_that_breaks_the_contract_is_refused():
    message = scene.to_message(full_scene())
    message.objects[0].box.x_max = message.objects[0].box.x_min
    with pytest.raises(ValueError):
        scene.scene_of(message)
    message = scene.to_message(full_scene())
    message.status = 99
    with pytest.raises(ValueError):
        scene.scene_of(message)


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8"])
def test_images_come_back(encoding):
    rgb = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)
    message = sent(camera.to_image(rgb, 5, "optical", encoding))
    assert (message.encoding, message.step, message.header.frame_id) == (encoding, 21, "optical")
    np.testing.assert_array_equal(camera.image_of(message), rgb)


def test_depth_comes_back():
    depth = np.array([[np.nan, 0.5], [1.234, 70.0]], np.float32)
    np.testing.assert_array_equal(camera.depth_of(sent(camera.to_depth_image(depth, 5, "o"))), depth)
    millimetres = camera.depth_of(sent(camera.to_depth_image(depth, 5, "o", "16UC1")))
    # 70 m does not fit into 16 bit of millimetres.
    np.testing.assert_array_equal(millimetres, np.array([[np.nan, 0.5], [1.234, np.nan]], np.float32))


def test_jpeg_comes_back():
    rgb = np.full((16, 24, 3), (200, 30, 60), np.uint8)
    message = sent(camera.to_compressed_image(rgb, 5, "o"))
    assert np.abs(camera.image_of(message).astype(int) - rgb).max() < 6


def test_malformed_messages_are_refused():
    with pytest.raises(images.ImageRefused):
        camera.image_of(sent(Image()))
    with pytest.raises(images.ImageRefused):
        camera.depth_of(sent(Image(encoding="32FC1", height=9, width=9, step=36)))
    with pytest.raises(images.ImageRefused):
        camera.image_of(sent(CompressedImage(format="jpeg")))


CAMERA = Intrinsics(640, 480, 500.0, 510.0, 320.5, 241.0, "plumb_bob", (0.1, -0.2, 0.0, 0.0, 0.01))


def test_camera_info_comes_back():
    message = sent(camera.to_camera_info(CAMERA, 7, "optical"))
    assert camera.stamp_of(message.header.stamp) == 7
    assert message.k[2] == 320.0  # CameraInfo counts pixel centres as integers
    assert camera.intrinsics_of(message) == CAMERA


def test_rectified_images_use_p_without_distortion():
    message = camera.to_camera_info(CAMERA, 7, "optical")
    message.p[0], message.p[2] = 450.0, 300.0
    found = camera.intrinsics_of(message, rectified=True)
    assert (found.fx, found.cx, found.distortion) == (450.0, 300.5, ())


def test_region_of_interest_and_binning():
    message = camera.to_camera_info(CAMERA, 7, "optical")
    message.roi = RegionOfInterest(x_offset=100, y_offset=40, width=320, height=240)
    message.binning_x = message.binning_y = 2
    found = camera.intrinsics_of(message)
    assert (found.width, found.height, found.fx, found.fy) == (160, 120, 250.0, 255.0)
    assert (found.cx, found.cy) == ((320.5 - 100) / 2, (241.0 - 40) / 2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"width": 0}, "no width"),
        ({"k": [0.0] * 9}, "calibrate"),
        ({"k": [nan] * 9}, "calibrate"),
        ({"k": [inf] * 9}, "calibrate"),
        ({"distortion_model": "mystery"}, "unknown"),
        ({"d": [nan, 1.0]}, "impossible"),
        ({"d": [0.1, -0.05, 0.01]}, "3 distortion coefficients, .* has 4 or 5 or 8 or 12 or 14"),
        ({"distortion_model": "equidistant", "d": [0.1, 0.0, 0.0]}, "3 distortion .* equidistant has 4;"),
        ({"roi": RegionOfInterest(width=1, height=1), "binning_x": 2, "binning_y": 2}, "2x2 leaves nothing"),
    ],
)
def test_useless_camera_info_is_refused(change, reason):
    message = camera.to_camera_info(CAMERA, 7, "optical")
    for field, value in change.items():
        setattr(message, field, value)
    with pytest.raises(CameraInfoRefused, match=reason):
        camera.intrinsics_of(message)
    with pytest.raises(CameraInfoRefused):
        camera.intrinsics_of(CameraInfo())


def test_transforms_come_back():
    pose = geometry.pose((1.0, 2.0, 3.0), (0.5, -0.5, 0.5, -0.5))
    message = sent(camera.to_transform(pose, 9, "base_link", "optical"))
    assert (message.header.frame_id, message.child_frame_id) == ("base_link", "optical")
    back = camera.pose_of(message)
    assert isinstance(back, Pose)
    np.testing.assert_allclose(back.rotation, pose.rotation, atol=1e-12)
    np.testing.assert_allclose(back.translation, pose.translation)


@pytest.mark.parametrize("stamp", [0, 1, 999_999_999, 1_000_000_000, 2_147_483_647_999_999_999])
def test_stamps_come_back(stamp):
    assert camera.stamp_of(camera.to_time(stamp)) == stamp

"""The node in its own process, spoken to over DDS as robots do; only the engine's answers are scripted."""

from __future__ import annotations

import dataclasses
import importlib.util
import signal
import time

import numpy as np
import pytest
from by_hand import LENS, RGB, SECOND, picture, scene_for, values
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.qos import ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from visualization_msgs.msg import MarkerArray

from qwenvl_ros import geometry
from qwenvl_ros.msg import Scene
from qwenvl_ros.ros.conversions.camera import (
    stamp_of,
    to_camera_info,
    to_compressed_image,
    to_depth_image,
    to_pose,
    to_time,
)
from qwenvl_ros.types import Intrinsics


def test_broken_compressed_images_are_refused_and_good_ones_seen(near, start):
    node = start("camera.transport:=compressed", "camera.image_topic:=/front/image_raw")
    publisher = near.publisher(CompressedImage, "/front/image_raw/compressed")
    node.wait_active("/front/image_raw/compressed")
    good = to_compressed_image(RGB, near.now(), "optical")
    node.diagnostics.clear()

    def refused():
        broken = to_compressed_image(RGB, near.now(), "optical")
        broken.data = broken.data[: len(broken.data) // 2]
        publisher.publish(broken)
        publisher.publish(CompressedImage(header=good.header, format="jpeg"))
        return any("refused image" in values(status) for array in node.diagnostics for status in array.status)

    node.until(refused, "a count of refused images")
    scene, sent = scene_for(node, publisher, lambda stamp: to_compressed_image(RGB, stamp, "optical"))
    assert sent[stamp_of(scene.header.stamp)].header == scene.header


def test_hints_when_the_publisher_does_not_fit(near, start):
    node = start("cameras:=[a, b]", "b.reliability:=reliable")
    near.publisher(CompressedImage, "/a/image_raw")
    near.publisher(Image, "/b/image_raw", ReliabilityPolicy.BEST_EFFORT)
    status = node.report("camera a", lambda s: "transport" in s.message)
    assert status.level == DiagnosticStatus.ERROR and "set a.transport to compressed" in status.message
    status = node.report("camera b", lambda s: "best effort" in s.message)
    told = "/b/image_raw is published best effort by /near, which a reliable subscription cannot hear"
    assert told in status.message and "set b.reliability to best_effort" in status.message
    node.until(lambda: "incompatible RELIABILITY" in node.log() or node._pause(), "the event in the log")
    assert "set b.reliability to best_effort (incompatible RELIABILITY)" in node.log()
    assert "set a.transport to compressed" in node.log()


def test_qos_can_be_overridden_by_topic(near, start):
    """Also that of one topic of a camera, whose others are heard."""
    override = "qos_overrides./camera/depth/image_raw.subscription.reliability"
    node = start("camera.depth_topic:=/camera/depth/image_raw", f"{override}:=reliable")
    publisher = near.publisher(Image, "/camera/image_raw", ReliabilityPolicy.BEST_EFFORT)
    near.publisher(Image, "/camera/depth/image_raw", ReliabilityPolicy.BEST_EFFORT)
    node.wait_active()
    assert node.get(override).string_value == "reliable"
    scene_for(node, publisher)
    node.diagnostics.clear()

    def told():
        publisher.publish(picture(near.now()))
        near.executor.spin_once(timeout_sec=0.1)
        return any(f"set {override} to best_effort" in s.message for a in node.diagnostics for s in a.status)

    node.until(told, "the depth that is not heard")


def test_depth_that_is_never_in_sync_and_a_missing_camera_info_are_told(near, start):
    node = start("camera.depth_topic:=/camera/depth/image_raw")
    publisher = near.publisher(Image, "/camera/image_raw")
    depths = near.publisher(Image, "/camera/depth/image_raw")
    node.wait_active()
    for late, words in ((50_000_000, "raise it"), (0, "set camera.camera_info_topic")):

        def told(late=late, words=words):
            stamp = near.now()
            depths.publish(to_depth_image(np.full((48, 64), 2.0, np.float32), stamp + late, "optical"))
            publisher.publish(picture(stamp))
            # At 10 Hz: among depth that comes every few milliseconds one of another image is in sync.
            end = time.monotonic() + 0.1
            while (left := end - time.monotonic()) > 0:
                near.executor.spin_once(timeout_sec=left)
            return any(words in s.message for a in node.diagnostics for s in a.status) and words in node.log()

        node.until(told, words)


def test_a_clock_that_jumps_back_starts_afresh(near, start):
    node = start("use_sim_time:=true")
    clock = near.publisher(Clock, "/clock")
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    for second in (100, 101, 5, 6):

        def event(second=second):
            clock.publish(Clock(clock=to_time(second * SECOND)))
            publisher.publish(picture(second * SECOND))
            near.executor.spin_once(timeout_sec=0.1)
            return any(scene.header.stamp.sec == second for scene in node.scenes)

        node.until(event, f"the scene of {second} s")


def test_services_answer_while_the_model_works(near, start):
    """The engine never answers, so every answer here came while it worked."""
    node = start(options=["--hang"])
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    node.diagnostics.clear()

    def working():
        publisher.publish(picture(near.now()))
        near.executor.spin_once(timeout_sec=0.1)
        return any(values(s).get("in flight") == "1" for a in node.diagnostics for s in a.status)

    node.until(working, "a request in the engine")
    assert node.state() == "active"
    assert node.set(max_age=2.0) == {"max_age": ""}
    assert node.get("max_age").double_value == 2.0
    assert node.describe("queries").description
    assert node.transition("deactivate") and node.state() == "inactive"
    assert node.transition("activate") and node.state() == "active"
    node.until(working, "a request in the engine again")
    assert node.scenes == []


def test_a_failure_to_configure_has_its_reason_and_remedy(near, start):
    node = start("autostart:=false", options=["--unavailable", "no GPU here; set device to cpu"])
    assert node.state() == "unconfigured"
    assert not node.transition("configure")
    assert node.state() == "unconfigured"
    assert "cannot configure: no GPU here; set device to cpu" in node.log()
    status = node.report("model", lambda s: s.level == DiagnosticStatus.ERROR)
    assert "no GPU here; set device to cpu" in status.message


def test_parameters_are_checked_at_configure_and_can_be_mended(near, start):
    node = start("max_age:=-1.0", "device:=3", "model:=no_such_model", "quries:=[mug]")
    status = node.report("model", lambda s: s.level == DiagnosticStatus.ERROR)
    assert "max_age = -1.0 s is below its minimum" in status.message
    assert "device must be text, not 3" in status.message
    assert "did you mean 'queries'" in node.report("set-up").message
    assert node.set(max_age=1, device="auto") == {"max_age": "", "device": ""}
    assert not node.transition("configure")
    assert "no model 'no_such_model'" in node.report("model", lambda s: "no model" in s.message).message
    assert node.set(model="Qwen/Qwen3-VL-4B-Instruct") == {"model": ""}
    assert node.transition("configure") and node.transition("activate")
    scene_for(node, near.publisher(Image, "/camera/image_raw"))


def test_a_target_frame_without_any_source_of_poses_is_refused(near, start):
    if importlib.util.find_spec("tf2_ros") is not None:
        pytest.skip("tf2_ros is a source of poses")
    node = start("target_frame:=base_link")
    status = node.report("model", lambda s: s.level == DiagnosticStatus.ERROR)
    assert "needs tf2_ros" in status.message and "`pose`" in status.message


def test_an_engine_that_fails_gives_scenes_that_say_so(near, start):
    node = start(options=["--fail", "out of memory; lower max_pixels"])
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    scene, _ = scene_for(node, publisher)
    assert scene.status == Scene.STATUS_BACKEND_FAILED and list(scene.objects) == []
    assert "out of memory; lower max_pixels" in scene.status_message
    status = node.report("model", lambda s: s.level == DiagnosticStatus.ERROR)
    assert "out of memory" in status.message


def test_an_answer_that_cannot_be_read_is_a_status(near, start):
    node = start(options=["--answer", "I see a lovely picture."])
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    scene, _ = scene_for(node, publisher)
    assert scene.status == Scene.STATUS_PARSE_FAILED and list(scene.objects) == []


POSE = "camera.pose:='1.0 2.0 3.0 -0.5 0.5 -0.5 0.5'"  # looks along x of the target frame


def test_depth_gives_positions_in_the_target_frame_and_its_absence_a_reason(near, start):
    node = start("camera.depth_topic:=/camera/depth/image_raw", "target_frame:=base_link", POSE)
    publisher = near.publisher(Image, "/camera/image_raw")
    depths = near.publisher(Image, "/camera/depth/image_raw")
    infos = near.publisher(CameraInfo, "/camera/camera_info")
    marker_arrays = near.hear(MarkerArray, "/qwenvl/markers")
    node.wait_active()
    scene, _ = scene_for(node, publisher)
    assert "no depth" in scene.status_message and scene.status == Scene.STATUS_OK
    assert scene.reference_frame == "base_link" and not scene.objects[0].has_position

    def with_depth(stamp):
        infos.publish(to_camera_info(LENS, stamp, "optical"))
        depths.publish(
            to_depth_image(np.full((48, 64), 2.0, np.float32), stamp + 5_000_000, "optical", "16UC1")
        )
        return picture(stamp)

    scene, sent = scene_for(node, publisher, with_depth, status_message="")
    assert sent[stamp_of(scene.header.stamp)].header == scene.header
    for each in scene.objects:
        assert each.has_position
        assert each.position.x == pytest.approx(3.0, abs=0.05)  # 2 m in front of a camera at x = 1
    red, blue = scene.objects
    assert red.position.y > blue.position.y  # y is left
    markers = node.until(lambda: [m for array in marker_arrays for m in array.markers], "markers")
    assert {each.ns for each in markers} >= {"camera/boxes", "camera/texts"}
    assert all(each.header.frame_id == "base_link" for each in markers if each.action == 0)

    scene, _ = scene_for(node, publisher)
    while not scene.status_message:
        scene, _ = scene_for(node, publisher)
    assert "no depth" in scene.status_message and not scene.objects[0].has_position


def test_depth_of_another_shape_is_told(near, start):
    node = start("camera.depth_topic:=/camera/depth/image_raw")
    publisher = near.publisher(Image, "/camera/image_raw")
    depths = near.publisher(Image, "/camera/depth/image_raw")
    infos = near.publisher(CameraInfo, "/camera/camera_info")
    node.wait_active()

    def with_depth(stamp):
        infos.publish(to_camera_info(LENS, stamp, "optical"))
        depths.publish(to_depth_image(np.full((48, 90), 2.0, np.float32), stamp, "optical"))
        return picture(stamp)

    scene, _ = scene_for(node, publisher, with_depth)
    while "registered" not in scene.status_message:
        scene, _ = scene_for(node, publisher, with_depth)
    assert "depth is 90x48, the image 64x48" in scene.status_message


@pytest.mark.parametrize("rectified", [False, True])
def test_depth_with_a_camera_info_of_its_own_is_laid_onto_the_images(near, start, rectified):
    """A wall 2 m away, seen by a wider depth camera 10 cm to the right of the images' one.

    rectified: the distortion that its CameraInfo still tells of has been taken off already.
    """
    node = start(
        f"camera.depth_rectified:={str(rectified).lower()}",
        "camera.depth_topic:=/depth/image_raw",
        "camera.depth_info_topic:=/depth/camera_info",
        "camera.depth_pose:='0.1 0 0 0 0 0 1'",
    )
    publisher = near.publisher(Image, "/camera/image_raw")
    depths = near.publisher(Image, "/depth/image_raw")
    infos = near.publisher(CameraInfo, "/camera/camera_info")
    depth_infos = near.publisher(CameraInfo, "/depth/camera_info")
    node.wait_active()
    bent = (200.0, 0.0, 0.0, 0.0, 0.0) if rectified else ()
    wide = Intrinsics(90, 48, 30.0, 30.0, 45.0, 24.0, distortion=bent)

    def with_depth(stamp, lens=wide):
        infos.publish(to_camera_info(LENS, stamp, "optical"))
        if lens is not None:
            depth_infos.publish(to_camera_info(lens, stamp, "depth_optical"))
        depths.publish(to_depth_image(np.full((48, 90), 2.0, np.float32), stamp, "depth_optical"))
        return picture(stamp)

    scene, _ = scene_for(node, publisher, lambda stamp: with_depth(stamp, None))
    while "/depth/camera_info" not in scene.status_message:
        scene, _ = scene_for(node, publisher, lambda stamp: with_depth(stamp, None))
    assert "camera.depth_info_topic" in scene.status_message
    scene, _ = scene_for(node, publisher, with_depth, status_message="")
    for each in scene.objects:
        assert each.position.z == pytest.approx(2.0, abs=0.01)
        centre = (each.box.x_min + each.box.x_max) / 2
        assert each.position.x == pytest.approx((centre - LENS.cx) / LENS.fx * 2.0, abs=0.1)

    square = dataclasses.replace(wide, width=48, cx=24.0)
    scene, _ = scene_for(node, publisher, lambda stamp: with_depth(stamp, square))
    while "its CameraInfo 48x48" not in scene.status_message:
        scene, _ = scene_for(node, publisher, lambda stamp: with_depth(stamp, square))


def test_images_that_are_rectified_by_their_name_only_are_told_once(near, start):
    """image_proc leaves the CameraInfo with the distortion of the camera beside its image_rect."""
    names = ("plain", "set", "flat", "raw")
    topics = [f"{name}.image_topic:=/{name}/image_rect" for name in names[:3]]
    depths = [f"{name}.depth_topic:=/{name}/depth" for name in names]
    node = start(f"cameras:=[{', '.join(names)}]", "set.rectified:=true", *topics, *depths)
    infos = {name: near.publisher(CameraInfo, f"/{name}/camera_info") for name in names}
    for name in names:
        node.wait_active(f"/{name}/depth")
    bent = dataclasses.replace(LENS, distortion=(-0.3, 0.1, 0.0, 0.0, 0.0))

    def told():
        for name, publisher in infos.items():
            publisher.publish(to_camera_info(LENS if name == "flat" else bent, near.now(), "optical"))
        near.executor.spin_once(timeout_sec=0.05)
        heard = all(publisher.get_subscription_count() for publisher in infos.values())
        return heard and "is rectified by its name" in node.log()

    node.until(told, "the warning")
    for _ in range(10):
        told()
    (told,) = [line for line in node.log().splitlines() if "is rectified by its name" in line]
    assert "camera plain: /plain/image_rect" in told and "set plain.rectified" in told


def test_depth_that_may_not_be_registered_is_told_once(near, start):
    node = start("camera.depth_topic:=/camera/depth/image_raw")
    publisher = near.publisher(Image, "/camera/image_raw")
    depths = near.publisher(Image, "/camera/depth/image_raw")
    infos = near.publisher(CameraInfo, "/camera/camera_info")
    node.wait_active()

    def with_depth(stamp):
        infos.publish(to_camera_info(LENS, stamp, "optical"))
        depths.publish(to_depth_image(np.full((48, 64), 2.0, np.float32), stamp, "depth_optical"))
        return picture(stamp)

    for _ in range(2):
        scene_for(node, publisher, with_depth, status_message="")
    told = [line for line in node.log().splitlines() if "is in frame 'depth_optical'" in line]
    assert len(told) == 1
    assert "camera.depth_info_topic" in told[0]


def test_a_dead_camera_does_not_delay_the_other(near, start):
    node = start("cameras:=[front, back]", "back.depth_topic:=/back/depth")
    publisher = near.publisher(Image, "/front/image_raw")
    node.wait_active("/front/image_raw")
    scene, _ = scene_for(node, publisher)
    assert scene.camera == "front"
    status = node.report("camera back", lambda s: s.level == DiagnosticStatus.ERROR)
    assert "nothing publishes" in status.message


def test_poses_from_a_topic_move_the_scene(near, start):
    node = start(
        "target_frame:=base_link",
        "camera.pose_topic:=/camera/pose",
        "camera.depth_topic:=/camera/depth/image_raw",
    )
    publisher = near.publisher(Image, "/camera/image_raw")
    depths = near.publisher(Image, "/camera/depth/image_raw")
    infos = near.publisher(CameraInfo, "/camera/camera_info")
    poses = near.publisher(PoseStamped, "/camera/pose")
    node.wait_active()
    scene, _ = scene_for(node, publisher)
    assert "no pose in base_link: no pose has come on /camera/pose" in scene.status_message
    assert scene.reference_frame == "optical"
    for x in (1.0, 5.0):
        pose = geometry.pose((x, 2.0, 3.0), (-0.5, 0.5, -0.5, 0.5))

        def moved(stamp, pose=pose):
            infos.publish(to_camera_info(LENS, stamp, "optical"))
            depths.publish(to_depth_image(np.full((48, 64), 2.0, np.float32), stamp, "optical"))
            poses.publish(to_pose(pose, stamp, "base_link"))
            return picture(stamp)

        scene, _ = scene_for(node, publisher, moved, status_message="", reference_frame="base_link")
        assert scene.objects[0].position.x == pytest.approx(x + 2.0, abs=0.05)


@pytest.mark.parametrize("when", ["loading", "looking for"])
def test_signals_end_it_cleanly_at_any_time(start, when):
    node = start(options=["--load", "3600"] if when == "loading" else ["--hang"])
    node.until(lambda: when in node.log(), when)
    for number in (
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGINT,
    ):  # as a terminal and `ros2 launch` together do
        node.process.send_signal(number)
    node.stop()

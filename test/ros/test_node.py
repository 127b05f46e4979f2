"""The node in its own process, spoken to over DDS as robots do; only the engine's answers are scripted."""

from __future__ import annotations

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from visualization_msgs.msg import MarkerArray

from qwenvl_ros.msg import Scene
from qwenvl_ros.ros.conversions.camera import (
    image_of,
    stamp_of,
    to_camera_info,
    to_compressed_image,
    to_depth_image,
    to_image,
    to_time,
)
from qwenvl_ros.types import Intrinsics

SECOND = 1_000_000_000
RGB = np.full((48, 64, 3), 90, np.uint8)
OK = DiagnosticStatus.OK
LENS = Intrinsics(64, 48, 60.0, 60.0, 32.0, 24.0)


def picture(stamp, frame_id="optical"):
    return to_image(RGB, stamp, frame_id)


def scene_for(node, publisher, make=picture, **wanted):
    """Publish images until a scene comes that has the wanted fields; returns it with the stamps that were sent."""
    node.scenes.clear()
    sent = {}

    def event():
        stamp = node.near.now()
        sent[stamp] = make(stamp)
        publisher.publish(sent[stamp])
        node.near.executor.spin_once(timeout_sec=0.1)
        for scene in node.scenes:
            if all(getattr(scene, name) == value for name, value in wanted.items()):
                return scene
        return None

    return node.until(event, "a scene"), sent


def values(status):
    return {each.key: each.value for each in status.values}


def test_scenes_carry_the_header_of_their_image(near, start):
    node = start("queries:=['red cube', 'blue sphere']")
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    for frame_id in ("first_optical", "second_optical"):
        scene, sent = scene_for(node, publisher, lambda stamp, f=frame_id: picture(stamp, f))
        while scene.header.frame_id != frame_id:
            scene, sent = scene_for(node, publisher, lambda stamp, f=frame_id: picture(stamp, f))
        assert sent[stamp_of(scene.header.stamp)].header == scene.header
        assert scene.keyframe and scene.keyframe_stamp == scene.header.stamp
    assert (scene.camera, scene.width, scene.height) == ("camera", 64, 48)
    assert scene.status == Scene.STATUS_OK and scene.queries == ["red cube", "blue sphere"]
    assert [each.label for each in scene.objects] == ["red cube", "blue sphere"]
    for each in scene.objects:
        box = each.box
        assert 0 <= box.x_min < box.x_max <= 64 and 0 <= box.y_min < box.y_max <= 48
        assert not each.has_position and np.isnan(each.position.x)
    assert "left_of" in scene.evaluated_predicates
    assert ("red_cube_1", "left_of", "blue_sphere_1") in {
        (each.subject_id, each.predicate, each.object_id) for each in scene.relations
    }
    assert scene.total_seconds >= scene.inference_seconds >= 0


def malformed(stamp):
    """Images that no camera should send."""
    good = picture(stamp)
    for change in (
        {"data": good.data[:100]},
        {"data": good.data[:0]},
        {"width": 0},
        {"height": 0, "width": 0, "step": 0},
        {"encoding": "h264"},
        {"encoding": ""},
        {"step": 3},
        {"width": 2**32 - 1, "height": 2**32 - 1, "step": 2**32 - 1},
        {"height": 4000},
        {"encoding": "bgra8"},
        {"encoding": "nv12"},
    ):
        message = picture(stamp)
        for name, value in change.items():
            setattr(message, name, value)
        yield message


def test_a_storm_of_malformed_images_is_refused_and_told(near, start):
    node = start()
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()

    def storm():
        for message in malformed(near.now()):
            publisher.publish(message)
        near.executor.spin_once(timeout_sec=0.02)
        statuses = [s for array in node.diagnostics for s in array.status]
        return [s for s in statuses if int(values(s).get("refused image", 0)) >= 100]

    status = node.until(storm, "a count of refused images")[-1]
    assert "last refusal" in values(status)
    assert node.scenes == []
    scene, sent = scene_for(node, publisher)
    assert stamp_of(scene.header.stamp) in sent and scene.status == Scene.STATUS_OK


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


def test_a_publisher_that_stops_is_told_and_may_come_back(near, start):
    node = start()
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    scene_for(node, publisher)
    status = node.report("camera camera", lambda s: s.level == DiagnosticStatus.STALE)
    assert "no image for" in status.message and "/camera/image_raw" in status.message
    near.node.destroy_publisher(publisher)
    status = node.report("camera camera", lambda s: "nothing publishes" in s.message)
    assert "set camera.image_topic" in status.message
    publisher = near.publisher(Image, "/camera/image_raw")
    scene_for(node, publisher)


def test_hints_when_the_publisher_does_not_fit(near, start):
    node = start("cameras:=[a, b]", "b.reliability:=reliable")
    from rclpy.qos import ReliabilityPolicy

    near.publisher(CompressedImage, "/a/image_raw")
    near.publisher(Image, "/b/image_raw", ReliabilityPolicy.BEST_EFFORT)
    status = node.report("camera a", lambda s: "transport" in s.message)
    assert status.level == DiagnosticStatus.ERROR and "set a.transport to compressed" in status.message
    status = node.report("camera b", lambda s: "best effort" in s.message)
    assert "set b.reliability to best_effort" in status.message


def test_stamps_that_jump_back_start_afresh(near, start):
    node = start("max_age:=0")
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    for second in (1000, 1001, 10, 11, 5):

        def event(second=second):
            publisher.publish(picture(second * SECOND))
            near.executor.spin_once(timeout_sec=0.1)
            return any(scene.header.stamp.sec == second for scene in node.scenes)

        node.until(event, f"the scene of {second} s")


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


def test_frames_that_are_too_old_are_not_sent_and_told(near, start):
    node = start("max_age:=0.5")
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    node.diagnostics.clear()

    def told():
        publisher.publish(picture(near.now() - 10 * SECOND))
        near.executor.spin_once(timeout_sec=0.1)
        return [s for a in node.diagnostics for s in a.status if "older than max_age" in s.message]

    assert node.until(told, "a warning")[0].level == DiagnosticStatus.WARN
    assert node.scenes == []


def test_images_without_stamps_work_and_are_told(near, start):
    node = start()
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    before = near.now()
    scene, _ = scene_for(node, publisher, lambda stamp: picture(0))
    assert before <= stamp_of(scene.header.stamp) <= near.now()
    publisher.publish(picture(0))
    node.diagnostics.clear()

    def told():
        publisher.publish(picture(0))
        near.executor.spin_once(timeout_sec=0.1)
        return any("no stamp" in s.message for a in node.diagnostics for s in a.status)

    node.until(told, "a warning")


def threads(node):
    with open(f"/proc/{node.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("Threads:"))


def test_deactivate_and_activate_twenty_times(near, start):
    node = start()
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    scene_for(node, publisher)
    counts = []
    for _ in range(20):
        publisher.publish(picture(near.now()))
        assert node.transition("deactivate")
        assert node.state() == "inactive"
        counts.append(threads(node))
        assert node.transition("activate")
        publisher.publish(picture(near.now()))
    assert counts[-1] <= counts[2], counts
    scene, sent = scene_for(node, publisher)
    assert stamp_of(scene.header.stamp) in sent


def test_nothing_is_published_while_inactive(near, start):
    node = start()
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    scene_for(node, publisher)
    assert node.transition("deactivate")
    node.report("model")
    node.scenes.clear()
    for _ in range(5):
        publisher.publish(picture(near.now()))
        near.executor.spin_once(timeout_sec=0.1)
    node.report("model", lambda s: values(s)["state"] == "inactive")
    assert node.scenes == []
    assert node.transition("cleanup") and node.state() == "unconfigured"
    assert node.transition("configure") and node.transition("activate")
    scene_for(node, publisher)


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
    pytest.importorskip("rclpy")
    try:
        import tf2_ros  # noqa: F401
    except ImportError:
        node = start("target_frame:=base_link")
        status = node.report("model", lambda s: s.level == DiagnosticStatus.ERROR)
        assert "needs tf2_ros" in status.message and "`pose`" in status.message
    else:
        pytest.skip("tf2_ros is installed")


def test_parameters_change_at_run_time_or_are_refused_with_the_reason(near, start):
    node = start("queries:=['red cube']")
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    scene, _ = scene_for(node, publisher)
    assert scene.queries == ["red cube"] and scene.objects[0].query == "red cube"
    assert node.set(queries=["blue sphere", "mug"]) == {"queries": ""}
    scene_for(node, publisher, queries=["blue sphere", "mug"])
    assert node.set(queries=[""]) == {"queries": ""}
    scene_for(node, publisher, queries=[])
    assert node.set(thresholds__on_gap=0.1, camera__rate_hz=20) == {
        "thresholds.on_gap": "",
        "camera.rate_hz": "",
    }
    refused = node.set(
        max_age=-1.0,
        thresholds__on_gap=9.0,
        model="4b",
        camera__image_topic="/other",
        max_objects=0,
        queries="mug",
    )
    assert "range" in refused["max_age"] or "minimum" in refused["max_age"]
    assert refused["thresholds.on_gap"] and refused["max_objects"] and refused["queries"]
    for name in ("model", "camera.image_topic"):
        assert "only while the node is unconfigured" in refused[name]
        assert "ros2 lifecycle set /qwenvl" in refused[name]
    assert node.get("model").string_value == "Qwen/Qwen3-VL-4B-Instruct"
    descriptor = node.describe("max_age")
    assert "[s]" in descriptor.description and descriptor.floating_point_range[0].from_value == 0.0


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
    markers = node.until(lambda: marker_arrays, "markers")[-1].markers
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


def test_a_dead_camera_does_not_delay_the_other(near, start):
    node = start("cameras:=[front, back]", "back.depth_topic:=/back/depth")
    publisher = near.publisher(Image, "/front/image_raw")
    node.wait_active("/front/image_raw")
    scene, _ = scene_for(node, publisher)
    assert scene.camera == "front"
    status = node.report("camera back", lambda s: s.level == DiagnosticStatus.ERROR)
    assert "nothing publishes" in status.message


def test_the_picture_is_drawn_for_who_subscribes(near, start):
    node = start()
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    scene_for(node, publisher)
    pictures = near.hear(CompressedImage, "/qwenvl/annotated/compressed")

    def drawn():
        publisher.publish(picture(near.now()))
        near.executor.spin_once(timeout_sec=0.1)
        return pictures

    drawing = image_of(node.until(drawn, "a picture")[-1])
    assert drawing.shape == RGB.shape and drawing.std() > 5  # something is drawn on the even grey


def test_diagnostics_tell_rates_and_latencies(near, start):
    node = start("queries:=['mug']")
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    node.diagnostics.clear()

    def told():
        publisher.publish(picture(near.now()))
        near.executor.spin_once(timeout_sec=0.1)
        entries = {s.name: s for a in node.diagnostics for s in a.status}
        model = entries.get("/qwenvl: model")
        node.diagnostics.clear()
        return entries if model and int(values(model).get("scenes OK", "0")) > 5 else None

    entries = node.until(told, "diagnostics")
    model = values(entries["/qwenvl: model"])
    assert entries["/qwenvl: model"].level == OK
    assert model["model"] and model["device"] == "script" and model["state"] == "active"
    for stage in ("camera to node", "convert", "wait in slot", "inference", "parse", "relations", "total"):
        middle, worst = (float(text) for text in model[f"{stage} p50 / p99 (ms)"].split(" / "))
        assert 0.0 <= middle <= worst
    camera = values(entries["/qwenvl: camera camera"])
    assert float(camera["rate in (Hz)"]) > 0 and int(camera["published"]) > 5

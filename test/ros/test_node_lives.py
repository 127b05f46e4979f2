"""One node that lives through everything: what cameras, people and time do to it, one test after the other."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest
from asking import ABORTED, Asker
from by_hand import RGB, SECOND, picture, scene_for, values
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import CompressedImage, Image

from qwenvl_ros.msg import Scene
from qwenvl_ros.ros.conversions.camera import image_of, stamp_of
from qwenvl_ros.srv import Ground


@pytest.fixture(scope="module")
def node(start_for_module):
    each = start_for_module("queries:=['red cube', 'blue sphere']")
    each.wait_active()
    return each


@pytest.fixture
def publisher(near):
    each = near.publisher(Image, "/camera/image_raw")
    yield each
    near.node.destroy_publisher(each)


def quiet(node):
    """What was on its way has arrived."""
    node.report("model", lambda s: values(s)["in flight"] == "0")
    node.report("model", lambda s: values(s)["in flight"] == "0")
    node.scenes.clear()
    node.diagnostics.clear()


def test_scenes_carry_the_header_of_their_image(near, node, publisher):
    for frame_id in ("first_optical", "second_optical"):
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


def test_a_storm_of_malformed_images_is_refused_and_told(near, node, publisher):
    quiet(node)

    def storm():
        for message in malformed(near.now()):
            publisher.publish(message)
        near.executor.spin_once(timeout_sec=0.02)
        statuses = [s for array in node.diagnostics for s in array.status]
        return [s for s in statuses if int(values(s).get("refused image", 0)) >= 100]

    status = node.until(storm, "a count of refused images")[-1]
    assert "last refusal" in values(status)
    assert node.scenes == []
    scene, _ = scene_for(node, publisher)
    assert scene.status == Scene.STATUS_OK


def test_a_publisher_that_stops_is_told_and_may_come_back(near, node):
    publisher = near.publisher(Image, "/camera/image_raw")
    scene_for(node, publisher)
    status = node.report("camera camera", lambda s: s.level == DiagnosticStatus.STALE)
    assert "no image for" in status.message and "/camera/image_raw" in status.message
    near.node.destroy_publisher(publisher)
    status = node.report("camera camera", lambda s: "nothing publishes" in s.message)
    assert "set camera.image_topic" in status.message
    publisher = near.publisher(Image, "/camera/image_raw")
    scene_for(node, publisher)
    near.node.destroy_publisher(publisher)


def test_stamps_that_jump_back_start_afresh(near, node, publisher):
    assert node.set(max_age=0.0) == {"max_age": ""}
    for second in (1000, 1001, 10, 11, 5):

        def event(second=second):
            publisher.publish(picture(second * SECOND))
            near.executor.spin_once(timeout_sec=0.1)
            return any(scene.header.stamp.sec == second for scene in node.scenes)

        node.until(event, f"the scene of {second} s")
    assert node.set(max_age=1.0) == {"max_age": ""}


def test_frames_that_are_too_old_are_not_sent_and_told(near, node, publisher):
    quiet(node)

    def told():
        publisher.publish(picture(near.now() - 10 * SECOND))
        near.executor.spin_once(timeout_sec=0.1)
        return [s for a in node.diagnostics for s in a.status if "older than max_age" in s.message]

    assert node.until(told, "a warning")[0].level == DiagnosticStatus.WARN
    assert node.scenes == []


def test_images_without_stamps_work_and_are_told(near, node, publisher):
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

    def mended():
        publisher.publish(picture(near.now()))
        near.executor.spin_once(timeout_sec=0.1)
        statuses = [s for a in node.diagnostics for s in a.status if s.name == "/qwenvl: camera camera"]
        node.diagnostics.clear()
        return any(s.level == DiagnosticStatus.OK for s in statuses)

    node.until(mended, "the end of the warning")


def threads(node):
    with open(f"/proc/{node.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("Threads:"))


def test_deactivate_and_activate_twenty_times(near, node, publisher):
    scene_for(node, publisher)
    counts = []
    for _ in range(20):
        publisher.publish(picture(near.now()))
        assert node.transition("deactivate")
        assert node.state() == "inactive"
        counts.append(threads(node))
        assert node.transition("activate")
        publisher.publish(picture(near.now()))
    assert min(counts[-3:]) <= max(counts[:3]), counts
    scene_for(node, publisher)


def test_nothing_is_published_while_inactive(near, node, publisher):
    scene_for(node, publisher)
    assert node.transition("deactivate")
    quiet(node)
    for _ in range(5):
        publisher.publish(picture(near.now()))
        near.executor.spin_once(timeout_sec=0.1)
    node.report("model", lambda s: values(s)["state"] == "inactive")
    assert node.scenes == []
    assert node.transition("cleanup") and node.state() == "unconfigured"
    assert node.transition("configure") and node.transition("activate")
    scene_for(node, publisher)


def test_parameters_change_at_run_time_or_are_refused_with_the_reason(near, node, publisher):
    scene, _ = scene_for(node, publisher)
    assert scene.queries == ["red cube", "blue sphere"]
    assert [each.query for each in scene.objects] == ["red cube", "blue sphere"]
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
        max_pixels=100,
        queries="mug",
    )
    assert "range" in refused["max_age"] or "minimum" in refused["max_age"]
    assert "max_pixels = 100" in refused["max_pixels"] and "minimum" in refused["max_pixels"]
    assert refused["thresholds.on_gap"] and refused["max_objects"] and refused["queries"]
    for name in ("model", "camera.image_topic"):
        assert "only while the node is unconfigured" in refused[name]
        assert "ros2 lifecycle set /qwenvl" in refused[name]
    assert node.get("model").string_value == "Qwen/Qwen3-VL-4B-Instruct"
    descriptor = node.describe("max_age")
    assert node.set(queries=["red cube", "blue sphere"]) == {"queries": ""}
    assert "[s]" in descriptor.description and descriptor.floating_point_range[0].from_value == 0.0


def test_the_picture_is_drawn_for_who_subscribes(near, node, publisher):
    scene_for(node, publisher)
    pictures = near.hear(CompressedImage, "/qwenvl/annotated/compressed")

    def drawn():
        publisher.publish(picture(near.now()))
        near.executor.spin_once(timeout_sec=0.1)
        return pictures

    drawing = image_of(node.until(drawn, "a picture")[-1])
    assert drawing.shape == RGB.shape and drawing.std() > 5  # something is drawn on the even grey


def test_diagnostics_tell_rates_and_latencies(near, node, publisher):
    node.diagnostics.clear()

    def told():
        publisher.publish(picture(near.now()))
        near.executor.spin_once(timeout_sec=0.1)
        entries = {s.name: s for a in node.diagnostics for s in a.status}
        camera = entries.get("/qwenvl: camera camera")
        node.diagnostics.clear()
        busy = camera and float(values(camera)["rate in (Hz)"]) > 0 and int(values(camera)["published"]) > 5
        return entries if busy and "/qwenvl: model" in entries else None

    entries = node.until(told, "diagnostics")
    model = values(entries["/qwenvl: model"])
    assert entries["/qwenvl: model"].level == DiagnosticStatus.OK
    assert model["model"] and model["device"] == "script" and model["state"] == "active"
    for stage in ("camera to node", "convert", "wait in slot", "inference", "parse", "relations", "total"):
        middle, worst = (float(text) for text in model[f"{stage} p50 / p99 (ms)"].split(" / "))
        assert 0.0 <= middle <= worst
    assert int(model["scenes OK"]) > 5


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_who_waits_for_an_answer_when_a_node_ends_hears_why_there_is_none(near, start, ending):
    node = start("max_age:=600.0", namespace="/ending", options=["--steered", "--capacity", "4"])
    scene_for(node, near.publisher(Image, "/ending/camera/image_raw"))
    node.call("ground", camera="nobody")  # whose answer shows that the node knows our client
    found = node._clients["ground"].call_async(Ground.Request(queries=["hang"]))
    asker = Asker(node)
    said = asker.goal("hang").get_result_async()
    for _ in range(2):
        node.report("model", lambda s: values(s)["in flight"] == "2")
    node.process.send_signal(ending)
    end = time.monotonic() + 30.0
    while not (found.done() and said.done()):
        assert time.monotonic() < end, f"no answer: {found.done()=}, {said.done()=}"
        near.executor.spin_once(timeout_sec=0.1)
    asker.close()
    node.process.wait(30.0)
    assert not found.result().success and "deactivated" in found.result().message
    assert said.result().status == ABORTED and "deactivated" in said.result().result.message

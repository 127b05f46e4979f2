"""Cameras that share one engine, each in real processes over DDS: fair shares, a dead camera, a hung request."""

from __future__ import annotations

from collections import Counter

import pytest
from by_hand import SECOND, picture, scene_for, values
from sensor_msgs.msg import Image

from qwenvl_ros.msg import Scene
from qwenvl_ros.ros.conversions.camera import stamp_of

NAMES = [f"cam{k}" for k in range(8)]


def started(near, start, *parameters, options, silent=()):
    """A node with NAMES as cameras, and the publishers of those that are not silent."""
    node = start(f"cameras:=[{', '.join(NAMES)}]", *parameters, options=options)
    publishers = {name: near.publisher(Image, f"/{name}/image_raw") for name in NAMES if name not in silent}
    for name in publishers:
        node.wait_active(f"/{name}/image_raw")
    return node, publishers


def feed(node, publishers, enough, what):
    """Publish an image of each camera again and again until enough() is true."""

    def event():
        for publisher in publishers.values():
            publisher.publish(picture(node.near.now()))
        heard = -1
        while (
            len(node.scenes) > heard
        ):  # all that came: more than are kept would push the one that is waited for out
            heard = len(node.scenes)
            node.near.executor.spin_once(timeout_sec=0.02)
        return enough()

    node.until(event, what)


@pytest.mark.parametrize("capacity", ["1", "4"])
def test_eight_cameras_get_even_shares_and_a_dead_one_costs_nothing(near, start, capacity):
    node, publishers = started(
        near, start, options=("--delay", "0.05", "--capacity", capacity), silent=("cam3",)
    )
    feed(node, publishers, lambda: len(node.scenes) >= 70, "70 scenes")
    counts = Counter(scene.camera for scene in node.scenes)
    assert set(counts) == set(publishers)
    assert min(counts.values()) >= 0.5 * len(node.scenes) / len(publishers), counts
    for name in publishers:
        stamps = [stamp_of(scene.header.stamp) for scene in node.scenes if scene.camera == name]
        assert stamps == sorted(set(stamps)), "newest wins: never an older frame, never one twice"
    status = node.report(
        "camera cam0", lambda s: values(s).get("dropped: replaced by a newer frame", "0") != "0"
    )
    told = values(status)
    dropped = sum(int(count) for key, count in told.items() if key.startswith("dropped: "))
    assert int(told["arrived"]) >= int(told["published"]) + dropped - 1
    assert "nothing publishes" in node.report("camera cam3", lambda s: s.message).message


def test_a_hung_request_ends_at_its_timeout_and_stalls_no_other_camera(near, start):
    node, publishers = started(
        near, start, "timeout:=8.0", "max_age:=10.0", options=("--hang-once", "--capacity", "4")
    )
    feed(
        node,
        publishers,
        lambda: any(s.status == Scene.STATUS_BACKEND_FAILED for s in node.scenes),
        "a time-out",
    )
    hung = next(scene for scene in node.scenes if scene.status == Scene.STATUS_BACKEND_FAILED)
    assert "no answer within 8 s" in hung.status_message and "raise timeout" in hung.status_message
    before = node.scenes[: node.scenes.index(hung)]
    meanwhile = Counter(scene.camera for scene in before if scene.status == Scene.STATUS_OK)
    assert set(meanwhile) == set(NAMES) - {hung.camera}, "all others went on"
    scene, _ = scene_for(node, publishers[hung.camera], camera=hung.camera, status=Scene.STATUS_OK)
    assert stamp_of(scene.header.stamp) - stamp_of(hung.header.stamp) >= 8 * SECOND, "and so does it"


def test_objects_are_published_as_soon_as_each_is_written(near, start):
    node = start(options=("--stream", "0.1"))
    publisher = near.publisher(Image, "/camera/image_raw")
    node.wait_active("/camera/image_raw")
    scene_for(node, publisher)
    partial = near.hear(Scene, "/qwenvl/scene_partial")

    def grown():
        publisher.publish(picture(near.now()))
        near.executor.spin_once(timeout_sec=0.05)
        stamps = [stamp_of(scene.header.stamp) for scene in node.scenes]
        for first in partial:
            same = [p for p in partial if p.header == first.header]
            if len(same) >= 2 and stamp_of(first.header.stamp) in stamps:
                whole = node.scenes[stamps.index(stamp_of(first.header.stamp))]
                return [*same, whole]
        return None

    *parts, whole = node.until(grown, "a partial scene and its whole")
    assert [len(part.objects) for part in parts] == [1, 2]
    assert all(part.status == Scene.STATUS_TRUNCATED and not part.relations for part in parts)
    assert whole.status == Scene.STATUS_OK and whole.header == parts[0].header and len(whole.objects) == 2

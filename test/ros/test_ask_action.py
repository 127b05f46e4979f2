"""`~/ask` in real processes over DDS: words, boxes, clips, feedback, cancel; the engine is scripted."""

from __future__ import annotations

from math import inf, nan

import pytest
from asking import ABORTED, CANCELED, SUCCEEDED, Asker
from by_hand import picture, scene_for
from sensor_msgs.msg import Image

from qwenvl_ros.msg import Scene
from qwenvl_ros.ros.conversions.camera import stamp_of


@pytest.fixture(scope="module")
def node(start_for_module):
    each = start_for_module(
        *("cameras:=[front, back, dark]", "max_age:=600.0", "clip.window:=4.0", "clip.rate_hz:=20.0"),
        options=["--steered", "--capacity", "4"],
    )
    for name in ("front", "back"):
        each.wait_active(f"/{name}/image_raw")
    return each


@pytest.fixture(scope="module")
def publishers(near):
    return {name: near.publisher(Image, f"/{name}/image_raw") for name in ("front", "back")}


@pytest.fixture(scope="module")
def asker(node):
    each = Asker(node)
    yield each
    each.close()


@pytest.fixture
def seen(node, publishers):
    """A scene of each camera that has images; images after those may have come since."""
    return {
        name: scene_for(
            node, publisher, lambda stamp, name=name: picture(stamp, f"{name}_optical"), camera=name
        )[0]
        for name, publisher in publishers.items()
    }


def as_new(scene, seen):
    """Whether a scene is of the same camera's images, and no older."""
    return scene.header.frame_id == seen.header.frame_id and stamp_of(scene.header.stamp) >= stamp_of(
        seen.header.stamp
    )


def test_an_answer_with_boxes_is_words_and_a_scene(asker, seen):
    status, result = asker.ask("Where is the red cube?")
    assert status == SUCCEEDED and result.success and result.message == ""
    assert result.answer.startswith("[") and "red cube" in result.answer
    (scene,) = result.scenes
    assert scene.camera == "front" and scene.status == Scene.STATUS_OK
    assert as_new(scene, seen["front"]) and scene.queries == ["Where is the red cube?"]
    assert [each.label for each in scene.objects] == ["red cube", "blue sphere"]


def test_half_a_character_in_an_answer_ends_neither_the_goal_nor_the_node(node, asker, seen):
    """No ROS string can hold it."""
    status, result = asker.ask("half of it")
    assert status == SUCCEEDED and result.answer == "a grin ?"
    refused = node.call("ground", queries=["half"])
    assert not refused.success and refused.message == "the gateway said ?"
    assert node.state() == "active"


def test_several_cameras_are_asked_in_one_question(asker, seen):
    status, result = asker.ask("which cameras see what?", cameras=["back", "front"])
    assert status == SUCCEEDED and result.answer.startswith("Two things, one each.")
    assert [each.camera for each in result.scenes] == ["back", "front"]
    assert as_new(result.scenes[0], seen["back"]) and as_new(result.scenes[1], seen["front"])
    assert [[thing.label for thing in each.objects] for each in result.scenes] == [["can"], ["cup"]]


def test_an_answer_without_boxes_comes_with_the_newest_scenes_that_there_are(asker, seen):
    status, result = asker.ask("mumble", cameras=["front", "back"])
    assert status == SUCCEEDED and result.success and result.answer == "I would rather not say."
    for scene, standing in zip(result.scenes, (seen["front"], seen["back"]), strict=True):
        assert as_new(scene, standing) and [o.id for o in scene.objects] == [o.id for o in standing.objects]
        assert scene.queries == [] and "not from the answer" in scene.status_message


def test_the_answer_is_told_while_it_grows(asker, seen):
    handle = asker.goal("count to twenty")
    status, result = asker.result(handle)
    assert status == SUCCEEDED and result.answer.split() == [str(number) for number in range(1, 21)]
    assert len(handle.heard) >= 3
    assert all(result.answer.startswith(each) for each in handle.heard)
    assert handle.heard == sorted(handle.heard, key=len)


def test_cancelling_frees_the_engine(node, asker, seen):
    """Four questions that never end fill the engine; each that is cancelled makes room for one that is answered."""
    hung = [asker.goal("hang") for _ in range(4)]
    waiting = asker.goal("mumble")
    assert not waiting.heard
    for handle in hung[:2]:
        assert asker.cancel(handle)
        status, result = asker.result(handle)
        assert (
            status == CANCELED
            and not result.success
            and result.message == "cancelled"
            and result.answer == ""
        )
    assert asker.result(waiting)[1].answer == "I would rather not say."
    growing = asker.goal("count to twenty slowly")
    node.until(lambda: growing.heard or node._pause(), "feedback")
    assert asker.cancel(growing)
    assert asker.result(growing)[0] == CANCELED
    for handle in hung[2:]:
        assert asker.cancel(handle) and asker.result(handle)[0] == CANCELED
    assert not asker.cancel(hung[0]), "it has ended"


def test_goals_that_wait_share_a_batch(asker, seen):
    """The engine answers these only while it works on three of them at once."""
    handles = [asker.goal(f"together, {name}") for name in ("one", "two", "three")]
    for handle in handles:
        assert asker.result(handle)[0] == SUCCEEDED


def test_a_clip_of_the_last_seconds(near, node, asker, publishers, seen):
    stamps = []
    for _ in range(12):
        stamps.append(near.now())
        publishers["front"].publish(picture(stamps[-1]))
        arrived = len(node.scenes)
        node.until(lambda arrived=arrived: len(node.scenes) > arrived or node._pause(), "its scene")
    status, result = asker.ask("what happened?", window_seconds=2.0)
    assert status == SUCCEEDED and result.success
    frames, seconds = result.answer.split(" frames, ")
    assert int(frames) >= 3 and float(seconds.removesuffix(" seconds")) <= 2.0
    (scene,) = result.scenes
    assert stamp_of(scene.header.stamp) == stamps[-1]


def test_a_clip_that_is_shorter_than_asked_for_is_told(near, node, asker, publishers, seen):
    assert node.set(clip__window=0.0) == {"clip.window": ""}
    scene_for(node, publishers["front"], camera="front")
    status, result = asker.ask("what happened?", window_seconds=1.0)
    assert status == ABORTED and "clip.window = 0 s; ask about less, or raise clip.window" in result.message
    assert node.set(clip__window=600.0) == {"clip.window": ""}
    scene_for(node, publishers["front"], camera="front")
    status, result = asker.ask("what happened?", window_seconds=500.0)
    assert status == SUCCEEDED and result.success and "no more is kept" in result.message
    assert node.set(clip__window=4.0) == {"clip.window": ""}


@pytest.mark.parametrize(
    ("goal", "reason"),
    [
        ({"question": ""}, "the question is empty"),
        ({"question": " \n\t"}, "the question is empty"),
        ({"cameras": ["front", "left"]}, "no camera 'left'; there are front, back, dark"),
        ({"cameras": ["front", "dark"]}, "no image of camera dark has come yet"),
        ({"cameras": ["front", "front"]}, "each at most once"),
        ({"cameras": ["front"] * 5000}, "each at most once"),
        ({"window_seconds": 4.5}, "window_seconds = 4.5 s is more than is kept, clip.window = 4 s"),
        ({"window_seconds": 1e30}, "more than is kept"),
        ({"window_seconds": nan}, "window_seconds = nan"),
        ({"window_seconds": inf}, "window_seconds = inf"),
        ({"window_seconds": -1.0}, "window_seconds = -1"),
        ({"question": "break"}, "out of memory; lower max_pixels"),
        ({"question": "break", "cameras": ["front", "back"]}, "out of memory; lower max_pixels"),
    ],
)
def test_what_cannot_be_answered_is_told(node, asker, seen, goal, reason):
    status, result = asker.ask(**goal)
    assert status == ABORTED and not result.success and result.answer == ""
    assert reason in result.message
    asked = len(goal.get("cameras", ["front"])) if goal.get("question") == "break" else 0
    assert [scene.status for scene in result.scenes] == [Scene.STATUS_BACKEND_FAILED] * asked
    assert node.state() == "active"

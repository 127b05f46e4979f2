"""Scenes at camera rate, over DDS: a moving table drawn here, and a node whose engine finds everything a second late.

The engine cannot know the truth, so each picture bears its number, and the answers lie in a file by that.
"""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from numbered import numbered
from sensor_msgs.msg import Image

from qwenvl_ros.evaluation.worth import worth_asking
from qwenvl_ros.msg import Scene, SceneObject
from qwenvl_ros.ros.conversions.camera import stamp_of, to_image
from qwenvl_ros.sim.motion import set_in_motion
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import sample
from qwenvl_ros.sim.truth import truth
from qwenvl_ros.types import Box

RATE = 10.0
COUNT = 50


class Table:
    """Pictures of a moving table, to be shown to and fro for as long as it takes, and what is truly in them."""

    def __init__(self):
        layout = set_in_motion(sample(96006, objects=(3, 8)), things=True)
        with Renderer(640, 480) as renderer:
            moments = [layout.at(number / RATE) for number in range(COUNT)]
            self.pictures = [numbered(renderer.rgb(now), i) for i, now in enumerate(moments)]
            self.things = [truth(now, renderer).objects for now in moments]

    def write(self, path, numbers=range(COUNT)):
        """The right answers to these pictures; the engine fails with the others."""
        grid = np.array([640, 480, 640, 480]) / 1000
        answers = {
            number: json.dumps(
                [
                    {"bbox_2d": np.rint(each.box.corners / grid).astype(int).tolist(), "label": each.label}
                    for each in self.things[number]
                    if worth_asking(each)
                ]
            )
            for number in numbers
        }
        path.write_text(json.dumps(answers))
        return path

    def owner(self, box, number):
        """The thing that a box of the model is on."""
        return max((each for each in self.things[number] if each.box), key=lambda each: iou(box, each.box)).id

    def box(self, owner, number):
        return next(each.box for each in self.things[number] if each.id == owner)


class Player:
    """Publishes the pictures at their rate while it is asked, and knows which stamp had which."""

    def __init__(self, near, table):
        self._near, self._table = near, table
        self._publisher = near.publisher(Image, "/camera/image_raw")
        self._due, self._turn = time.monotonic(), 0
        self.sent = {}

    def play(self):
        """Publish what is due, and spin."""
        if time.monotonic() >= self._due:
            number = self._turn % (2 * COUNT - 2)
            number = min(number, 2 * COUNT - 2 - number)
            stamp = self._near.now()
            self._publisher.publish(to_image(self._table.pictures[number], stamp, "optical"))
            self.sent[stamp] = number
            self._turn += 1
            self._due = max(self._due + 1 / RATE, time.monotonic() - 1 / RATE)
        self._near.executor.spin_once(timeout_sec=max(0.0, self._due - time.monotonic()))

    def until(self, node, event, what):
        """Play until the event's value is true; returns it."""

        def playing():
            self.play()
            return event()

        return node.until(playing, what)


def iou(box, other):
    return Box(box.x_min, box.y_min, box.x_max, box.y_max).iou(other)


@pytest.fixture(scope="module")
def table():
    return Table()


def test_scenes_at_camera_rate_stay_on_their_objects_and_ids_stay(near, start, table, tmp_path):
    answers = table.write(tmp_path / "answers.json")
    node = start("tracking:=true", options=["--numbered", str(answers), "--delay", "1.0"])
    node.wait_active()
    player = Player(near, table)
    keyframes = lambda: [scene for scene in node.scenes if scene.keyframe]  # noqa: E731
    player.until(node, lambda: len(keyframes()) >= 4, "four keyframes")
    scenes, sent, whose, frozen, fits = list(node.scenes), player.sent, {}, {}, []
    for place, scene in enumerate(scenes):
        stamp, number = stamp_of(scene.header.stamp), sent[stamp_of(scene.header.stamp)]
        assert scene.status == Scene.STATUS_OK and scene.header.frame_id == "optical"
        if scene.keyframe:
            frozen = {each.id: each.box for each in scene.objects}
            for each in scene.objects:
                assert each.origin == SceneObject.ORIGIN_MODEL
                assert whose.setdefault(each.id, table.owner(each.box, number)) == table.owner(
                    each.box, number
                )
            after = scenes[place + 1 : place + 2]
            for other in after:  # the moved-forward scene comes at once
                assert not other.keyframe and stamp_of(other.keyframe_stamp) == stamp
                assert stamp_of(other.header.stamp) > stamp
            continue
        assert stamp_of(scene.keyframe_stamp) in sent and stamp_of(scene.keyframe_stamp) < stamp
        for each in scene.objects:
            assert each.origin == SceneObject.ORIGIN_TRACKED
            true = table.box(whose[each.id], number)
            if true is not None:
                fits.append((iou(each.box, true), iou(frozen[each.id], true)))
    assert len(set(whose.values())) == len(whose), "a thing has got two ids"
    between = [scene for scene in scenes if not scene.keyframe]
    stamps = [stamp_of(scene.header.stamp) for scene in between]
    assert len(between) > 2 * len(keyframes()) and len(fits) > 2 * len(between)
    assert len(set(stamps)) >= len(stamps) - len(keyframes()), "only a keyframe may tell of an image again"
    tracked, stayed = np.mean(fits, axis=0)
    assert tracked > 0.8 > 0.7 > stayed
    assert np.quantile([each for each, _ in fits], 0.1) > 0.5


def test_failed_answers_take_nothing_away_and_old_ones_are_not_carried_on(near, start, table, tmp_path):
    """Off at first, then turned on while it runs; only the first pictures get an answer."""
    answers = table.write(tmp_path / "answers.json", range(5))
    node = start("tracks.max_age:=3.0", options=["--numbered", str(answers), "--delay", "0.2"])
    node.wait_active()
    player = Player(near, table)
    player.until(node, lambda: [each for each in node.scenes if each.objects], "a scene with objects")
    assert all(scene.keyframe for scene in node.scenes)
    assert node.set(tracking=True) == {"tracking": ""}

    def carried():
        """A scene between keyframes with objects after a failed answer."""
        failed = False
        for scene in node.scenes:
            failed = failed or scene.status == Scene.STATUS_BACKEND_FAILED
            if scene.keyframe and scene.status == Scene.STATUS_OK:
                failed = False
            if failed and not scene.keyframe and scene.objects:
                return True
        return False

    player.until(node, carried, "objects that are carried on after a failed answer")
    stale = lambda: [scene for scene in node.scenes if scene.status == Scene.STATUS_STALE]  # noqa: E731
    scene = player.until(node, stale, "a scene that says that the last answer is too old")[0]
    assert not scene.keyframe and not scene.objects and "tracks.max_age" in scene.status_message
    assert stamp_of(scene.header.stamp) - stamp_of(scene.keyframe_stamp) > 3e9
    report = node.report("camera camera")
    assert int({each.key: each.value for each in report.values}["published between keyframes"]) > 0

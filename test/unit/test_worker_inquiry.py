"""The second question about a frame in the worker: scenes stay in order, and it holds up no other camera."""

from __future__ import annotations

import threading
import time

import pytest
from running_worker import PATIENCE, Dictated, Running, frame

from qwenvl_ros import pipeline, zoo
from qwenvl_ros.backends import Reply
from qwenvl_ros.backends.scripted import HANG, ScriptedBackend
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.types import Source, Status, Truth

MODEL = zoo.resolve("8b")
FOUND = (
    '[{"bbox_2d": [400, 400, 500, 500], "label": "cube"}, {"bbox_2d": [300, 350, 600, 700], "label": "bowl"}]'
)
INSIDE = ("cube_1", "inside", "bowl_1")


def second(request):
    return "Is each of these statements true?" in request.text


@pytest.fixture
def run():
    running = []

    def start(backend, **settings):
        each = Running(None, backend=backend, model=MODEL)
        each.settings = PerceptionSettings(ask_relations=True, **settings)
        running.append(each)
        return each

    yield start
    for each in running:
        each.close()


def scene_of(each):
    return each.delivered.get(timeout=PATIENCE).scene


def asked(each):
    return each.backend.asked.get(timeout=PATIENCE)


def stated(scene):
    return {(r.subject_id, r.predicate, r.object_id): r for r in scene.relations}


def test_a_scene_comes_once_with_what_the_model_says_of_it(run):
    each = run(ScriptedBackend(lambda request: '{"1": "yes"}' if second(request) else FOUND, capacity=2))
    each.worker.offer(frame(stamp=7))
    delivery = each.delivered.get(timeout=PATIENCE)
    inside = stated(delivery.scene)[INSIDE]
    assert (inside.truth, inside.source) == (Truth.TRUE, Source.MODEL)
    assert delivery.result.asked.decided == 1 and delivery.scene.stamp == 7
    assert delivery.scene.total_seconds >= delivery.result.timings["inquiry"]
    each.worker.offer(frame(stamp=8))
    assert scene_of(each).stamp == 8


def test_a_cameras_next_frame_waits_for_the_second_answer_so_scenes_come_in_order(run):
    each = run(Dictated())
    each.worker.offer(frame(stamp=1))
    _, first = asked(each)
    each.worker.offer(frame(stamp=2))
    first.settle(Reply(FOUND))
    request, answer = asked(each)
    assert second(request) and each.backend.asked.empty() and each.delivered.empty()
    each.worker.offer(frame("back", 5))
    other, back = asked(each)
    assert not second(other), "another camera does not wait"
    back.settle(Reply("[]"))
    assert scene_of(each).camera == "back"
    answer.settle(Reply('{"1": "yes"}'))
    assert scene_of(each).stamp == 1
    _, next_one = asked(each)
    next_one.settle(Reply("[]"))
    assert scene_of(each).stamp == 2


def test_a_second_question_that_hangs_holds_up_no_other_camera_and_ends_with_the_geometric_scene(run):
    hung = threading.Event()

    def script(request):
        if second(request):
            hung.set()
            return HANG
        return FOUND if not hung.is_set() else "[]"

    each = run(ScriptedBackend(script, capacity=2), timeout=1.0)
    each.worker.offer(frame("hung"))
    assert hung.wait(PATIENCE)
    scenes = []
    for stamp in (1, 2, 3):
        each.worker.offer(frame("live", stamp))
        scenes.append(scene_of(each))
    while not any(scene.camera == "hung" for scene in scenes):
        scenes.append(scene_of(each))
    given_up = next(scene for scene in scenes if scene.camera == "hung")
    assert (given_up.status, len(given_up.objects)) == (Status.OK, 2)
    assert "asked about relations: no answer within 1 s" in given_up.status_message
    assert stated(given_up)[INSIDE].truth is Truth.UNKNOWN
    each.worker.offer(frame("hung", 9))
    while (scene := scene_of(each)).camera != "hung":
        pass
    assert scene.stamp == 9, "its camera goes on"


def test_stop_gives_up_a_second_question_too(run):
    each = run(ScriptedBackend(lambda request: HANG if second(request) else FOUND))
    each.worker.offer(frame())
    while len(each.backend.requests) < 2:
        time.sleep(0.001)
    each.worker.stop()
    assert each.worker.in_flight == 0 and each.delivered.empty()
    assert not any(thread.name == "perception" for thread in threading.enumerate())


def test_a_bug_before_the_second_question_costs_its_frame_only(run, monkeypatch):
    inquire, bugs = pipeline.inquire, [RuntimeError("a bug")]

    def once(*arguments):
        if bugs:
            raise bugs.pop()
        return inquire(*arguments)

    monkeypatch.setattr(pipeline, "inquire", once)
    each = run(ScriptedBackend(lambda request: "{}" if second(request) else FOUND))
    each.worker.offer(frame(stamp=1))
    assert str(each.failures.get(timeout=PATIENCE)) == "a bug"
    each.worker.offer(frame(stamp=2))
    assert scene_of(each).stamp == 2


def test_the_setting_can_change_between_frames(run):
    each = run(ScriptedBackend(lambda request: '{"1": "yes"}' if second(request) else FOUND, capacity=2))
    for stamp, wanted in enumerate((True, False, True, False), 1):
        each.settings = PerceptionSettings(ask_relations=wanted)
        each.worker.offer(frame(stamp=stamp))
        assert (each.delivered.get(timeout=PATIENCE).result.asked is not None) is wanted

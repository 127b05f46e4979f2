"""Questions that somebody waits for, in the worker with the real pipeline: before the frames, together, never lost."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import CancelledError
from itertools import chain, count, repeat

import pytest
from running_worker import MODEL, PATIENCE, Dictated, Running, frame

from qwenvl_ros import backends, pipeline, zoo
from qwenvl_ros.backends import EngineSettings, Reply
from qwenvl_ros.backends.scripted import HANG, Delayed
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.ros.errand import Errand, Refused
from qwenvl_ros.ros.worker import ERRAND_ROUNDS, MOST_ERRANDS
from qwenvl_ros.types import Status


def errand(stamp=1, hear=None, finish=lambda pending: pipeline.finish(pending).scene):
    def start(backend, model, settings, on_text):
        return pipeline.start(frame("asked", stamp), backend, model, settings, on_text)

    return Errand(start, finish, hear)


@pytest.fixture
def run():
    running = []

    def start(*arguments, **options):
        running.append(Running(*arguments, **options))
        return running[-1]

    yield start
    for each in running:
        each.close()


class Narrow(Dictated):
    capacity = 1


def test_an_errand_is_answered_and_is_no_scene_of_the_node(run):
    each = run(lambda request: '[{"bbox_2d": [0, 0, 500, 500], "label": "mug"}]')
    asked = errand(stamp=7)
    each.worker.run(asked)
    scene = asked.outcome.result(PATIENCE)
    assert (scene.stamp, scene.status, scene.objects[0].label, scene.model) == (
        7,
        Status.OK,
        "mug",
        MODEL.name,
    )
    assert each.delivered.empty()


def test_waiting_errands_go_together_before_the_frames(run):
    """One frame is in the engine, which has room for one; then frames and errands wait for it."""
    each = run(None, backend=Narrow())
    each.worker.offer(frame("front", 1))
    _, first = each.backend.asked.get(timeout=PATIENCE)
    each.worker.offer(frame("back", 2))
    errands = [errand(), errand(), errand()]
    for one in errands:
        each.worker.run(one)
    _, second = each.backend.asked.get(timeout=PATIENCE)  # the engine may have one more in hand
    assert each.worker.in_flight == 2
    first.settle(Reply("[]"))
    assert each.delivered.get(timeout=PATIENCE).scene.camera == "front"
    _, third = each.backend.asked.get(timeout=PATIENCE)
    second.settle(Reply("[]"))
    _, fourth = each.backend.asked.get(timeout=PATIENCE)
    third.settle(Reply("[]"))
    fourth.settle(Reply("[]"))
    assert all(one.outcome.result(PATIENCE).camera == "asked" for one in errands)
    each.backend.asked.get(timeout=PATIENCE)[1].settle(Reply("[]"))
    assert each.delivered.get(timeout=PATIENCE).scene.camera == "back", "and then the frame"


def test_a_frame_goes_although_questions_always_wait(run):
    each = run(None, backend=Narrow())
    errands = [errand() for _ in range(4 * ERRAND_ROUNDS)]
    for one in errands:
        each.worker.run(one)
    each.worker.offer(frame("front", 1))
    answered = 0
    while not each.slots.counts()["front"].taken:
        each.backend.asked.get(timeout=PATIENCE)[1].settle(Reply("[]"))
        answered += 1
    assert answered <= 2 * ERRAND_ROUNDS


def test_cancelling_an_errand_ends_its_generation(run):
    each = run(None, backend=Dictated())
    waited, kept = errand(), errand()
    each.worker.run(waited)
    _, future = each.backend.asked.get(timeout=PATIENCE)
    each.worker.run(kept)
    _, other = each.backend.asked.get(timeout=PATIENCE)
    assert waited.outcome.cancel()
    with pytest.raises(CancelledError):
        future.result(PATIENCE)
    assert not other.cancelled()
    other.settle(Reply("[]"))
    assert kept.outcome.result(PATIENCE).status is Status.OK
    assert each.failures.empty()


def test_cancelling_is_heard_while_answers_come_faster_than_scenes_are_made(run):
    answers, over, ended = chain([HANG], repeat(Delayed(0.005, "[]"))), threading.Event(), queue.Queue()
    each = run(lambda request: next(answers), deliver=lambda delivery: time.sleep(0.02))
    hung = errand(finish=ended.put)
    each.worker.run(hung)
    while not each.backend.requests:
        time.sleep(0.001)

    def flood():
        for stamp in count(1):
            for camera in "abcd":
                each.worker.offer(frame(camera, stamp))
            if over.wait(0.001):
                return

    thread = threading.Thread(target=flood)
    thread.start()
    time.sleep(0.2)
    hung.outcome.cancel()
    try:
        assert ended.get(timeout=PATIENCE).future.cancelled()
    finally:
        over.set()
        thread.join()


def test_cancelled_errands_take_nobodys_place(run):
    each = run(None, backend=Dictated())
    waiting = [errand() for _ in range(2 * Dictated.capacity + MOST_ERRANDS)]
    for number, one in enumerate(waiting, 1):
        each.worker.run(one)
        while each.worker.in_flight < min(2 * Dictated.capacity, number):
            time.sleep(0.001)
    refused, new = errand(), errand()
    each.worker.run(refused)
    assert "wait for the engine already" in str(refused.outcome.exception(PATIENCE))
    for one in waiting:
        one.outcome.cancel()
    each.worker.run(new)
    for _ in range(2 * Dictated.capacity + 1):
        each.backend.asked.get(timeout=PATIENCE)[1].settle(Reply("[]"))
    assert new.outcome.result(PATIENCE).status is Status.OK


def test_an_errand_cancelled_before_its_turn_is_never_asked(run):
    each = run(None, backend=Narrow())
    errands = [errand(stamp) for stamp in range(3)]
    for one in errands:
        each.worker.run(one)
    futures = [each.backend.asked.get(timeout=PATIENCE)[1] for _ in range(2)]
    assert errands[2].outcome.cancel()
    for future in futures:
        future.settle(Reply("[]"))
    assert [one.outcome.result(PATIENCE).stamp for one in errands[:2]] == [0, 1]
    each.worker.offer(frame(stamp=9))
    each.backend.asked.get(timeout=PATIENCE)[1].settle(Reply("[]"))
    assert each.delivered.get(timeout=PATIENCE).scene.stamp == 9


def test_an_errand_that_hangs_ends_at_the_timeout(run):
    each = run([HANG, HANG, HANG], capacity=1)
    each.settings = PerceptionSettings(timeout=0.3)
    errands = [errand(stamp) for stamp in range(3)]
    for one in errands:
        each.worker.run(one)
    for one in errands[:2]:
        scene = one.outcome.result(PATIENCE)
        assert scene.status is Status.BACKEND_FAILED and "no answer within 0.3 s" in scene.status_message
    with pytest.raises(Refused, match=r"no time for it within 0.3 s.*capacity"):
        errands[2].outcome.result(PATIENCE)  # it waited for room as long as the others for their answers


def test_partial_answers_are_heard_in_the_workers_thread_and_never_shrink(run):
    each = run(None, backend=Dictated())
    heard, threads, all_of_it = [], set(), threading.Event()

    def hear(text):
        heard.append(text)
        threads.add(threading.current_thread().name)
        if text == "It is red.":
            all_of_it.set()

    asked = errand(hear=hear)
    each.worker.run(asked)
    request, future = each.backend.asked.get(timeout=PATIENCE)
    for end in range(1, len("It is red.") + 1):
        request.on_text("It is red."[:end])
    assert all_of_it.wait(PATIENCE)
    assert heard == sorted(heard, key=len) and threads == {"perception"}
    future.settle(Reply("It is red."))
    assert asked.outcome.result(PATIENCE).status is Status.PARSE_FAILED


def test_a_listener_that_raises_costs_nobody_the_answer(run):
    each = run(None, backend=Dictated())

    def hear(text):
        raise RuntimeError("nobody there")

    asked = errand(hear=hear)
    each.worker.run(asked)
    request, future = each.backend.asked.get(timeout=PATIENCE)
    request.on_text("[")
    assert str(each.failures.get(timeout=PATIENCE)) == "nobody there"
    future.settle(Reply("[]"))
    assert asked.outcome.result(PATIENCE).status is Status.OK


def test_a_bug_reaches_who_waits_and_nobody_else(run):
    def bug(*_):
        raise KeyError("a bug")

    each = run(lambda request: "[]")
    for broken in (errand(finish=bug), Errand(bug, bug)):
        each.worker.run(broken)
        with pytest.raises(Refused, match="KeyError: 'a bug'"):
            broken.outcome.result(PATIENCE)
    whole = errand()
    each.worker.run(whole)
    assert whole.outcome.result(PATIENCE).status is Status.OK


def test_stop_refuses_what_runs_what_waits_and_what_comes_after(run):
    each = run(None, backend=Narrow())
    errands = [errand() for _ in range(4)]
    for one in errands:
        each.worker.run(one)
    futures = [each.backend.asked.get(timeout=PATIENCE)[1] for _ in range(2)]
    each.worker.stop()
    late = errand()
    each.worker.run(late)
    for one in (*errands, late):
        with pytest.raises(Refused, match=r"deactivated.*activate it and ask again"):
            one.outcome.result(timeout=0)
    assert all(future.cancelled() for future in futures)


def test_a_flood_is_refused_beyond_what_may_wait(run):
    each = run(None, backend=Narrow())
    errands = [errand() for _ in range(MOST_ERRANDS + 10)]
    with each.worker._lock:  # so that none leaves meanwhile
        for one in errands:
            each.worker.run(one)
    refused = [one for one in errands if one.outcome.done()]
    assert refused == errands[MOST_ERRANDS:]
    with pytest.raises(Refused, match=r"64 questions wait.*capacity"):
        refused[0].outcome.result(timeout=0)


def test_an_engine_that_fails_at_once_answers_every_errand(run):
    each = run([])  # a script that is over: every request fails
    errands = [errand() for _ in range(50)]
    for one in errands:
        each.worker.run(one)
    assert {one.outcome.result(PATIENCE).status for one in errands} == {Status.BACKEND_FAILED}


def test_the_real_engine_answers_those_that_waited_in_one_batch(run, monkeypatch):
    tiny = zoo.resolve("tiny")
    engine = backends.create(tiny, EngineSettings(device="cpu", threads=1, capacity=4))
    batches, generate = [], engine._generate

    def counted(rows):
        batches.append(len(rows))
        return generate(rows)

    monkeypatch.setattr(engine, "_generate", counted)
    each = run(None, backend=engine)

    def start(backend, model, settings, on_text):
        return pipeline.start(frame("asked"), backend, tiny, settings, on_text)

    errands = [Errand(start, lambda pending: pipeline.finish(pending).scene) for _ in range(4)]
    with each.worker._lock:  # so that they come at once
        for one in errands:
            each.worker.run(one)
    assert all(one.outcome.result(PATIENCE).status is not Status.BACKEND_FAILED for one in errands)
    assert batches == [4]

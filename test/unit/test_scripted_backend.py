"""The scripted engine keeps the seam's promises, so that rehearsing on it means something."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, wait

import pytest

from qwenvl_ros.backends import BackendError, Reply, Request, RequestFailed, Token
from qwenvl_ros.backends.scripted import HANG, Delayed, ScriptedBackend, Streamed


@pytest.fixture
def scripted():
    engines = []

    def make(*args, **kwargs) -> ScriptedBackend:
        engines.append(ScriptedBackend(*args, **kwargs))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def ask(text: str = "", **more) -> Request:
    return Request([], text, **more)


def test_answers_come_in_the_order_of_submission_and_then_end(scripted):
    engine = scripted(["one", "two"], capacity=2)
    futures = [engine.submit(ask()) for _ in range(3)]
    assert [future.result().text for future in futures[:2]] == ["one", "two"]
    with pytest.raises(RequestFailed, match="no more answers"):
        futures[2].result()
    assert engine.submit(ask()).exception() is not None


def test_a_function_answers_each_request(scripted):
    engine = scripted(lambda request: request.text.upper(), model="loud", capacity=3)
    assert (engine.model, engine.capacity, engine.device) == ("loud", 3, "script")
    assert engine.submit(ask("mug")).result().text == "MUG"
    assert [request.text for request in engine.requests] == ["mug"]


def test_a_whole_reply_keeps_its_tokens_and_its_end(scripted):
    canned = Reply("ab", (Token("a", -0.1), Token("b", -0.2)), "length", inference_seconds=7.0)
    reply = scripted([canned]).submit(ask()).result()
    assert (reply.text, reply.tokens, reply.finish, reply.inference_seconds) == (
        "ab",
        canned.tokens,
        "length",
        7.0,
    )
    assert reply.queue_seconds > 0


def test_text_is_heard_before_the_reply(scripted):
    heard: list[str] = []
    future = scripted(["mug"]).submit(ask(on_text=heard.append))
    future.result()
    assert heard == ["mug"]


def test_errors_are_answers_and_the_engine_lives_on(scripted):
    def moody(request: Request) -> str:
        if request.text == "bad":
            raise ValueError("bad day")
        return "fine"

    engine = scripted(moody)
    with pytest.raises(ValueError, match="bad day"):
        engine.submit(ask("bad")).result()
    assert engine.submit(ask()).result().text == "fine"
    with pytest.raises(RequestFailed, match="out of memory"):
        scripted([Delayed(0.01, RequestFailed("out of memory"))]).submit(ask()).result()


def test_a_delay_is_measured(scripted):
    reply = scripted([Delayed(0.05, "late")]).submit(ask()).result()
    assert reply.text == "late"
    assert reply.inference_seconds >= 0.05


def test_a_hang_ends_when_it_is_cancelled(scripted):
    engine = scripted([HANG, "next"])
    stuck, following = engine.submit(ask()), engine.submit(ask())
    assert not wait([following], timeout=0.05).done
    assert stuck.cancel()
    assert following.result().text == "next"
    assert wait([stuck]).done == {stuck}
    with pytest.raises(CancelledError):
        stuck.result()
    assert stuck.cancel()  # again does no harm


def test_a_delay_ends_when_it_is_cancelled(scripted):
    heard: list[str] = []
    engine = scripted([Delayed(3600.0, "never"), "next"])
    slow, following = engine.submit(ask(on_text=heard.append)), engine.submit(ask())
    slow.cancel()
    assert following.result().text == "next"
    assert heard == []


def test_capacity_is_how_many_run_at_once(scripted):
    meet = threading.Barrier(3)

    def together(request: Request) -> str:
        meet.wait()
        return "met"

    engine = scripted(together, capacity=3)
    assert [future.result().text for future in [engine.submit(ask()) for _ in range(3)]] == ["met"] * 3


def test_closing_fails_whatever_is_unanswered(scripted):
    engine = scripted([HANG, Delayed(3600.0, "never"), "never"], capacity=2)
    futures = [engine.submit(ask()) for _ in range(3)]
    engine.close()
    engine.close()
    futures.append(engine.submit(ask()))
    for future in futures:
        with pytest.raises(BackendError, match="closed"):
            future.result()


def test_it_may_be_closed_from_its_own_thread(scripted):
    engine = scripted(lambda request: "ok")
    engine.submit(ask(on_text=lambda text: engine.close())).exception()
    assert isinstance(engine.submit(ask()).exception(), BackendError)


def test_a_streamed_answer_is_heard_as_it_grows():
    engine = ScriptedBackend([Streamed(["[", "]", ""], 0.0)])
    heard = []
    reply = engine.submit(Request([], "x", on_text=heard.append)).result()
    engine.close()
    assert heard == ["[", "[]", "[]", "[]"] and reply.text == "[]"

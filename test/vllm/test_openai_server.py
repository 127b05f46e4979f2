"""The openai engine against real vLLM servers with the tiny model, some of them killed; transformers is the measure."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
import pytest
from endless import endless
from vllm_server import CONTEXT, KEY, VllmServer

from qwenvl_ros import backends, grounding, pipeline
from qwenvl_ros.backends import (
    BackendUnavailable,
    Clip,
    EngineSettings,
    OpenaiSettings,
    Reply,
    Request,
    RequestFailed,
)
from qwenvl_ros.evaluation.sights import SIZE
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import sample
from qwenvl_ros.types import Frame, Status

PATIENCE = 120.0
LONG = 1900  # tokens: an answer that is still being made when the test is done with it


@pytest.fixture(scope="module")
def server(model, tmp_path_factory):
    server = VllmServer(model.checkpoint, tmp_path_factory.mktemp("vllm"))
    try:
        yield server.start().ready()
    finally:
        server.kill()


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture(scope="module")
def plain(model):
    engine = backends.create(model, EngineSettings(backend="transformers", device="cpu", threads=1))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def pictures():
    """Scenes never trained on, (H, W, 3) uint8."""
    with Renderer(*SIZE) as renderer:
        return [renderer.rgb(sample(seed)) for seed in range(90_000, 90_004)]


@pytest.fixture
def engines(model):
    """Makes engines that are closed at the end of the test."""
    made = []

    def make(*urls: str, capacity: int = 4, **options):
        settings = OpenaiSettings(**{"health_interval": 0.5, **options})
        made.append(
            backends.create(
                model,
                EngineSettings(backend="openai", endpoint=",".join(urls), capacity=capacity, openai=settings),
            )
        )
        return made[-1]

    yield make
    for one in made:
        one.close()


def asked(model, picture, queries: tuple[str, ...], held: bool) -> Request:
    canvas = grounding.place(picture.shape[1], picture.shape[0], model.pixels).apply(picture)
    schema = grounding.schema(queries, 50) if held else None
    return Request([canvas], grounding.prompt(queries), text_first=True, max_tokens=256, schema=schema)


def begins(engine) -> tuple[Future[Reply], list[str]]:
    """An answer that is being made, and what is heard of it."""
    begun = threading.Event()
    heard: list[str] = []

    def listen(text: str) -> None:
        heard.append(text)
        begun.set()

    future = engine.submit(endless(LONG, on_text=listen))
    assert begun.wait(PATIENCE)
    return future, heard


def logprobs(reply: Reply):
    return np.array([token.logprob for token in reply.tokens])


def until(condition: Callable[[], bool]) -> None:
    """A server's metrics lag behind its answers."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came to that"


@pytest.mark.parametrize("held", [False, True])
def test_it_answers_as_transformers_does(server, engines, plain, model, pictures, held):
    requests = [
        asked(model, picture, queries, held)
        for picture in pictures
        for queries in ((), ("red cube", "blue bottle"))
    ]
    there = engines(server.url)
    mine = [future.result(PATIENCE) for future in [there.submit(request) for request in requests]]
    theirs = [future.result(PATIENCE) for future in [plain.submit(request) for request in requests]]
    assert len({reply.text for reply in theirs}) > len(pictures)
    for reply, other in zip(mine, theirs, strict=True):
        assert (reply.text, reply.finish) == (other.text, other.finish)
        assert "".join(token.text for token in reply.tokens) == reply.text
        assert [token.text for token in reply.tokens] == [token.text for token in other.tokens]
        gap = logprobs(reply) - logprobs(other)
        if held:  # vLLM's are among the allowed tokens, so none is smaller
            assert (gap > -1e-2).all()
        else:
            assert (np.abs(gap) < 1e-2).all()


def test_its_scenes_are_those_of_transformers(server, engines, plain, model, pictures):
    frames = [Frame("camera", picture, 0) for picture in pictures]
    settings = PerceptionSettings()
    mine = [result.scene for result in pipeline.perceive(frames, engines(server.url), model, settings)]
    theirs = [result.scene for result in pipeline.perceive(frames, plain, model, settings)]
    assert sum(len(scene.objects) for scene in theirs) > len(frames)
    for scene, other in zip(mine, theirs, strict=True):
        assert scene.status is other.status is Status.OK
        assert [thing.label for thing in scene.objects] == [thing.label for thing in other.objects]
        for thing, twin in zip(scene.objects, other.objects, strict=True):
            assert thing.box == twin.box
            assert thing.score == pytest.approx(twin.score, abs=2e-2)


def test_jpeg_travels_too(server, engines, model, pictures):
    request = asked(model, pictures[0], (), held=True)
    replies = [
        engines(server.url, **options).submit(request).result(PATIENCE)
        for options in ({}, {"image_encoding": "jpeg"})
    ]
    found = [
        grounding.parse(reply.text, grounding.place(*SIZE, model.pixels), ()).detections for reply in replies
    ]
    labels = [{detection.label for detection in detections} for detections in found]
    assert labels[0] == labels[1] != set()  # boxes move: benchmarks/image_encoding.py


def test_a_clip_goes_as_images_with_their_times(server, engines, model, pictures):
    place = grounding.place(*SIZE, model.pixels)
    frames = np.stack([place.apply(picture) for picture in pictures[:3]])
    engine = engines(server.url)

    def said(*seconds: float) -> Reply:
        request = Request([], grounding.prompt(()), [Clip(frames[: len(seconds)], seconds)], max_tokens=30)
        return engine.submit(request).result(PATIENCE)

    replies = [said(0.0, 0.5, 1.0), said(0.0, 40.0, 90.0), said(0.0, 0.5)]
    assert len({tuple(logprobs(reply)) for reply in replies}) == 3  # times and frames arrive
    too_many = Request([], "mug", [Clip(np.stack([frames[0]] * 5), range(5))], max_tokens=5)
    with pytest.raises(RequestFailed, match=r"(?i)at most 4 image"):
        engine.submit(too_many).result(PATIENCE)


def test_a_watched_answer_grows(server, engines):
    heard: list[str] = []
    request = endless(20, on_text=heard.append)
    reply = engines(server.url).submit(request).result(PATIENCE)
    assert (reply.finish, len(reply.tokens)) == ("length", 20)
    assert len(heard) > 5
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(heard))
    assert heard[-1] == reply.text == "".join(token.text for token in reply.tokens)


def test_sampling_reaches_the_server(server, engines):
    engine = engines(server.url)

    def say(**fields) -> str:
        return engine.submit(endless(20, **fields)).result(PATIENCE).text

    assert say(temperature=1.0, top_k=1) == say()
    assert say(temperature=2.0) != say(temperature=2.0)
    assert say(presence_penalty=2.0) != say()


def test_a_wrong_key_is_told(server, engines, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "another-key")
    with pytest.raises(BackendUnavailable, match=r"answered 401.*set OPENAI_API_KEY") as caught:
        engines(server.url)
    assert "another-key" not in str(caught.value)


def test_a_wrong_model_is_told_with_the_right_one(server, engines):
    with pytest.raises(RequestFailed, match=r"does not know the model 8b, it serves tiny; set openai\.model"):
        engines(server.url, model="8b").submit(Request([], "mug", max_tokens=1)).result(PATIENCE)


def test_a_request_that_is_too_long_is_told(server, engines):
    with pytest.raises(RequestFailed, match=rf"answered 400 .*{CONTEXT}.*lower max_tokens"):
        engines(server.url).submit(Request([], "mug, " * CONTEXT, max_tokens=1)).result(PATIENCE)


@pytest.mark.parametrize("close", [False, True])
def test_a_cancelled_answer_is_generated_no_further(server, engines, close):
    engine = engines(server.url)
    future, heard = begins(engine)
    until(lambda: server.running() == 1)
    if close:
        engine.close()
    else:
        assert future.cancel()
    until(lambda: server.running() == 0)
    assert len(heard) < LONG / 2  # it was not just done


def test_a_dead_server_beside_a_live_one_costs_nothing(server, engines, model, pictures, caplog):
    with socket.socket() as taken:  # bound and not listening: refuses
        taken.bind(("127.0.0.1", 0))
        engine = engines(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", server.url)
        assert "is down: the connection failed" in caplog.text
        future = engine.submit(asked(model, pictures[0], (), held=True))
        assert future.result(PATIENCE).text.startswith("[")


def test_a_server_that_is_killed_fails_or_is_stood_in_for_and_comes_back(
    server, engines, model, pictures, tmp_path
):
    """The last test here: its servers die."""
    request = asked(model, pictures[0], (), held=True)
    second = VllmServer(model.checkpoint, tmp_path).start()
    try:
        second.ready()
        alone, both = engines(server.url), engines(server.url, second.url)
        expected = alone.submit(request).result(PATIENCE).text
        assert both.submit(request).result(PATIENCE).text == expected  # the first server's turn
        begins(both)  # the second server's
        moved, heard = begins(both)  # the first's again
        until(lambda: (server.running(), second.running()) == (1, 1))
        lost, _ = begins(alone)
        assert not moved.done()

        server.kill()
        killed = time.monotonic()
        with pytest.raises(RequestFailed, match=f"{server.url}: the connection failed.*start the server"):
            lost.result(PATIENCE)
        assert time.monotonic() - killed < 30
        before = len(heard)
        assert moved.result(PATIENCE).finish == "length"
        assert len(heard) > before
        assert [both.submit(request).result(PATIENCE).text for _ in range(3)] == [expected] * 3

        server.start().ready()
        assert alone.submit(request).result(PATIENCE).text == expected
        second.kill()
        assert [both.submit(request).result(PATIENCE).text for _ in range(3)] == [expected] * 3
    finally:
        second.kill()

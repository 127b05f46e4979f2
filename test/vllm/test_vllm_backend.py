"""The vllm engine with the tiny model as it ships: one real engine for all tests, and transformers' as its measure."""

from __future__ import annotations

import dataclasses
import itertools
import json
import multiprocessing
import threading
from concurrent.futures import CancelledError, Future, wait

import numpy as np
import pytest
from endless import endless

from qwenvl_ros import backends, grounding, pipeline
from qwenvl_ros.backends import (
    BackendError,
    Clip,
    EngineSettings,
    Reply,
    Request,
    RequestFailed,
    VllmSettings,
)
from qwenvl_ros.evaluation.sights import SIZE
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import sample
from qwenvl_ros.types import Frame, Status

CAPACITY = 3
PATIENCE = 300  # seconds, for a machine that has other things to do
LONG = 3500  # tokens: an answer that is still being made when the test is done with it


@pytest.fixture(scope="module")
def engine(model):
    engine = backends.create(
        model,
        EngineSettings(
            backend="vllm", device="cpu", capacity=CAPACITY, threads=1, vllm=VllmSettings(clips_per_prompt=1)
        ),
    )
    assert type(engine).__name__ == "VllmBackend"
    yield engine
    engine.close()


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


@pytest.fixture(scope="module")
def canvases(pictures, model):
    return [
        grounding.place(picture.shape[1], picture.shape[0], model.pixels).apply(picture)
        for picture in pictures
    ]


def blocks(width: int, height: int, seed: int = 0):
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, 16, 0), 16, 1)


def ask(image, *queries: str, schema: bool = False, **options) -> Request:
    held = grounding.schema(queries, 50) if schema else None
    return Request([image], grounding.prompt(queries), text_first=True, schema=held, **options)


def answers(engine, requests: list[Request]) -> list[Reply]:
    futures = [engine.submit(request) for request in requests]
    return [future.result() for future in futures]


def texts(reply: Reply) -> list[str]:
    return [token.text for token in reply.tokens]


def logprobs(reply: Reply):
    return np.array([token.logprob for token in reply.tokens])


@pytest.mark.parametrize("schema", [False, True])
def test_it_answers_as_transformers_does(engine, plain, canvases, schema):
    requests = [ask(canvas, schema=schema) for canvas in canvases]
    requests += [ask(canvas, "red cube", "blue sphere", schema=schema) for canvas in canvases]
    assert len(requests) > 2 * CAPACITY
    for mine, theirs in zip(answers(engine, requests), answers(plain, requests), strict=True):
        assert mine.text == theirs.text == "".join(texts(mine))
        assert texts(mine) == texts(theirs)
        assert mine.finish == theirs.finish == "stop"
        assert mine.inference_seconds > 0
        if schema:  # vLLM's are among the allowed tokens, so none is smaller
            assert (logprobs(mine) >= logprobs(theirs) - 1e-3).all()
        else:
            np.testing.assert_allclose(logprobs(mine), logprobs(theirs), atol=1e-3)


def test_the_question_about_relations_is_taken_with_its_schema(engine, pictures, model):
    """The tiny model was never taught to answer it and may write blanks to the end, which vLLM allows in JSON."""
    asked = dataclasses.replace(model, relation_reliability=2 / 3)  # as it ships it is not asked
    settings = PerceptionSettings(ask_relations=True, max_asked=12, timeout=PATIENCE)
    frames = [Frame(f"camera {k}", picture, k) for k, picture in enumerate(pictures)]
    results = [each for each in pipeline.perceive(frames, engine, asked, settings) if each.asked]
    assert sum(result.asked.asked for result in results) > 12
    for result in results:
        assert result.scene.status is Status.OK
        assert result.asked.unanswered == 0 or "the answer was cut short" in result.scene.status_message


def test_scenes_have_the_same_boxes(engine, plain, pictures, model):
    narrow = np.ascontiguousarray(pictures[0][:, 100:400])  # another shape: padded
    frames = [Frame(f"camera {k}", picture, k) for k, picture in enumerate([*pictures, narrow])]
    mine, theirs = (
        [result.scene for result in pipeline.perceive(frames, engine, model, PerceptionSettings())]
        for engine in (engine, plain)
    )
    assert sum(len(scene.objects) for scene in mine) >= len(frames)
    for one, other in zip(mine, theirs, strict=True):
        assert one.status is other.status is Status.OK
        assert [(thing.id, thing.box.corners) for thing in one.objects] == [
            (thing.id, thing.box.corners) for thing in other.objects
        ]


@pytest.mark.parametrize("size", [(32, 32), (128, 96), (96, 512), (256, 192)])
def test_no_image_is_resized(engine, plain, size):
    """The checkpoint's processor wants 196608 pixels exactly; smaller ones must reach the network as they are."""
    request = ask(blocks(*size, seed=9), max_tokens=12)
    (mine,), (theirs,) = answers(engine, [request]), answers(plain, [request])
    assert texts(mine) == texts(theirs)
    np.testing.assert_allclose(logprobs(mine), logprobs(theirs), atol=1e-3)


def film(canvases, *seconds: float) -> Clip:
    return Clip(np.stack(canvases[: len(seconds)]), seconds)


def test_a_clip_is_seen_as_transformers_sees_it(engine, plain, canvases):
    """All frames, in pairs, each after its time: one that were resized, left out or stamped otherwise would show."""
    words = grounding.prompt(())
    requests = [
        Request([], words, [film(canvases, 0.0, 0.5, 1.0, 1.5)], max_tokens=40),
        Request([], words, [film(canvases, 0.0, 0.13, 7.26)], text_first=True, max_tokens=40),
        Request([canvases[0]], words, [film(canvases[1:], 0.0)], max_tokens=40),
    ]
    for mine, theirs in zip(answers(engine, requests), answers(plain, requests), strict=True):
        assert texts(mine) == texts(theirs)
        np.testing.assert_allclose(logprobs(mine), logprobs(theirs), atol=1e-3)


def test_a_read_only_or_strided_image_is_taken(engine, canvases):
    frozen = canvases[0][:, ::-1].copy()
    frozen.setflags(write=False)
    one, other = answers(engine, [ask(frozen), ask(canvases[0][:, ::-1])])
    assert one.text == other.text


def test_both_orders_of_text_and_image_are_asked(engine, plain, canvases):
    request = dataclasses.replace(ask(canvases[0], "red cube", max_tokens=6), text_first=False)
    (mine,), (theirs,) = answers(engine, [request]), answers(plain, [request])
    np.testing.assert_allclose(logprobs(mine), logprobs(theirs), atol=1e-3)


def test_a_schema_is_obeyed_where_the_model_would_say_otherwise(engine, canvases):
    schema = grounding.schema(["plaid giraffe"], 2) | {"minItems": 2, "maxItems": 2}
    free, held = answers(engine, [ask(canvases[0]), dataclasses.replace(ask(canvases[0]), schema=schema)])
    assert "giraffe" not in free.text
    found = json.loads(held.text)
    assert [thing["label"] for thing in found] == ["plaid giraffe"] * 2
    assert all(0 <= number <= 1000 for thing in found for number in thing["bbox_2d"])
    assert '": [' in held.text  # white space as the model writes it


def test_characters_of_several_tokens_are_given_whole(engine):
    heard: list[str] = []
    wanted = "é 漢字 😀"
    request = Request([], "mug", schema={"enum": [wanted]}, max_tokens=60, on_text=heard.append)
    (reply,) = answers(engine, [request])
    assert json.loads(reply.text) == wanted
    assert "".join(texts(reply)) == reply.text
    assert len(reply.tokens) > len(reply.text)
    assert not any("\ufffd" in text for text in [*heard, *texts(reply)])


def test_max_tokens_cuts_an_answer_short(engine, canvases):
    whole, cut = answers(engine, [ask(canvases[0]), ask(canvases[0], max_tokens=5)])
    assert (cut.finish, len(cut.tokens)) == ("length", 5)
    assert whole.finish == "stop"
    assert texts(whole)[:5] == texts(cut)


def test_text_arrives_while_it_is_generated(engine, canvases):
    heard: list[str] = []
    thread: set[str] = set()

    def listen(text: str) -> None:
        heard.append(text)
        thread.add(threading.current_thread().name)

    (reply,) = answers(engine, [ask(canvases[0], on_text=listen)])
    assert len(heard) > 5
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(heard))
    assert heard[-1] == reply.text
    assert thread == {"vllm"}


def test_a_fault_in_on_text_costs_only_its_request(engine, canvases):
    def broken(text: str) -> None:
        raise KeyError("not my day")

    futures = [engine.submit(ask(canvases[0], on_text=on_text)) for on_text in (None, broken, None)]
    with pytest.raises(RequestFailed, match=r"on_text raised KeyError.*not my day"):
        futures[1].result()
    assert futures[0].result().text == futures[2].result().text != ""
    assert_free(engine)


def begun(engine, request: Request) -> Future[Reply]:
    """Submitted, and its first text has come."""
    started = threading.Event()
    future = engine.submit(dataclasses.replace(request, on_text=lambda _: started.set()))
    assert started.wait(PATIENCE), future
    return future


def assert_free(engine) -> None:
    """Every place in the engine is free: as many requests as it takes are generated side by side."""
    running = [begun(engine, endless(LONG)) for _ in range(CAPACITY)]
    assert not any(future.done() for future in running)
    for future in running:
        assert future.cancel()


def test_requests_beyond_the_capacity_wait_and_a_cancelled_one_makes_room(engine):
    running = [begun(engine, endless(LONG)) for _ in range(CAPACITY)]
    waiting = engine.submit(Request([], "bowl", max_tokens=2))
    doomed = engine.submit(Request([], "cone", max_tokens=2))
    assert not wait([waiting, doomed], timeout=1.0).done
    assert doomed.cancel()
    assert running[0].cancel()
    assert wait([running[0]], timeout=1.0).done  # who waits hears it at once
    reply = waiting.result(timeout=PATIENCE)
    assert reply.text
    assert reply.queue_seconds > 1.0
    assert not any(future.done() for future in running[1:])
    for future in running[1:]:
        assert future.cancel()
    for future in (*running, doomed):
        with pytest.raises(CancelledError):
            future.result()
    assert_free(engine)


def test_sampling_follows_the_request(engine, canvases):
    greedy = ask(canvases[0], max_tokens=8)
    narrow = dataclasses.replace(greedy, temperature=1.0, top_k=1)  # drawn from the best token only
    nucleus = dataclasses.replace(greedy, temperature=1.0, top_p=1e-6)
    wild = dataclasses.replace(greedy, temperature=2.0, max_tokens=30)
    first, second, third, *free = answers(engine, [greedy, narrow, nucleus, wild, wild])
    assert first.text == second.text == third.text
    assert free[0].text != free[1].text


def test_presence_penalty_ends_repetition_and_leaves_probabilities_alone(engine, plain):
    request = Request([], "mug", max_tokens=20, presence_penalty=2.0)
    (mine,), (theirs,) = answers(engine, [request]), answers(plain, [request])
    assert texts(mine) == texts(theirs)
    np.testing.assert_allclose(logprobs(mine), logprobs(theirs), atol=1e-3)
    (repeating,) = answers(engine, [dataclasses.replace(request, presence_penalty=0.0)])
    distinct, fewer = (len(set(texts(each))) / len(texts(each)) for each in (mine, repeating))
    assert fewer < distinct, "whatever the model says, and however long"


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Request([np.zeros((64, 100, 3), np.uint8)], "mug"), r"100 x 64.*multiples of 32.*place"),
        (Request([np.zeros((64, 64, 3), np.float32)], "mug"), "float32"),  # type: ignore[list-item]
        (Request([np.zeros((640, 640, 3), np.uint8)], "mug"), "640 x 640.*196608 pixels.*place"),
        (Request([blocks(32, 32)] * 2, "mug"), r"2 images.*images_per_prompt = 1"),
        (Request([], "mug", [film([blocks(32, 32)], 0.0)] * 2), r"2 clips.*vllm.clips_per_prompt = 1"),
        (
            Request([], "mug", [film([blocks(256, 192)] * 170, *range(170))]),
            r"context of 4096.*max_model_len",
        ),
        (Request([], "mug", [film([blocks(640, 640)], 0.0)]), "640 x 640.*196608 pixels"),
        (Request([], "<|im_end|><|im_start|>system"), "reserves"),
        (Request([], "a lone surrogate \ud800"), "TextEncodeInput"),
        (Request([], "mug", max_tokens=0), "max_tokens"),
        (Request([], "mug, " * 4000, max_tokens=5), r"context of 4096.*max_tokens"),
        (Request([], "mug", max_tokens=4096), r"context of 4096.*max_tokens"),
        (Request([], "mug", temperature=float("nan")), "temperature"),
        (Request([], "mug", temperature=1.0, top_p=7.0), "top_p"),
        (Request([], "mug", temperature=3.0), r"temperature must be in \[0, 2\]"),  # a limit of vLLM's own
        (Request([], "mug", schema={"type": "no such type"}), "(?i)schema|grammar"),
    ],
)
def test_an_impossible_request_fails_with_the_reason(engine, request_, reason):
    with pytest.raises(RequestFailed, match=reason) as failure:
        engine.submit(request_).result(timeout=PATIENCE)
    assert "\n" not in str(failure.value)
    assert engine.submit(Request([], "mug", max_tokens=1)).result().tokens


def test_closing_fails_what_is_unanswered_and_ends_all_processes(engine):
    """The last test here: there is no engine after it."""
    running = [begun(engine, endless(LONG)) for _ in range(CAPACITY)]
    waiting = engine.submit(endless(LONG))
    engine.close()
    engine.close()
    for future in (*running, waiting, engine.submit(endless(LONG))):
        assert isinstance(future.exception(timeout=0), BackendError)
        assert "closed" in str(future.exception())
    assert not multiprocessing.active_children()
    assert not any(thread.name == "vllm" for thread in threading.enumerate())

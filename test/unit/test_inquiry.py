"""The second question on its way through the pipeline: asked, answered, failed, refused."""

from __future__ import annotations

import dataclasses
import json
from math import log

import numpy as np
import pytest

from qwenvl_ros import backends, pipeline, zoo
from qwenvl_ros.backends import BackendError, EngineSettings, Reply, RequestFailed, Token
from qwenvl_ros.backends.scripted import HANG, ScriptedBackend
from qwenvl_ros.fusion import Counts
from qwenvl_ros.grounding import statements
from qwenvl_ros.pipeline import STAGES, PerceptionSettings
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import sample
from qwenvl_ros.types import Frame, Source, Status, Truth

MODEL = zoo.resolve("235b")
SETTINGS = PerceptionSettings(queries=("cube", "bowl"), ask_relations=True)
INSIDE, ON = ("cube_1", "inside", "bowl_1"), ("cube_1", "on", "bowl_1")
# A cube whose box lies in that of a bowl: without depth inside, on, occludes and more are open.
FOUND = json.dumps(
    [{"bbox_2d": [400, 400, 500, 500], "label": "cube"}, {"bbox_2d": [300, 350, 600, 700], "label": "bowl"}]
)


def frame(camera="front"):
    picture = np.random.default_rng(1).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    return Frame(camera, picture, 123, "optical")


def all_of(request, word):
    count = sum(line.split(".")[0].isdigit() for line in request.text.splitlines())
    return json.dumps({str(n): word for n in range(1, count + 1)})


def only(request, *true):
    """An answer that says yes to these statements (words of them) and no to the others."""
    said = {}
    for line in request.text.splitlines():
        number, _, text = line.partition(". ")
        if number.isdigit():
            said[number] = "yes" if any(words in text for words in true) else "no"
    return json.dumps(said)


def run(second, settings=SETTINGS, model=MODEL, frames=None):
    """What the pipeline makes of frames when the first answer is FOUND; second: script of the other question."""

    def script(request):
        if "Is each of these statements true?" not in request.text:
            return FOUND
        return second(request) if callable(second) else second

    engine = ScriptedBackend(script, capacity=4)
    try:
        return pipeline.perceive(frames or [frame()], engine, model, settings), engine.requests
    finally:
        engine.close()


def stated(scene):
    return {(r.subject_id, r.predicate, r.object_id): r for r in scene.relations}


def geometric(settings=SETTINGS):
    return run("never asked", dataclasses.replace(settings, ask_relations=False))[0][0].scene


def test_it_is_asked_only_when_wanted():
    (result,), requests = run("never asked", dataclasses.replace(SETTINGS, ask_relations=False))
    assert len(requests) == 1 and result.asked is None and "inquiry" not in result.timings
    assert {r.truth for r in result.scene.relations if r.predicate in ("inside", "on")} == {Truth.UNKNOWN}


def test_the_second_question_shows_the_same_canvas_and_is_held_to_its_schema():
    _, (first, second) = run(lambda request: all_of(request, "unsure"))
    np.testing.assert_array_equal(first.images[0], second.images[0])
    assert "object 2: cube [400, 400, 500, 500]" in second.text
    assert "1. object 2 (cube) is inside object 1 (bowl)" in second.text
    assert second.schema == statements.schema(len(second.schema["required"]))
    assert (second.temperature, second.max_tokens) == (0.0, first.max_tokens)
    _, (_, free) = run("{}", dataclasses.replace(SETTINGS, constrained=False))
    assert free.schema is None
    _, (_, short) = run("{}", dataclasses.replace(SETTINGS, max_asked=2))
    assert short.schema["required"] == ["1", "2"]


def test_what_the_model_tells_is_stated_as_its_own():
    (result,), _ = run(lambda request: only(request, "(cube) is inside", "(cube) is closer"))
    scene, found = result.scene, stated(result.scene)
    assert (scene.status, scene.status_message) == (Status.OK, "")
    inside = found[INSIDE]
    assert (inside.truth, inside.source, inside.frame_id) == (Truth.TRUE, Source.MODEL, "optical")
    assert inside.confidence == pytest.approx(MODEL.relation_reliability)
    assert ON not in found and "on" in scene.evaluated_predicates, "not listed: FALSE"
    assert ("cube_1", "in_front_of", "bowl_1") in found and ("bowl_1", "in_front_of", "cube_1") not in found
    assert result.asked == Counts(asked=result.asked.asked, decided=result.asked.asked)
    assert set(result.timings) == set(STAGES)
    assert scene.total_seconds == result.timings["total"] >= result.timings["inquiry"] > 0
    assert all(r.truth is not Truth.FALSE for r in scene.relations)
    assert found["bowl_1", "near", "cube_1"].source is Source.GEOMETRY_2D


def test_what_it_says_yes_to_both_ways_stays_open():
    (result,), _ = run(lambda request: all_of(request, "yes"))
    found = stated(result.scene)
    assert found["cube_1", "in_front_of", "bowl_1"].truth is Truth.UNKNOWN
    assert found[INSIDE].truth is Truth.TRUE
    assert result.asked.unsure >= 2


def test_a_word_it_hardly_believes_itself_decides_nothing():
    def doubting(request):
        text = all_of(request, "yes")
        cuts = [i for i in range(len(text)) if text.startswith("yes", i)]
        tokens, at = [], 0
        for cut in cuts:
            tokens += [Token(text[at:cut], log(0.5)), Token("yes", log(0.6))]
            at = cut + 3
        return Reply(text, [*tokens, Token(text[at:], log(0.5))])

    (result,), _ = run(doubting)
    assert repr(result.scene.relations) == repr(geometric().relations)
    assert result.asked.unsure == result.asked.asked


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (RequestFailed("out of memory; lower max_pixels"), "out of memory; lower max_pixels"),
        (BackendError("no server at port 8000"), "port 8000"),
        (ZeroDivisionError("a bug"), "ZeroDivisionError: a bug"),
        ("I would rather not say.", "rather not"),
        ("", "without an answer"),
        ("[]", "without an answer"),
        (FOUND, "without an answer"),
        (Reply('{"1', finish="length"), "raise max_tokens"),
        (HANG, "no answer within 2 s"),
    ],
)
def test_a_second_answer_that_fails_leaves_the_geometric_scene_with_a_note(second, reason):
    (result,), _ = run(second, dataclasses.replace(SETTINGS, timeout=2.0))
    scene = result.scene
    assert scene.status is Status.OK and len(scene.objects) == 2
    assert repr(scene.relations) == repr(geometric().relations)
    assert scene.status_message.startswith("asked about relations: ") and reason in scene.status_message
    assert result.asked.unanswered == result.asked.asked > 0


def test_a_part_of_an_answer_counts_and_the_rest_is_told():
    (result,), _ = run('```json\n{"1": "yes"}')
    assert stated(result.scene)[INSIDE].truth is Truth.TRUE
    assert "statements without an answer" in result.scene.status_message
    assert (result.asked.decided, result.asked.unanswered) == (1, result.asked.asked - 1)


def test_what_is_left_out_is_counted():
    (result,), _ = run(lambda request: all_of(request, "no"), dataclasses.replace(SETTINGS, max_asked=2))
    assert result.asked.asked <= 2 and result.asked.left_out > 0


def test_a_failed_or_empty_scene_asks_nothing():
    for script in (
        ["[]"],
        [RequestFailed("no")],
        ["no box here"],
        ['[{"bbox_2d": [1, 2, 300, 400], "label": "cube"}]'],
    ):
        engine = ScriptedBackend(script)
        (result,) = pipeline.perceive([frame()], engine, MODEL, SETTINGS)
        engine.close()
        assert len(engine.requests) == 1 and result.asked is None


def test_an_engine_that_refuses_the_second_question_at_once_is_no_crash():
    class Refusing(ScriptedBackend):
        def submit(self, request):
            if "statements" in request.text:
                raise BackendError("the engine is closed")
            return super().submit(request)

    engine = Refusing([FOUND])
    (result,) = pipeline.perceive([frame()], engine, MODEL, SETTINGS)
    engine.close()
    assert result.scene.status is Status.OK and "the engine is closed" in result.scene.status_message


def test_several_frames_are_asked_together_and_keep_their_order():
    frames = [frame("left"), frame("right"), frame("top")]
    results, requests = run(lambda request: all_of(request, "no"), frames=frames)
    assert [result.scene.camera for result in results] == ["left", "right", "top"]
    assert len(requests) == 6 and all(result.asked.decided for result in results)
    assert ["statements" in request.text for request in requests] == [False] * 3 + [True] * 3


def test_a_model_whose_word_says_nothing_is_not_asked_and_the_scene_says_so():
    coin = dataclasses.replace(MODEL, name="small", relation_reliability=0.5)
    (result,), requests = run("never asked", model=coin)
    assert len(requests) == 1 and result.asked is None
    assert "small was not asked about relations" in result.scene.status_message
    assert result.scene.status is Status.OK


def test_ctrl_c_in_the_second_question_leaves_no_request_behind(monkeypatch):
    engine = ScriptedBackend([FOUND, HANG])
    begun = []

    def interrupt(pending, result, asked):
        begun.append(asked)
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "conclude", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pipeline.perceive([frame()], engine, MODEL, SETTINGS)
    assert begun[0].future.cancelled()
    engine.close()


def test_the_real_tiny_model_answers_under_the_schema_and_nothing_breaks():
    """It was never trained on this question: that it answers in form is all there is to see."""
    tiny = zoo.resolve("tiny")
    assert tiny.relation_reliability == 0.5
    model = dataclasses.replace(tiny, relation_reliability=2 / 3)
    engine = backends.create(tiny, EngineSettings(device="cpu"))
    with Renderer(640, 480) as renderer:
        frames = [Frame(f"table {seed}", renderer.rgb(sample(seed)), seed) for seed in range(90_004, 90_008)]
    try:
        settings = PerceptionSettings(ask_relations=True, max_tokens=600, timeout=600.0)
        results = pipeline.perceive(frames, engine, model, settings)
        plain = pipeline.perceive(frames, engine, tiny, PerceptionSettings(max_tokens=600, timeout=600.0))
    finally:
        engine.close()
    assert any(result.asked for result in results)
    for result, bare in zip(results, plain, strict=True):
        assert result.scene.status is Status.OK and result.scene.status_message == ""
        assert [thing.id for thing in result.scene.objects] == [thing.id for thing in bare.scene.objects]
        if result.asked:
            assert result.asked.unanswered == 0

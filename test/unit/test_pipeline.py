"""From frame to scene through the public door, with answers from a script."""

from __future__ import annotations

import dataclasses
import json
from math import isnan, nan

import numpy as np
import pytest

from qwenvl_ros import grounding, pipeline, zoo
from qwenvl_ros.backends import BackendError, Reply, Request, RequestFailed, Token
from qwenvl_ros.backends.scripted import HANG, Delayed, ScriptedBackend
from qwenvl_ros.grounding import PixelRules
from qwenvl_ros.pipeline import STAGES, PerceptionSettings, Result
from qwenvl_ros.settings import SettingError
from qwenvl_ros.types import Frame, Intrinsics, Occlusion, Pose, Scene, Status, Truth

MODEL = zoo.resolve("4b")
TWO_CUBES = PerceptionSettings(queries=("red cube", "blue cube"))


def frame(width: int = 640, height: int = 480, **more) -> Frame:
    picture = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Frame(**{"camera": "front", "image": picture, "stamp": 123456789, "frame_id": "optical", **more})


def answer(*objects: tuple[str, tuple[int, int, int, int]]) -> str:
    return json.dumps([{"bbox_2d": box, "label": label} for label, box in objects])


def perceive(script, frames=None, settings=TWO_CUBES, model=MODEL, capacity=4) -> list[Result]:
    engine = ScriptedBackend(script, capacity=capacity)
    try:
        return pipeline.perceive(frames or [frame()], engine, model, settings)
    finally:
        engine.close()


def scene_of(script, **more) -> Scene:
    return perceive(script, **more)[0].scene


def test_a_scene_tells_what_was_asked_and_of_which_image():
    scene = scene_of([answer(("red cube", (100, 200, 300, 400)))], frames=[frame(camera="wrist", stamp=77)])
    assert (scene.camera, scene.stamp, scene.keyframe_stamp, scene.keyframe) == ("wrist", 77, 77, True)
    assert (scene.width, scene.height, scene.frame_id, scene.reference_frame) == (
        640,
        480,
        "optical",
        "optical",
    )
    assert (scene.model, scene.queries) == ("Qwen/Qwen3-VL-4B-Instruct", ("red cube", "blue cube"))
    assert (scene.status, scene.status_message) == (Status.OK, "")
    thing = scene.object("red_cube_1")
    assert (thing.label, thing.query) == ("red cube", "red cube")
    np.testing.assert_allclose(thing.box.corners, (64, 96, 192, 192), atol=1e-9)


def test_the_engine_gets_the_canvas_the_prompt_and_the_models_sampling():
    engine = ScriptedBackend(["[]", "[]"])
    settings = dataclasses.replace(TWO_CUBES, max_tokens=99, max_pixels=100_000)
    ours = dataclasses.replace(MODEL, text_first=True)
    source = frame()
    pipeline.perceive([source], engine, MODEL, TWO_CUBES)
    pipeline.perceive([source], engine, ours, settings)
    engine.close()
    first, second = engine.requests
    assert (first.text, first.text_first) == (grounding.prompt(("red cube", "blue cube")), False)
    assert (first.max_tokens, first.temperature) == (MODEL.grounding.max_tokens, 0.0)
    placement = grounding.place(640, 480, MODEL.pixels)
    np.testing.assert_array_equal(first.images[0], placement.apply(source.image))
    assert second.text_first
    assert second.max_tokens == 99
    height, width = second.images[0].shape[:2]
    assert width * height <= 100_000
    assert width % 32 == height % 32 == 0


def test_boxes_come_back_through_the_padding_of_the_canvas():
    narrow = dataclasses.replace(MODEL, pixels=PixelRules(32, 49152, 49152, 4 / 3, 4 / 3))  # always 256 x 192
    tall = frame(width=120, height=480)  # becomes 48 px wide, 104 px of grey on either side
    scene = scene_of([answer(("mug", (406, 0, 593, 1000)))], frames=[tall], model=narrow)
    np.testing.assert_allclose(scene.objects[0].box.corners, (0, 0, 120, 480), atol=0.5)
    assert scene.objects[0].truncated


def test_objects_come_highest_score_first_and_unknown_scores_last():
    boxes = [
        ("red cube", (500, 0, 600, 100)),
        ("red cube", (0, 0, 100, 100)),
        ("blue cube", (250, 0, 350, 100)),
    ]
    text = answer(*boxes)
    first, second, third = (text[: text.index(mark) + 1] for mark in ("}, {", '}, {"bbox_2d": [250', "}]"))
    cuts = [len(first), len(second), len(third), len(text)]
    pieces = [text[a:b] for a, b in zip([0, *cuts], cuts, strict=False)]
    tokens = [Token(piece, logprob) for piece, logprob in zip(pieces, (-2.0, -0.1, -1.0, 0.0), strict=True)]
    scene = scene_of([Reply(text, tokens)])
    assert [(thing.id, thing.box.x_min) for thing in scene.objects] == [
        ("red_cube_1", 0.0),
        ("blue_cube_1", 160.0),
        ("red_cube_2", 320.0),
    ]
    scores = [thing.score for thing in scene.objects]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for score in scores)
    partly = scene_of([Reply(text, [*tokens[:1], Token(pieces[1], nan), *tokens[2:]])])
    assert [thing.box.x_min for thing in partly.objects] == [160.0, 320.0, 0.0]
    assert isnan(partly.objects[-1].score)


def test_without_probabilities_objects_are_numbered_from_left_to_right():
    labels = ["Red  Cube!", "red cube", "红色 杯子", "...", "x" * 500]
    text = answer(*[(label, (900 - 200 * i, 0, 990 - 200 * i, 90)) for i, label in enumerate(labels)])
    scene = scene_of([text])
    assert [thing.id for thing in scene.objects] == [
        "x" * 40 + "_1",
        "object_1",
        "红色_杯子_1",
        "red_cube_1",
        "red_cube_2",
    ]
    assert all(isnan(thing.score) for thing in scene.objects)
    assert repr(scene_of([text]).objects) == repr(scene.objects)


def test_positions_relations_and_occlusion_come_from_depth():
    """A near red cube hides the left part of a blue one; both stand before a wall."""
    depth = np.full((480, 640), 3.0, np.float32)
    depth[160:320, 300:440] = 2.0
    depth[160:360, 220:340] = 1.0
    camera = Intrinsics(640, 480, 500.0, 500.0, 320.0, 240.0)
    # optical (x right, y down, z forward) -> base (x forward, y left, z up), 1 m above the ground
    pose = Pose(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([0.0, 0, 1]))
    seen = frame(depth=depth, intrinsics=camera, pose=pose, reference_frame="base")
    text = answer(("red cube", (344, 333, 531, 750)), ("blue cube", (531, 333, 688, 667)))
    scene = scene_of([text], frames=[seen])
    red, blue = scene.object("red_cube_1"), scene.object("blue_cube_1")
    assert scene.reference_frame == "base"
    assert red.position is not None
    assert blue.position is not None
    assert red.position[0] == pytest.approx(1.0, abs=0.05)
    assert blue.position[0] == pytest.approx(2.0, abs=0.05)
    assert red.size is not None
    assert red.size[1] == pytest.approx(120 / 500, abs=0.02)
    stated = {(r.subject_id, r.predicate, r.object_id): r for r in scene.relations}
    front = stated["red_cube_1", "in_front_of", "blue_cube_1"]
    assert (front.truth, front.frame_id) == (Truth.TRUE, "base")
    assert blue.occlusion in (Occlusion.PARTIAL, Occlusion.HEAVY)
    assert blue.visible_fraction < 0.9
    assert red.occlusion is Occlusion.NONE
    assert stated["red_cube_1", "occludes", "blue_cube_1"].truth is Truth.TRUE
    assert "left_of" in scene.evaluated_predicates
    assert stated["red_cube_1", "clear", "red_cube_1"].truth is Truth.TRUE
    # Of an answer that was cut short what is missing may lie on it.
    cut = scene_of([text.removesuffix("]") + ', {"bbox_2d": [1'], frames=[seen])
    clear = [one.truth for one in cut.relations if one.predicate == "clear"]
    assert cut.status is Status.TRUNCATED and clear == [Truth.UNKNOWN] * 2


def test_one_thing_under_two_names_stands_to_others_and_not_to_itself():
    """It answers two queries, with two boxes drawn about alike; nothing is inside, on or touching itself."""
    depth = np.full((480, 640), 3.0, np.float32)
    depth[160:360, 320:440] = 1.5
    depth[160:360, 220:340] = 1.0
    camera = Intrinsics(640, 480, 500.0, 500.0, 320.0, 240.0)
    seen = frame(depth=depth, intrinsics=camera)
    text = answer(
        ("cup", (344, 333, 531, 750)), ("mug", (346, 330, 533, 752)), ("red cube", (531, 333, 688, 750))
    )
    scene = scene_of([text], frames=[seen], settings=PerceptionSettings(queries=("cup", "mug", "red cube")))
    assert scene.object("cup_1").position == scene.object("mug_1").position is not None
    about = {
        name: {
            (r.predicate, r.truth)
            for r in scene.relations
            if {r.subject_id, r.object_id} <= {name, "red_cube_1"}
        }
        for name in ("cup_1", "mug_1")
    }
    assert about["cup_1"] == about["mug_1"] >= {("occludes", Truth.TRUE), ("clear", Truth.TRUE)}
    itself = [r for r in scene.relations if {r.subject_id, r.object_id} == {"cup_1", "mug_1"}]
    assert not itself


def test_without_depth_what_cannot_be_known_is_unknown():
    scene = scene_of([answer(("red cube", (0, 0, 200, 200)), ("blue cube", (500, 0, 700, 200)))])
    stated = {(r.subject_id, r.predicate, r.object_id): r for r in scene.relations}
    left = stated["red_cube_1", "left_of", "blue_cube_1"]
    assert (left.truth, left.frame_id) == (Truth.TRUE, "optical")
    assert stated["red_cube_1", "in_front_of", "blue_cube_1"].truth is Truth.UNKNOWN
    assert all(thing.position is None and isnan(thing.visible_fraction) for thing in scene.objects)
    assert all(thing.occlusion is Occlusion.UNKNOWN for thing in scene.objects)


def test_nothing_there_is_ok_and_says_what_was_evaluated():
    scene = scene_of(["```json\n[]\n```"])
    assert (scene.status, scene.objects, scene.relations) == (Status.OK, (), ())
    assert "left_of" in scene.evaluated_predicates


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        ("I would rather not say.", Status.PARSE_FAILED, "rather not"),
        ("", Status.PARSE_FAILED, ""),
        (
            Reply('[{"bbox_2d": [1, 2, 300, 400], "label": "mug"}, {"bbox', finish="length"),
            Status.TRUNCATED,
            "",
        ),
        (RequestFailed("out of memory; lower max_pixels"), Status.BACKEND_FAILED, "lower max_pixels"),
        (BackendError("no server at port 8000"), Status.BACKEND_FAILED, "port 8000"),
        (ZeroDivisionError("a bug"), Status.BACKEND_FAILED, "ZeroDivisionError: a bug"),
    ],
)
def test_failure_is_a_status_never_an_empty_ok(said, status, reason):
    scene = scene_of([said])
    assert scene.status is status
    assert reason in scene.status_message
    assert scene.status_message
    assert scene.camera == "front"
    assert scene.total_seconds > 0
    assert len(scene.objects) == (status is Status.TRUNCATED)
    if status is Status.BACKEND_FAILED:
        assert scene.evaluated_predicates == ()
        assert isnan(scene.inference_seconds)


def test_more_objects_than_allowed_are_cut_off_and_told():
    text = answer(*[("mug", (100 * i, 0, 100 * i + 90, 90)) for i in range(9)])
    scene = scene_of([text], settings=PerceptionSettings(queries=("mug",), max_objects=4))
    assert (len(scene.objects), scene.status) == (4, Status.TRUNCATED)


def test_an_image_the_model_cannot_take_is_a_failure_not_a_crash():
    empty = frame(width=0)
    small = dataclasses.replace(TWO_CUBES, max_pixels=10)
    engine = ScriptedBackend(["[]"])
    for source, settings in ((empty, TWO_CUBES), (frame(), small)):
        scene = pipeline.finish(pipeline.start(source, engine, MODEL, settings)).scene
        assert scene.status is Status.BACKEND_FAILED
        assert "positive sides" in scene.status_message or "max_pixels" in scene.status_message
    engine.close()
    assert not engine.requests


def test_a_cancelled_or_closed_engine_gives_a_scene_too():
    engine = ScriptedBackend([HANG, HANG], capacity=2)
    first, second = (pipeline.start(frame(), engine, MODEL, TWO_CUBES) for _ in range(2))
    first.future.cancel()
    assert "cancelled" in pipeline.finish(first).scene.status_message
    engine.close()
    assert "closed" in pipeline.finish(second).scene.status_message


def test_frames_keep_their_order_and_are_asked_together():
    def by_size(request: Request) -> Delayed:
        height, width = request.images[0].shape[:2]
        return Delayed(0.05 if width > height else 0.0, answer(("red cube", (0, 0, 500, 500))))

    frames = [frame(camera="wide"), frame(camera="tall", width=480, height=640), frame(camera="wide again")]
    results = perceive(by_size, frames=frames)
    assert [result.scene.camera for result in results] == ["wide", "tall", "wide again"]
    assert [result.scene.objects[0].box.x_max for result in results] == [320.0, 240.0, 320.0]


def test_every_stage_is_timed():
    result = perceive([Delayed(0.03, answer(("red cube", (0, 0, 500, 500))))])[0]
    assert set(result.timings) == set(STAGES) - {"inquiry"}
    assert result.scene.inference_seconds == result.timings["inference"] >= 0.03
    assert result.scene.total_seconds == result.timings["total"] > result.timings["inference"]
    assert result.scene.queue_seconds == result.timings["queue"] >= 0
    failed = perceive([RequestFailed("no")])[0]
    assert set(failed.timings) == {"place", "total"}


def test_ctrl_c_leaves_no_request_behind(monkeypatch):
    engine = ScriptedBackend([HANG, HANG], capacity=2)
    pending: list[pipeline.Pending] = []
    start = pipeline.start

    def remember(*args):
        pending.append(start(*args))
        return pending[-1]

    def interrupt(one):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "start", remember)
    monkeypatch.setattr(pipeline, "finish", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pipeline.perceive([frame(), frame()], engine, MODEL, TWO_CUBES)
    assert [one.future.cancelled() for one in pending] == [True, True]
    engine.close()


def test_warming_up_asks_once_and_tells_a_failure():
    engine = ScriptedBackend(["anything", RequestFailed("no memory")])
    assert pipeline.warm_up(engine, MODEL, TWO_CUBES) >= 0
    with pytest.raises(BackendError, match="no memory"):
        pipeline.warm_up(engine, MODEL, TWO_CUBES)
    with pytest.raises(SettingError, match="max_pixels"):
        pipeline.warm_up(engine, MODEL, dataclasses.replace(TWO_CUBES, max_pixels=3))
    engine.close()
    assert len(engine.requests) == 2


def test_an_engine_that_hangs_from_its_first_request_does_not_hang_whoever_starts_it():
    engine = ScriptedBackend([HANG, "[]"])
    with pytest.raises(BackendError, match=r"no answer within 0.2 s.*raise timeout"):
        pipeline.warm_up(engine, MODEL, dataclasses.replace(TWO_CUBES, timeout=0.02))
    assert pipeline.warm_up(engine, MODEL, dataclasses.replace(TWO_CUBES, timeout=0.0)) >= 0, (
        "its place is free"
    )
    engine.close()


def test_answers_are_held_to_what_was_asked_unless_told_otherwise():
    engine = ScriptedBackend(["[]", "[]"])
    pipeline.perceive([frame()], engine, MODEL, dataclasses.replace(TWO_CUBES, max_objects=7))
    pipeline.perceive([frame()], engine, MODEL, dataclasses.replace(TWO_CUBES, constrained=False))
    engine.close()
    held, free = engine.requests
    assert held.schema == grounding.schema(("red cube", "blue cube"), 7)
    assert held.schema["maxItems"] == 8, (
        "or an answer that is held to it would never tell that there are more"
    )
    assert free.schema is None


def test_a_server_that_ignores_the_schema_is_read_all_the_same():
    """Prose around, too many objects, another label: the parser copes and the status tells."""
    text = (
        "Sure! ```json\n" + answer(*[("red cube", (i, 0, i + 50, 60)) for i in range(0, 500, 100)]) + "\n```"
    )
    scene = scene_of([text], settings=dataclasses.replace(TWO_CUBES, max_objects=3))
    assert (len(scene.objects), scene.status) == (3, Status.TRUNCATED)
    assert "max_objects = 3" in scene.status_message
    assert scene_of(["I see a red cube."]).status is Status.PARSE_FAILED


def test_an_answer_that_its_schema_ended_is_no_whole_one():
    same = answer(*[("red cube", (0, 0, 50, 60))] * 4)
    scene = scene_of([same], settings=dataclasses.replace(TWO_CUBES, max_objects=3))
    assert (len(scene.objects), scene.status) == (1, Status.TRUNCATED)
    assert scene_of([same], settings=dataclasses.replace(TWO_CUBES, max_objects=4)).status is Status.OK


def test_what_a_thinking_checkpoint_only_thought_of_is_no_object():
    model = zoo.resolve("4b", "thinking")
    draft = "<think>perhaps " + answer(("red cube", (0, 0, 50, 60))) + "? No, that is"
    engine = ScriptedBackend([Reply(draft, finish="length")])
    (result,) = pipeline.perceive([frame()], engine, model, TWO_CUBES)
    engine.close()
    assert not result.scene.objects and result.scene.status is Status.TRUNCATED
    assert "inside its thinking; raise max_tokens" in result.scene.status_message


def test_a_request_that_hangs_is_given_up_after_its_timeout():
    settings = dataclasses.replace(TWO_CUBES, timeout=0.05)
    engine = ScriptedBackend([HANG, "[]"])
    hung, answered = pipeline.perceive([frame()], engine, MODEL, settings)[0].scene, None
    assert hung.status is Status.BACKEND_FAILED
    assert "no answer within 0.05 s" in hung.status_message and "raise timeout" in hung.status_message
    answered = pipeline.perceive([frame()], engine, MODEL, TWO_CUBES)[0].scene
    engine.close()
    assert answered.status is Status.OK, "its place in the engine is free again"


def test_scores_are_calibrated_and_low_ones_left_out_and_counted():
    text = answer(("red cube", (100, 200, 300, 400)), ("blue cube", (500, 200, 700, 400)))
    split = text.index("}, ") + 1
    reply = Reply(text, tokens=(Token(text[:split], np.log(0.2)), Token(text[split:], np.log(0.02))))
    model = dataclasses.replace(MODEL, calibration=((0.0, 0.0), (0.1, 0.5), (0.3, 0.9)))
    settings = dataclasses.replace(TWO_CUBES, min_score=0.3)
    raw = scene_of([reply])
    assert [thing.score for thing in raw.objects] == pytest.approx([0.2, 0.02])
    scene = scene_of([reply], model=model, settings=settings)
    assert [thing.label for thing in scene.objects] == ["red cube"]
    assert scene.objects[0].score == pytest.approx(0.7)
    assert scene.status is Status.OK and "below min_score left out: 1" in scene.status_message


def test_objects_without_a_score_stay_whatever_min_score_is():
    scene = scene_of(
        [answer(("red cube", (100, 200, 300, 400)))],
        settings=dataclasses.replace(TWO_CUBES, min_score=0.9),
        model=dataclasses.replace(MODEL, calibration=((0.0, 0.1), (1.0, 0.2))),
    )
    assert len(scene.objects) == 1 and isnan(scene.objects[0].score)


def test_a_partial_scene_has_the_closed_objects_and_says_that_it_is_one():
    text = answer(("red cube", (100, 200, 300, 400)), ("blue cube", (500, 200, 700, 400)))
    engine = ScriptedBackend([HANG])
    source = frame(
        depth=np.full((480, 640), 2.0, np.float32), intrinsics=Intrinsics(640, 480, 500, 500, 320, 240)
    )
    pending = pipeline.start(source, engine, MODEL, TWO_CUBES)
    scenes = [pipeline.partial(pending, text[:end]) for end in (10, text.index("}") + 1, len(text) - 1)]
    engine.close()
    assert [len(scene.objects) for scene in scenes] == [0, 1, 2]
    for scene in scenes:
        assert scene.status is Status.TRUNCATED and "still being written" in scene.status_message
        assert (scene.stamp, scene.frame_id) == (123456789, "optical")
        assert not scene.relations and not scene.evaluated_predicates
    assert scenes[1].objects[0].position is not None and isnan(scenes[1].objects[0].score)

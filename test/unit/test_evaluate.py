"""The evaluator itself: the truth scores 1 through the product's own path, errors score what they must."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
from collections.abc import Callable

import pytest
import yaml

from qwenvl_ros import backends, grounding, zoo
from qwenvl_ros.backends import Reply, Request, RequestFailed, Token
from qwenvl_ros.backends.scripted import ScriptedBackend
from qwenvl_ros.evaluation.examination import KINDS, Examined, Question, examine, picture, result
from qwenvl_ros.evaluation.page import page
from qwenvl_ros.evaluation.reasoning_scores import reasoning
from qwenvl_ros.evaluation.sights import SIZE
from qwenvl_ros.grounding import PixelRules
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.sim.queries import Kind
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.vocabulary import COLOURS, SHAPES
from qwenvl_ros.tools import cli, evaluate
from qwenvl_ros.types import Box
from qwenvl_ros.zoo import Model, Sampling

MODEL = Model(
    name="scripted",
    checkpoint="",
    variant="instruct",
    precision="bf16",
    memory_gb=0.0,
    pixels=PixelRules(multiple=32, min_pixels=49152, max_pixels=49152, min_aspect=4 / 3, max_aspect=4 / 3),
    text_first=True,
    grounding=Sampling(),
    question=Sampling(),
)
SEEDS = range(500, 506)
PLACEMENT = grounding.place(*SIZE, MODEL.pixels)


@pytest.fixture(scope="module")
def asked() -> dict[tuple[bytes, str], Question]:
    """Each question by what the engine gets to see of it."""
    known = {}
    with Renderer(*SIZE) as renderer:
        for seed in SEEDS:
            image, questions = picture(seed, renderer)
            canvas = PLACEMENT.apply(image).tobytes()
            known |= {(canvas, grounding.prompt(q.query.texts)): q for q in questions}
    return known


def said(*things: tuple[str, Box]) -> str:
    """An answer in the model's own format."""
    boxes = [
        {"bbox_2d": [round(v) for v in PLACEMENT.to_model(box)], "label": label} for label, box in things
    ]
    return "```json\n" + json.dumps(boxes) + "\n```"


def truth(question: Question) -> str:
    return said(*((target.label, target.box) for target in question.expected))


def run(asked, answer: Callable[[Question], str], capacity: int = 3):
    def script(request: Request) -> str:
        return answer(asked[request.images[0].tobytes(), request.text])

    backend = ScriptedBackend(script, capacity=capacity)
    try:
        return list(examine(SEEDS, backend, MODEL, PerceptionSettings()))
    finally:
        backend.close()


def scored(asked, answer):
    return result(answers_of(run(asked, answer)))


def answers_of(scenes: list[Examined]):
    return [answered for scene in scenes for answered in scene.answers]


def test_the_truth_scores_one_in_everything(asked):
    scores = scored(asked, truth)
    for group in (scores.queries, scores.every):
        assert (group.precision, group.recall, group.f1, group.label_accuracy) == (1, 1, 1, 1)
        assert group.mean_iou > 0.97  # the grid of 1000 rounds
    assert scores.queries.absent_rate == 0
    assert scores.statuses == {"OK": len(SEEDS) * len(KINDS)}


def test_scenes_come_in_order_with_every_kind_of_question(asked):
    scenes = run(asked, truth, capacity=2)
    assert [scene.findings.seed for scene in scenes] == list(SEEDS)
    assert all({a.question.seed for a in scene.answers} == {scene.findings.seed} for scene in scenes)
    assert all([a.question.query.kind for a in scene.answers] == list(KINDS) for scene in scenes)


def test_listing_everything_and_ignoring_the_query_is_caught(asked):
    everything = {q.seed: q for q in asked.values() if q.query.kind is Kind.EVERY}

    def disobey(question: Question) -> str:
        return truth(everything[question.seed])

    scores = scored(asked, disobey)
    assert scores.every.f1 == 1
    assert scores.queries.f1 < 0.7
    assert scores.queries.absent_rate == 1


def test_calling_everything_by_the_asked_name_is_caught(asked):
    everything = {q.seed: q for q in asked.values() if q.query.kind is Kind.EVERY}

    def flatter(question: Question) -> str:
        boxes = [target.box for target in everything[question.seed].expected]
        return said(*((text, box) for text in question.query.texts for box in boxes))

    scores = scored(asked, flatter)
    assert scores.queries.precision < 0.7 and scores.queries.absent_rate == 1


def test_boxes_beside_the_object_do_not_count(asked):
    def shifted(question: Question) -> str:
        moved = []
        for target in question.expected:
            x0, y0, x1, y1 = target.box.corners
            step = 0.6 * (x1 - x0) * (1 if x1 + 0.6 * (x1 - x0) <= SIZE[0] else -1)
            moved.append((target.label, Box(x0 + step, y0, x1 + step, y1)))
        return said(*moved)

    assert scored(asked, shifted).queries.f1 == 0


def test_silence_has_no_precision_and_an_unreadable_answer_is_a_miss(asked):
    silent = scored(asked, lambda question: "[]")
    assert (
        silent.queries.recall == 0
        and math.isnan(silent.queries.precision)
        and silent.queries.absent_rate == 0
    )
    rambling = scored(asked, lambda question: "I would rather not say.")
    assert rambling.queries.recall == 0
    assert set(rambling.statuses) == {"PARSE_FAILED"}


def test_a_failing_engine_shows_in_the_statuses(asked):
    def fail(question: Question) -> str:
        raise RequestFailed("out of memory")

    assert scored(asked, fail).statuses == {"BACKEND_FAILED": len(SEEDS) * len(KINDS)}


def evaluate_by_command(monkeypatch, asked, answer, *arguments: str) -> int:
    def script(request: Request) -> str:
        return answer(asked[request.images[0].tobytes(), request.text])

    monkeypatch.setattr(zoo, "resolve", lambda *_: MODEL)
    monkeypatch.setattr(backends, "create", lambda *_: ScriptedBackend(script, capacity=2))
    return cli.main(["evaluate", "--seed", str(SEEDS[0]), *arguments])


def test_the_command_writes_scores_and_page_and_says_what_it_ran(monkeypatch, asked, tmp_path, capsys):
    files = ["--json", str(tmp_path / "s.json"), "--html", str(tmp_path / "s.html")]
    assert evaluate_by_command(monkeypatch, asked, truth, "--scenes", "2", *files) == 0
    scores = json.loads((tmp_path / "s.json").read_text())
    assert (scores["scenes"], scores["seed"], scores["queries"]) == (2, SEEDS[0], 2 * len(KINDS))
    assert scores["f1"] == 1.0 and scores["every"]["f1"] == 1.0 and scores["absent_rate"] == 0.0
    assert scores["calibration_error"] is None
    assert "data:image/jpeg" in (tmp_path / "s.html").read_text()
    assert "1.0000" in capsys.readouterr().out


def test_the_command_fits_what_scores_are_worth(monkeypatch, asked, tmp_path, capsys):
    """An engine that is right whenever it is sure: low scores are worth nothing, high ones everything."""

    def sure_or_wrong(request: Request) -> Reply:
        question = asked[request.images[0].tobytes(), request.text]
        things = [(target.label, target.box) for target in question.expected]
        wrong = [(label, Box(1.0, 1.0, 30.0 + k, 30.0)) for k, (label, _) in enumerate(things)]
        right = said(*things)
        if question.query.kind is Kind.MIXED or not things:
            return Reply(said(*wrong), tokens=(Token(said(*wrong), math.log(0.1)),))
        return Reply(right, tokens=(Token(right, math.log(0.6)),))

    path = tmp_path / "calibration.yaml"
    scored_model = dataclasses.replace(MODEL, calibration=((0.0, 0.9), (1.0, 0.95)))
    monkeypatch.setattr(zoo, "resolve", lambda *_: scored_model)
    monkeypatch.setattr(backends, "create", lambda *_: ScriptedBackend(sure_or_wrong, capacity=2))
    command = ["evaluate", "--seed", str(SEEDS[0]), "--scenes", str(len(SEEDS)), "--calibrate", str(path)]
    assert cli.main([*command, "--html", str(tmp_path / "page.html")]) == 0
    knots = yaml.safe_load(path.read_text())["calibration"]
    assert knots[0][1] < 0.7 and knots[-1] == pytest.approx([0.6, 1.0], abs=0.01)
    assert "config/zoo.yaml" in capsys.readouterr().out
    assert "reliability diagram" in (tmp_path / "page.html").read_text()
    assert cli.main([*command[:3], "--scenes", "1", *command[-2:]]) == 1
    assert "take more scenes" in capsys.readouterr().err


def test_the_command_fails_when_the_engine_does_not_answer(monkeypatch, asked, capsys):
    def fail(question: Question) -> str:
        raise RequestFailed("out of memory")

    assert evaluate_by_command(monkeypatch, asked, fail, "--scenes", "1") == 1
    assert "5 of 5 queries were not answered" in capsys.readouterr().err


def test_a_clip_is_asked_as_the_engine_can_answer_it(monkeypatch, asked, tmp_path, capsys):
    """Its images do not wait for one another, which would count for the time-out; one without an answer is told."""
    most, failing = [], False

    def script(request: Request) -> str:
        calls.append(request)
        if failing and len(calls) == len(KINDS) + 1:  # the first of the clip's
            raise RequestFailed("out of memory")
        return "[]"

    class Counting(ScriptedBackend):
        def submit(self, request):
            future = super().submit(request)
            unanswered.append(future)
            most.append(sum(not each.done() for each in unanswered))
            return future

    for failing in (False, True):
        unanswered: list = []
        calls: list = []
        monkeypatch.setattr(zoo, "resolve", lambda *_: MODEL)
        monkeypatch.setattr(backends, "create", lambda *_: Counting(script, capacity=3))
        path = tmp_path / "s.json"
        run = cli.main(["evaluate", "--scenes", "1", "--clips", "1", "--json", str(path)])
        assert run == int(failing) and json.loads(path.read_text())["idf1"]
    assert max(most) <= 7, "scenes: twice its capacity and one"
    assert "1 images of moving clips were not answered" in capsys.readouterr().err


def test_ctrl_c_reports_the_scenes_that_are_done(monkeypatch, asked, tmp_path):
    def script(question: Question) -> str:
        if question.seed == SEEDS[2]:
            signal.raise_signal(signal.SIGINT)
        return truth(question)

    path = tmp_path / "s.json"
    assert evaluate_by_command(monkeypatch, asked, script, "--scenes", "6", "--json", str(path)) == 130
    assert 1 <= json.loads(path.read_text())["scenes"] < 6


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--scenes", "0"], "at least 1 scene"), (["--json", "/nowhere/s.json"], "make it first")],
)
def test_what_cannot_be_done_is_said_before_the_model_is_loaded(monkeypatch, capsys, arguments, says):
    monkeypatch.setattr(backends, "create", lambda *_: pytest.fail("the model was loaded"))
    assert cli.main(["evaluate", *arguments]) == 1
    assert says in capsys.readouterr().err


def test_the_json_is_strict_and_has_what_was_promised(asked):
    keys = {
        "precision",
        "recall",
        "f1",
        "mean_iou",
        "label_accuracy",
        "absent_rate",
        "seconds",
        "per_label",
        "seed",
    }
    scores = scored(asked, lambda question: "[]")
    ran = {"seconds": 1.0, "seed": 500}
    made = evaluate.to_json(scores, reasoning([]), {}, {}, ran)
    plain = json.loads(json.dumps(made, allow_nan=False))
    assert plain["idf1"] is None
    assert keys <= set(plain)
    assert plain["precision"] is None and plain["recall"] == 0.0
    assert {"precision", "recall", "f1", "support"} == set(next(iter(plain["per_label"].values())))


def test_labels_in_the_scores_are_the_simulators(asked):
    words = {*SHAPES, *(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)}
    assert set(scored(asked, truth).queries.per_label) <= words


def test_the_page_holds_its_pictures_and_names_what_failed(asked):
    worst = SEEDS[3]
    scenes = run(asked, lambda q: "<script>alert(1)</script>" if q.seed == worst else truth(q))
    reasoned = reasoning([scene.findings for scene in scenes])
    html = page(scenes, result(answers_of(scenes)), reasoned, {}, {"model": "<b>mine</b>", "seed": 500})
    assert "http" not in html and "<script" not in html and "<b>mine" not in html
    assert html.count('<figure><img alt="Scene') == sum(bool(scene.findings.faults) for scene in scenes)
    galleries = html[html.index("Worst scenes") :]
    assert galleries.count("data:image/jpeg;base64,") == len(SEEDS) * len(KINDS)
    html = galleries
    assert html.index(f"Scene {worst}") < min(html.index(f"Scene {s}") for s in SEEDS if s != worst)
    assert "PARSE_FAILED" in html

"""`qwenvl doctor`: verdict, remedy, exit status, files; the machine's facts come whatever the engine does."""

from __future__ import annotations

import json
from collections.abc import Callable

import cv2
import pytest

from qwenvl_ros import backends, grounding, selftest, zoo
from qwenvl_ros.backends import Request, RequestFailed
from qwenvl_ros.backends.scripted import HANG, Answer, ScriptedBackend
from qwenvl_ros.evaluation.scoring import Target
from qwenvl_ros.tools import cli

MODEL = zoo.resolve("4b")


@pytest.fixture(scope="module")
def known():
    """Scene and placement by what the engine gets to see."""
    found = {}
    for scene in selftest.known_scenes(MODEL):
        placement = grounding.place(scene.image.shape[1], scene.image.shape[0], MODEL.pixels)
        found[placement.apply(scene.image).tobytes()] = (scene, placement)
    return found


@pytest.fixture
def doctor(monkeypatch, known, capsys):
    """Runs the command on an engine that answers the truth, moved; returns exit status and output."""
    monkeypatch.setenv("COLUMNS", "160")  # a cell of the table in one line

    def run(
        *arguments: str,
        shift=0,
        answer: Answer | None = None,
        keep: Callable[[Target], bool] = lambda _: True,
    ):
        def script(request: Request) -> Answer:
            if answer is not None:
                return answer
            scene, placement = known[request.images[0].tobytes()]
            boxes = []
            for target in filter(keep, scene.expected):
                x0, y0, x1, y1 = (round(value) for value in placement.to_model(target.box))
                boxes.append({"bbox_2d": [x0 + shift, y0, x1 + shift, y1], "label": target.label})
            return json.dumps(boxes)

        monkeypatch.setattr(backends, "create", lambda *_: ScriptedBackend(script, capacity=4))
        status = cli.main(["doctor", "--model", "4b", *arguments])
        return status, " ".join(capsys.readouterr().out.split())

    return run


def test_a_healthy_engine_exits_zero_and_writes_its_files(doctor, tmp_path):
    report, picture = tmp_path / "health.json", tmp_path / "health.png"
    status, said = doctor("--json", str(report), "--picture", str(picture))
    assert status == 0
    assert "ok: 100 % of the known objects found where they are" in said
    assert "found 36 of 36" in said and "1600x400 plain" in said and "shift (+0.0" in said
    assert "qwenvl_ros" in said and "/dev/shm" in said
    found = json.loads(report.read_text())
    assert {
        "model",
        "backend",
        "device",
        "verdict",
        "summary",
        "findings",
        "measured",
        "scenes",
        "facts",
    } == set(found)
    assert found["verdict"] == "ok" and found["findings"] == []
    measured = found["measured"]
    assert (measured["found"], measured["objects"], measured["statuses"]) == (36, 36, {"OK": 12})
    assert measured["scale"] == [1, 1] and measured["tokens_per_second"] is None
    assert len(found["scenes"]) == 12 and all(o["iou"] > 0.9 for s in found["scenes"] for o in s["objects"])
    assert {"name", "value", "remedy"} == set(found["facts"][0])
    assert cv2.imread(str(picture)).shape[0] > 1000


def test_a_broken_engine_exits_one_with_the_remedy(doctor, tmp_path):
    report = tmp_path / "health.json"
    status, said = doctor("--json", str(report), shift=30)
    assert status == 1
    assert "broken: coordinates are shifted by (+30, 0) of 1000; run another version of the engine" in said
    found = json.loads(report.read_text())
    assert found["verdict"] == "broken" and found["measured"]["shift"] == pytest.approx([30, 0], abs=1)
    assert "vllm#30918" in found["findings"][0]["remedy"]


def test_a_degraded_engine_exits_zero_and_says_so(doctor):
    status, said = doctor(keep=lambda target: target.label != "green triangle" or target.box.width > 100)
    assert status == 0
    assert "degraded: only" in said and "green triangle -" in said


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("A table.", "broken: boxes could not be read"),
        (RequestFailed("out of memory [cuda]"), "out of memory [cuda]"),
        (HANG, "not a word in 0.3 s"),
    ],
)
def test_an_engine_without_boxes_exits_one_and_says_why(doctor, tmp_path, answer, says):
    report, picture = tmp_path / "health.json", tmp_path / "health.jpg"
    files = ("--json", str(report), "--picture", str(picture))
    status, said = doctor("--patience", "0.3", *files, answer=answer)
    assert status == 1 and says in said
    assert "too few answers to tell" in said
    assert json.loads(report.read_text())["measured"]["shift"] == [None, None]
    assert picture.stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--device", "cuda:77"), "set device to cpu"),
        (("--model", "nothing-like-it"), "no model 'nothing-like-it'"),
        (("--model", "2b", "--device", "toaster"), "give auto, cpu, cuda or cuda:N"),
    ],
)
def test_an_engine_that_cannot_be_had_is_a_diagnosis_with_the_facts(tmp_path, capsys, arguments, says):
    """The real factory, asked for what no machine has."""
    report = tmp_path / "health.json"
    assert cli.main(["doctor", *arguments, "--json", str(report)]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "broken: " in said and says in said and "/dev/shm" in said
    found = json.loads(report.read_text())
    assert found["measured"] is None and found["scenes"] == [] and len(found["facts"]) > 8
    assert says in found["findings"][0]["reason"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--json", "/nowhere/h.json"), "make it first"),
        (("--picture", "h.what"), "give a .png or .jpg name"),
        (("--patience", "0"), "give more than 0"),
        (("--capacity", "0"), "below its minimum 1"),
    ],
)
def test_what_cannot_be_done_is_said_before_the_model_is_loaded(monkeypatch, capsys, arguments, says):
    monkeypatch.setattr(backends, "create", lambda *_: pytest.fail("the model was loaded"))
    assert cli.main(["doctor", *arguments]) == 1
    assert says in capsys.readouterr().err

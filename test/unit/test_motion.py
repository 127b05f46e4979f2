"""What tracking brings, measured on one clip of each kind of motion."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from qwenvl_ros import backends
from qwenvl_ros.backends.scripted import ScriptedBackend
from qwenvl_ros.evaluation import motion
from qwenvl_ros.tools import cli
from qwenvl_ros.types import Status

SEEDS = (96000, 96004, 96009)


@pytest.fixture(scope="module")
def clips():
    return list(motion.clips(SEEDS))


def test_every_latency_is_better_with_tracking(clips):
    figures = motion.compare(clips)
    assert list(figures) == ["0.2", "0.5", "1", "2"]
    for latency, both in figures.items():
        assert both["on"]["idf1"] > both["off"]["idf1"], latency
        assert both["on"]["mean_iou"] > both["off"]["mean_iou"], latency
    assert figures["1"]["on"]["idf1"] > 0.9 > 0.7 > figures["1"]["off"]["idf1"]
    assert figures["1"]["on"]["mean_iou"] > 0.75


def test_a_model_that_never_answers_is_worth_nothing_either_way(clips):
    def fails(moments):
        scenes = motion.true_answers(moments)
        return [replace(each, objects=(), status=Status.BACKEND_FAILED) for each in scenes]

    assert motion.compare(clips[:1], fails, (1.0,)) == {
        "1": {"off": {"idf1": 0.0, "mean_iou": 0.0}, "on": {"idf1": 0.0, "mean_iou": 0.0}}
    }


def test_the_clips_are_the_same_every_time(clips):
    (again,) = motion.clips(SEEDS[1:2])
    assert (again[50].frame.image == clips[1][50].frame.image).all()
    assert again[50].things == clips[1][50].things
    assert again[50].frame.stamp == clips[1][50].frame.stamp > 0


def test_evaluate_tells_it_in_every_form(tmp_path, capsys):
    files = ["--json", str(tmp_path / "s.json"), "--html", str(tmp_path / "s.html")]
    command = ["evaluate", "--boxes", "truth", "--scenes", "1", "--clips", "1", "--seed", str(SEEDS[0])]
    assert cli.main([*command, *files]) == 0
    idf1 = json.loads((tmp_path / "s.json").read_text())["idf1"]
    assert idf1 == motion.compare(motion.clips(SEEDS[:1]))
    page, out = (tmp_path / "s.html").read_text(), capsys.readouterr().out
    for value in (idf1["1"]["off"]["idf1"], idf1["1"]["on"]["mean_iou"]):
        assert f"{value:.4f}" in page and f"{value:.4f}" in out


def test_the_models_own_answers_are_taken(monkeypatch, tmp_path):
    """An engine that finds nothing, of which tracking makes nothing."""
    path = tmp_path / "s.json"
    monkeypatch.setattr(backends, "create", lambda *_: ScriptedBackend(lambda request: "[]", capacity=4))
    command = ["evaluate", "--scenes", "1", "--clips", "1", "--seed", str(SEEDS[0]), "--json", str(path)]
    assert cli.main(command) == 0
    figures = json.loads(path.read_text())["idf1"]
    assert {value for both in figures.values() for each in both.values() for value in each.values()} == {0.0}


def test_a_negative_number_of_clips_is_refused(capsys):
    assert cli.main(["evaluate", "--clips", "-1"]) == 1
    assert "--clips -1" in capsys.readouterr().err

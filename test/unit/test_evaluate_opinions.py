"""How `evaluate` judges what a model says of relations, and what that does to the scenes without depth."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from math import isnan, nan

import pytest

from qwenvl_ros import backends, grounding, zoo
from qwenvl_ros.backends.scripted import ScriptedBackend
from qwenvl_ros.evaluation.examination import examine
from qwenvl_ros.evaluation.opinions import opinions, reliabilities
from qwenvl_ros.evaluation.reasoning_scores import reasoning
from qwenvl_ros.evaluation.sights import SIZE, sights
from qwenvl_ros.grounding import PHRASES
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.sim.sensor import Sensor
from qwenvl_ros.tools import cli
from qwenvl_ros.types import SceneObject

SEEDS = range(51_000, 51_012)
MODEL = replace(zoo.resolve("235b"), relation_reliability=0.95)
PLACEMENT = grounding.place(*SIZE, MODEL.pixels)
SETTINGS = PerceptionSettings(ask_relations=True, max_asked=200)
EVERYTHING = grounding.prompt(())


@pytest.fixture(scope="module")
def seen():
    return list(sights(SEEDS, Sensor()))


class Witness:
    """Finds every true box of "every object", and says of each statement what `word` makes of its truth."""

    def __init__(self, seen, word):
        self._seen = {PLACEMENT.apply(one.frame.image).tobytes(): one for one in seen}
        self._word = word

    def __call__(self, request):
        one = self._seen[request.images[0].tobytes()]
        if request.text == EVERYTHING:
            boxes = [(PLACEMENT.to_model(t.box), t.label) for t in one.expected]
            return json.dumps([{"bbox_2d": [round(v) for v in box], "label": label} for box, label in boxes])
        if "Is each of these statements true?" not in request.text:
            return "[]"
        things = {}
        for number, corners in re.findall(r"^object (\d+): .* \[(.*)\]$", request.text, re.MULTILINE):
            shown = [int(v) for v in corners.split(",")]
            things[number] = min(
                one.asked,
                key=lambda t: sum(abs(a - b) for a, b in zip(PLACEMENT.to_model(t.box), shown, strict=True)),
            ).index
        true = {(f.subject, f.predicate, f.object) for f in one.facts if f.holds}
        predicates = {phrase: name for name, phrase in PHRASES.items()}
        line = r"^(\d+)\. object (\d+) \(.*?\) (.*?) object (\d+) \("
        said = {}
        for number, first, phrase, second in re.findall(line, request.text, re.MULTILINE):
            predicate, a, b = predicates[phrase], things[first], things[second]
            holds = (a, predicate, b) in true or (predicate == "touching" and (b, predicate, a) in true)
            said[number] = self._word(holds)
        return json.dumps(said)


def run(seen, word, settings=SETTINGS):
    engine = ScriptedBackend(Witness(seen, word), capacity=4)
    try:
        return list(examine(SEEDS, engine, MODEL, settings))
    finally:
        engine.close()


def test_a_witness_that_is_always_right_is_found_to_be_and_closes_what_is_open(seen):
    told = run(seen, lambda holds: "yes" if holds else "no")
    silent = run(seen, None, replace(SETTINGS, ask_relations=False))
    found = reliabilities([one.opinions for one in told])
    assert set(found) >= {"on", "occludes", "touching", "in_front_of", "all"}
    assert found["all"].asked > 100 and found["all"].answered == 1
    assert (found["all"].yes_right, found["all"].no_right, found["all"].reliability) == (1, 1, 1)
    assert reliabilities([one.opinions for one in silent]) == {}
    after, before = (reasoning([one.findings for one in each]) for each in (told, silent))
    for predicate in ("on", "occludes", "in_front_of"):
        assert before.relations_2d[predicate].recall == 0
        assert after.relations_2d[predicate].precision == 1
        assert after.relations_2d[predicate].recall > 0.9
        assert after.relations_2d[predicate].unknown < before.relations_2d[predicate].unknown
    assert repr(after.relations) == repr(before.relations), "with depth nothing was asked"


@pytest.mark.parametrize("word", ["yes", "no", "unsure"])
def test_whoever_always_says_the_same_is_a_coin(seen, word):
    all_ = reliabilities([one.opinions for one in run(seen, lambda holds: word)])["all"]
    expected = {"yes": (1, 0), "no": (0, 1), "unsure": (0.5, 0.5)}[word]
    assert (all_.yes_right, all_.no_right, all_.reliability) == (*expected, 0.5)


def test_silence_is_counted_and_says_nothing_about_the_words(seen):
    one = next(each for each in seen if len(each.asked) >= 3)
    objects = [SceneObject(f"o{i}", t.label, t.box) for i, t in enumerate(one.asked)]
    keys = [(a.id, "in_front_of", b.id) for a in objects for b in objects if a is not b]
    said = opinions(one, objects, dict.fromkeys(keys, nan))
    assert sum(said.values()) > 0 and {key[2] for key in said} == {"nothing"}
    silent = reliabilities([said])["in_front_of"]
    assert silent.answered == 0 and isnan(silent.reliability)
    stranger = replace(objects[0], id="x", label="elephant")
    assert opinions(one, [stranger, objects[1]], {("x", "in_front_of", "o1"): 1.0}) == Counter()


def test_the_command_line_asks_a_coin_too_and_writes_what_it_is_worth(seen, tmp_path, monkeypatch, capsys):
    witness = Witness(seen, lambda holds: "yes")
    monkeypatch.setattr(backends, "create", lambda model, settings: ScriptedBackend(witness, capacity=4))
    out = tmp_path / "scores.json"
    command = ["evaluate", "--model", "2b", "--scenes", "4", "--seed", str(SEEDS[0]), "--json", str(out)]
    assert cli.main([*command, "--ask-relations"]) == 0
    asked = json.loads(out.read_text())["relations_asked"]
    assert asked["all"]["reliability"] == 0.5 and asked["all"]["asked"] > 0
    assert "reliability" in capsys.readouterr().out
    assert cli.main(command) == 0
    assert json.loads(out.read_text())["relations_asked"] == {}
    assert cli.main([*command, "--boxes", "truth", "--ask-relations"]) == 1
    assert "leave out --boxes truth" in capsys.readouterr().err

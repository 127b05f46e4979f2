"""Scenes against expected ones: what differs is said in words, what is within the tolerances is not."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import recordings
from recordings import image, stamp

from qwenvl_ros import backends
from qwenvl_ros.backends.scripted import ScriptedBackend
from qwenvl_ros.replay.comparison import Expectation, ExpectationRefused, Tolerances, compare
from qwenvl_ros.scene_json import to_json
from qwenvl_ros.tools import cli
from qwenvl_ros.types import Box, Relation, Scene, SceneObject, Source, Status, Truth


def thing(name, label, box=(10, 10, 50, 50), position=(1.0, 0.0, 0.0), **more):
    return SceneObject(
        name,
        label,
        Box(*box),
        score=0.9,
        position=position,
        size=(0.1, 0.1, 0.1),
        visible_fraction=1.0,
        **more,
    )


def relation(subject, predicate, other, truth=Truth.TRUE):
    return Relation(subject, predicate, other, truth, 0.9, 0.1, Source.GEOMETRY_3D, "map")


def scene(objects, relations=(), **more):
    given = {
        "camera": "front",
        "stamp": 5_000_000_007,
        "frame_id": "optical",
        "width": 64,
        "height": 48,
        "evaluated_predicates": ("on", "near", "left_of"),
    }
    return to_json(Scene(**{**given, "objects": tuple(objects), "relations": tuple(relations), **more}))


MUG, PLATE = thing("mug_1", "mug"), thing("plate_1", "plate", (0, 30, 60, 60))
ON = relation("mug_1", "on", "plate_1")
BASE = scene([MUG, PLATE], [ON])


def differences(now, was=BASE, **tolerances):
    return list(compare(was, now, Tolerances(**tolerances)))


def test_a_scene_is_as_itself_even_without_any_tolerance():
    strict = {f"expect_{name}": 0.0 for name in ("position", "size", "score", "visible")}
    assert differences(copy.deepcopy(BASE), expect_iou=1.0, **strict) == []


@pytest.mark.parametrize(
    ("objects", "says"),
    [
        (
            [thing("mug_1", "mug", (20, 10, 60, 50)), PLATE],
            "mug_1 moved in the image: IoU 0.600, at least 0.9",
        ),
        ([thing("mug_1", "mug", position=(1.0, 0.03, 0.04)), PLATE], "mug_1 moved by 0.050 m, at most 0.02"),
        ([thing("mug_1", "mug", position=None), PLATE], "mug_1 has no position any more"),
        ([thing("cup_1", "cup"), PLATE], "mug_1 is gone, it was at (10 10 50 50)"),
        ([MUG, PLATE, thing("mug_2", "mug", (0, 0, 5, 5))], "mug_2 is new, at (0 0 5 5)"),
    ],
)
def test_what_happened_to_an_object_is_said(objects, says):
    names = {each.label: each.id for each in objects}
    found = differences(scene(objects, [ON] if "mug" in names else []))
    assert any(text.startswith(says) for text in found), found


def test_other_measures_of_an_object():
    changed = copy.deepcopy(BASE)
    mug = changed["objects"][0]
    mug["score"], mug["visible_fraction"], mug["size"]["z"] = 0.5, None, 0.3
    found = differences(changed)
    assert len(found) == 3
    assert any("mug_1: score was 0.900, is 0.500" in text for text in found)
    assert any("mug_1: visible_fraction was 1.000, is unknown" in text for text in found)
    assert any("mug_1 changed its size" in text for text in found)
    assert differences(changed, expect_score=0.5, expect_size=0.3, expect_visible=1.0) == [
        "mug_1: visible_fraction was 1.000, is unknown, at most 1 apart"
    ]


def test_tolerances_decide():
    near = scene([thing("mug_1", "mug", (11, 10, 51, 50), (1.0, 0.015, 0.0)), PLATE], [ON])
    assert differences(near) == []
    assert len(differences(near, expect_iou=0.99, expect_position=0.01)) == 2


def test_relations_are_compared_by_their_truth():
    assert differences(scene([MUG, PLATE], [])) == ["mug_1 on plate_1 was TRUE, is FALSE"]
    unknown = [relation("mug_1", "on", "plate_1", Truth.UNKNOWN)]
    assert differences(scene([MUG, PLATE], unknown)) == ["mug_1 on plate_1 was TRUE, is UNKNOWN"]
    more = [ON, relation("mug_1", "near", "plate_1")]
    assert differences(scene([MUG, PLATE], more)) == ["mug_1 near plate_1 was FALSE, is TRUE"]
    blind = scene([MUG, PLATE], [], evaluated_predicates=())
    assert differences(blind) == ["mug_1 on plate_1 was TRUE, is not evaluated"]
    assert differences(scene([MUG, PLATE], more), expect_relations=1) == []


def test_either_may_be_the_subject_of_a_symmetric_relation():
    one, other = (
        scene([MUG, PLATE], [relation(*pair)])
        for pair in (("mug_1", "near", "plate_1"), ("plate_1", "near", "mug_1"))
    )
    assert differences(one, other) == []


def test_objects_are_the_same_though_their_numbers_are_not():
    """Ids go by score: two mugs may swap them."""
    left, right = (10, 10, 20, 20), (40, 10, 50, 20)
    was = scene(
        [thing("mug_1", "mug", left), thing("mug_2", "mug", right), PLATE],
        [relation("mug_1", "on", "plate_1")],
    )
    now = scene(
        [thing("mug_1", "mug", right), thing("mug_2", "mug", left), PLATE],
        [relation("mug_2", "on", "plate_1")],
    )
    assert differences(now, was) == []
    wrong = scene(
        [thing("mug_1", "mug", right), thing("mug_2", "mug", left), PLATE],
        [relation("mug_1", "on", "plate_1")],
    )
    assert sorted(differences(wrong, was)) == [
        "mug_1 on plate_1 was TRUE, is FALSE",
        "mug_2 on plate_1 was FALSE, is TRUE",
    ]


def test_a_status_and_what_was_asked_are_compared():
    failed = scene([], status=Status.BACKEND_FAILED, status_message="no memory")
    assert "status was OK, is BACKEND_FAILED (no memory)" in differences(failed)
    assert differences(scene([MUG, PLATE], [ON], queries=("mug",)))[0] == "queries was [], is ['mug']"


def write(path, scenes):
    path.write_text("".join(json.dumps(each) + "\n" for each in scenes))
    return path


def test_scenes_are_found_by_camera_and_stamp(tmp_path):
    others = [scene([MUG], stamp=n, camera=c) for n in (1, 2) for c in ("a", "b")]
    expectation = Expectation(write(tmp_path / "e.jsonl", others), Tolerances())
    assert expectation.differences(others[3]) == [] and expectation.differences(others[0]) == []
    (text,) = expectation.differences(scene([MUG], stamp=3))
    assert text == "front at 0.000000003 s: is not expected"
    assert expectation.missing() == [
        "b at 0.000000001 s: did not come",
        "a at 0.000000002 s: did not come",
    ]
    assert (expectation.differing, expectation.expected, expectation.scenes) == (3, 4, 3)


@pytest.mark.parametrize("content", ["nonsense", "[]", '{"camera": "a"}', "\x00\xff"])
def test_a_file_that_is_no_expectation_is_refused(tmp_path, content):
    path = tmp_path / "e.jsonl"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ExpectationRefused, match="--jsonl"):
        Expectation(path, Tolerances())


def test_a_scene_that_lacks_fields_is_refused():
    lame = copy.deepcopy(BASE)
    del lame["objects"][0]["box"]
    with pytest.raises(ExpectationRefused, match="write it anew"):
        differences(BASE, lame)


def test_the_command_line_exits_with_1_and_says_what_differs(monkeypatch, tmp_path, capsys):
    answers = iter(
        ['[{"bbox_2d": [100, 100, 300, 500], "label": "mug"}]'] * 4
        + ['[{"bbox_2d": [500, 100, 700, 500], "label": "mug"}]', "[]"]
    )
    monkeypatch.setattr(backends, "create", lambda m, s: ScriptedBackend(lambda request: next(answers)))
    monkeypatch.chdir(tmp_path)
    made = [("/front/image_raw", stamp(n), image(stamp(n))) for n in range(2)]
    recordings.write(Path("bag"), made)
    command = ["replay", "bag", "--model", "2b"]
    assert cli.main([*command, "--jsonl", "e.jsonl"]) == 0
    assert cli.main([*command, "--expect", "e.jsonl"]) == 0
    assert "0 of 2 scenes differ from e.jsonl" in capsys.readouterr().out
    assert cli.main([*command, "--expect", "e.jsonl", "--jsonl", "now.jsonl"]) == 1
    out = capsys.readouterr().out
    assert "front at 1700000000.000000000 s: mug_1 moved in the image: IoU 0.000" in out
    assert "front at 1700000000.100000000 s: mug_1 is gone" in out
    assert "2 of 2 scenes differ from e.jsonl" in out
    assert len(Path("now.jsonl").read_text().splitlines()) == 2, "the scenes are there to look at"

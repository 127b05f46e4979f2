"""Scenes as PDDL, read by a real planner."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes_by_hand import fact, scene, thing

from qwenvl_ros.planning.facts import facts, identifier
from qwenvl_ros.planning.truths import Unreadable
from qwenvl_ros.sim import oracle, scenes
from qwenvl_ros.sim.as_scene import as_scene
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.truth import truth
from qwenvl_ros.types import Status, Truth

CUBE, BOX = thing("red_cube_1", "red cube"), thing("blue_box_1", "blue box")
NAME = re.compile(r"[a-z][a-z0-9_-]*")

# A gripper takes what is clear; what it stood on is clear then.
ACTIONS = """
  (:action take
    :parameters (?a - object ?b - object)
    :precondition (and (on ?a ?b) (clear ?a))
    :effect (and (clear ?b) (taken ?a) (not (on ?a ?b))))
  (:action lift
    :parameters (?a - object)
    :precondition (clear ?a)
    :effect (and (taken ?a) (not (clear ?a))))
"""


def domain(found):
    declared = found.declarations().replace("(:predicates", "(:predicates (taken ?a - object)")
    return f"(define (domain scene)\n{declared}\n{ACTIONS})\n"


def plan(folder, found, goal):
    """Steps of the plan that pyperplan, a program of its own, finds; [] = none is needed, None = there is none."""
    (folder / "domain.pddl").write_text(domain(found))
    (folder / "problem.pddl").write_text(found.problem(goal))
    solution = folder / "problem.pddl.soln"
    solution.unlink(missing_ok=True)
    run = subprocess.run(
        [sys.executable, "-m", "pyperplan", folder / "domain.pddl", folder / "problem.pddl"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0 and "Traceback" not in run.stderr, run.stdout + run.stderr
    return solution.read_text().splitlines() if solution.exists() else None


def test_objects_and_what_is_true():
    found = facts(
        scene(
            CUBE,
            BOX,
            fact("red_cube_1", "on", "blue_box_1"),
            fact("red_cube_1", "clear", "red_cube_1"),
            fact("red_cube_1", "near", "blue_box_1"),
            fact("blue_box_1", "occludes", "red_cube_1", Truth.UNKNOWN),
        )
    )
    assert found.objects == {"red_cube_1": "cube", "blue_box_1": "box"}
    assert found.init == (
        "(on red_cube_1 blue_box_1)",
        "(clear red_cube_1)",
        "(near red_cube_1 blue_box_1)",
        "(near blue_box_1 red_cube_1)",
    )
    assert found.unknown == ("(occludes blue_box_1 red_cube_1)",)
    assert found.unevaluated == ()


def test_the_problem_in_full():
    found = facts(
        scene(
            CUBE,
            BOX,
            fact("red_cube_1", "on", "blue_box_1"),
            fact("red_cube_1", "clear", "red_cube_1", Truth.UNKNOWN),
            evaluated=("on", "clear", "left_of", "above", "in_front_of", "inside", "near", "touching"),
        )
    )
    assert (
        found.problem("(clear blue_box_1)")
        == """\
(define (problem scene)
  (:domain scene)
  (:objects
    red_cube_1 - cube
    blue_box_1 - box
  )
  (:init
    (on red_cube_1 blue_box_1)
    ; unknown: (clear red_cube_1)
    ; unknown: (occludes ...)
  )
  (:goal (clear blue_box_1))
)
"""
    )


def test_a_planner_takes_away_what_lies_on_the_target(tmp_path):
    tower = [thing(f"box_{n}", "box") for n in (1, 2, 3)]
    found = facts(
        scene(
            *tower,
            fact("box_3", "on", "box_2"),
            fact("box_2", "on", "box_1"),
            fact("box_3", "clear", "box_3"),
        )
    )
    assert plan(tmp_path, found, "(taken box_1)") == [
        "(take box_3 box_2)",
        "(take box_2 box_1)",
        "(lift box_1)",
    ]


def test_a_planner_does_not_build_on_what_is_unknown(tmp_path):
    known, unknown = (
        facts(scene(CUBE, BOX, fact("red_cube_1", "clear", "red_cube_1", truth)))
        for truth in (Truth.TRUE, Truth.UNKNOWN)
    )
    assert plan(tmp_path, known, "(taken red_cube_1)") == ["(lift red_cube_1)"]
    assert plan(tmp_path, unknown, "(taken red_cube_1)") is None


def test_types_that_the_domain_has():
    made = scene(CUBE, BOX, thing("dog_1", "dog with a red collar"), thing("x_1", "!!"))
    assert facts(made).objects == {"red_cube_1": "cube", "blue_box_1": "box", "dog_1": "dog", "x_1": "object"}
    assert facts(made, types=["Cube", "DOG"]) == facts(made, types=["cube", "dog"]), (
        "PDDL does not tell case apart"
    )
    assert facts(made, types=["cube", "dog"]).objects == {
        "red_cube_1": "cube",
        "blue_box_1": "object",
        "dog_1": "dog",
        "x_1": "object",
    }
    assert "(:types box cube dog - object)" in facts(made).declarations()
    assert "  (:types)\n" in facts(made, types=[]).declarations()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("red_cube_1", "red_cube_1"),
        ("Red Cube #1", "red_cube_1"),
        ("café_1", "cafe_1"),
        ("1st mug", "object_1st_mug"),
        ("杯_1", "u676f_1"),
        ("?x", "x"),
        ("(and", "and"),
        ("", "object"),
        ("--", "object"),
    ],
)
def test_names(text, name):
    assert identifier(text) == name


def test_names_that_would_fall_together_are_kept_apart_and_lead_back(tmp_path):
    ids = ["mug 1", "Mug_1", "mug#1", "and", "on", "cube", "object", "(", ")", "", "mug_1_2"]
    things = [thing(id, "cube") for id in ids]
    found = facts(scene(*things, *(fact(id, "clear", id) for id in ids)))
    assert len(found.objects) == len(ids) and list(found.ids.values()) == ids
    assert not found.objects.keys() & {"and", "on", "cube", "object"}
    last = next(name for name, id in found.ids.items() if id == ")")
    assert plan(tmp_path, found, f"(taken {last})") == [f"(lift {last})"]


def test_labels_that_are_words_of_pddl_or_predicates(tmp_path):
    found = facts(
        scene(thing("a_1", "either"), thing("b_1", "on"), thing("c_1", "clear"), fact("a_1", "clear", "a_1"))
    )
    assert found.objects == {"a_1": "either_", "b_1": "on_", "c_1": "clear_"}
    assert plan(tmp_path, found, "(taken a_1)") == ["(lift a_1)"]


@given(
    st.lists(st.text(max_size=12), max_size=6, unique=True),
    st.lists(st.text(max_size=12), min_size=6, max_size=6),
)
def test_any_ids_and_labels_give_names_of_pddl(ids, labels):
    found = facts(scene(*(thing(id, label) for id, label in zip(ids, labels, strict=False))))
    assert list(found.ids.values()) == ids
    assert all(NAME.fullmatch(name) for name in [*found.objects, *found.objects.values()])


@pytest.mark.parametrize("status", [each for each in Status if each is not Status.OK])
def test_a_scene_that_could_not_be_read_gives_no_facts(status):
    with pytest.raises(Unreadable):
        facts(scene(CUBE, status=status))


def test_scenes_of_the_simulator(tmp_path):
    """Whatever stands on top of something can be taken down to it, step by step."""
    planned = 0
    with Renderer(320, 240) as renderer:
        for seed in range(40):
            layout = scenes.sample(seed)
            known = truth(layout, renderer)
            told = oracle.relations(layout, known)
            made = as_scene(known, told, camera="camera", stamp=0, frame_id="optical")
            under = [r.object_id for r in made.relations if r.predicate == "on"]
            if not under:
                continue
            steps = plan(tmp_path, facts(made), f"(taken {under[0]})")
            assert steps is not None and steps[-1].endswith(f" {under[0]})"), steps
            assert len(steps) >= 2
            planned += 1
    assert planned >= 3

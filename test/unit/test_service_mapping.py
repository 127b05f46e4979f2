"""docs/planners.md tells users of other behaviour-tree libraries how to read ~/get_relations: it must mean the same as
SceneClient's answers, UNKNOWN included."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes_by_hand import fact, scene, thing

from qwenvl_ros.planning.selection import select
from qwenvl_ros.planning.truths import Truths
from qwenvl_ros.relations import CONVERSE, PREDICATES, UNARY
from qwenvl_ros.types import Status, Truth

THINGS = [thing("red_cube_1", "red cube"), thing("green_cube_1", "green cube"), thing("mug_1", "mug")]
IDS = [each.id for each in THINGS]
NAMES = ["red cube", "cube", "mug", "mug_1", "zeppelin", ""]
ASKED = [*PREDICATES, *CONVERSE.values()]


def as_documented(made, predicate, subject, object_):
    """The table of the page."""
    answer = select([made], subject, predicate, object_)
    truths = [each.truth for each in answer.relations]
    if not answer.message and Truth.TRUE in truths:
        return Truth.TRUE
    if not answer.message and not truths:
        return Truth.FALSE
    return Truth.UNKNOWN


@st.composite
def scenes(draw):
    """Any facts that a node could state, each at most once."""
    pairs = [(a, p, b) for p in PREDICATES if p not in UNARY for a in IDS for b in IDS if a != b]
    pairs = [pair for pair in pairs if pair[1] not in ("near", "touching") or pair[0] < pair[2]]
    pairs += [(a, "clear", a) for a in IDS]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=12))
    truths = draw(st.lists(st.sampled_from([Truth.TRUE, Truth.UNKNOWN]), min_size=12, max_size=12))
    evaluated = draw(st.sampled_from([PREDICATES, PREDICATES[:4]]))
    listed = [fact(a, p, b, t) for (a, p, b), t in zip(chosen, truths, strict=False) if p in evaluated]
    status = draw(st.sampled_from([Status.OK, Status.OK, Status.TRUNCATED]))
    return scene(*THINGS, *listed, evaluated=evaluated, status=status, status_message="so the test says")


@given(scenes(), st.sampled_from(ASKED), st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_the_service_read_as_documented_says_what_the_client_says(made, predicate, subject, object_):
    if predicate in UNARY:  # another object is refused by both
        object_ = ""
    assert as_documented(made, predicate, subject, object_) is Truths(made).of(predicate, subject, object_)


@pytest.mark.parametrize("name", ["zeppelin", "red_cube_9"])
def test_a_name_that_nothing_has_is_not_false(name):
    assert not select([scene(*THINGS)], name, "on", "mug").relations
    assert as_documented(scene(*THINGS), "on", name, "mug") is Truth.UNKNOWN

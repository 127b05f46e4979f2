"""What is asked of the model about relations, and what holds when both have spoken."""

from __future__ import annotations

from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenvl_ros.fusion import (
    FIRM,
    ONE_WAY,
    PRIOR,
    SURE,
    UNLIKELY,
    Counts,
    doubtful,
    fuse,
    key_of,
    pooled,
    worth,
)
from qwenvl_ros.geometry import View, view_of
from qwenvl_ros.grounding import PHRASES
from qwenvl_ros.relations import PREDICATES, SYMMETRIC, Thresholds, find
from qwenvl_ros.types import Box, Frame, Pose, Relation, SceneObject, Source, Truth

RELIABILITY = 2 / 3
FRAME = Frame("cam", np.zeros((4, 4, 3), np.uint8), 0, "optical", pose=Pose(np.eye(3), np.zeros(3)))
BODY: View = view_of(FRAME)  # x forward, y left, z up, seen from the origin
UNIT = st.floats(0.0, 1.0)
RELIABLE = st.floats(0.5, 0.99)
GEOMETRY = st.floats(1.0 - SURE + 1e-6, SURE - 1e-6)


def thing(id: str, *corners: float, **more) -> SceneObject:
    return SceneObject(id, id, Box(*(corners or (0, 0, 10, 10))), **more)


def relation(subject, predicate, object_, truth=Truth.UNKNOWN, confidence=0.5, **more):
    told = {"value": nan, "source": Source.GEOMETRY_2D, "frame_id": "optical", **more}
    return Relation(subject, predicate, object_, truth, confidence, **told)


def measured(subject, predicate, object_, probability, **more):
    """As geometry with depth states it: probability is that of holding."""
    truth = Truth.TRUE if probability > 0.5 else Truth.FALSE
    told = {"value": 0.01, "source": Source.GEOMETRY_3D, "frame_id": "base", **more}
    return relation(subject, predicate, object_, truth, probability, **told)


A, B = thing("a", 0, 0, 50, 50), thing("b", 30, 30, 90, 90)


def fused(stated, told, objects=(A, B), reliability=RELIABILITY):
    found, counts = fuse(objects, stated, told, reliability)
    keys = [key_of(one) for one in found]
    assert len(set(keys)) == len(keys)
    return {key_of(one): one for one in found}, counts


def one(stated, told, **more):
    """The only relation of a, b after fusion (None = FALSE) and the counts."""
    found, counts = fused([stated], {key_of(stated): told}, **more)
    return found.get(key_of(stated)), counts


# What is asked


def test_what_geometry_is_sure_of_is_not_asked():
    stated = [
        measured("a", "on", "b", 0.95),
        measured("a", "inside", "b", 0.8),
        measured("a", "touching", "b", 0.3),
        relation("a", "occludes", "b"),
        measured("b", "occludes", "a", 0.04),
    ]
    asked, left_out = doubtful([A, B], stated, 24)
    assert [key_of(each) for each in asked] == [
        ("a", "inside", "b"),
        ("a", "occludes", "b"),
        ("a", "touching", "b"),
    ]
    assert left_out == 0


def test_what_no_picture_shows_is_not_asked():
    apart = [thing("a", 0, 0, 50, 50), thing("b", 300, 0, 350, 50)]
    stated = [relation("a", name, "b") for name in ("near", "left_of", "above", "touching")]
    assert doubtful(apart, stated, 24) == ([], 0)
    assert doubtful([A], [relation("a", "clear", "a")], 24) == ([], 0)
    close = [apart[0], thing("b", 53, 0, 90, 50)]
    assert [each.predicate for each in doubtful(close, stated, 24)[0]] == ["touching"]


def test_nothing_is_asked_whose_opposite_holds():
    stated = [measured("a", "on", "b", 0.7), relation("b", "on", "a"), relation("b", "occludes", "a")]
    stated.append(measured("a", "occludes", "b", 0.99))
    asked, _ = doubtful([A, B], stated, 24)
    assert [key_of(each) for each in asked] == [("a", "on", "b"), ("b", "occludes", "a")]


def test_the_limit_keeps_what_is_most_worth_asking_and_nearest_and_whole_pairs():
    row = [thing(name, 100 * i, 0, 100 * i + 50, 50) for i, name in enumerate("abcd")]
    stated = [relation(s.id, "in_front_of", o.id) for s in row for o in row if s is not o]
    stated += [relation("a", "inside", "d")]
    asked, left_out = doubtful(row, stated, 6)
    assert key_of(asked[0]) == ("a", "inside", "d")
    pairs = [frozenset((each.subject_id, each.object_id)) for each in asked[1:]]
    assert len(asked) == 5 and left_out == 8
    assert sorted(pairs.count(pair) for pair in set(pairs)) == [2, 2]
    assert all(abs(ord(min(pair)) - ord(max(pair))) == 1 for pair in pairs)
    assert doubtful(row, stated, 1000)[1] == 0


def test_find_tells_the_false_ones_that_it_is_not_sure_of():
    """On the table's edge of a threshold: 2 mm beyond it, with edges known to 5 mm."""
    known = {"size": (0.1, 0.1, 0.1), "position_sigma": 0.001}
    pair = [thing("a", position=(1.0, 0.0, 0.132), **known), thing("b", position=(1.0, 0.0, 0.0), **known)]
    plain, _ = find(pair, BODY)
    more, evaluated = find(pair, BODY, doubtful=1 - SURE)
    added = [each for each in more if repr(each) not in map(repr, plain)]
    assert evaluated == list(PREDICATES)
    assert repr([each for each in more if each not in added]) == repr(plain)
    assert {each.truth for each in added} == {Truth.FALSE}
    on = next(each for each in added if key_of(each) == ("a", "on", "b"))
    assert 1 - SURE <= on.confidence < 0.5 and on.source is Source.GEOMETRY_3D
    assert all(each.predicate != "clear" and each.subject_id != each.object_id for each in added)
    assert all(
        (each.subject_id, each.object_id) == ("a", "b") for each in added if each.predicate in SYMMETRIC
    )


# The sum


@given(UNIT, UNIT)
def test_witnesses_are_exchangeable_and_an_even_one_adds_nothing(p, q):
    if {p, q} != {0.0, 1.0}:
        assert pooled(p, q) == pytest.approx(pooled(q, p))
    assert pooled(p, 0.5) == pytest.approx(p)


@given(GEOMETRY, UNIT, RELIABLE)
def test_true_and_false_are_treated_alike(geometry, told, reliability):
    forth = pooled(geometry, worth(told, reliability))
    back = pooled(1 - geometry, worth(1 - told, reliability))
    assert forth == pytest.approx(1 - back, abs=1e-9)


@given(GEOMETRY, UNIT, UNIT, RELIABLE)
def test_more_yes_never_makes_it_less_likely(geometry, told, other, reliability):
    low, high = sorted((told, other))
    assert pooled(geometry, worth(low, reliability)) <= pooled(geometry, worth(high, reliability)) + 1e-12


@given(GEOMETRY, UNIT, RELIABLE)
def test_agreement_raises_and_disagreement_lowers(geometry, told, reliability):
    after = pooled(geometry, worth(told, reliability))
    assert (after - geometry) * (told - 0.5) >= -1e-9


ORDER = {Truth.FALSE: 0, Truth.UNKNOWN: 1, Truth.TRUE: 2}


def truth_of(stated, told, reliability=RELIABILITY):
    found, _ = one(stated, told, reliability=reliability)
    return found.truth if found else Truth.FALSE


def stated_at(probability):
    return relation("a", "on", "b") if probability == 0.5 else measured("a", "on", "b", probability)


@given(GEOMETRY | st.just(0.5), UNIT, UNIT, RELIABLE)
def test_truth_is_monotone_in_what_the_model_says(geometry, told, other, reliability):
    low, high = sorted((told, other))
    before = stated_at(geometry)
    assert ORDER[truth_of(before, low, reliability)] <= ORDER[truth_of(before, high, reliability)]


@given(st.floats(RELIABILITY + 1e-6, 1.0), UNIT)
def test_what_geometry_holds_for_likelier_than_the_model_is_reliable_is_never_turned_round(geometry, told):
    assert truth_of(measured("a", "on", "b", geometry), told) is Truth.TRUE
    assert truth_of(measured("a", "on", "b", 1 - geometry), told) is Truth.FALSE


@given(st.floats(1 - FIRM + 1e-6, FIRM - 1e-6), RELIABLE, st.sampled_from(list(PHRASES)))
def test_unknown_stays_unknown_when_the_model_only_guesses(told, reliability, predicate):
    before = relation("a", predicate, "b")
    found, counts = one(before, told, reliability=reliability)
    assert found is before and counts == Counts(asked=1, unsure=1)


@given(st.sampled_from(list(PHRASES)), st.floats(0.5, 0.55), UNIT)
def test_unknown_never_becomes_true_by_the_word_of_something_like_a_coin(predicate, reliability, told):
    assert truth_of(relation("a", predicate, "b"), told, reliability) is not Truth.TRUE


@given(UNIT, RELIABLE, st.sampled_from(list(PHRASES)))
def test_a_yes_never_makes_what_is_open_false_nor_a_no_true(told, reliability, predicate):
    opposite = Truth.FALSE if told > 0.5 else Truth.TRUE
    assert truth_of(relation("a", predicate, "b"), told, reliability) is not opposite


@pytest.mark.parametrize("told", [nan, 0.5])
@pytest.mark.parametrize("probability", [0.2, 0.5, 0.8])
def test_without_an_opinion_geometrys_word_stands(told, probability):
    before = stated_at(probability)
    found, counts = one(before, told)
    assert found is (None if probability == 0.2 else before)
    assert (counts.unanswered, counts.unsure) == ((1, 0) if isnan(told) else (0, 1))


def test_a_coin_moves_nothing_that_geometry_says():
    for probability in (0.2, 0.8):
        before = stated_at(probability)
        for told in (0.0, 1.0):
            found, _ = one(before, told, reliability=0.5)
            assert (found.truth if found else Truth.FALSE) is before.truth
            assert found is None or found.confidence == pytest.approx(probability)


# What is stated


def test_the_model_decides_what_geometry_leaves_open():
    found, counts = one(relation("a", "inside", "b", value=0.03), 1.0)
    assert (found.truth, found.source, found.frame_id) == (Truth.TRUE, Source.MODEL, "optical")
    assert found.confidence == pytest.approx(RELIABILITY) and isnan(found.value), "no gap decided it"
    assert counts == Counts(asked=1, decided=1)
    assert one(relation("a", "inside", "b"), 0.0, reliability=0.9) == (None, Counts(asked=1, decided=1))


def test_what_is_rare_needs_more_than_the_yes_of_a_model_that_is_often_wrong():
    """Of six things that may stand on another one does: two wrong yes come with each right one."""
    open_ = relation("a", "on", "b")
    assert one(open_, 1.0) == (open_, Counts(asked=1, unsure=1))
    assert truth_of(open_, 0.0) is Truth.FALSE
    found, _ = one(open_, 1.0, reliability=0.9)
    assert found.truth is Truth.TRUE
    assert found.confidence == pytest.approx(pooled(PRIOR["on"], 0.9))


def test_false_takes_more_than_true_since_nobody_sees_how_sure_it_is():
    """Not inside, says a model that is wrong a third of the time: that is no reason to call it empty."""
    open_ = relation("a", "inside", "b")
    assert one(open_, 0.0)[0] is open_ and truth_of(open_, 1.0) is Truth.TRUE
    assert pooled(PRIOR["inside"], worth(0.0, RELIABILITY)) > UNLIKELY


def both(first, second, reliability=RELIABILITY):
    """Truths of "a in front of b" and of "b in front of a" after these two words."""
    stated = [relation("a", "in_front_of", "b"), relation("b", "in_front_of", "a")]
    found, _ = fused(
        stated, dict(zip(map(key_of, stated), (first, second), strict=True)), reliability=reliability
    )
    return [found[key_of(each)].truth if key_of(each) in found else Truth.FALSE for each in stated], found


def test_the_word_on_the_opposite_counts_too():
    truths, found = both(1.0, 0.0)
    assert truths == [Truth.TRUE, Truth.FALSE]
    assert found["a", "in_front_of", "b"].confidence == pytest.approx(0.624, abs=1e-3)
    assert both(0.0, 1.0)[0] == [Truth.FALSE, Truth.TRUE]
    assert both(1.0, 1.0)[0] == [Truth.UNKNOWN] * 2, "it contradicts itself"
    assert both(1.0, 0.5)[0] == both(1.0, nan)[0] == [Truth.UNKNOWN] * 2
    assert both(0.0, 0.0, 0.95)[0] == [Truth.FALSE] * 2, "neither: equally far"


def test_both_together_are_fused_and_disagreement_is_counted():
    found, counts = one(measured("a", "on", "b", 0.8), 1.0)
    assert (found.truth, found.source, found.value) == (Truth.TRUE, Source.FUSED, 0.01)
    assert found.confidence == pytest.approx(8 / 9) and counts == Counts(asked=1, agreed=1)
    found, counts = one(measured("a", "on", "b", 0.8), 0.0)
    assert found.truth is Truth.TRUE and 0.5 < found.confidence == pytest.approx(2 / 3)
    assert counts == Counts(asked=1, disagreed=1)
    found, counts = one(measured("a", "on", "b", 0.6), 0.0)
    assert (found.truth, found.confidence, found.source) == (Truth.UNKNOWN, 0.5, Source.FUSED)
    assert truth_of(measured("a", "on", "b", 0.52), 0.0) is Truth.UNKNOWN, "never at once from TRUE to FALSE"
    found, counts = one(measured("a", "on", "b", 0.4), 1.0)
    assert (found.truth, found.confidence, counts.disagreed) == (Truth.UNKNOWN, 0.5, 1)
    assert one(measured("a", "on", "b", 0.3), 0.0) == (None, Counts(asked=1, agreed=1))


def test_a_model_that_says_both_directions_says_nothing():
    stated = [relation("a", "inside", "b"), relation("b", "inside", "a"), relation("a", "occludes", "b")]
    stated.append(relation("b", "occludes", "a"))
    found, counts = fused(stated, {key_of(each): 1.0 for each in stated})
    assert found["a", "inside", "b"].truth is found["b", "inside", "a"].truth is Truth.UNKNOWN
    assert counts.unsure == 4
    found, _ = fused(stated, {key_of(each): 1.0 for each in stated}, reliability=0.9)
    assert ("a", "occludes", "b") in found and found["b", "occludes", "a"].truth is Truth.TRUE
    assert found["a", "inside", "b"].truth is Truth.UNKNOWN, (
        "two things can hide parts of each other, not hold each other"
    )


def test_what_was_not_asked_is_as_it_was():
    stated = [measured("a", "left_of", "b", 0.99), relation("a", "on", "b"), relation("b", "on", "a")]
    stated += [relation("a", "clear", "a"), measured("a", "touching", "b", 0.2)]
    found, counts = fused(stated, {("b", "on", "a"): 0.0})
    assert list(found.values()) == [*stated[:2], stated[3]], "FALSE ones are not listed"
    assert counts.asked == 1


# clear


def space(id, *corners):
    return thing(id, *corners, position=(0.0, 0.0, 0.0), size=(0.1, 0.1, 0.1))


SPACE = (space("a"), space("b"))


def clear_of(name, found):
    return found.get((name, "clear", name))


def test_something_on_it_ends_clear_and_nothing_on_it_makes_it():
    open_ = [relation("a", "on", "b"), relation("b", "clear", "b", frame_id="base")]
    found, _ = fused(open_, {("a", "on", "b"): 1.0}, SPACE, 0.9)
    assert clear_of("b", found) is None and found["a", "on", "b"].truth is Truth.TRUE
    found, _ = fused(open_, {("a", "on", "b"): 0.0}, SPACE)
    clear = clear_of("b", found)
    assert (clear.truth, clear.source, clear.frame_id) == (Truth.TRUE, Source.FUSED, "base")
    assert clear.confidence == pytest.approx(min(SURE, 1 - pooled(PRIOR["on"], 1 - RELIABILITY)))
    found, _ = fused(open_, {("a", "on", "b"): 0.5}, SPACE)
    assert list(found.values()) == open_


def test_without_depth_nothing_is_clear_whatever_the_model_says():
    stated = [relation("a", "on", "b"), relation("b", "clear", "b")]
    found, _ = fused(stated, {("a", "on", "b"): 0.0})
    assert clear_of("b", found).truth is Truth.UNKNOWN


def test_one_of_two_that_may_be_on_it_is_enough_to_leave_clear_open():
    three = (*SPACE, space("c"))
    stated = [relation("a", "on", "b"), relation("c", "on", "b"), relation("b", "clear", "b")]
    found, _ = fused(stated, {("a", "on", "b"): 0.0, ("c", "on", "b"): nan}, three)
    assert clear_of("b", found).truth is Truth.UNKNOWN


@pytest.mark.parametrize("on", [relation("a", "on", "b"), measured("a", "on", "b", 0.4)])
def test_a_no_does_not_make_clear_whose_top_is_out_of_sight(on):
    """Geometry leaves clear open for the top, too, not only for what may stand there."""
    metric = {"position": (0.0, 0.0, 0.0), "size": (0.1, 0.1, 0.1)}
    things, stated = (thing("a", **metric), thing("b", **metric)), [on, relation("b", "clear", "b")]

    def clear(told, topless):
        found, _ = fuse(things, stated, {key_of(on): told}, 0.99, topless)
        return {key_of(one): one.truth for one in found}.get(("b", "clear", "b"), Truth.FALSE)

    assert clear(0.01, frozenset("b")) is Truth.UNKNOWN
    assert clear(0.01, frozenset()) is Truth.TRUE
    assert clear(0.999, frozenset("b")) is Truth.FALSE, "something stands on it"


def test_support_that_the_model_refutes_makes_it_open_or_clear_again():
    found, _ = fused([measured("a", "on", "b", 0.6)], {("a", "on", "b"): 0.0}, SPACE)
    assert clear_of("b", found).truth is Truth.UNKNOWN and clear_of("b", found).frame_id == "base"
    found, _ = fused([measured("a", "on", "b", 0.55)], {("a", "on", "b"): 0.0}, SPACE, 0.9)
    assert clear_of("b", found).truth is Truth.TRUE and clear_of("b", found).confidence < SURE


# Laws over whole scenes


CORNER = st.integers(0, 600)
BOX = st.tuples(CORNER, CORNER, st.integers(5, 200), st.integers(5, 200))
PLACE = st.tuples(st.floats(0.5, 1.5), st.floats(-0.2, 0.2), st.floats(-0.2, 0.2))
SCENE = st.lists(st.tuples(BOX, st.none() | PLACE), min_size=2, max_size=5)


def objects_of(drawn):
    made = []
    for index, ((x, y, width, height), place) in enumerate(drawn):
        size = (0.1, 0.1, 0.1) if place else None
        made.append(
            thing(f"o{index}", x, y, x + width, y + height, position=place, size=size, position_sigma=0.01)
        )
    return made


@given(SCENE, st.data())
def test_fused_scenes_keep_the_laws_of_relations(drawn, data):
    objects = objects_of(drawn)
    geometric, _ = find(objects, BODY, Thresholds(), doubtful=1 - SURE)
    asked, _ = doubtful(objects, geometric, 12)
    assert len(asked) <= 12 and all(each.predicate in PHRASES for each in asked)
    told = {key_of(each): data.draw(st.sampled_from([0.0, 0.5, 1.0, 0.9, nan])) for each in asked}
    reliability = data.draw(st.sampled_from([0.6, RELIABILITY, 0.95]))
    found, counts = fused(geometric, told, objects, reliability)
    before = {key_of(each): each for each in geometric}
    assert (
        counts.asked
        == len(asked)
        == sum((counts.agreed, counts.disagreed, counts.decided, counts.unsure, counts.unanswered))
    )
    for key, each in found.items():
        subject, predicate, object_ = key
        assert each.truth is not Truth.FALSE
        assert 0.5 <= each.confidence <= 1.0 or each.source in (Source.GEOMETRY_2D, Source.GEOMETRY_3D)
        if key not in told and predicate != "clear":
            assert each == before[key] or isnan(each.value)
        opposite = found.get((object_, predicate, subject))
        if predicate in ONE_WAY and each.truth is Truth.TRUE and opposite and opposite.truth is Truth.TRUE:
            assert before[key].truth is before[object_, predicate, subject].truth is Truth.TRUE
        if predicate == "clear" and each.truth is Truth.TRUE:
            assert not any(p == "on" and o == subject for _, p, o in found)
    for each in objects:
        on = [r for (_, p, o), r in found.items() if p == "on" and o == each.id]
        if any(r.truth is Truth.TRUE for r in on):
            assert clear_of(each.id, found) is None
    silent, _ = fused(geometric, dict.fromkeys(told, nan), objects, RELIABILITY)
    assert [r._replace(value=0.0) for r in silent.values()] == [
        r._replace(value=0.0) for r in geometric if r.truth is not Truth.FALSE
    ]

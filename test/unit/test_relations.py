"""Predicates against scenes with known answers, and the laws they obey."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenvl_ros.geometry import View, view_of
from qwenvl_ros.geometry.extents import AXES
from qwenvl_ros.occlusion import Cover
from qwenvl_ros.relations import CONVERSE, PREDICATES, SYMMETRIC, Thresholds, find
from qwenvl_ros.types import Box, Frame, Pose, Relation, SceneObject, Source, Truth, Vector

FRAME = Frame(
    "cam",
    np.zeros((4, 4, 3), np.uint8),
    0,
    "optical",
    pose=Pose(np.eye(3), np.zeros(3)),
    reference_frame="base",
)
BODY = view_of(FRAME)  # x forward, y left, z up, seen from the origin
OPTICAL = view_of(replace(FRAME, pose=None))
AWAY = Box(0, 0, 1, 1)
ABOVE = replace(BODY, viewpoint=np.array([0.0, 0.0, 0.6]))
BLANK, UNSEEN = np.full((2, 2), np.nan), np.full((2, AXES, 2), np.nan)  # of a Cover of two objects


def solid(
    id: str, position: Vector, size: Vector = (0.1, 0.1, 0.1), box: Box = AWAY, sigma: float = 0.001
) -> SceneObject:
    return SceneObject(id, "thing", box, position=position, size=size, position_sigma=sigma)


def flat(id: str, *corners: float) -> SceneObject:
    return SceneObject(id, "thing", Box(*corners))


def truths(
    objects: list[SceneObject], view: View = BODY, **more: object
) -> dict[tuple[str, str, str], Truth]:
    return {key: r.truth for key, r in stated(objects, view, **more).items()}


def stated(
    objects: list[SceneObject], view: View = BODY, **more: object
) -> dict[tuple[str, str, str], Relation]:
    relations, evaluated = find(objects, view, image_frame="optical", **more)  # type: ignore[arg-type]
    assert evaluated == list(PREDICATES)
    found = {(r.subject_id, r.predicate, r.object_id): r for r in relations}
    assert len(found) == len(relations)
    return found


# With positions


def test_left_is_left_of_the_reference_frame() -> None:
    pair = [solid("a", (1.0, 0.3, 0.0)), solid("b", (1.0, -0.2, 0.0))]
    found = stated(pair)
    assert ("a", "left_of", "b") in found and ("b", "left_of", "a") not in found
    relation = found["a", "left_of", "b"]
    assert relation.value == pytest.approx(0.4)
    assert (relation.truth, relation.source, relation.frame_id) == (Truth.TRUE, Source.GEOMETRY_3D, "base")
    assert relation.confidence > 0.99


def test_left_in_the_optical_frame_is_left_in_the_picture() -> None:
    assert ("a", "left_of", "b") in truths(
        [solid("a", (-0.2, 0.0, 1.0)), solid("b", (0.2, 0.0, 1.0))], OPTICAL
    )


@pytest.mark.parametrize(("gap", "holds"), [(0.001, True), (-0.004, True), (-0.0045, False), (-0.05, False)])
def test_left_of_allows_a_tenth_of_the_narrower_one(gap: float, holds: bool) -> None:
    narrow, wide = 0.0423, 0.2
    pair = [
        solid("a", (1.0, gap + narrow / 2, 0.0), (0.1, narrow, 0.1)),
        solid("b", (1.0, -wide / 2, 0.0), (0.1, wide, 0.1)),
    ]
    assert (("a", "left_of", "b") in truths(pair)) is holds


def test_above_needs_overlap_in_the_plane() -> None:
    lower = solid("b", (1.0, 0.0, 0.0))
    assert ("a", "above", "b") in truths([solid("a", (1.0, 0.0, 0.5)), lower])
    assert ("a", "above", "b") not in truths([solid("a", (1.0, 0.2, 0.5)), lower])
    assert stated([solid("a", (1.0, 0.0, 0.5)), lower])["a", "above", "b"].value == pytest.approx(0.4)


@pytest.mark.parametrize(("sigma", "holds"), [(0.001, True), (0.02, True), (0.03, False)])
def test_in_front_of_counts_range_from_the_viewpoint_and_two_sigma(sigma: float, holds: bool) -> None:
    # 6 cm nearer; the threshold is max(5 cm, 2 sigma of both).
    pair = [solid("a", (1.0, 0.0, 0.0), sigma=sigma), solid("b", (1.06, 0.0, 0.0), sigma=sigma)]
    found = stated(pair)
    assert (("a", "in_front_of", "b") in found) is holds
    assert ("b", "in_front_of", "a") not in found


def test_range_is_not_the_forward_coordinate() -> None:
    aside = [solid("a", (1.0, 0.0, 0.0)), solid("b", (1.0, 1.0, 0.0))]
    assert stated(aside)["a", "in_front_of", "b"].value == pytest.approx(np.sqrt(2) - 1)
    moved = replace(BODY, viewpoint=np.array([1.0, 2.0, 0.0]))
    assert ("b", "in_front_of", "a") in truths(aside, moved)


@pytest.mark.parametrize(
    ("height", "shift", "holds"),
    [
        (0.1, 0.0, True),
        (0.129, 0.0, True),
        (0.131, 0.0, False),
        (0.071, 0.0, True),
        (0.069, 0.0, False),
        (0.1, 0.069, True),
        (0.1, 0.071, False),
    ],
)
def test_on_needs_contact_and_footing(height: float, shift: float, holds: bool) -> None:
    pair = [solid("a", (1.0, shift, height)), solid("b", (1.0, 0.0, 0.0))]
    assert (("a", "on", "b") in truths(pair)) is holds
    assert ("b", "on", "a") not in truths(pair)


def test_what_carries_something_is_not_clear() -> None:
    found = truths([solid("a", (1.0, 0.0, 0.1)), solid("b", (1.0, 0.0, 0.0)), solid("c", (1.0, 0.5, 0.0))])
    assert found["a", "clear", "a"] == Truth.TRUE and found["c", "clear", "c"] == Truth.TRUE
    assert ("b", "clear", "b") not in found


@pytest.mark.parametrize(("height", "holds"), [(0.0, True), (0.079, True), (0.081, False)])
def test_inside_needs_four_fifths_of_the_extent(height: float, holds: bool) -> None:
    inner, outer = (
        solid("a", (1.0, 0.0, height), (0.1, 0.1, 0.1)),
        solid("b", (1.0, 0.0, 0.0), (0.22, 0.22, 0.22)),
    )
    assert (("a", "inside", "b") in truths([inner, outer])) is holds


def test_near_and_touching_are_stated_once_whatever_the_order() -> None:
    a, b = solid("a", (1.0, 0.0, 0.0)), solid("b", (1.0, 0.11, 0.0))
    for pair in ([a, b], [b, a]):
        found = stated(pair)
        first, second = pair[0].id, pair[1].id
        assert found[first, "touching", second].value == pytest.approx(0.01)
        assert (first, "near", second) in found and (second, "near", first) not in found
    assert ("a", "near", "b") not in truths([a, solid("b", (1.0, 0.41, 0.0))])
    assert ("a", "touching", "b") not in truths([a, solid("b", (1.0, 0.13, 0.0))])


def test_occludes_takes_what_was_found_and_is_unknown_where_nothing_could_be() -> None:
    pair = [solid("a", (1.0, 0, 0), box=Box(0, 0, 50, 50)), solid("b", (1.5, 0, 0), box=Box(30, 0, 80, 50))]
    nan = np.nan
    found = stated(
        pair,
        cover=Cover(
            np.array([[0, 0.3], [0, 0]]), np.array([[nan, 0.4], [nan, nan]]), np.zeros((2, 4)), BLANK, UNSEEN
        ),
    )
    assert found["a", "occludes", "b"].truth == Truth.TRUE
    assert found["a", "occludes", "b"].value == pytest.approx(0.4)
    assert ("b", "occludes", "a") not in found
    unseen = truths(
        pair, cover=Cover(np.full((2, 2), nan), np.full((2, 2), nan), np.zeros((2, 4)), BLANK, UNSEEN)
    )
    assert unseen["a", "occludes", "b"] == unseen["b", "occludes", "a"] == Truth.UNKNOWN


@pytest.mark.parametrize(
    ("share", "truth"),
    [(0.0, None), (0.03, None), (0.045, Truth.UNKNOWN), (0.055, Truth.UNKNOWN), (0.07, Truth.TRUE)],
)
def test_occludes_is_open_within_half_a_pixel_of_its_threshold(share: float, truth: Truth | None) -> None:
    """Of a box 50 pixels wide a hundredth of the extent is a strip of half a pixel: depth has no more to tell."""
    pair = [solid("a", (1.0, 0, 0), box=Box(0, 0, 50, 50)), solid("b", (1.5, 0, 0), box=Box(30, 0, 80, 50))]
    gap = np.full((2, 2), 0.4)
    cover = Cover(np.array([[0, share], [0, 0]]), gap, np.zeros((2, 4)), BLANK, UNSEEN)
    assert truths(pair, cover=cover).get(("a", "occludes", "b")) == truth


# From boxes alone


def test_boxes_decide_left_and_above_in_the_cameras_view() -> None:
    found = stated([flat("a", 0, 0, 100, 100), flat("b", 95, 150, 195, 250)])
    for predicate in ("left_of", "above"):
        relation = found["a", predicate, "b"]
        assert (relation.truth, relation.source, relation.frame_id) == (
            Truth.TRUE,
            Source.GEOMETRY_2D,
            "optical",
        )
    assert found["a", "left_of", "b"].value == -5 and found["a", "above", "b"].value == 50
    assert ("a", "left_of", "b") not in truths([flat("a", 0, 0, 100, 100), flat("b", 85, 0, 185, 100)])


def test_what_boxes_cannot_tell_is_unknown_not_false() -> None:
    found = truths([flat("a", 0, 0, 10, 10), flat("b", 100, 0, 110, 10)])
    for predicate in ("in_front_of", "near", "touching"):
        assert found["a", predicate, "b"] == Truth.UNKNOWN
    assert found["b", "in_front_of", "a"] == Truth.UNKNOWN
    # Far apart in the picture: none of these can be.
    for predicate in ("on", "inside", "occludes"):
        assert ("a", predicate, "b") not in found and ("b", predicate, "a") not in found
    assert found["a", "clear", "a"] == Truth.UNKNOWN


def test_on_from_boxes_is_open_where_one_may_stand_on_the_other_and_never_true() -> None:
    upper, lower = flat("a", 20, 0, 60, 50), flat("b", 0, 40, 100, 120)
    found = truths([upper, lower])
    assert found["a", "on", "b"] == Truth.UNKNOWN and ("b", "on", "a") not in found
    aside = flat("a", 200, 0, 240, 50)
    assert ("a", "on", "b") not in truths([aside, lower])
    floating = flat("a", 20, 0, 60, 10)
    assert ("a", "on", "b") not in truths([floating, lower])


def test_inside_from_boxes_is_a_hint() -> None:
    assert truths([flat("a", 10, 10, 50, 50), flat("b", 0, 0, 60, 60)])["a", "inside", "b"] == Truth.UNKNOWN
    assert ("a", "inside", "b") not in truths([flat("a", 30, 10, 90, 50), flat("b", 0, 0, 60, 60)])


def test_overlapping_boxes_leave_open_who_hides_whom() -> None:
    found = truths([flat("a", 0, 0, 50, 50), flat("b", 40, 40, 90, 90)])
    assert found["a", "occludes", "b"] == found["b", "occludes", "a"] == Truth.UNKNOWN


def test_what_lifting_could_not_tell_apart_is_unknown() -> None:
    """Boxes of one name that are about the same: stacked books."""
    twins = [
        solid("book_1", (1.0, 0.0, 0.0)),
        solid("book_2", (1.0, 0.0, 0.0)),
        solid("far_1", (3.0, 0.0, 0.0)),
    ]
    found = truths(twins)
    assert found["book_1", "on", "book_2"] is found["book_2", "on", "book_1"] is Truth.UNKNOWN
    assert found["book_1", "touching", "book_2"] is found["book_2", "clear", "book_2"] is Truth.UNKNOWN
    assert found["far_1", "clear", "far_1"] is found["book_1", "in_front_of", "far_1"] is Truth.TRUE


def test_a_pair_is_metric_only_where_both_have_a_place() -> None:
    objects = [
        solid("a", (1, 0.5, 0), box=Box(0, 0, 10, 10)),
        solid("b", (1, 0, 0), box=Box(50, 0, 60, 10)),
        flat("c", 90, 0, 99, 10),
    ]
    found = stated(objects)
    assert found["a", "left_of", "b"].source == Source.GEOMETRY_3D
    assert found["a", "left_of", "c"].source == Source.GEOMETRY_2D
    assert found["a", "near", "c"].truth == Truth.UNKNOWN
    assert ("a", "near", "b") not in found  # measured, and false
    assert found["a", "clear", "a"].truth == Truth.TRUE and found["c", "clear", "c"].truth == Truth.UNKNOWN


@pytest.mark.parametrize(("cut_above", "truth"), [(0.02, Truth.UNKNOWN), (0.0, Truth.TRUE)])
def test_what_shows_no_top_is_not_clear_for_sure(cut_above: float, truth: Truth) -> None:
    """It goes on beyond the upper border of the image, or behind something nearer: there a mug may stand on it."""
    box, blank = solid("box", (1.0, 0.0, 0.0)), np.full((1, 1), np.nan)
    beyond = np.array([[0.0, cut_above, 0.0, 0.0]])
    cover = Cover(blank, blank, beyond, blank, np.full((1, AXES, 2), np.nan))
    assert truths([box], cover=cover)["box", "clear", "box"] is truth


def test_clear_is_unknown_where_on_is() -> None:
    lower = solid("b", (1, 0, 0), box=Box(0, 40, 100, 120))
    assert truths([flat("a", 20, 0, 60, 50), lower])["b", "clear", "b"] == Truth.UNKNOWN


def test_no_objects_and_one_object() -> None:
    assert stated([]) == {}
    assert truths([solid("a", (1, 0, 0))]) == {("a", "clear", "a"): Truth.TRUE}


# Laws

NUMBER = st.floats(-1, 1, width=32)
POINT = st.tuples(NUMBER, NUMBER, NUMBER)
EXTENT = st.tuples(*[st.floats(0.015625, 0.5, width=32)] * 3)


@st.composite
def scenes(draw: st.DrawFn) -> list[SceneObject]:
    objects = []
    for index in range(draw(st.integers(2, 6))):
        x, y = draw(st.integers(0, 500)), draw(st.integers(0, 400))
        box = Box(x, y, x + draw(st.integers(2, 200)), y + draw(st.integers(2, 200)))
        position, size = (draw(POINT), draw(EXTENT)) if draw(st.booleans()) else (None, None)
        objects.append(
            SceneObject(
                f"o{index}", "x", box, position=position, size=size, position_sigma=draw(st.floats(0, 0.1))
            )
        )
    return objects


@given(scenes())
def test_directed_predicates_are_antisymmetric(objects: list[SceneObject]) -> None:
    found = truths(objects)
    for (a, predicate, b), truth in found.items():
        if truth == Truth.TRUE and predicate in CONVERSE and predicate != "occludes":
            assert found.get((b, predicate, a)) is None
        if predicate in SYMMETRIC:
            assert (b, predicate, a) not in found
        assert (a == b) == (predicate == "clear")


@given(scenes(), st.randoms())
def test_the_order_of_the_objects_does_not_matter(objects: list[SceneObject], random) -> None:  # type: ignore[no-untyped-def]
    def plain(found: dict[tuple[str, str, str], Relation]) -> set[tuple[object, ...]]:
        return {
            (
                *(
                    sorted((r.subject_id, r.object_id))
                    if r.predicate in SYMMETRIC
                    else (r.subject_id, r.object_id)
                ),
                r.predicate,
                r.truth,
                round(r.confidence, 9),
                round(r.value, 9) if r.value == r.value else None,
            )
            for r in found.values()
        }

    shuffled = list(objects)
    random.shuffle(shuffled)
    assert plain(stated(objects)) == plain(stated(shuffled))


@given(scenes(), POINT)
def test_moving_the_whole_world_changes_nothing(objects: list[SceneObject], shift: Vector) -> None:
    step = np.round(np.multiply(shift, 64)) / 64  # exact in binary, so that sums are too, nearly
    moved = [
        o if o.position is None else replace(o, position=tuple(np.add(o.position, step).tolist()))
        for o in objects
    ]
    here, there = stated(objects), stated(moved, replace(BODY, viewpoint=BODY.viewpoint + step))
    # Only a relation that is on its threshold to rounding may differ.
    for key in here.keys() ^ there.keys():
        assert (here.get(key) or there[key]).confidence == pytest.approx(0.5, abs=1e-3)
    for key in here.keys() & there.keys():
        assert here[key].confidence == pytest.approx(there[key].confidence, abs=1e-4)


@given(scenes(), st.integers(0, 2**31))
def test_unknown_never_becomes_true_by_noise(objects: list[SceneObject], seed: int) -> None:
    rng = np.random.default_rng(seed)
    # What lifting could not tell apart is one surface, and has one error.
    error = {(o.position, o.size): rng.normal(0, 0.02, 3) for o in objects}
    noisy = [
        replace(
            o,
            position=None
            if o.position is None
            else tuple(np.add(o.position, error[o.position, o.size]).tolist()),
            position_sigma=o.position_sigma + 0.02,
        )
        for o in objects
    ]
    before, after = truths(objects), truths(noisy)
    for key, truth in before.items():
        if truth == Truth.UNKNOWN:
            assert after.get(key) != Truth.TRUE


@given(scenes(), st.floats(0.0, 0.2))
def test_a_larger_sigma_never_settles_what_is_open(objects: list[SceneObject], more: float) -> None:
    count = len(objects)
    rng = np.random.default_rng(count)
    # As much hidden, and as much in doubt, as may be: otherwise nothing that has a place is UNKNOWN.
    share, gap = rng.uniform(0, 0.2, (2, count, count))
    outline = np.sort(rng.uniform(-0.1, 0.1, (count, AXES, 2)))
    cover = Cover(share, gap, rng.uniform(0, 0.1, (count, 4)), rng.uniform(-1, 1, (count, count)), outline)
    before = truths(objects, cover=cover)
    after = truths([replace(o, position_sigma=o.position_sigma + more) for o in objects], cover=cover)
    for key, truth in before.items():
        if truth == Truth.UNKNOWN:
            assert after.get(key) != Truth.TRUE
    assert {key for key, truth in after.items() if truth == Truth.TRUE} <= before.keys()


@given(scenes())
def test_confidence_tells_true_from_open(objects: list[SceneObject]) -> None:
    for relation in stated(objects).values():
        if relation.truth == Truth.TRUE:
            assert 0.5 <= relation.confidence <= 1.0
        else:
            assert relation.confidence == 0.5
        assert relation.truth != Truth.FALSE


@given(st.floats(0.0, 0.2), st.floats(0.0, 0.2))
def test_more_noise_never_makes_surer(less: float, more: float) -> None:
    less, more = sorted((less, more))
    sure = [
        stated([solid("a", (1, 0.3, 0), sigma=s), solid("b", (1, 0, 0), sigma=s)])[
            "a", "left_of", "b"
        ].confidence
        for s in (less, more)
    ]
    assert sure[0] >= sure[1] >= 0.5


@settings(max_examples=30)
@given(scenes())
def test_touching_implies_near(objects: list[SceneObject]) -> None:
    found = truths(objects)
    for (a, predicate, b), truth in found.items():
        if truth == Truth.TRUE and predicate == "touching":
            assert found[a, "near", b] == Truth.TRUE


def test_thresholds_are_settings() -> None:
    pair = [solid("a", (1.0, 0.0, 0.0)), solid("b", (1.0, 0.5, 0.0))]
    assert ("a", "near", "b") not in truths(pair)
    assert ("a", "near", "b") in truths(pair, thresholds=Thresholds(near_gap=0.5))


def test_a_hidden_side_leaves_open_what_it_would_decide() -> None:
    # The right side of a is cut off: 5 cm more of it would reach behind b.
    pair = [solid("a", (1.0, 0.2, 0.0)), solid("b", (1.0, 0.08, 0.0))]
    nothing = np.zeros((2, 2))
    cut = np.array([[0, 0, 0.05, 0], [0, 0, 0, 0]])
    found = truths(pair, cover=Cover(nothing, nothing, cut, BLANK, UNSEEN))
    assert truths(pair)["a", "left_of", "b"] == Truth.TRUE
    assert found["a", "left_of", "b"] == Truth.UNKNOWN
    far = [pair[0], solid("b", (1.0, -0.2, 0.0))]
    assert truths(far, cover=Cover(nothing, nothing, cut, BLANK, UNSEEN))["a", "left_of", "b"] == Truth.TRUE


def test_what_shows_no_bottom_is_not_on_for_sure() -> None:
    pair = [solid("a", (1.0, 0.0, 0.1)), solid("b", (1.0, 0.0, 0.0))]
    nothing = np.zeros((2, 2))
    found = truths(
        pair, cover=Cover(nothing, nothing, np.array([[0, 0, 0, 0.06], [0, 0, 0, 0]]), BLANK, UNSEEN)
    )
    assert found["a", "on", "b"] == found["b", "clear", "b"] == Truth.UNKNOWN


def test_what_is_seen_to_stand_on_a_thing_from_above_has_no_hidden_bottom() -> None:
    pair = [solid("a", (1.0, 0.0, 0.1)), solid("b", (1.0, 0.0, 0.0))]
    nothing = np.zeros((2, 2))
    found = truths(
        pair, ABOVE, cover=Cover(nothing, nothing, np.array([[0, 0, 0, 0.06], [0, 0, 0, 0]]), BLANK, UNSEEN)
    )
    assert found["a", "on", "b"] == Truth.TRUE and ("b", "clear", "b") not in found


def test_what_lies_in_a_thing_goes_no_deeper_than_it() -> None:
    # The rim hides the lower half of a: it cannot reach through the bottom of b.
    pair = [solid("a", (1.0, 0.0, 0.01), (0.06, 0.06, 0.04)), solid("b", (1.0, 0.0, 0.0), (0.2, 0.2, 0.08))]
    nothing = np.zeros((2, 2))
    cut = np.array([[0, 0, 0, 0.2], [0, 0, 0, 0]])
    assert (
        truths(pair, ABOVE, cover=Cover(nothing, nothing, cut, BLANK, UNSEEN))["a", "inside", "b"]
        == Truth.TRUE
    )


def test_nothing_hangs_in_the_air() -> None:
    # Of a ball on a block, seen from above, the lowest 2.5 cm are round the corner.
    ball = solid("a", (1.0, 0.0, 0.1125), (0.1, 0.1, 0.075))
    found = truths([ball, solid("b", (1.0, 0.0, 0.0))], ABOVE)
    assert found["a", "on", "b"] == found["a", "touching", "b"] == Truth.TRUE


@pytest.mark.parametrize(("height", "truth"), [(0.006, Truth.UNKNOWN), (0.03, Truth.TRUE)])
def test_what_hardly_rises_over_a_thing_may_be_sunk_in_it(height: float, truth: Truth) -> None:
    """Of a ball deep in a bowl as little is seen as of a lid on a box."""
    upper = solid("a", (1.0, 0.0, 0.05 + height / 2), (0.05, 0.05, height))
    found = truths([upper, solid("b", (1.0, 0.0, 0.0))], ABOVE)
    assert found["a", "on", "b"] == found["a", "above", "b"] == truth
    assert found.get(("b", "clear", "b"), Truth.FALSE) == (
        Truth.UNKNOWN if truth is Truth.UNKNOWN else Truth.FALSE
    )


def test_what_is_seen_of_a_thing_only_in_the_box_of_another_may_be_the_other() -> None:
    # A cone on a cube of its colour: what the cube got of the cone makes it look like a bowl around it.
    cone, cube = solid("a", (1.0, 0.0, 0.1)), solid("b", (1.0, 0.0, 0.05), (0.14, 0.14, 0.2))
    nothing = np.zeros((2, 2))
    top = np.array([[np.nan, 0.05], [np.nan, np.nan]])
    assert truths([cone, cube])["a", "inside", "b"] == Truth.TRUE
    found = truths([cone, cube], cover=Cover(nothing, nothing, np.zeros((2, 4)), top, UNSEEN))
    assert found["a", "inside", "b"] == found["a", "on", "b"] == found["b", "clear", "b"] == Truth.UNKNOWN
    rim = np.array([[np.nan, 0.15], [np.nan, np.nan]])  # a bowl's is seen beside what lies in it
    found = truths([cone, cube], cover=Cover(nothing, nothing, np.zeros((2, 4)), rim, UNSEEN))
    assert found["a", "inside", "b"] == Truth.TRUE


def test_the_far_side_that_cannot_be_seen_is_completed() -> None:
    # Of a ball on a block the camera sees the front: 4 cm of its 10 cm; over the block it stands all the same.
    ball = solid("a", (0.97, 0.0, 0.1), (0.04, 0.1, 0.1))
    block = solid("b", (1.02, 0.0, 0.0), (0.1, 0.1, 0.1))
    assert ("a", "on", "b") in truths([ball, block])
    behind = solid("c", (1.11, 0.0, 0.1), (0.1, 0.1, 0.1))
    assert ("a", "touching", "c") in truths([ball, behind])


def test_fifty_objects_are_judged_in_one_go() -> None:
    rng = np.random.default_rng(0)
    many = [
        solid(f"o{i}", tuple(rng.uniform(-1, 1, 3).tolist()), tuple(rng.uniform(0.02, 0.2, 3).tolist()))
        for i in range(50)
    ]
    found = truths(many)
    pairs = [truths([a, b]) for a, b in pairwise(many)]
    for alone in pairs:
        for key in alone:
            assert key[1] == "clear" or found[key] == alone[key]

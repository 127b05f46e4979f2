"""Things that touch and look alike are told apart by the valley between them; parts go to the box they fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import dist

import numpy as np
import pytest

from qwenvl_ros import geometry
from qwenvl_ros.evaluation.sights import sight
from qwenvl_ros.geometry.parts import settle
from qwenvl_ros.sim.layout import Layout, Thing
from qwenvl_ros.sim.placement import stand
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import sample
from qwenvl_ros.sim.sensor import Sensor
from qwenvl_ros.sim.truth import Truth, truth
from qwenvl_ros.types import Box, Frame

GREY = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer(640, 480) as made:
        yield made


def thing(shape: str, size: tuple[float, float, float], x: float, y: float, z: float = 0.0) -> Thing:
    return stand(Thing(shape, "white", GREY, size, (0, 0, 0), yaw=0.4), x, y, z)


def seen(renderer: Renderer, things: Sequence[Thing]) -> tuple[Truth, Frame]:
    """A scene of things of one colour in light without a direction, so that only shape tells them apart."""
    light = replace(sample(3).light, diffuse=(0.0, 0.0, 0.0), ambient=0.5, shadows=False)
    layout: Layout = replace(sample(3), things=tuple(things), light=light)
    found = truth(layout, renderer)
    image = np.full((480, 640, 3), 128, np.uint8)
    depth = renderer.depth(layout)
    return found, Frame("cam", image, 0, "optical", depth, found.intrinsics, found.pose, "world")


def overlaps(found: Truth, frame: Frame) -> list[float]:
    """Intersection over union of what was lifted from each true box with what is to be seen of the thing."""
    boxes = [one.box for one in found.objects if one.box is not None]
    assert len(boxes) == len(found.objects)
    shares = []
    for index, lifted in enumerate(geometry.lift_all(boxes, frame)):
        assert lifted is not None
        (row, column), (rows, columns) = lifted.corner, lifted.mask.shape
        mask = np.zeros(found.segmentation.shape, bool)
        mask[row : row + rows, column : column + columns] = lifted.mask
        true = found.segmentation == index
        shares.append(float((mask & true).sum() / (mask | true).sum()))
    return shares


@pytest.mark.parametrize(
    "things",
    [
        [thing("cube", (0.08,) * 3, 0, 0), thing("cube", (0.06,) * 3, 0, 0, 0.08)],
        [thing("cube", (0.08,) * 3, 0, 0), thing("cylinder", (0.06, 0.06, 0.09), 0.005, 0, 0.08)],
        [thing("cylinder", (0.07, 0.07, 0.06), 0, 0), thing("sphere", (0.06,) * 3, 0, 0, 0.06)],
        [thing("cylinder", (0.07, 0.07, 0.06), 0, 0), thing("bottle", (0.05, 0.05, 0.13), 0, 0, 0.06)],
        [thing("cube", (0.07,) * 3, 0, 0), thing("cone", (0.06, 0.06, 0.08), 0, 0, 0.07)],
        [thing("sphere", (0.07,) * 3, 0, 0.035), thing("sphere", (0.07,) * 3, 0, -0.035)],
        [
            thing("cube", (0.08,) * 3, 0, 0),
            thing("cube", (0.06,) * 3, 0, 0, 0.08),
            thing("cube", (0.05,) * 3, 0, 0, 0.14),
        ],
        [
            replace(thing("bowl", (0.14, 0.14, 0.065), 0, 0), yaw=0.0),
            thing("cube", (0.05,) * 3, 0, 0, 0.012),
        ],
    ],
    ids=["cubes", "cylinder on cube", "ball", "bottle", "cone", "side by side", "tower", "in a bowl"],
)
def test_things_of_one_colour_that_touch_are_told_apart(renderer: Renderer, things: list[Thing]) -> None:
    found, frame = seen(renderer, things)
    assert min(overlaps(found, frame)) > 0.85


def test_the_parts_of_one_thing_stay_together(renderer: Renderer) -> None:
    # A mug and a bottle have valleys of their own; behind the mug, a cube whose box holds the handle.
    things = [
        thing("mug", (0.12, 0.12, 0.09), -0.05, 0.0),
        thing("bottle", (0.06, 0.06, 0.14), 0.0, 0.12),
        thing("cube", (0.08,) * 3, 0.06, -0.03),
    ]
    found, frame = seen(renderer, things)
    assert min(overlaps(found, frame)) > 0.85


def test_boxes_as_a_model_draws_them_do_as_well(renderer: Renderer) -> None:
    found, frame = seen(renderer, [thing("cube", (0.08,) * 3, 0, 0), thing("cube", (0.06,) * 3, 0, 0, 0.08)])
    exact = geometry.lift_all([one.box for one in found.objects if one.box], frame)
    rng = np.random.default_rng(1)
    for _ in range(5):
        boxes = []
        for one in found.objects:
            assert one.box is not None
            off = rng.normal(0, 0.03, 4) * ([one.box.width, one.box.height] * 2)
            boxes.append(Box(*(np.array(one.box.corners) + off).tolist()))
        for near, true in zip(geometry.lift_all(boxes, frame), exact, strict=True):
            assert near is not None and true is not None
            assert np.linalg.norm(np.subtract(near.position, true.position)) < 0.01


def test_a_part_goes_where_its_box_needs_it() -> None:
    # A tall box of which the lower half is sure, and a small box inside it that has nothing: 1 fills it, 2 does not.
    first, last = np.array([[0, 0], [10, 20]]), np.array([[100, 40], [30, 40]])
    low = np.array([[0, 0], [10, 20], [0, 0], [50, 0]])
    high = np.array([[0, 0], [30, 40], [30, 20], [100, 40]])
    claims = np.array([[False, True, True, True], [False, True, False, False]])
    sizes = np.array([0, 400, 600, 2000])
    even = np.full(claims.shape, 0.5)
    settle([1, 2], claims, (first, last), (low, high), sizes, even)
    assert claims.tolist() == [[False, False, True, True], [False, True, False, False]]


def test_colour_decides_where_boxes_do_not() -> None:
    # Either box is filled without the part.
    first, last = np.array([[0, 0], [0, 0]]), np.array([[50, 50], [50, 60]])
    low = np.array([[0, 0], [0, 0], [0, 0], [10, 10]])
    high = np.array([[0, 0], [50, 50], [50, 60], [20, 20]])
    sizes = np.array([0, 2000, 2000, 100])
    for owner in (0, 1):
        claims = np.array([[False, True, False, True], [False, False, True, True]])
        liking = np.full(claims.shape, 0.1)
        liking[owner, 3] = 0.9
        settle([3], claims, (first, last), (low, high), sizes, liking)
        assert claims[owner, 3] and not claims[1 - owner, 3]


@pytest.mark.parametrize(
    ("seed", "label"),
    [(63247, "green cone"), (83730, "red mug"), (83362, "cyan bottle"), (113353, "red bottle")],
    ids=[
        "of one piece with what has no box",
        "with pieces of its own",
        "before a thing of its colour",
        "before several",
    ],
)
def test_a_box_takes_nothing_of_what_stands_before_or_behind(
    renderer: Renderer, seed: int, label: str
) -> None:
    """Not the neck of the bottle before a mug, nor what is to be seen of the mug beside it."""
    seen_in = sight(seed, renderer, Sensor())
    boxes = [target.box for target in seen_in.expected]
    which = [thing.label for thing in seen_in.asked].index(label)
    lifted, where = (
        geometry.lift_all(boxes, seen_in.frame)[which],
        seen_in.centres[seen_in.asked[which].index],
    )
    assert lifted is not None and where is not None
    assert dist(lifted.position, where) < 0.02

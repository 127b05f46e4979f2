"""Whole things and their gaps from what is seen of them, against the exact distance of their surfaces."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from qwenvl_ros.evaluation.reasoning import findings
from qwenvl_ros.evaluation.sights import SIZE, sight
from qwenvl_ros.geometry import extents
from qwenvl_ros.perception import PerceptionSettings
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.sensor import Sensor

Points = NDArray[np.float64]
EYE = np.array([-0.4, -0.9, 0.7])  # right, forward, up
RADIUS, HEIGHT = 0.04, 0.09
STEP = 0.002


def grid(size: float) -> Points:
    ticks = np.linspace(-size / 2, size / 2, int(size / STEP))
    return np.array(np.meshgrid(ticks, ticks)).reshape(2, -1).T


def sphere() -> tuple[Points, Points]:
    """Points and outward normals of a ball on the ground."""
    count = np.arange(8000) + 0.5
    up, turn = 1 - count / 4000, count * np.pi * (1 + 5**0.5)
    normals = np.column_stack([np.cos(turn) * np.sqrt(1 - up**2), np.sin(turn) * np.sqrt(1 - up**2), up])
    return normals * RADIUS + RADIUS * np.eye(3)[2], normals


def tapered(top: float) -> tuple[Points, Points]:
    """A cylinder that narrows to `top` times its radius: a cone, a drum."""
    turn, share = (
        part.ravel() for part in np.meshgrid(np.linspace(0, 2 * np.pi, 180), np.linspace(0, 1, 60))
    )
    radius, slope = RADIUS * (1 + (top - 1) * share), RADIUS * (1 - top) / HEIGHT
    side = np.column_stack([radius * np.cos(turn), radius * np.sin(turn), HEIGHT * share])
    normals = np.column_stack([np.cos(turn), np.sin(turn), np.full(len(turn), slope)])
    disc = grid(2 * RADIUS * top) if top else np.zeros((1, 2))
    disc = disc[np.linalg.norm(disc, axis=1) <= RADIUS * top + 1e-9]
    lid = np.column_stack([disc, np.full(len(disc), HEIGHT)])
    return np.concatenate([side, lid]), np.concatenate([normals, np.tile((0.0, 0.0, 1.0), (len(lid), 1))])


def cube(degrees: float) -> tuple[Points, Points]:
    size = 2 * RADIUS
    points, normals = [], []
    for axis in range(3):
        for side in (-1, 1):
            face = np.insert(grid(size), axis, side * size / 2, axis=1)
            points.append(face)
            normals.append(np.tile(side * np.eye(3)[axis], (len(face), 1)))
    turned = Rotation.from_euler("z", degrees, degrees=True)
    return turned.apply(np.concatenate(points)) + RADIUS * np.eye(3)[2], turned.apply(np.concatenate(normals))


SHAPES = {
    "ball": sphere(),
    "cone": tapered(0.0),
    "drum": tapered(1.0),
    "cube": cube(0.0),
    "cube on edge": cube(45.0),
}


def completed(things: list[tuple[Points, Points]]) -> tuple[Points, Points, Points]:
    """low, high and ends of things of which only what faces the eye is seen."""
    seen = [points[((EYE - points) * normals).sum(axis=1) > 0] for points, normals in things]
    low, high = np.array([part.min(axis=0) for part in seen]), np.array([part.max(axis=0) for part in seen])
    spans = np.array([extents.spans(part, np.zeros(3)) for part in seen])
    low, high = extents.unseen_back(low, high, EYE, spans)
    return low, high, extents.whole(low, high, spans, EYE)


def at(shape: str, right: float, forward: float) -> tuple[Points, Points]:
    points, normals = SHAPES[shape]
    return points + np.array([right, forward, 0.0]), normals


@pytest.mark.parametrize("turn", [0, 50, 100, 150, 200, 250, 300, 350])
@pytest.mark.parametrize("second", SHAPES)
@pytest.mark.parametrize("first", SHAPES)
def test_the_gap_is_that_of_whole_things(first: str, second: str, turn: int) -> None:
    """Side by side, one behind the other and cornerwise: never off by as much as half of what touching may be."""
    right, forward = 0.12 * np.cos(np.radians(turn)), 0.12 * np.sin(np.radians(turn))
    things = [at(first, 0.0, 0.0), at(second, right, forward)]
    true = cKDTree(things[0][0]).query(things[1][0])[0].min()
    gap = extents.gap(*completed(things))
    assert gap[0, 1] == gap[1, 0] == pytest.approx(true, abs=0.006)


def test_a_handle_is_not_taken_to_be_on_both_sides() -> None:
    drum, handle = at("drum", 0.0, 0.0), at("cube", RADIUS + 0.01, 0.0)
    both = (np.concatenate([drum[0], handle[0] * (1, 0.2, 1)]), np.concatenate([drum[1], handle[1]]))
    near = at("ball", -2 * RADIUS - 0.03, 0.0)
    gap = extents.gap(*completed([both, near]))
    assert gap[0, 1] == pytest.approx(0.03, abs=0.005)


def test_what_is_lifted_keeps_its_outline() -> None:
    """Two cubes of this table stand cornerwise: as elliptic cylinders they seem to touch."""
    with Renderer(*SIZE) as renderer:
        scene = sight(91238, renderer, Sensor())
    faults = findings(scene, scene.true_answer, PerceptionSettings()).faults
    assert not [fault for fault in faults if fault.predicate == "touching"]


def test_what_was_not_lifted_is_an_upright_drum() -> None:
    low, high = (
        np.array([[-0.05, -0.02, 0.0], [0.08, -0.03, 0.0]]),
        np.array([[0.05, 0.02, 0.1], [0.2, 0.03, 0.2]]),
    )
    nothing = np.full((2, extents.AXES, 2), np.nan)
    assert extents.gap(low, high, extents.whole(low, high, nothing, EYE))[0, 1] == pytest.approx(0.03)
    assert extents.unseen_back(low, high, EYE, nothing)[1][0, 1] > high[0, 1], "as deep as wide"

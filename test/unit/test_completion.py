"""Silhouettes completed where something nearer cuts them off, and only there."""

from __future__ import annotations

from math import nan

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qwenvl_ros.completion import complete, with_top

SHAPE = (120, 160)
ROWS, COLUMNS = np.mgrid[: SHAPE[0], : SHAPE[1]]
NOTHING = np.zeros(SHAPE, bool)


def disc(x: float, y: float, radius: float) -> np.ndarray:
    return np.asarray((COLUMNS - x) ** 2 + (ROWS - y) ** 2 <= radius**2)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_what_nothing_cuts_off_stays_as_it_is() -> None:
    whole = disc(80, 60, 30)
    assert overlap(complete(whole, NOTHING, nan), whole) > 0.98


def test_a_side_cut_off_in_some_rows_is_mirrored() -> None:
    whole = disc(80, 60, 30)
    wall = (COLUMNS > 85) & (ROWS > 50)
    assert overlap(complete(whole & ~wall, wall, nan), whole) > 0.93


def test_a_side_cut_off_in_every_row_is_as_wide_as_high() -> None:
    whole = disc(80, 60, 30)
    wall = COLUMNS > 70
    found = complete(whole & ~wall, wall, nan)
    assert 55 <= found.any(axis=0).sum() <= 65
    left = COLUMNS < 90
    found = complete(whole & ~left, left, nan)
    assert 55 <= found.any(axis=0).sum() <= 65


def test_the_bottom_goes_down_to_the_foot_where_it_is_cut_off_and_nowhere_else() -> None:
    whole = (abs(COLUMNS - 80) < 15) & (ROWS >= 20) & (ROWS < 90)
    front = ROWS >= 60
    found = complete(whole & ~front, front, 90.0)
    assert overlap(found, whole) > 0.95
    assert overlap(complete(whole & ~front, NOTHING, 90.0), whole & ~front) > 0.98


def test_a_wrong_foot_cannot_stretch_it_without_end() -> None:
    whole = (abs(COLUMNS - 80) < 5) & (ROWS >= 20) & (ROWS < 30)
    found = complete(whole, ROWS >= 30, 1e9)
    assert found.any(axis=1).sum() <= 30


def test_the_top_under_what_stands_on_it_is_the_bottom_turned() -> None:
    body = (abs(COLUMNS - 80) < 30) & (ROWS >= 50) & (ROWS < 90)
    lower = ((COLUMNS - 80) / 30.0) ** 2 + ((ROWS - 90) / 10.0) ** 2 <= 1
    upper = ((COLUMNS - 80) / 30.0) ** 2 + ((ROWS - 50) / 10.0) ** 2 <= 1
    carried = (abs(COLUMNS - 80) < 30) & (ROWS < 50)
    found = with_top((body | lower) & ~carried, carried)
    assert overlap(found, body | lower | upper) > 0.9


@given(st.integers(0, 2**32 - 1))
def test_any_silhouette_is_kept_and_nothing_is_raised(seed: int) -> None:
    rng = np.random.default_rng(seed)
    visible = rng.random((20, 30)) < rng.choice([0.005, 0.2, 0.9])
    visible[rng.integers(20), rng.integers(30)] = True
    nearer = (rng.random((20, 30)) < 0.4) & ~visible
    foot = float(rng.choice([nan, -50.0, 10.0, 500.0]))
    found = complete(visible, nearer, foot)
    assert found.shape == visible.shape and (found | ~visible).all()
    topped = with_top(found, nearer)
    assert (topped | ~found).all()

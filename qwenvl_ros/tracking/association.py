"""Which objects of a new keyframe are which known ones.

One to one, for the least total cost (scipy.optimize.linear_sum_assignment). The cost of a pair, [0, 1], weighs how
far apart the two are, whether they are called alike, and how their colours differ; pairs that are too far apart, or
too different altogether, are never made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import dist, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from qwenvl_ros.tracking.looks import Looks, difference
from qwenvl_ros.types import Box, Vector

_PLACE, _LABEL, _COLOUR = 0.5, 0.2, 0.3
_MOST = 0.5  # cost from which on two sights are two objects
_NEAR, _FASTER = 0.5, 1.0  # of the boxes' size, and so much more for each second unseen: reach in the image
_NEAR_M, _FASTER_M = 0.15, 0.5  # metres, and metres a second: the same in space
_NEVER = 10.0


@dataclass(frozen=True, slots=True)
class Sight:
    """An object at the time of the keyframe.

    called: its query or label. position: metres in a frame that both sights share and that stays where it is, None =
    unknown. unseen: seconds since it was followed last, 0 for what is followed or new. drift: pixels that it went on by
    meanwhile, right and down, if it kept its pace.
    """

    box: Box
    called: str
    looks: Looks
    position: Vector | None
    unseen: float = 0.0
    drift: tuple[float, float] = (0.0, 0.0)


def pair(new: Sequence[Sight], known: Sequence[Sight]) -> dict[int, int]:
    """Index of the known sight for each of the new ones that has one."""
    if not new or not known:
        return {}
    costs: NDArray[np.float64] = np.array([[_cost(one, other) for other in known] for one in new])
    # A pair that is never made costs no more than two strangers, or it would push others together that are none.
    rows, columns = linear_sum_assignment(np.minimum(costs, _MOST))
    return {
        row: column
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        if costs[row, column] < _MOST
    }


def _cost(new: Sight, known: Sight) -> float:
    size = sqrt(sqrt(new.box.area * known.box.area))
    reach = (_NEAR + _FASTER * known.unseen) * size
    place = min(1.0 - new.box.iou(known.box), _astray(new.box.centre, known) / reach)
    if new.position is not None and known.position is not None:
        away = dist(new.position, known.position) / (_NEAR_M + _FASTER_M * known.unseen)
        place = min(place, away) if away < 1.0 else _NEVER
    if place >= 1.0:
        return _NEVER
    called = 0.0 if new.called.casefold() == known.called.casefold() else 1.0
    return _PLACE * place + _LABEL * called + _COLOUR * difference(new.looks, known.looks)


def _astray(point: tuple[float, float], known: Sight) -> float:
    """Pixels from a point to the nearest place where the known object may be: it may have stopped on its way."""
    start, way = np.array(known.box.centre), np.array(known.drift)
    share = float(np.clip((point - start) @ way / max(float(way @ way), 1e-9), 0.0, 1.0))
    return dist(point, (start + share * way).tolist())

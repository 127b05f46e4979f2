"""Which objects of a new keyframe are which known ones.

One to one, for the least total cost (scipy.optimize.linear_sum_assignment). The cost of a pair, [0, 1], weighs how
far apart the two are, whether they are called alike, and how their colours differ; pairs that are too far apart, or
too different altogether, are never made. In space centres are those of visible surfaces, which move as more of a large
thing comes into sight. Where positions speak against a pair whose boxes agree, as those of things that swapped places
do, it is made only where no other fits either, and only of what was followed there.
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
_NEAR_OF_EXTENT = 0.5  # of the larger extent: reach in space of what is so large that this is more
_SAME_BOX = 0.5  # intersection over union of two boxes that agree
_AGAINST = 0.5  # least share of the reach of a pair that positions speak against
_NEVER = 10.0


@dataclass(frozen=True, slots=True)
class Sight:
    """An object at the time of the keyframe.

    called: its query or label. position: metres in a frame that both sights share and that stays where it is, None =
    unknown. extent: its longest side, metres, 0 = unknown. unseen: seconds since it was followed last, 0 for what is
    followed or new. drift: pixels that it went on by meanwhile, right and down, if it kept its pace.
    """

    box: Box
    called: str
    looks: Looks
    position: Vector | None
    extent: float = 0.0
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
    iou = new.box.iou(known.box)
    place = min(1.0 - iou, _astray(new.box.centre, known) / reach)
    if new.position is not None and known.position is not None:
        near = max(_NEAR_M, _NEAR_OF_EXTENT * max(new.extent, known.extent))
        away = dist(new.position, known.position) / (near + _FASTER_M * known.unseen)
        if away < 1.0:
            place = min(place, away)
        elif known.unseen or iou < _SAME_BOX:
            return _NEVER
        else:
            place = max(place, _AGAINST)
    if place >= 1.0:
        return _NEVER
    called = 0.0 if new.called.casefold() == known.called.casefold() else 1.0
    return _PLACE * place + _LABEL * called + _COLOUR * difference(new.looks, known.looks)


def _astray(point: tuple[float, float], known: Sight) -> float:
    """Pixels from a point to the nearest place where the known object may be: it may have stopped on its way."""
    start, way = np.array(known.box.centre), np.array(known.drift)
    share = float(np.clip((point - start) @ way / max(float(way @ way), 1e-9), 0.0, 1.0))
    return dist(point, (start + share * way).tolist())

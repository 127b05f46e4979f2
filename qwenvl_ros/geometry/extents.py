"""What is known of whole things from the extents of their visible surfaces.

Extents are low and high corners, each (N, 3), metres, in columns right, forward, up of a `View`; the viewpoint is
(3,) in the same columns. How far things reach is also kept along AXES axes, 12 headings on the ground by 5 tilts.
"""

from __future__ import annotations

import numpy as np

from qwenvl_ros.geometry.camera import Floats

_ENOUGH = 2000  # points: more cost time and tell little more
_TURNS = np.arange(12) * np.pi / 12
_HEADINGS = np.column_stack([np.cos(_TURNS), np.sin(_TURNS)])  # right, forward
_TILTS = np.radians([-45.0, -22.0, 0.0, 22.0, 45.0])
_AXES = np.array([[*heading * np.cos(tilt), np.sin(tilt)] for heading in _HEADINGS for tilt in _TILTS])
AXES = len(_AXES)
_LEVEL, _TILTED = np.flatnonzero(_AXES[:, 2] == 0), np.flatnonzero(_AXES[:, 2])
_DIRECTIONS = np.concatenate([_AXES, -_AXES])
_OPPOSITE = np.roll(np.arange(2 * AXES), AXES)
_TURNED = (_DIRECTIONS * (-1, -1, 1) @ _DIRECTIONS.T).argmax(axis=1)  # half a turn on, as much up or down
# Least cosine to the line of sight: a little round the corner a thing reaches hardly farther than at the corner.
_SHOWN = -0.35


def unseen_back(low: Floats, high: Floats, viewpoint: Floats, seen: Floats) -> tuple[Floats, Floats]:
    """Extents with the far side, which cannot be seen: like the near one, as deep as wide, or as high if that is less.

    seen: see whole.
    """
    size = high - low
    sight = (low + high)[:, :2] / 2 - viewpoint[:2]
    sight /= np.maximum(np.linalg.norm(sight, axis=1), 1e-9)[:, None]
    least, most = seen[:, _LEVEL, 0], seen[:, _LEVEL, 1]
    known = np.isfinite(least)
    middle, half = (low + high)[:, :2] / 2 @ _HEADINGS.T, size[:, :2] / 2 @ np.abs(_HEADINGS).T
    least, most = np.where(known, least, middle - half), np.where(known, most, middle + half)
    # The headings next to the line of sight and across it, the former away from the viewpoint.
    rows, along = np.arange(len(low)), np.argmax(np.abs(sight @ _HEADINGS.T), axis=1)
    across = (along + len(_HEADINGS) // 2) % len(_HEADINGS)
    away = np.sign((sight * _HEADINGS[along]).sum(axis=1))
    depth = np.minimum((most - least)[rows, across], size[:, 2] + underside(low, high, viewpoint))
    missing = np.maximum(depth - (most - least)[rows, along], 0.0)
    centre = ((least + most)[rows, along] + away * missing)[:, None] / 2 * _HEADINGS[along]
    centre += (least + most)[rows, across, None] / 2 * _HEADINGS[across]
    back = sight * missing[:, None]
    low, high = low.copy(), high.copy()
    opposite = 2 * centre - high[:, :2], 2 * centre - low[:, :2]
    low[:, :2] = np.maximum(np.minimum(low[:, :2], opposite[0]), low[:, :2] + np.minimum(back, 0.0))
    high[:, :2] = np.minimum(np.maximum(high[:, :2], opposite[1]), high[:, :2] + np.maximum(back, 0.0))
    return low, high


def uncut(low: Floats, high: Floats, viewpoint: Floats, beyond: Floats) -> tuple[Floats, Floats]:
    """Extents with what something nearer cuts off; beyond: (N, 4), to the left, up, right and down, metres."""
    sight = (low + high) / 2 - viewpoint
    level = np.maximum(np.linalg.norm(sight[:, :2], axis=1), 1e-9)
    right = np.column_stack([sight[:, 1], -sight[:, 0]]) / level[:, None]  # of the image, on the ground
    # A height looks shorter from above.
    tilt = np.maximum(level / np.maximum(np.linalg.norm(sight, axis=1), 1e-9), 0.3)
    aside = np.stack([-right * beyond[:, :1], right * beyond[:, 2:3]])
    low, high = low.copy(), high.copy()
    low[:, :2] += np.minimum(aside, 0.0).sum(axis=0)
    high[:, :2] += np.maximum(aside, 0.0).sum(axis=0)
    low[:, 2] -= beyond[:, 3] / tilt
    high[:, 2] += beyond[:, 1] / tilt
    return low, high


def underside(low: Floats, high: Floats, viewpoint: Floats) -> Floats:
    """(N,), metres: how far a round thing goes on below what is seen of it from above."""
    sight = (low + high) / 2 - viewpoint
    level = np.linalg.norm(sight[:, :2], axis=1) / np.maximum(np.linalg.norm(sight, axis=1), 1e-9)
    radius = (high - low)[:, :2].min(axis=1) / 2
    hidden: Floats = np.where(sight[:, 2] < 0, radius * (1.0 - level), 0.0)
    return hidden


def rested(
    low: Floats,
    high: Floats,
    viewpoint: Floats,
    over: Floats,
    *,
    slack: float,
    reach: float,
    stand: float,
    lie: float,
) -> tuple[Floats, Floats, Floats]:
    """Extents of things none of which hangs in the air, and (N,) each least and most height of their lower ends.

    A thing whose visible surface ends on another one, or a little over it, stands on it: what is round hides its own
    foot. One whose footprint lies in another one's goes no deeper than that. One that hardly rises over another one may
    be flat, or the top of what is sunk in it as deep as that goes.

    Args:
        over: (N, N), see footing.
        slack: metres by which edges may be off.
        reach: metres over another thing from which a thing still stands on it.
        stand, lie: share of the footprint that is enough to stand on another thing, or to lie in it.
    """
    other = ~np.eye(len(low), dtype=bool)
    rise = low[:, None, 2] - high[None, :, 2]
    stands = other & (over >= stand) & (rise >= -slack) & (rise <= reach)
    lies = other & (over >= lie) & (low[:, None, 2] >= low[None, :, 2] - slack)
    top = np.where(stands, high[None, :, 2], -np.inf).max(axis=1)
    bottom = np.where(lies, low[None, :, 2], -np.inf).max(axis=1)
    flush = other & (over >= stand) & (np.abs(rise) <= reach) & (high[:, None, 2] <= high[None, :, 2] + slack)
    deepest = np.where(flush, low[None, :, 2], np.inf).min(axis=1)
    low = low.copy()
    low[:, 2] = np.where(np.isfinite(top), np.minimum(top, high[:, 2]), low[:, 2])
    # From lower down its edge may hide a foot that is deeper, in a bowl.
    floor = np.maximum(np.where(viewpoint[2] > top, top, -np.inf), bottom)
    return low, floor, deepest


def footing(low: Floats, high: Floats) -> Floats:
    """(N, N): share of the first one's footprint that is over the second one's."""
    near, far = low.T[:2], high.T[:2]
    shared = np.minimum(far[:, :, None], far[:, None]) - np.maximum(near[:, :, None], near[:, None])
    floor = np.maximum(far - near, 1e-6).prod(axis=0)
    share: Floats = np.maximum(shared, 0.0).prod(axis=0) / floor[:, None]
    return share


def spans(points: Floats, noise: Floats) -> Floats:
    """(AXES, 2): the least and the most of points (M, 3), right, forward and up, along each of the axes.

    noise: (3,), by how much the outermost points lie too far out, either way.
    """
    along = points[:: max(1, len(points) // _ENOUGH)] @ _AXES.T
    least, most = along.min(axis=0), along.max(axis=0)
    inward = np.minimum(np.abs(_AXES @ noise), (most - least) / 2)
    return np.column_stack([least + inward, most - inward])


def whole(low: Floats, high: Floats, seen: Floats, viewpoint: Floats) -> Floats:
    """(N, AXES, 2): the least and the most of whole things along each of the axes, metres.

    What cannot be seen is taken to be like what can: the far side like the near one, and what neither of the two shows
    like what is opposite. Where nothing is known a thing is an upright elliptic cylinder.

    seen: (N, AXES, 2), `spans` of what is seen of each; NaN = not known.
    """
    middle, half = (low + high) / 2, (high - low) / 2
    along = middle @ _AXES.T
    reach = np.concatenate(
        [seen[..., 1] - along, along - seen[..., 0]], axis=1
    )  # (N, 2 AXES), from the middle
    sight = viewpoint - middle
    shown = sight @ _DIRECTIONS.T >= _SHOWN * np.linalg.norm(sight, axis=1)[:, None]
    alike = np.where(shown[:, _TURNED], reach[:, _TURNED], reach[:, _OPPOSITE])
    reach = np.where(shown, reach, np.maximum(reach, alike))
    box = half @ np.abs(_DIRECTIONS).T
    drum = np.sqrt(half[:, :2] ** 2 @ _DIRECTIONS[:, :2].T ** 2) + half[:, 2:] * np.abs(_DIRECTIONS[:, 2])
    reach = np.where(np.isfinite(reach), np.maximum(np.minimum(reach, box), 0.0), drum)
    return np.stack([along - reach[:, AXES:], along + reach[:, :AXES]], axis=2)


def gap(low: Floats, high: Floats, ends: Floats) -> Floats:
    """(N, N): least distance between the surfaces of things, metres; negative = overlap. ends: of `whole`.

    Convex things are as far apart as they are along the axis that separates them best.
    """
    least, most = np.ascontiguousarray(ends.T)  # (AXES, N)
    aside, tilted = ((least[axes, None, :] - most[axes, :, None]).max(axis=0) for axes in (_LEVEL, _TILTED))
    aside, tilted = np.maximum(aside, aside.T), np.maximum(tilted, tilted.T)
    over = np.maximum(low[:, None, 2], low[None, :, 2]) - np.minimum(high[:, None, 2], high[None, :, 2])
    apart = np.hypot(np.maximum(aside, 0.0), np.maximum(over, 0.0))
    signed: Floats = np.maximum(np.where(apart > 0, apart, np.maximum(aside, over)), tilted)
    return signed

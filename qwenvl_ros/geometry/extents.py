"""What is known of whole things from the extents of their visible surfaces.

Extents are low and high corners, each (N, 3), metres, in columns right, forward, up of a `View`; the viewpoint is
(3,) in the same columns.
"""

from __future__ import annotations

import numpy as np

from qwenvl_ros.geometry.camera import Floats


def unseen_back(low: Floats, high: Floats, viewpoint: Floats) -> tuple[Floats, Floats]:
    """Extents with the far side, which cannot be seen: as deep as wide, or as high if that is less."""
    size = high - low
    depth = np.minimum(size[:, :2].max(axis=1), size[:, 2])
    sight = (low + high)[:, :2] / 2 - viewpoint[:2]
    rows, along = np.arange(len(low)), np.argmax(np.abs(sight), axis=1)
    missing = np.maximum(depth - size[rows, along], 0.0)
    back = sight[rows, along] > 0
    low, high = low.copy(), high.copy()
    high[rows, along] += np.where(back, missing, 0.0)
    low[rows, along] -= np.where(back, 0.0, missing)
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
) -> tuple[Floats, Floats]:
    """Extents of things none of which hangs in the air, and (N,) the height below which no part of each can be.

    A thing whose visible surface ends on another one, or a little over it, stands on it: what is round hides its own
    foot. One whose footprint lies in another one's goes no deeper than that.

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
    low = low.copy()
    low[:, 2] = np.where(np.isfinite(top), np.minimum(top, high[:, 2]), low[:, 2])
    # From lower down its edge may hide a foot that is deeper, in a bowl.
    return low, np.maximum(np.where(viewpoint[2] > top, top, -np.inf), bottom)


def footing(low: Floats, high: Floats) -> Floats:
    """(N, N): share of the first one's footprint that is over the second one's."""
    first, second = (slice(None), None), (None, slice(None))
    shared = np.minimum(high[first], high[second])[..., :2] - np.maximum(low[first], low[second])[..., :2]
    floor = np.maximum(high - low, 1e-6)[:, :2].prod(axis=1)
    share: Floats = np.maximum(shared, 0.0).prod(axis=2) / floor[:, None]
    return share


def gap(low: Floats, high: Floats) -> Floats:
    """(N, N): least distance between surfaces, metres, of things as upright elliptic cylinders; negative = overlap."""
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, 1e-6)
    step = middle[None, :, :2] - middle[:, None, :2]
    distance = np.linalg.norm(step, axis=2)
    ray = step / np.maximum(distance, 1e-9)[..., None]
    radius = 1.0 / np.maximum(np.linalg.norm(ray / half[:, None, :2], axis=2), 1e-9)  # of the row's thing
    narrow = half[:, :2].min(axis=1)  # of things with one axis there is no direction from one to the other
    aside = np.where(distance > 1e-9, distance - radius - radius.T, -narrow[:, None] - narrow[None, :])
    over = np.maximum(low[:, None, 2], low[None, :, 2]) - np.minimum(high[:, None, 2], high[None, :, 2])
    apart = np.hypot(np.maximum(aside, 0.0), np.maximum(over, 0.0))
    signed: Floats = np.where(apart > 0, apart, np.maximum(aside, over))
    return signed

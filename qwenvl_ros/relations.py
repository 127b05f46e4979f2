"""How objects stand to each other: pairwise predicates with truth, confidence, margin and frame.

A pair is judged in metres where both objects have a position, and else by its boxes in the camera's view. TRUE
and UNKNOWN are listed; an evaluated predicate that is not listed is FALSE, as is all but clear of one thing to itself.
One direction of each converse pair is stated: left_of (right_of), above (below), in_front_of (behind), occludes
(occluded_by). near and touching are stated once, the earlier object first; clear is stated as "A clear A".

confidence is the estimated probability that the relation holds: the standard normal distribution at margin / s,
the margin being the distance to the threshold and s the standard deviation of the measured gap; the least of
them where several conditions must hold. UNKNOWN has 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import ndtr, ndtri

from qwenvl_ros.geometry import View, extents
from qwenvl_ros.occlusion import Cover
from qwenvl_ros.settings import setting
from qwenvl_ros.types import Relation, SceneObject, Source, Truth
from qwenvl_ros.verdicts import Flags, Floats, Judged, agreed, joined, judged, merged, opened

PREDICATES = ("left_of", "above", "in_front_of", "on", "inside", "near", "touching", "occludes", "clear")
CONVERSE = {"left_of": "right_of", "above": "below", "in_front_of": "behind", "occludes": "occluded_by"}
SYMMETRIC = ("near", "touching")
UNARY = ("clear",)

_NAMES = np.array(PREDICATES, dtype=object)
_IS_SYMMETRIC, _IS_OCCLUDES = (
    np.isin(PREDICATES[:-1], some)[:, None, None] for some in (SYMMETRIC, "occludes")
)
_IS_CLEAR = np.isin(PREDICATES, UNARY)[:, None, None]
_TRUTHS = np.array([Truth.FALSE, Truth.TRUE, Truth.UNKNOWN], dtype=object)
_SOURCES = np.array([Source.GEOMETRY_2D, Source.GEOMETRY_3D], dtype=object)
_METRIC_FLOOR = 0.005  # metres; edges are never known better than this
_NOWHERE = (np.nan,) * 3
_PIXEL_SIGMA = 2.0  # pixels; how well a box edge is known
_UNDECIDED = 0.5  # pixels of a strip by which the least of what counts as hidden may be missed: it is counted in pixels


@dataclass(frozen=True)
class Thresholds:
    """Where the predicates begin to hold."""

    side_slack: float = setting(
        0.1,
        "left_of and above: how far two objects may overlap, as a share of the narrower one.",
        minimum=0.0,
        maximum=0.45,
    )
    range_gap: float = setting(
        0.05, "in_front_of: least range gap; at least 2 sigma of depth.", unit="m", minimum=0.0, maximum=10.0
    )
    on_gap: float = setting(
        0.03, "on: most distance between bottom and top, either way.", unit="m", minimum=0.0, maximum=1.0
    )
    on_overlap: float = setting(
        0.3, "on and above: least share of the upper footprint over the lower one.", minimum=0.0, maximum=1.0
    )
    inside_share: float = setting(
        0.8, "inside: least share of the inner extent in the outer one.", minimum=0.0, maximum=1.0
    )
    inside_hint: float = setting(
        0.9, "inside without depth: UNKNOWN from this share of the inner box on.", minimum=0.0, maximum=1.0
    )
    near_gap: float = setting(0.3, "near: surface gap below this.", unit="m", minimum=0.0, maximum=100.0)
    touching_gap: float = setting(
        0.02, "touching: surface gap below this.", unit="m", minimum=0.0, maximum=1.0
    )
    occluding_share: float = setting(
        0.05, "occludes: least share of the farther object's extent that is hidden.", minimum=0.0, maximum=1.0
    )


def find(
    objects: Sequence[SceneObject],
    view: View,
    thresholds: Thresholds | None = None,
    *,
    image_frame: str = "",
    cover: Cover | None = None,
    doubtful: float = np.inf,
) -> tuple[list[Relation], list[str]]:
    """Every relation that is TRUE or UNKNOWN, and the predicates that were evaluated.

    Args:
        objects: of one scene; positions and sizes in the view's reference frame, boxes in one image.
        view: how the reference frame is looked at (`geometry.view_of`).
        image_frame: frame_id of relations judged from boxes alone (the optical frame).
        cover: from occlusion; without it `occludes` is judged from boxes alone.
        doubtful: FALSE ones are stated too where they hold with at least this probability, but for clear.
    """
    limits = thresholds or Thresholds()
    count = len(objects)
    if not count:
        return [], list(PREDICATES)
    metric = np.array([o.position is not None and o.size is not None for o in objects], dtype=bool)
    both = metric[:, None] & metric[None, :]
    covering = np.zeros_like(both) if cover is None else both & np.isfinite(cover.share)
    same, open_ = _same_place(objects)
    other = ~(np.eye(count, dtype=bool) | same)
    pick = np.where(_IS_SYMMETRIC, np.triu(other), other)
    use = np.where(_IS_OCCLUDES, covering, both)
    solid = joined(_solid(objects, view, limits, cover), _occludes(objects, cover, limits))
    pairs = merged(use, solid, _flat(objects, limits), pick).left_open(open_ & pick)
    clear = _clear(pairs, ~metric | topless(objects, cover))
    # A thing that is not clear says so through what lies on it.
    least = np.where(_IS_CLEAR, np.inf, ndtri(min(doubtful, 1.0)))
    metric_of = np.concatenate([use, both[None]])
    told = _stated(objects, joined(pairs, clear), metric_of, (image_frame, view.frame_id), least)
    return told, list(PREDICATES)


def _solid(objects: Sequence[SceneObject], view: View, limits: Thresholds, cover: Cover | None) -> Judged:
    """The predicates before "occludes", from extents, for all pairs; meaningless where an object has none."""
    axes = view.axes()
    centre = np.array([o.position or (0.0,) * 3 for o in objects]) @ axes.T
    half = np.array([o.size or (0.0,) * 3 for o in objects]) / 2 @ np.abs(axes).T
    sigma = np.array([o.position_sigma if np.isfinite(o.position_sigma) else 0.0 for o in objects])
    spread = np.sqrt(sigma[:, None] ** 2 + sigma[None, :] ** 2)
    viewpoint = axes @ view.viewpoint
    seen = np.full((len(objects), extents.AXES, 2), np.nan) if cover is None else cover.outline
    low, high = extents.unseen_back(centre - half, centre + half, viewpoint, seen)  # right, forward, up
    over = extents.footing(low, high)
    low, floor, deepest = extents.rested(
        low,
        high,
        viewpoint,
        over,
        slack=2 * _METRIC_FLOOR,
        reach=limits.on_gap,
        stand=limits.on_overlap,
        lie=limits.inside_share,
    )
    top = np.tile(high[:, 2], (len(low), 1))
    gap = extents.gap(low, high, extents.whole(low, high, seen, viewpoint))
    ways = [_measured(low, high, top, over, gap, viewpoint, spread, limits)]
    if cover is not None:
        # What is seen of a thing only in another one's box, above that one's foot, may be that one's.
        parted = np.where(low[:, None, 2] < top - limits.on_gap, np.fmin(cover.top, top), top)
        if (parted < top).any():
            ways.append(_measured(low, high, parted, over, gap, viewpoint, spread, limits))
    # What is hidden may go on behind what hides it, and below, where it is round.
    hidden = np.zeros((len(low), 4)) if cover is None else cover.beyond
    most_low, most_high = extents.uncut(low, high, viewpoint, hidden)
    most_low[:, 2] = np.maximum(most_low[:, 2] - extents.underside(low, high, viewpoint), floor)
    most_low[:, 2] = np.minimum(most_low[:, 2], deepest)
    top = np.tile(most_high[:, 2], (len(low), 1))
    over = extents.footing(most_low, most_high)
    gap = extents.gap(most_low, most_high, extents.whole(most_low, most_high, seen, viewpoint))
    ways.append(_measured(most_low, most_high, top, over, gap, viewpoint, spread, limits))
    return agreed(*ways)


def _measured(
    low: Floats,
    high: Floats,
    top: Floats,
    over: Floats,
    gap: Floats,
    viewpoint: Floats,
    spread: Floats,
    limits: Thresholds,
) -> Judged:
    """_solid of things with these extents (N, 3): columns right, forward, up; spread: (N, N), of depth, metres.

    top: (N, N), metres, height up to which the second one reaches where the first one is concerned.
    over: (N, N), of `footing`. gap: (N, N), metres, between surfaces.
    """
    away = np.linalg.norm((low + high) / 2 - viewpoint, axis=1)
    edge = np.hypot(spread, _METRIC_FLOOR)
    size = np.maximum(high - low, 1e-6).T
    # (3, N, N) from here on: the longer axis last is several times as fast.
    first_low, first_high, second_low = low.T[:, :, None], high.T[:, :, None], low.T[:, None]
    ceiling = np.repeat(high.T[:, None], len(high), axis=1)
    ceiling[2] = top
    shared = np.maximum(np.minimum(first_high, ceiling) - np.maximum(first_low, second_low), 0.0)
    footing_margin = (over - limits.on_overlap) * np.sqrt(size[0] * size[1])[:, None]
    rise = low[:, None, 2] - top
    slack = limits.side_slack * np.minimum(size[:, :, None], size[:, None])
    # Neither centre can lie inside the other while they overlap by less than half of the narrower one.
    beside = low[None, :, 0] - high[:, None, 0]
    behind = away[None, :] - away[:, None]
    least = np.maximum(limits.range_gap, 2.0 * spread)
    held = (shared / size[:, :, None]).prod(axis=0)
    held_gap = np.minimum(first_low - second_low, ceiling - first_high).min(axis=0)
    length = np.cbrt(size.prod(axis=0))[:, None]
    gaps_and_margins = {
        "left_of": (beside, beside + slack[0]),
        "above": (rise, np.minimum(rise + slack[2], footing_margin)),
        "in_front_of": (behind, behind - least),
        "on": (rise, np.minimum(limits.on_gap - np.abs(rise), footing_margin)),
        "inside": (held_gap, (held - limits.inside_share) * length),
        "near": (gap, limits.near_gap - gap),
        "touching": (gap, limits.touching_gap - gap),
    }
    values, margins = (np.stack(each) for each in zip(*gaps_and_margins.values(), strict=True))
    return judged(values, margins, edge)


def _flat(objects: Sequence[SceneObject], limits: Thresholds) -> Judged:
    """The predicates before "clear", from boxes alone, in the camera's view."""
    box = np.array([o.box.corners for o in objects], dtype=np.float64)
    low, high = box[:, :2], box[:, 2:]
    size = high - low
    shared = np.maximum(
        np.minimum(high[:, None], high[None, :]) - np.maximum(low[:, None], low[None, :]), 0.0
    )
    smaller = np.minimum(size[:, None], size[None, :])
    slack = limits.side_slack * smaller
    beside = low[None, :, 0] - high[:, None, 0]
    over = low[None, :, 1] - high[:, None, 1]
    edge = _pixel_sigma(objects)
    every = np.ones_like(beside, dtype=bool)
    area = (shared[..., 0] * shared[..., 1]) / (size[:, 0] * size[:, 1])[:, None]
    # The upper thing's lower edge lies over the lower thing, wherever the camera looks down from.
    sits = (over <= slack[..., 1]) & (high[:, None, 1] <= high[None, :, 1] + slack[..., 1])
    sits &= shared[..., 0] >= limits.on_overlap * size[:, None, 0]
    boxed = judged(np.stack([beside, over]), np.stack([beside + slack[..., 0], over + slack[..., 1]]), edge)
    # in_front_of, on, inside, near, touching, occludes
    return joined(boxed, opened(np.stack([every, sits, area >= limits.inside_hint, every, every, area > 0])))


def _occludes(objects: Sequence[SceneObject], cover: Cover | None, limits: Thresholds) -> Judged:
    """occludes alone; meaningless without cover."""
    if cover is None:
        return opened(np.zeros((1, len(objects), len(objects)), dtype=bool))
    box = np.array([o.box.corners for o in objects], dtype=np.float64)
    pixels = np.sqrt((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]))[None, :]
    margin = (cover.share - limits.occluding_share) * pixels
    within = np.where(cover.share > 0, _UNDECIDED, 0.0)
    return judged(cover.gap[None], margin[None], _pixel_sigma(objects) / np.sqrt(2.0), within)


def _pixel_sigma(objects: Sequence[SceneObject]) -> Floats:
    """(N, N), pixels: standard deviation of the gap between the box edges of two objects."""
    variance = _PIXEL_SIGMA**2 + np.array([o.box_sigma for o in objects]) ** 2
    return np.asarray(np.sqrt(variance[:, None] + variance[None, :]))


def topless(objects: Sequence[SceneObject], cover: Cover | None) -> Flags:
    """(N,): whose upper end is out of sight, beyond the border of the image or behind something nearer."""
    return np.zeros(len(objects), dtype=bool) if cover is None else cover.beyond[:, 1] > _METRIC_FLOOR


def _clear(pairs: Judged, hidden: Flags) -> Judged:
    """Nothing is on it; open where something may be. hidden: (N,), on which nothing could be seen to lie."""
    on = PREDICATES.index("on")
    covered, open_ = pairs.holds[on].any(axis=0), pairs.unknown[on].any(axis=0) | hidden
    least = np.where(open_, 0.0, -pairs.sigmas[on].max(axis=0, initial=-np.inf))
    holds, unknown, sigmas = np.diag(~covered & ~open_), np.diag(~covered & open_), np.diag(least)
    return Judged(holds[None], unknown[None], sigmas[None], np.full((1, *holds.shape), np.nan))


def _same_place(objects: Sequence[SceneObject]) -> tuple[Flags, Flags]:
    """(N, N): one thing under two names, as it answers two queries; things that lifting could not tell apart.

    It gives one surface to boxes that are about the same; of one name they are rather two, such as stacked books.
    """
    place = np.array([(*(o.position or _NOWHERE), *(o.size or _NOWHERE)) for o in objects])
    one_place = (place[:, None] == place[None, :]).all(axis=2) & ~np.eye(len(objects), dtype=bool)
    names, one_name = [(o.query, o.label) for o in objects], np.zeros_like(one_place)
    for first, second in np.argwhere(one_place).tolist():
        one_name[first, second] = names[first] == names[second]
    return one_place & ~one_name, one_place & one_name


def _stated(
    objects: Sequence[SceneObject], verdict: Judged, metric: Flags, frames: tuple[str, str], least: Floats
) -> list[Relation]:
    """What is TRUE, UNKNOWN or, by its sigmas, at least that likely; in the order of PREDICATES.

    metric: (P, N, N), judged in metres. frames: of what is judged from boxes and of what is not. least: (P, 1, 1).
    """
    which = np.nonzero(verdict.holds | verdict.unknown | (verdict.sigmas >= least))
    predicate, first, second = which
    ids = np.array([o.id for o in objects], dtype=object)
    truth = np.where(verdict.unknown[which], Truth.UNKNOWN, verdict.holds[which].astype(np.intp))
    solid = metric[which].astype(np.intp)
    columns = (
        ids[first],
        _NAMES[predicate],
        ids[second],
        _TRUTHS[truth],
        ndtr(verdict.sigmas[which]),
        verdict.value[which],
        _SOURCES[solid],
        np.array(frames, dtype=object)[solid],
    )
    # What Relation._make does, without a call in Python for each.
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return list(map(partial(tuple.__new__, Relation), rows))

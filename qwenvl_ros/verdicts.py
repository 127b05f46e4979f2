"""Verdicts on all pairs of objects at once: what holds, what is open, how sure, and by what gap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(slots=True)
class Judged:
    """Predicates over all pairs, each (P, N, N): do they hold, are they open, how sure, and by what gap.

    sigmas: the margin in its standard deviations, of the least certain condition; 0 where open.
    """

    holds: Flags
    unknown: Flags
    sigmas: Floats
    value: Floats

    def left_open(self, where: Flags) -> Judged:
        """The same, UNKNOWN in some places."""
        sigmas = np.where(where, 0.0, self.sigmas)
        return Judged(self.holds & ~where, self.unknown | where, sigmas, self.value)


def judged(value: Floats, margin: Floats, sigma: Floats, within: Floats | float = 0.0) -> Judged:
    """Holds where the margin, which has this standard deviation, is positive.

    within: margins that small either way decide nothing.
    """
    unknown = np.abs(margin) < within
    return Judged((margin > 0) & ~unknown, unknown, np.where(unknown, 0.0, margin / sigma), value)


def agreed(*verdicts: Judged) -> Judged:
    """Holds where all hold, open where only some do; the gap is the first one's."""
    holds = np.logical_and.reduce([each.holds for each in verdicts])
    differ = np.logical_or.reduce([each.holds for each in verdicts]) & ~holds
    sigmas = np.minimum.reduce([each.sigmas for each in verdicts])
    return Judged(holds, differ, np.where(differ, 0.0, sigmas), verdicts[0].value)


def opened(unknown: Flags) -> Judged:
    """UNKNOWN where the flags say so, FALSE elsewhere."""
    sigmas = np.where(unknown, 0.0, -np.inf)
    return Judged(np.zeros_like(unknown), unknown, sigmas, np.full(unknown.shape, np.nan))


def merged(use: Flags, first: Judged, second: Judged, pick: Flags) -> Judged:
    """The first where `use` says so and else the second; FALSE but where picked."""
    return Judged(
        np.where(use, first.holds, second.holds) & pick,
        np.where(use, first.unknown, second.unknown) & pick,
        np.where(pick, np.where(use, first.sigmas, second.sigmas), -np.inf),
        np.where(use, first.value, second.value),
    )


def joined(*verdicts: Judged) -> Judged:
    """The predicates of all of them, one after the other."""
    return Judged(
        np.concatenate([each.holds for each in verdicts]),
        np.concatenate([each.unknown for each in verdicts]),
        np.concatenate([each.sigmas for each in verdicts]),
        np.concatenate([each.value for each in verdicts]),
    )

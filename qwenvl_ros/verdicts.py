"""Verdicts on all pairs of objects at once: what holds, what is open, how sure, and by what gap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(slots=True)
class Judged:
    """One predicate over all pairs, each (N, N): does it hold, is it open, how sure, and by what gap."""

    holds: Flags
    unknown: Flags
    confidence: Floats
    value: Floats

    def left_open(self, where: Flags) -> Judged:
        """The same, UNKNOWN in some places."""
        confidence = np.where(where, 0.5, self.confidence)
        return Judged(self.holds & ~where, self.unknown | where, confidence, self.value)


def judged(value: Floats, *conditions: tuple[Floats, Floats], within: Floats | float = 0.0) -> Judged:
    """Holds where every margin is positive; conditions are (margin, its standard deviation).

    within: margins that small either way decide nothing.
    """
    least = np.minimum.reduce([margin for margin, _ in conditions])
    confidence = ndtr(np.minimum.reduce([margin / sigma for margin, sigma in conditions]))
    unknown = np.abs(least) < within
    return Judged((least > 0) & ~unknown, unknown, np.where(unknown, 0.5, confidence), value)


def agreed(*verdicts: Judged) -> Judged:
    """Holds where all hold, open where only some do; the gap is the first one's."""
    holds = np.logical_and.reduce([each.holds for each in verdicts])
    differ = np.logical_or.reduce([each.holds for each in verdicts]) & ~holds
    confidence = np.minimum.reduce([each.confidence for each in verdicts])
    return Judged(holds, differ, np.where(differ, 0.5, confidence), verdicts[0].value)


def opened(unknown: Flags) -> Judged:
    """UNKNOWN where the flags say so, FALSE elsewhere."""
    shape = unknown.shape
    confidence = np.where(unknown, 0.5, 0.0)
    return Judged(np.zeros(shape, dtype=bool), unknown, confidence, np.full(shape, np.nan))


def merged(use: Flags, first: Judged, second: Judged, pick: Flags) -> Judged:
    """The first where `use` says so and else the second; FALSE but where picked."""
    return Judged(
        np.where(use, first.holds, second.holds) & pick,
        np.where(use, first.unknown, second.unknown) & pick,
        np.where(use, first.confidence, second.confidence) * pick,
        np.where(use, first.value, second.value),
    )

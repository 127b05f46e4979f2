"""What scores are worth: the share of answers of each score that were right, and a curve that makes both equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

BINS = 10  # equal ones of the score
KNOTS = 12  # groups of equally many answers behind a fitted curve
FEWEST = 10  # answers in such a group

Scored = Sequence[tuple[float, bool]]  # (score, was it right) of answers


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of about one score: the means of their score and of being right, and how many they are."""

    score: float
    right: float
    count: int


def reliability(pairs: Scored) -> list[Bin]:
    """The answers in BINS equal bins of the score, empty ones left out."""
    scores, right = _columns(pairs)
    places = np.minimum((scores * BINS).astype(int), BINS - 1)
    inside = [places == place for place in range(BINS)]
    return [Bin(float(scores[b].mean()), float(right[b].mean()), int(b.sum())) for b in inside if b.any()]


def calibration_error(pairs: Scored) -> float:
    """Expected calibration error: [0, 1], NaN without any answers.

    Guo et al., "On Calibration of Modern Neural Networks" (2017), equation 5.
    """
    if not pairs:
        return nan
    return sum(b.count * abs(b.right - b.score) for b in reliability(pairs)) / len(pairs)


def fit(pairs: Scored) -> list[tuple[float, float]]:
    """The rising curve of being right over the score, as knots for grounding.calibrate.

    Isotonic regression over groups of equally many answers (Zadrozny and Elkan, "Transforming classifier scores into
    accurate multiclass probability estimates", 2002), which straight lines join.

    Raises:
        ValueError: fewer than two groups of FEWEST answers have a score.
    """
    count = min(KNOTS, len(pairs) // FEWEST)
    if count < 2:
        raise ValueError(
            f"{len(pairs)} answers with a score are too few, {2 * FEWEST} are needed; take more scenes"
        )
    scores, right = _columns(sorted(pairs))
    groups = np.array_split(np.arange(len(pairs)), count)
    middle = [float(scores[group].mean()) for group in groups]
    # By the formula of largest and smallest means: SciPy has this since 1.12, Ubuntu 24.04 has 1.11.
    edges = [0, *(int(group[-1]) + 1 for group in groups)]
    shares = [
        max(min(right[edges[j] : edges[k]].mean() for k in range(i + 1, count + 1)) for j in range(i + 1))
        for i in range(count)
    ]
    return [(round(s, 4), round(float(share), 4)) for s, share in zip(middle, shares, strict=True)]


def _columns(pairs: Scored) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array([score for score, _ in pairs]), np.array([was for _, was in pairs], dtype=float)

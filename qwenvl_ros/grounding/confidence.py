"""Scores from token probabilities, and what they are worth once they were compared with what was right."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import exp, fsum, nan

import numpy as np

from qwenvl_ros.backends import Token

Span = tuple[int, int]
Knots = Sequence[tuple[float, float]]


class Confidence:
    """Probabilities of a text's tokens, looked up by place in the text; known is False where they do not fit it."""

    def __init__(self, text: str, tokens: Sequence[Token]) -> None:
        self.known = bool(tokens) and "".join(token.text for token in tokens).startswith(text)
        said = [token for token in tokens if token.text] if self.known else []
        self._logprobs = [token.logprob for token in said]
        self._ends = list(accumulate(len(token.text) for token in said))

    def score(self, spans: Sequence[Span]) -> float:
        """Geometric mean probability, [0, 1], of the tokens that share a character with text[start:end] of any span.

        A token that straddles two spans counts once. NaN where probabilities are not known, never invented.
        """
        indices: set[int] = set()
        for start, end in spans:
            index = bisect_right(self._ends, start)
            while index < len(self._ends) and start < end and (self._ends[index - 1] if index else 0) < end:
                indices.add(index)
                index += 1
        logprobs = [self._logprobs[index] for index in sorted(indices)]
        if not logprobs or any(value != value for value in logprobs):
            return nan
        if min(logprobs) == float("-inf"):
            return 0.0
        return min(1.0, exp(fsum(logprobs) / len(logprobs)))


def calibrate(score: float, knots: Knots) -> float:
    """The share of answers with this score that were right, by straight lines between (score, share) knots.

    Without knots, and for NaN, the score itself. Knots come from evaluation.calibration, by ascending score.
    """
    if not knots or score != score:
        return score
    scores, shares = zip(*knots, strict=True)
    return float(np.interp(score, scores, shares))

"""Numbers out of measurements: rates, ratios, percentiles, growth. All robust against single slow moments."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from statistics import median

import numpy as np


def rate(answered: Iterable[tuple[Hashable, float]], least: int = 2) -> float:
    """Answers a second of several streams together, from (stream, seconds on any clock) of each answer.

    Each stream counts from its first answer to its last, so that answers that come in batches are not cut in the
    middle of one. NaN while a stream has fewer than `least` answers.
    """
    streams: dict[Hashable, list[float]] = {}
    for stream, moment in answered:
        streams.setdefault(stream, []).append(moment)
    if not streams or any(len(times) < max(least, 2) for times in streams.values()):
        return float("nan")
    return sum((len(times) - 1) / (max(times) - min(times)) for times in streams.values())


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median of the ratios of measurements that were made in turns."""
    return median(a / b for a, b in zip(above, below, strict=True))


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """{"p50", "p99"} in milliseconds."""
    middle, worst = np.percentile(seconds, (50, 99)) * 1e3
    return {"p50": float(middle), "p99": float(worst)}


def growth(sizes: Sequence[tuple[int, float]], warm: int) -> float:
    """How much larger a size is at the end than after `warm` frames, as a share.

    sizes: (frames so far, size) in order; they may come in leaps. Medians over the tenth of the rest that begins with
    the first size after the warm-up, and over the last tenth. NaN where nothing lies between the two ends.
    """
    last = sizes[-1][0]
    begin = next((frames for frames, _ in sizes if frames >= warm), last)
    if begin == last:
        return float("nan")
    tenth = max((last - warm) / 10, 1)
    first = [size for frames, size in sizes if begin <= frames <= begin + tenth]
    final = [size for frames, size in sizes if frames >= last - tenth]
    return median(final) / median(first) - 1.0


def milliseconds(function: Callable[[], object], times: int) -> float:
    """Median time of a call; the first one is not counted."""
    function()
    took = []
    for _ in range(times):
        began = time.perf_counter()
        function()
        took.append(time.perf_counter() - began)
    return median(took) * 1e3


def rounded(value: object, digits: int = 4) -> object:
    """The same with its floats in so many significant digits, and None for NaN."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if np.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: rounded(inner, digits) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(inner, digits) for inner in value]
    return value

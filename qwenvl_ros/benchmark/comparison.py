"""The bare engine against itself: many at once over one at a time, the first object over the whole answer, engines."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from statistics import median
from typing import Any

from qwenvl_ros.backends import BackendUnavailable
from qwenvl_ros.benchmark import Say, Setup
from qwenvl_ros.benchmark.engine import Engine, prepared
from qwenvl_ros.benchmark.figures import ratio
from qwenvl_ros.benchmark.sights import OBJECTS, sights


def batched_over_sequential(setup: Setup, say: Say) -> tuple[float, dict[str, Any]]:
    """Answers a second with `capacity` requests in flight over those with one, and both."""
    many: list[float] = []
    one: list[float] = []
    with Engine(setup) as engine:
        requests = [prepared(sight.frame, setup) for sight in sights(min(engine.capacity, 8))]
        for number in range(setup.repeats):
            one.append(engine.rate(requests, 1).per_second)
            many.append(engine.rate(requests, engine.capacity).per_second)
            say(f"{number + 1} of {setup.repeats}: {many[-1]:.2f} and {one[-1]:.2f} a second")
        details = {"capacity": engine.capacity, "device": engine.device}
    return ratio(many, one), details | {"batched_per_second": many, "sequential_per_second": one}


def first_object(setup: Setup, say: Say) -> tuple[float, dict[str, Any]]:
    """Time to the first closed object over the time to the end of an answer of six objects, one request at a time."""
    everything = dataclasses.replace(setup, perception=dataclasses.replace(setup.perception, queries=()))
    requests = [prepared(sight.frame, everything) for sight in sights(8)]
    with Engine(setup) as engine:
        answers = [one for _ in range(setup.repeats) for one in engine.streamed(requests)]
    six = [one for one in answers if one.objects == OBJECTS]
    say(f"{len(six)} of {len(answers)} answers have {OBJECTS} objects")
    counted = six or answers  # a model that sees other numbers still has a first and a last
    return median(one.first / one.whole for one in counted), {
        "answers": len(counted),
        "objects": median(one.objects for one in counted),
        "first_seconds": median(one.first for one in counted),
        "whole_seconds": median(one.whole for one in counted),
    }


def backends_over_first(
    names: Sequence[str], setup: Setup, say: Say
) -> tuple[dict[str, float | None], dict[str, Any]]:
    """Answers a second of each backend with `capacity` in flight, over those of the first.

    One after the other, since two seldom fit. None, with the reason, for one that cannot be had here.
    """
    rates: dict[str, float] = {}
    details: dict[str, Any] = {}
    for name in names:
        try:
            with Engine(setup, dataclasses.replace(setup.engine, backend=name)) as engine:
                requests = [prepared(sight.frame, setup) for sight in sights(min(engine.capacity, 8))]
                engine.rate(requests, engine.capacity)  # warms up
                rates[name] = median(
                    engine.rate(requests, engine.capacity).per_second for _ in range(setup.repeats)
                )
        except BackendUnavailable as error:
            details[name] = str(error)
            say(f"{name} is left out: {error}")
            continue
        details[name] = rates[name]
        say(f"{name} answers {rates[name]:.2f} a second")
    first = rates.get(names[0])
    return {name: rates[name] / first if first and name in rates else None for name in names}, details

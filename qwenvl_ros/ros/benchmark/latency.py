"""What the node adds to the engine's time, from the stamp of an image to the publication of its scene."""

from __future__ import annotations

from typing import Any

from qwenvl_ros.benchmark import Say, Setup
from qwenvl_ros.benchmark.engine import Engine, prepared
from qwenvl_ros.benchmark.figures import percentiles
from qwenvl_ros.benchmark.sights import sights
from qwenvl_ros.ros.benchmark.cameras import Cameras
from qwenvl_ros.ros.benchmark.node import Ears, NodeProcess
from qwenvl_ros.ros.conversions.camera import stamp_of

CANNED_S = 0.05  # the engine that costs nothing answers after so long
CANNED_HZ = 10.0  # and so is idle half of the time: no frame waits for it
IDLE = 0.5  # share of what the model can answer at which it is fed
FEWEST, MOST_S = (
    20,
    60.0,
)  # of the model's scenes: how many at least, and for how long at most when that is enough
_FIRST = 10  # scenes that are not counted

Latency = dict[str, float]


def added_latency(setup: Setup, domain: int, frames: int, say: Say) -> tuple[Latency, dict[str, Any]]:
    """{"p50", "p99"} in milliseconds with an engine that costs nothing, and the same with the model of the set-up.

    For each 640x480 image: publication of its scene, as DDS notes it, - header.stamp - inference_seconds. The stamp is
    set just before the image is published, and both clocks are the machine's.
    """
    canned = with_canned(setup, domain, frames)
    say(f"canned engine: p50 {canned['p50']:.2f} ms, p99 {canned['p99']:.2f} ms")
    with Engine(setup) as engine:
        hertz = IDLE * engine.rate([prepared(sights(1)[0].frame, setup)], 1).per_second
    fewer = max(min(frames, round(MOST_S * hertz)), FEWEST)
    model = _added(domain, ["max_age:=0.0", *setup.parameters()], None, hertz, fewer)
    say(f"{setup.model.name}: p50 {model['p50']:.2f} ms, p99 {model['p99']:.2f} ms")
    return canned, {
        "canned": {"frames": frames, "hz": CANNED_HZ, "seconds": CANNED_S},
        "model": {"frames": fewer, "hz": hertz, **model},
    }


def with_canned(setup: Setup, domain: int, frames: int) -> Latency:
    """The same with the engine that costs nothing alone."""
    text = sights(1)[0].answer(setup.model.pixels)
    return _added(domain, list(setup.parameters()), (text, CANNED_S), CANNED_HZ, frames)


def _added(
    domain: int, parameters: list[str], canned: tuple[str, float] | None, hertz: float, frames: int
) -> Latency:
    frame = sights(1)[0].frame
    parameters = [f'cameras:=["{frame.camera}"]', *parameters]
    with (
        Ears(domain) as ears,
        NodeProcess(ears, parameters, canned) as node,
        Cameras([frame.camera], [frame.image], hertz, domain),
    ):
        heard = node.scenes(lambda heard: len(heard) >= frames + _FIRST)[_FIRST:]
    return percentiles(
        [(sent - stamp_of(scene.header.stamp)) / 1e9 - scene.inference_seconds for _, sent, scene in heard]
    )

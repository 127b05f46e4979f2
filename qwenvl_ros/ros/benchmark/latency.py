"""What the node adds to the engine's time: from the stamp of an image to its scene in the listener's hands."""

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
_FIRST = 10  # scenes that are not counted


def added_latency(
    setup: Setup, domain: int, frames: int, say: Say
) -> tuple[dict[str, float], dict[str, Any]]:
    """{"p50", "p99"} in milliseconds with an engine that costs nothing, and the same with the model of the set-up.

    For each 640x480 image: receipt of its scene in this process - header.stamp - inference_seconds. The stamp is set
    just before the image is published, and both clocks are the machine's.
    """
    frame = sights(1)[0].frame
    text = sights(1)[0].answer(setup.model.pixels)
    with Ears(domain) as ears:
        with (
            NodeProcess(
                ears, [f'cameras:=["{frame.camera}"]', f"model:={setup.chosen.model}"], (text, CANNED_S)
            ) as node,
            Cameras([frame.camera], [frame.image], CANNED_HZ, domain),
        ):
            canned = _added(node, frames)
        say(f"canned engine: p50 {canned['p50']:.2f} ms, p99 {canned['p99']:.2f} ms")
        with Engine(setup) as engine:
            hertz = IDLE * engine.rate([prepared(frame, setup)], 1).per_second
        fewer = max(min(frames, round(2 * setup.repeats * setup.seconds * hertz)), 20)
        parameters = [f'cameras:=["{frame.camera}"]', "max_age:=0.0", *setup.parameters()]
        with NodeProcess(ears, parameters) as node, Cameras([frame.camera], [frame.image], hertz, domain):
            model = _added(node, fewer)
        say(f"{setup.model.name}: p50 {model['p50']:.2f} ms, p99 {model['p99']:.2f} ms")
    return canned, {
        "frames": frames,
        "canned_seconds": CANNED_S,
        "canned_hz": CANNED_HZ,
        "model": model | {"frames": fewer, "hz": hertz},
    }


def _added(node: NodeProcess, frames: int) -> dict[str, float]:
    heard = node.scenes(lambda heard: len(heard) >= frames + _FIRST)[_FIRST:]
    return percentiles(
        [(now - stamp_of(scene.header.stamp)) / 1e9 - scene.inference_seconds for _, now, scene in heard]
    )

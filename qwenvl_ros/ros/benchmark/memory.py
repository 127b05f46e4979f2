"""Whether a node that runs for long grows: its resident memory over thousands of frames."""

from __future__ import annotations

from typing import Any

from qwenvl_ros.benchmark import Say, Setup
from qwenvl_ros.benchmark.figures import growth
from qwenvl_ros.benchmark.machine import resident
from qwenvl_ros.benchmark.sights import sights
from qwenvl_ros.ros.benchmark.cameras import Cameras
from qwenvl_ros.ros.benchmark.node import Ears, NodeProcess

HERTZ = 200.0
WARM = 0.25  # share of the frames after which growth counts: by then the clip that is kept for ~/ask is full
SMALL, USUAL = (160, 120), (640, 480)
FEWER = 5  # times fewer frames of the usual size


def memory_growth(setup: Setup, domain: int, frames: int, say: Say) -> tuple[float, dict[str, Any]]:
    """Growth of resident memory from a quarter of the frames on to the last, as a share, at 160x120, and at 640x480.

    The engine costs nothing, so that only the node's own memory is seen. A frame counts when its scene is heard.
    """
    found = {}
    for (width, height), count in ((SMALL, frames), (USUAL, max(frames // FEWER, 100))):
        found[f"{width}x{height}"] = _run(setup, domain, (width, height), count)
        say(f"{width}x{height}, {count} frames: {found[f'{width}x{height}']['growth']:+.2%}")
    return found["160x120"]["growth"], found


def _run(setup: Setup, domain: int, size: tuple[int, int], frames: int) -> dict[str, Any]:
    sight = sights(1, *size)[0]
    sizes: list[tuple[int, dict[str, int]]] = []
    name = sight.frame.camera
    parameters = [f'cameras:=["{name}"]', *setup.parameters()]
    canned = (sight.answer(setup.model.pixels), 0.0)
    with (
        Ears(domain) as ears,
        NodeProcess(ears, parameters, canned) as node,
        Cameras([name], [sight.frame.image], HERTZ, domain),
    ):

        def enough(heard: list[Any]) -> bool:
            sizes.append((len(heard), resident(node.pid)))
            return len(heard) >= frames

        heard = node.scenes(enough)
    kinds = {
        kind: growth([(count, each[kind]) for count, each in sizes], round(WARM * frames))
        for kind in sizes[-1][1]
    }
    return {
        "growth": kinds["VmRSS"],
        "growth_of_its_own": kinds["RssAnon"],
        "megabytes": sizes[-1][1]["VmRSS"] / 1e6,
        "frames": len(heard),
        "scenes_per_second": len(heard) / (heard[-1][0] - heard[0][0]),
    }

"""Scenes a second of a real node, over answers a second of the bare engine."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from qwenvl_ros.backends import Request
from qwenvl_ros.benchmark import Say, Setup
from qwenvl_ros.benchmark.engine import LEAST, Engine, Rate, prepared
from qwenvl_ros.benchmark.figures import rate, ratio
from qwenvl_ros.benchmark.machine import cpu_seconds
from qwenvl_ros.benchmark.sights import sights
from qwenvl_ros.ros.benchmark.cameras import Cameras
from qwenvl_ros.ros.benchmark.node import Ears, NodeProcess

FASTER = 1.3  # each camera publishes so many times as fast as its share of what the engine answers


def node_over_engine(cameras: int, setup: Setup, domain: int, say: Say) -> tuple[float, dict[str, Any]]:
    """The ratio, a median over repeats, and what it was made of.

    The cameras publish all the time, beside the bare engine too: a robot's driver takes its share of the machine with
    either. In turns the bare engine works while the node is inactive, and the node while the bare engine has nothing
    to do. Camera k and stream k of the bare engine show the same scene.
    """
    frames = [sight.frame for sight in sights(cameras)]
    requests = [prepared(frame, setup) for frame in frames]
    names = [frame.camera for frame in frames]
    bare: list[Rate] = []
    node: list[Rate] = []
    with ExitStack() as stack:
        ears = stack.enter_context(Ears(domain))
        engines = _Engines(setup, ears, names)
        first = engines.first(stack, requests)
        say(f"the bare engine answers {first.per_second:.2f} a second with {cameras} in flight")
        hertz = FASTER * first.per_second / cameras
        fed = stack.enter_context(Cameras(names, [frame.image for frame in frames], hertz, domain))
        used, began = cpu_seconds(fed.pid), time.monotonic()
        for number in range(setup.repeats):
            with engines.bare() as engine:
                bare.append(engine.rate(requests, cameras))
            with engines.node() as process:
                node.append(_rate(process, cameras, setup.seconds))
            say(
                f"{number + 1} of {setup.repeats}: engine {bare[-1].per_second:.2f}, "
                f"node {node[-1].per_second:.2f} a second"
            )
        used, took = cpu_seconds(fed.pid) - used, time.monotonic() - began
    rates = [each.per_second for each in node], [each.per_second for each in bare]
    return ratio(*rates), {
        "node_per_second": rates[0],
        "engine_per_second": rates[1],
        "camera_hz": hertz,
        "cameras_cpu_share": used / took,
        "node_cpu_seconds_over_engine": ratio(
            [each.cpu_seconds for each in node], [each.cpu_seconds for each in bare]
        ),
    }


def _rate(process: NodeProcess, cameras: int, seconds: float) -> Rate:
    used = cpu_seconds(process.pid)

    def enough(heard: list[tuple[float, int, Any]]) -> bool:
        counts = Counter(scene.camera for *_, scene in heard)
        return (
            len(counts) == cameras and min(counts.values()) >= LEAST and heard[-1][0] - heard[0][0] >= seconds
        )

    heard = process.scenes(enough)
    used = cpu_seconds(process.pid) - used
    return Rate(rate((scene.camera, moment) for moment, _, scene in heard), used / len(heard))


class _Engines:
    """The bare engine and the node: both kept where both fit side by side, else each made anew for its turn."""

    def __init__(self, setup: Setup, ears: Ears, names: list[str]) -> None:
        self._setup = setup
        self._ears = ears
        # Both are measured however slow they are, so a frame is never too old.
        self._parameters = [f"cameras:={json.dumps(names)}", "max_age:=0.0", *setup.parameters()]
        self._engine: Engine | None = None
        self._node: NodeProcess | None = None

    def first(self, stack: ExitStack, requests: Sequence[Request]) -> Rate:
        """The bare engine's rate, which also warms it up; afterwards it and the node are kept where both fit."""
        engine = stack.enter_context(Engine(self._setup))
        found = engine.rate(requests, len(requests))
        if self._setup.engine.backend == "vllm" or not engine.device.startswith(("cpu", "http")):
            engine.close()
            return found
        self._engine = engine
        self._node = stack.enter_context(NodeProcess(self._ears, self._parameters))
        self._node.deactivate()
        return found

    @contextmanager
    def bare(self) -> Iterator[Engine]:
        if self._engine is not None:
            yield self._engine
            return
        with Engine(self._setup) as engine:
            yield engine

    @contextmanager
    def node(self) -> Iterator[NodeProcess]:
        """An active one."""
        if self._node is None:
            with NodeProcess(self._ears, self._parameters) as node:
                yield node
            return
        self._node.activate()
        yield self._node
        self._node.deactivate()

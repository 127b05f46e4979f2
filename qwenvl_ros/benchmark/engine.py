"""The bare engine in a process of its own, on the same footing as the node: how fast it answers, and how soon."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from types import TracebackType

import numpy as np

from qwenvl_ros import backends, pipeline
from qwenvl_ros.backends import Backend, EngineSettings, Reply, Request
from qwenvl_ros.benchmark import BenchmarkFailed, Setup
from qwenvl_ros.benchmark.figures import rate
from qwenvl_ros.benchmark.machine import cpu_seconds
from qwenvl_ros.grounding.scan import scan
from qwenvl_ros.types import Frame
from qwenvl_ros.zoo import Model

LEAST = 3  # answers of each stream, however slow the engine


@dataclass(frozen=True, slots=True)
class Rate:
    """Answers a second, and CPU seconds of the engine's process for each."""

    per_second: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Streamed:
    """One answer while it was written: seconds from the request to its first closed object and to its end."""

    first: float
    whole: float
    objects: int


class _Listening:
    """A Backend that only takes down what it is asked."""

    model, device, capacity = "listening", "none", 1

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def submit(self, request: Request) -> Future[Reply]:
        self.asked.append(request)
        return Future()

    def close(self) -> None: ...


def prepared(frame: Frame, setup: Setup) -> Request:
    """The very request that the pipeline makes of a frame."""
    listening = _Listening()
    pipeline.start(frame, listening, setup.model, setup.perception)
    if not listening.asked:
        raise BenchmarkFailed(f"{setup.model.name} cannot be asked about {frame.width}x{frame.height}")
    return listening.asked[0]


def marked(request: Request, number: int) -> Request:
    """The same request with one pixel changed, so that no engine answers from what it remembers of the last one."""
    images = [np.array(image) for image in request.images]
    for image in images:
        image[0, 0] = (number % 256, number // 256 % 256, number // 65536 % 256)
    return dataclasses.replace(request, images=images)


class Engine:
    """A context manager; the process ends with it. settings: instead of the set-up's.

    Raises:
        BackendUnavailable: the engine cannot be had here.
    """

    def __init__(self, setup: Setup, settings: EngineSettings | None = None) -> None:
        self._setup = setup
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        try:
            given = settings or setup.engine
            self.device, self.capacity = self._pool.submit(_load, setup.model, given).result()
        except BaseException:
            self._pool.shutdown()
            raise

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def rate(self, requests: Sequence[Request], in_flight: int) -> Rate:
        """Answers while `in_flight` requests are always with the engine; stream k asks requests[k % len] over and over.

        Raises:
            BackendError: an answer failed.
        """
        return self._pool.submit(_rate, requests, in_flight, self._setup.seconds).result()

    def streamed(self, requests: Sequence[Request]) -> list[Streamed]:
        """Each request by itself, its text watched as it is written."""
        return self._pool.submit(_streamed, requests).result()

    def close(self) -> None:
        """End the process; safe to call twice."""
        try:
            self._pool.submit(_close).result()
        except RuntimeError:  # it has ended already
            pass
        finally:
            self._pool.shutdown()


_backend: Backend | None = None  # of the engine's process


def _load(model: Model, settings: EngineSettings) -> tuple[str, int]:
    global _backend
    _backend = backends.create(model, settings)
    pipeline.warm_up(_backend, model, pipeline.PerceptionSettings())
    return _backend.device, _backend.capacity


def _close() -> None:
    if _backend is not None:
        _backend.close()


def _rate(requests: Sequence[Request], in_flight: int, seconds: float) -> Rate:
    """The next request of a stream is handed over from within the last one's callback: no engine can be kept busier."""
    assert _backend is not None
    engine = _backend
    answered: list[tuple[int, float]] = []
    failures: list[BaseException] = []
    stopping, idle = threading.Event(), threading.Semaphore(0)

    def ask(stream: int, number: int) -> None:
        def done(future: Future[Reply]) -> None:
            error = future.exception()
            if error is not None:
                failures.append(error)
                stopping.set()
            elif not stopping.is_set():
                answered.append((stream, time.perf_counter()))
                ask(stream, number + in_flight)
                return
            idle.release()

        engine.submit(marked(requests[stream % len(requests)], number)).add_done_callback(done)

    began, cpu = time.perf_counter(), cpu_seconds(os.getpid())
    for stream in range(in_flight):
        ask(stream, stream)
    while not stopping.wait(0.05):
        counts = Counter(stream for stream, _ in list(answered))
        slowest = min((counts[stream] for stream in range(in_flight)), default=0)
        if time.perf_counter() - began >= seconds and slowest >= LEAST:
            stopping.set()
    cpu = cpu_seconds(os.getpid()) - cpu
    count = len(answered)
    for _ in range(in_flight):
        idle.acquire()
    if failures:
        raise failures[0]
    return Rate(rate(answered), cpu / count)


def _streamed(requests: Sequence[Request]) -> list[Streamed]:
    assert _backend is not None
    found = []
    for number, request in enumerate(requests):
        first: list[float] = []

        def watch(text: str, first: list[float] = first) -> None:
            if not first and "}" in text and _objects(text):
                first.append(time.perf_counter())

        began = time.perf_counter()
        reply = _backend.submit(dataclasses.replace(marked(request, number), on_text=watch)).result()
        whole = time.perf_counter() - began
        found.append(Streamed(first[0] - began if first else whole, whole, _objects(reply.text)))
    return found


def _objects(text: str) -> int:
    """Closed objects in a text."""
    return sum(group.is_object and not group.holds_object for group in scan(text).groups)

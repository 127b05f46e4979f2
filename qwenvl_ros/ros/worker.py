"""The thread between the slots and the publisher: frames to the engine, scenes back, nobody else waits.

    callback: offer(frame)         worker: slots.take -> pipeline.start ... pipeline.finish -> deliver

The engine's threads only say that an answer is there.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from qwenvl_ros import pipeline
from qwenvl_ros.backends import Backend, Reply
from qwenvl_ros.pipeline import Pending, PerceptionSettings, Result
from qwenvl_ros.scheduling import Put, Slots
from qwenvl_ros.types import Frame, Scene
from qwenvl_ros.zoo import Model


@dataclass(frozen=True, slots=True)
class Arrived(Frame):
    """A frame from a topic. arrived: steady seconds. note: what is missing of it and why, for status_message."""

    arrived: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A scene for the publisher. waited: seconds in its slot."""

    frame: Arrived
    scene: Scene
    result: Result
    waited: float


@dataclass(frozen=True, slots=True)
class _Flight:
    frame: Arrived
    pending: Pending
    taken: float


class Worker:
    """Runs from construction to stop().

    settings: asked once per frame, so that a frame sees one consistent state of them. deliver: called from the worker's
    thread with each scene, in the order the answers come. fail: called with what deliver or a bug raised.
    """

    def __init__(
        self,
        slots: Slots,
        backend: Backend,
        model: Model,
        settings: Callable[[], PerceptionSettings],
        deliver: Callable[[Delivery], None],
        fail: Callable[[Exception], None],
    ) -> None:
        self._slots = slots
        self._backend = backend
        self._model = model
        self._settings = settings
        self._deliver = deliver
        self._fail = fail
        self._flights: dict[Future[Reply], _Flight] = {}
        self._answered: deque[Future[Reply]] = deque()
        self._something = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="perception")
        self._thread.start()

    @property
    def in_flight(self) -> int:
        """Frames whose answer is being made."""
        return len(self._flights)

    def offer(self, frame: Arrived) -> Put:
        """Put a frame into its camera's slot; never waits."""
        put = self._slots.put(frame)
        self._something.set()
        return put

    def stop(self) -> None:
        """Give up what is in the engine, and return when the thread has ended; no scene comes after."""
        self._stopping = True
        self._something.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopping:
            self._something.wait()
            self._something.clear()  # before looking, so that nothing that comes meanwhile is missed
            while self._answered and not self._stopping:
                self._finish(self._answered.popleft())
            # One of each camera, so that none waits in the engine and grows old there.
            busy = {flight.frame.camera for flight in self._flights.values()}
            room = 0 if self._stopping else self._backend.capacity - len(self._flights)
            for frame in self._slots.take(room, busy):
                assert isinstance(frame, Arrived)
                self._start(frame)
        for future in list(self._flights):
            future.cancel()
        self._flights.clear()

    def _start(self, frame: Arrived) -> None:
        taken = time.monotonic()
        pending = pipeline.start(frame, self._backend, self._model, self._settings())
        self._flights[pending.future] = _Flight(frame, pending, taken)
        pending.future.add_done_callback(self._on_answer)

    def _on_answer(self, future: Future[Reply]) -> None:
        self._answered.append(future)
        self._something.set()

    def _finish(self, future: Future[Reply]) -> None:
        flight = self._flights.pop(future)
        try:
            result = pipeline.finish(flight.pending)
            notes = [text for text in (result.scene.status_message, flight.frame.note) if text]
            scene = dataclasses.replace(
                result.scene,
                status_message="; ".join(notes),
                total_seconds=time.monotonic() - flight.frame.arrived,
            )
            waited = flight.taken - flight.frame.arrived
            self._deliver(Delivery(flight.frame, scene, result, waited))
        except Exception as error:  # one frame's failure must not end the thread
            self._fail(error)

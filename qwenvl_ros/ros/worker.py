"""The thread between the slots and the publisher: frames to the engine, scenes back, nobody else waits.

    callback: offer(frame)         worker: slots.take -> pipeline.start ... pipeline.finish -> deliver

What waits goes to the engine the moment there is room, from whatever thread makes it, so that the engine neither idles
while a scene is made of its answer nor begins a batch without the camera that it answered last. A request that takes
longer than its time-out is given up; it holds up no other.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

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


@dataclass(slots=True, eq=False)
class _Flight:
    """A frame in the engine. said: its answer so far; told: how much of that was delivered."""

    frame: Arrived
    taken: float
    said: str = ""
    told: str = ""


class Worker:
    """Runs from construction to stop().

    settings: asked once per frame, so that a frame sees one consistent state of them. deliver: called from the worker's
    thread with each scene, in the order the answers come. fail: called with what deliver or a bug raised.
    deliver_partial: called likewise with the scene so far whenever another object of an answer is closed, for frames
    that are handed over while wants_partial() is true.
    """

    def __init__(
        self,
        slots: Slots,
        backend: Backend,
        model: Model,
        settings: Callable[[], PerceptionSettings],
        deliver: Callable[[Delivery], None],
        fail: Callable[[Exception], None],
        deliver_partial: Callable[[Scene], None] = lambda scene: None,
        wants_partial: Callable[[], bool] = lambda: False,
    ) -> None:
        self._slots = slots
        self._backend = backend
        self._model = model
        self._settings = settings
        self._deliver = deliver
        self._fail = fail
        self._deliver_partial = deliver_partial
        self._wants_partial = wants_partial
        self._flights: dict[Pending, _Flight] = {}
        self._ended: deque[tuple[Pending, _Flight]] = deque()
        self._lock = threading.RLock()  # of the two above and of handing over
        self._something = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="perception")
        self._thread.start()

    @property
    def in_flight(self) -> int:
        """Frames whose answer is being made."""
        return len(self._flights)

    def offer(self, frame: Arrived) -> Put:
        """Put a frame into its camera's slot; never waits for the model."""
        put = self._slots.put(frame)
        self._something.set()
        return put

    def stop(self) -> None:
        """Give up what is in the engine, and return when the thread has ended; no scene comes after."""
        with self._lock:
            self._stopping = True
        self._something.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopping:
            self._something.wait(self._patience())
            self._something.clear()  # before looking, so that nothing that comes meanwhile is missed
            with self._lock:
                for pending in [each for each in self._flights if each.patience() == 0.0]:
                    self._ended.append((pending, self._flights.pop(pending)))
                self._hand_over()
            while self._ended and not self._stopping:
                self._finish(*self._ended.popleft())
            for pending, flight in self._in_engine():
                if flight.said != flight.told and not self._stopping:
                    self._tell(pending, flight)
        for pending, _ in self._in_engine():
            pending.future.cancel()
        with self._lock:
            self._flights.clear()

    def _in_engine(self) -> list[tuple[Pending, _Flight]]:
        with self._lock:
            return list(self._flights.items())

    def _patience(self) -> float | None:
        """Seconds until the first of the requests in the engine has to be given up; None = never."""
        left = [seconds for each, _ in self._in_engine() if (seconds := each.patience()) is not None]
        return min(left, default=None)

    def _hand_over(self) -> None:
        """Give the engine what waits and it has room for; the lock is held."""
        while not self._stopping and len(self._flights) < self._backend.capacity:
            # One of each camera, so that none waits in the engine and grows old there.
            taken = self._slots.take(1, {flight.frame.camera for flight in self._flights.values()})
            if not taken:
                return
            frame = taken[0]
            assert isinstance(frame, Arrived)
            flight = _Flight(frame, time.monotonic())
            hear = self._hearer(flight) if self._wants_partial() else None
            pending = pipeline.start(frame, self._backend, self._model, self._settings(), hear)
            self._flights[pending] = flight
            pending.future.add_done_callback(partial(self._on_answer, pending))

    def _on_answer(self, pending: Pending, future: Future[Reply]) -> None:
        """From the engine's thread, or from that of who cancelled."""
        with self._lock:
            if (flight := self._flights.pop(pending, None)) is not None:
                self._ended.append((pending, flight))
            self._hand_over()
        self._something.set()

    def _hearer(self, flight: _Flight) -> Callable[[str], None]:
        """Notes the answer so far, from the engine's thread, whenever another bracket of an object closes."""
        closed = 0

        def hear(text: str) -> None:
            nonlocal closed
            if (count := text.count("}")) > closed:
                closed, flight.said = count, text
                self._something.set()

        return hear

    def _finish(self, pending: Pending, flight: _Flight) -> None:
        try:
            result = pipeline.finish(pending)
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

    def _tell(self, pending: Pending, flight: _Flight) -> None:
        flight.told = flight.said
        try:
            scene = pipeline.partial(pending, flight.told)
            total = time.monotonic() - flight.frame.arrived
            self._deliver_partial(dataclasses.replace(scene, total_seconds=total))
        except Exception as error:
            self._fail(error)

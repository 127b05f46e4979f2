"""The thread between the slots and the publisher: frames to the engine, scenes back, nobody else waits.

    callback: offer(frame)         worker: slots.take -> pipeline.start ... pipeline.finish -> deliver

The engine's threads only say that an answer, or a part of one, is there. What waits goes to the engine before a scene
is made of what it answered, so that it does not idle meanwhile. A request that takes longer than its time-out is given
up; it holds up no other.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from qwenvl_ros import pipeline
from qwenvl_ros.backends import Backend
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
            self._something.wait(self._patience())
            self._something.clear()  # before looking, so that nothing that comes meanwhile is missed
            ended = [pending for pending in self._flights if _has_ended(pending)]
            answered = [(pending, self._flights.pop(pending)) for pending in ended]
            self._hand_over()
            for pending, flight in answered:
                if not self._stopping:
                    self._finish(pending, flight)
            for pending, flight in self._flights.items():
                if flight.said != flight.told and not self._stopping:
                    self._tell(pending, flight)
        for pending in self._flights:
            pending.future.cancel()
        self._flights.clear()

    def _patience(self) -> float | None:
        """Seconds until the first of the requests in the engine has to be given up; None = never."""
        left = [seconds for each in self._flights if (seconds := each.patience()) is not None]
        return min(left, default=None)

    def _hand_over(self) -> None:
        """Give the engine what waits and it has room for."""
        # One of each camera, so that none waits in the engine and grows old there.
        busy = {flight.frame.camera for flight in self._flights.values()}
        room = 0 if self._stopping else self._backend.capacity - len(self._flights)
        for frame in self._slots.take(room, busy):
            assert isinstance(frame, Arrived)
            flight = _Flight(frame, time.monotonic())
            hear = self._hearer(flight) if self._wants_partial() else None
            pending = pipeline.start(frame, self._backend, self._model, self._settings(), hear)
            self._flights[pending] = flight
            pending.future.add_done_callback(lambda _: self._something.set())

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


def _has_ended(pending: Pending) -> bool:
    """Whether there is an answer, or none came in time."""
    return pending.future.done() or pending.patience() == 0.0

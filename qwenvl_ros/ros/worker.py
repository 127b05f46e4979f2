"""The thread between the slots and the publisher: frames to the engine, scenes back, nobody else waits.

    callback: offer(frame)         worker: slots.take -> pipeline.start ... pipeline.finish -> deliver
                                           or -> pipeline.inquire ... pipeline.conclude -> deliver
    callback: run(errand)          worker: errand.start ... errand.finish -> its outcome

What waits goes to the engine the moment there is room, from whatever thread makes it, so that the engine neither idles
while a scene is made of its answer nor begins a batch without the camera that it answered last; but a camera with two
answers that are no scenes yet waits. Errands, questions that somebody waits for, go before the frames and together, so
that they share a batch; after ERRAND_ROUNDS times as many of them as the engine answers at once a waiting frame goes.
A request that takes longer than its time-out is given up; it holds up no other.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from qwenvl_ros import pipeline
from qwenvl_ros.backends import Backend, Reply, together
from qwenvl_ros.inquiry import Inquiry
from qwenvl_ros.pipeline import Pending, PerceptionSettings, Result
from qwenvl_ros.recent import NotThere
from qwenvl_ros.ros.arrivals import Arrived, Delivery, with_arrival
from qwenvl_ros.ros.errand import Errand, Flight, Refused
from qwenvl_ros.scheduling import Put, Slots
from qwenvl_ros.types import Scene
from qwenvl_ros.zoo import Model

MOST_ERRANDS = 64  # that wait at once; they hold images
ERRAND_ROUNDS = 8

_LESS = "ask less at once, or raise timeout or capacity"
_TOO_MANY = f"{MOST_ERRANDS} questions wait for the engine already; {_LESS}"
_STOPPED = "the node was deactivated before the answer came; activate it and ask again"


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
        self._errands: deque[Errand[Any]] = deque()
        self._flights: dict[Future[Reply], tuple[Pending | Inquiry, Flight]] = {}
        self._ended: deque[tuple[Pending | Inquiry, Flight]] = deque()
        self._unsettled: set[str] = set()  # cameras whose frame may still be asked about a second time
        self._in_a_row = 0  # errands since the last frame
        self._lock = threading.RLock()  # of the five above and of handing over
        self._something = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="perception")
        self._thread.start()

    @property
    def in_flight(self) -> int:
        """Questions whose answer is being made."""
        return len(self._flights)

    def offer(self, frame: Arrived) -> Put:
        """Put a frame into its camera's slot; never waits for the model."""
        put = self._slots.put(frame)
        self._something.set()
        return put

    def run(self, errand: Errand[Any]) -> None:
        """Put a question before the frames; never waits for the model."""
        with self._lock:
            self._forget_cancelled()
            if self._stopping or len(self._errands) >= MOST_ERRANDS:
                errand.fail(Refused(_STOPPED if self._stopping else _TOO_MANY))
                return
            self._errands.append(errand)
        errand.outcome.add_done_callback(lambda _: self._something.set())  # it may have been cancelled
        self._something.set()

    def stop(self) -> None:
        """Give up what is in the engine, and return when the thread has ended; no scene comes after."""
        with self._lock:
            self._stopping = True
            for errand in self._errands:
                errand.fail(Refused(_STOPPED))
            self._errands.clear()
        self._something.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopping:
            self._something.wait(self._patience())
            self._something.clear()  # before looking, so that nothing that comes meanwhile is missed
            with self._lock:
                for future in [each for each, (asked, _) in self._flights.items() if asked.patience() == 0.0]:
                    self._ended.append(self._flights.pop(future))
                self._forget_cancelled()
                self._refuse_overdue()
                self._hand_over()
            for pending, flight in self._in_engine():
                if flight.errand is not None and flight.errand.outcome.cancelled():
                    pending.future.cancel()
            for _ in range(
                len(self._ended)
            ):  # what ends meanwhile waits: others may have to be cancelled or given up
                if self._stopping:
                    break
                with self._lock:
                    pending, flight = self._ended.popleft()
                flight.finish(pending)
                with self._lock:
                    self._hand_over()
            for pending, flight in self._in_engine():
                if flight.said != flight.told and not self._stopping:
                    self._tell(pending, flight)
        with self._lock:  # at once: an answer that comes now moves from the one to the other
            left = [*self._ended, *self._flights.values()]
            self._ended.clear()
            self._flights.clear()
        for pending, flight in left:
            pending.future.cancel()
            if flight.errand is not None:
                flight.errand.fail(Refused(_STOPPED))

    def _in_engine(self) -> list[tuple[Pending | Inquiry, Flight]]:
        with self._lock:
            return list(self._flights.values())

    def _patience(self) -> float | None:
        """Seconds until the first of the questions has to be given up; None = never."""
        left = [each.patience() for each, _ in self._in_engine()]
        with self._lock:
            left += [each.patience(self._settings().timeout) for each in list(self._errands)[:1]]
        return min((seconds for seconds in left if seconds is not None), default=None)

    def _forget_cancelled(self) -> None:
        """They hold images, and the place of others; the lock is held."""
        for errand in [each for each in self._errands if each.outcome.done()]:
            self._errands.remove(errand)

    def _refuse_overdue(self) -> None:
        """Errands that waited here, oldest first, for as long as an answer may take; the lock is held."""
        timeout = self._settings().timeout
        while self._errands and self._errands[0].patience(timeout) == 0.0:
            self._errands.popleft().fail(
                Refused(f"the engine had no time for it within {timeout:g} s; {_LESS}")
            )

    def _hand_over(self) -> None:
        """Give the engine what waits and it has room for; the lock is held.

        Errands may fill it twice, so that they wait in the engine and are in its next batch, before any frame.
        """
        capacity = self._backend.capacity
        with together(self._backend):
            while self._errands and len(self._flights) < 2 * capacity:
                if self._in_a_row < ERRAND_ROUNDS * capacity or not self._begin_frame():
                    self._begin(self._errands.popleft())
        while not self._stopping and len(self._flights) < capacity and self._begin_frame():
            pass

    def _begin_frame(self) -> bool:
        """Hand over the frame whose turn it is; False if none waits that may go. The lock is held.

        One of each camera, so that none waits in the engine and grows old there, and scenes come in order.
        """
        flying = {flight.camera for _, flight in self._flights.values() if flight.camera}
        ended = Counter(flight.camera for _, flight in self._ended if flight.camera)
        behind = {camera for camera, count in ended.items() if count > 1}
        taken = self._slots.take(1, flying | behind | self._unsettled)
        if not taken:
            return False
        self._in_a_row = 0
        frame = taken[0]
        assert isinstance(frame, Arrived)
        finish = partial(self._finish, frame, time.monotonic())
        flight = Flight(finish, partial(self._tell_scene, frame), frame.camera)
        hear = flight.hearer(_objects_closed, self._something.set) if self._wants_partial() else None
        settings = self._settings()
        if settings.ask_relations:
            self._unsettled.add(frame.camera)
        try:
            pending = pipeline.start(frame, self._backend, self._model, settings, hear)
        except Exception as error:  # one frame's failure must not end the thread
            self._unsettled.discard(frame.camera)
            self._fail(error)
        else:
            self._take_off(flight, pending)
        return True

    def _begin(self, errand: Errand[Any]) -> None:
        if errand.outcome.done():  # cancelled
            return
        self._in_a_row += 1
        hear = errand.hear or (lambda text: None)
        flight = Flight(errand.finish, lambda _, text: hear(text), errand=errand)
        told = flight.hearer(len, self._something.set) if errand.hear else None
        try:
            pending = errand.start(self._backend, self._model, self._settings(), told)
        except NotThere as reason:
            errand.fail(reason)
        except Exception as error:
            errand.fail(Refused(f"{type(error).__name__}: {error}"))
        else:
            self._take_off(flight, pending)

    def _take_off(self, flight: Flight, question: Pending | Inquiry) -> None:
        self._flights[question.future] = question, flight
        question.future.add_done_callback(self._on_answer)

    def _on_answer(self, future: Future[Reply]) -> None:
        """From the engine's thread, or from that of who cancelled.

        A future keeps its callbacks, so they know nothing of the question, whose image they would keep with it.
        """
        with self._lock:
            if (ended := self._flights.pop(future, None)) is not None:
                self._ended.append(ended)
            self._hand_over()
        self._something.set()

    def _finish(self, frame: Arrived, taken: float, pending: Pending) -> None:
        try:
            result = pipeline.finish(pending)
            inquiry = pipeline.inquire(pending, result, self._backend)
        except Exception as error:  # one frame's failure must not end the thread
            self._settle(frame.camera)
            self._fail(error)
            return
        conclude = partial(self._conclude, frame, taken, pending, result)
        if inquiry is None:
            conclude(None)
            return
        with self._lock:
            self._take_off(Flight(conclude, camera=frame.camera), inquiry)

    def _conclude(
        self, frame: Arrived, taken: float, pending: Pending, result: Result, inquiry: Inquiry | None
    ) -> None:
        self._settle(frame.camera)
        try:
            result = pipeline.conclude(pending, result, inquiry)
            self._deliver(Delivery(frame, with_arrival(result.scene, frame), result, taken - frame.arrived))
        except Exception as error:
            self._fail(error)

    def _settle(self, camera: str) -> None:
        """Nothing more is asked about this camera's frame: its next one may go."""
        with self._lock:
            if camera in self._unsettled:
                self._unsettled.remove(camera)
                self._hand_over()

    def _tell(self, pending: Pending | Inquiry, flight: Flight) -> None:
        flight.told = flight.said
        try:
            flight.tell(pending, flight.told)
        except Exception as error:
            self._fail(error)

    def _tell_scene(self, frame: Arrived, pending: Pending, text: str) -> None:
        scene = pipeline.partial(pending, text)
        self._deliver_partial(dataclasses.replace(scene, total_seconds=time.monotonic() - frame.arrived))


def _objects_closed(text: str) -> int:
    """Brackets of objects that are closed in an answer so far."""
    return text.count("}")

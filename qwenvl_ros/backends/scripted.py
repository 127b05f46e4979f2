"""An engine that answers from a script: for tests, and for rehearsing what a real engine does on a bad day.

ScriptedBackend(['[{"bbox_2d": [10, 20, 300, 400], "label": "mug"}]'])        one canned reply
ScriptedBackend(lambda request: "[]")                                         a reply for every request
ScriptedBackend([RequestFailed("out of memory"), Delayed(2.0, "[]"), HANG])   faults, one request each
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from qwenvl_ros.backends import BackendError, Reply, Request, RequestFailed
from qwenvl_ros.backends.replies import PendingReply


class _Hang(Enum):
    HANG = "hang"


HANG: Final = _Hang.HANG  # never answers; ends when it is cancelled or the engine is closed


@dataclass(frozen=True, slots=True)
class Delayed:
    """An answer that takes a while; seconds is the least it takes."""

    seconds: float
    answer: str | Reply | BaseException


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer that is written piece by piece, seconds before each."""

    pieces: Sequence[str]
    seconds: float


Answer = str | Reply | Delayed | Streamed | BaseException | _Hang


@dataclass(slots=True, eq=False)
class _Job:
    request: Request
    future: PendingReply = field(default_factory=PendingReply)
    submitted: float = field(default_factory=time.perf_counter)
    ended: threading.Event = field(
        default_factory=threading.Event
    )  # settled, cancelled, or the engine closed


class ScriptedBackend:
    """A Backend that works on `capacity` requests at once and answers each from the script.

    script: answers used one a request, in the order of submission, then RequestFailed; or a function of the request,
    called from an engine thread, which returns an answer or raises. An answer is the text, a whole Reply (times that
    are 0 are filled in), a Delayed or a Streamed one, an exception for the future, or HANG.
    on_text gets the text so far after each piece of a Streamed answer, and the whole text before every reply.
    """

    def __init__(
        self,
        script: Sequence[Answer] | Callable[[Request], Answer],
        *,
        model: str = "scripted",
        capacity: int = 1,
    ) -> None:
        self._script = script if callable(script) else deque(script)
        self._model = model
        self._capacity = capacity
        self._wake = threading.Condition()
        self._waiting: deque[tuple[_Job, Callable[[], Answer]]] = deque()
        self._working: set[_Job] = set()
        self._closed = False
        self._requests: list[Request] = []
        self._threads = [
            threading.Thread(target=self._work, name="scripted", daemon=True) for _ in range(capacity)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def model(self) -> str:
        return self._model

    @property
    def device(self) -> str:
        return "script"

    @property
    def capacity(self) -> int:
        return self._capacity

    @property
    def requests(self) -> Sequence[Request]:
        """Every request so far, in the order of submission."""
        with self._wake:
            return tuple(self._requests)

    def submit(self, request: Request) -> Future[Reply]:
        job = _Job(request)
        job.future.add_done_callback(lambda _: job.ended.set())
        with self._wake:
            if self._closed:
                job.future.settle(BackendError("the engine is closed; create a new one"))
                return job.future
            self._requests.append(request)
            self._waiting.append((job, self._next_answer(request)))
            self._wake.notify()
        return job.future

    def close(self) -> None:
        with self._wake:
            self._closed = True
            left = [job for job, _ in self._waiting] + list(self._working)
            self._waiting.clear()
            self._wake.notify_all()
        for job in left:
            job.future.settle(BackendError("the engine was closed before it answered"))
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _next_answer(self, request: Request) -> Callable[[], Answer]:
        script = self._script
        if callable(script):
            return lambda: script(request)
        answer: Answer = script.popleft() if script else RequestFailed("the script has no more answers")
        return lambda: answer

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                job, answer = self._waiting.popleft()
                self._working.add(job)
            try:
                _answer(job, answer)
            finally:
                with self._wake:
                    self._working.discard(job)


def _answer(job: _Job, answer: Callable[[], Answer]) -> None:
    started = time.perf_counter()
    if job.ended.is_set():
        return
    try:
        said = answer()
        if isinstance(said, Delayed):
            job.ended.wait(said.seconds)
            said = said.answer
        if isinstance(said, Streamed):
            said = _write(job, said)
        if said is HANG:
            job.ended.wait()
            return
        if isinstance(said, BaseException):
            raise said
        reply = Reply(said) if isinstance(said, str) else said
        if job.request.on_text is not None and not job.ended.is_set():
            job.request.on_text(reply.text)
    except BaseException as error:  # whatever a script raises is its answer
        job.future.settle(error)
        return
    job.future.settle(
        replace(
            reply,
            queue_seconds=reply.queue_seconds or started - job.submitted,
            inference_seconds=reply.inference_seconds or time.perf_counter() - started,
        )
    )


def _write(job: _Job, answer: Streamed) -> str:
    text = ""
    for piece in answer.pieces:
        job.ended.wait(answer.seconds)
        text += piece
        if job.request.on_text is not None and not job.ended.is_set():
            job.request.on_text(text)
    return text

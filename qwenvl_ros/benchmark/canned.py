"""An engine that costs nothing: the same answer to every request, after a fixed time.

backends/scripted.py is the one for tests; it keeps every request, which a count of memory would see.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

from qwenvl_ros.backends import BackendError, Reply, Request


class CannedBackend:
    """A Backend that answers `text` after `seconds`, `capacity` requests at once; it never looks at them."""

    def __init__(self, text: str, seconds: float = 0.0, capacity: int = 8) -> None:
        self._text = text
        self._seconds = seconds
        self._capacity = capacity
        self._threads = ThreadPoolExecutor(capacity, thread_name_prefix="canned")

    @property
    def model(self) -> str:
        return "canned"

    @property
    def device(self) -> str:
        return "none"

    @property
    def capacity(self) -> int:
        return self._capacity

    def submit(self, request: Request) -> Future[Reply]:
        try:
            return self._threads.submit(self._answer, time.perf_counter())
        except RuntimeError:
            closed: Future[Reply] = Future()
            closed.set_exception(BackendError("the engine is closed; create a new one"))
            return closed

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def _answer(self, submitted: float) -> Reply:
        started = time.perf_counter()
        if self._seconds:
            time.sleep(self._seconds)
        return Reply(
            self._text,
            queue_seconds=started - submitted,
            inference_seconds=time.perf_counter() - started,
        )

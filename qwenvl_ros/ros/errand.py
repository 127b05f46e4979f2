"""A question that somebody waits for: what a service or an action wants of the engine, and what becomes of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from qwenvl_ros.backends import Backend
from qwenvl_ros.pipeline import Pending, PerceptionSettings
from qwenvl_ros.recent import NotThere
from qwenvl_ros.zoo import Model

T = TypeVar("T")
Hear = Callable[[str], None]


class Refused(RuntimeError):
    """The question was not put to the engine, or its answer is not waited for any more; with the reason."""


class Errand(Generic[T]):
    """All three functions are called in the worker's threads.

    start: asks the engine, with the node's settings of that moment; like pipeline.start it tells no failure of it, but
    may raise NotThere. finish: what the answer says, once it is there or was given up. hear: told the answer so far as
    it grows.

    outcome: what finish returned, or Refused or NotThere; cancelling it ends the generation.
    """

    def __init__(
        self,
        start: Callable[[Backend, Model, PerceptionSettings, Hear | None], Pending],
        finish: Callable[[Pending], T],
        hear: Hear | None = None,
    ) -> None:
        self.start = start
        self.hear = hear
        self.outcome: Future[T] = Future()
        self._finish = finish
        self._asked = time.perf_counter()

    def patience(self, timeout: float) -> float | None:
        """Seconds left of so many since it was asked, not below 0; timeout 0 = no limit, None."""
        return max(0.0, self._asked + timeout - time.perf_counter()) if timeout else None

    def finish(self, pending: Pending) -> None:
        """Settle the outcome."""
        try:
            said = self._finish(pending)
        except Exception as error:  # a bug must neither leave anybody waiting nor end the node
            self.fail(Refused(f"{type(error).__name__}: {error}"))
        else:
            with suppress(InvalidStateError):  # cancelled meanwhile
                self.outcome.set_result(said)

    def fail(self, error: Refused | NotThere) -> None:
        with suppress(InvalidStateError):
            self.outcome.set_exception(error)


@dataclass(slots=True, eq=False)
class Flight:
    """A question in the engine: about the frame of a camera, or an errand.

    finish, tell: what becomes of the answer, and of what is there of it so far. said: the answer so far; told: how
    much of that was told.
    """

    finish: Callable[[Any], None]
    tell: Callable[[Any, str], None] = lambda question, text: None
    camera: str | None = None
    errand: Errand[Any] | None = None
    said: str = ""
    told: str = ""

    def hearer(self, progress: Callable[[str], int], wake: Callable[[], object]) -> Hear:
        """Notes the answer so far, from the engine's thread, and wakes who tells it whenever there is progress."""
        reached = 0

        def hear(text: str) -> None:
            nonlocal reached
            if (now := progress(text)) > reached:
                reached, self.said = now, text
                wake()

        return hear

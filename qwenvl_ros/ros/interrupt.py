"""SIGINT and SIGTERM end a program between two callbacks, and a long load in its midst.

An exception that a handler raises wherever the main thread is leaves halves behind: an rclpy task half built, a message
half converted, and in a destructor it is swallowed. So a signal ends a spin after the callback that runs; only a
function that may take minutes is broken off, and only by one KeyboardInterrupt: a second would break into what the
first one's arrival begins.

A signal is also easily lost in a program with threads of C++: CPython tells the main thread of it only if that thread
was the one to receive it or runs Python again, so a main thread that begins to wait in that moment sleeps on. So a
thread hears of each signal by the wake-up descriptor, wakes the spin, and nudges what is to be broken off until it is.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import ParamSpec, TypeVar

from rclpy.executors import Executor, ExternalShutdownException

AGAIN_S = 0.5
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
Handler = Callable[[int, FrameType | None], object] | int | None
P = ParamSpec("P")
T = TypeVar("T")


class Interrupt:
    """A context of the main thread; came: whether there was a signal.

    A terminal and `ros2 launch` both send the signal: after the first one neither does anything, not even when the
    context is left, as the program is about to end. If none came, the handlers are then what they were.
    """

    def __init__(self) -> None:
        self.came = False
        self._breaks = False
        self._over = threading.Event()
        self._executor: Executor | None = None
        self._lock = threading.Lock()  # of _executor: it is not woken once it may be gone
        self._main = threading.get_ident()
        self._ear, self._mouth = os.pipe()
        os.set_blocking(self._mouth, False)
        self._before: dict[signal.Signals, Handler] = {}
        self._thread = threading.Thread(target=self._listen, name="interrupt", daemon=True)

    def __enter__(self) -> Interrupt:
        signal.set_wakeup_fd(self._mouth, warn_on_full_buffer=False)
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._interrupt)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        signal.set_wakeup_fd(-1)
        os.write(self._mouth, b"\0")
        self._thread.join()
        os.close(self._ear)
        os.close(self._mouth)
        for number, handler in self._before.items():
            # Once told, not to the handler: it would go before the interpreter does.
            signal.signal(number, signal.SIG_IGN if self.came else handler)

    def spin(self, executor: Executor) -> None:
        """Run callbacks until a signal came or rclpy was shut down; returns when the one that runs is done."""
        self._executor = executor
        try:
            with suppress(ExternalShutdownException):
                while not self.came and executor.context.ok():
                    executor.spin_once()
        finally:
            with self._lock:
                self._executor = None

    def breaks(self, load: Callable[P, T]) -> Callable[P, T]:
        """The same function, for the main thread: a signal raises KeyboardInterrupt in it, or at its start."""

        def loading(*args: P.args, **kwargs: P.kwargs) -> T:
            self._breaks = True
            try:
                if self.came:
                    raise KeyboardInterrupt
                return load(*args, **kwargs)
            finally:
                self._breaks = False

        return loading

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        arrived = isinstance(sys.exc_info()[1], KeyboardInterrupt)
        if self._breaks and not arrived and not _in_destructor(frame):
            raise KeyboardInterrupt

    def _listen(self) -> None:
        os.read(self._ear, 1)
        if self._over.is_set():
            return
        self.came = True
        with self._lock:
            if self._executor is not None:
                self._executor.create_task(lambda: None)
        while self._breaks and not self._over.wait(AGAIN_S):
            signal.pthread_kill(self._main, signal.SIGALRM)


def _in_destructor(frame: FrameType | None) -> bool:
    """Whether what is raised would be swallowed."""
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None

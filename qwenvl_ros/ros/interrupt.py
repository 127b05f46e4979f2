"""SIGINT and SIGTERM end the main thread with one KeyboardInterrupt, wherever it is.

A signal is easily lost in a program with threads of C++: CPython tells the main thread of it only if that thread was
the one to receive it or runs Python again, so a main thread that begins to wait in that moment sleeps on; and what a
handler raises inside a destructor is swallowed. So a thread that hears of each signal by the wake-up descriptor nudges
the main thread until it has heard. It is told once: the second would break into what the first one's arrival begins.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

AGAIN_S = 0.5
DEAF = {"__del__", "caught"}  # what is raised in a destructor is swallowed; what is in `caught` knows already
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
Handler = Callable[[int, FrameType | None], object] | int | None


class Interrupt:
    """A context of the main thread: within it either signal raises KeyboardInterrupt.

    A terminal and `ros2 launch` both send the signal: after the first one neither does anything, not even when the
    context is left, as the program is about to end. If none came, the handlers are then what they were.
    """

    def __init__(self) -> None:
        self.came = False
        self._over = threading.Event()
        self._main = threading.get_ident()
        self._ear, self._mouth = os.pipe()
        os.set_blocking(self._mouth, False)
        self._before: dict[signal.Signals, Handler] = {}
        self._thread = threading.Thread(target=self._nudge, name="interrupt", daemon=True)

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

    def caught(self) -> None:
        """To be called where the interrupt has arrived: what follows is not interrupted."""
        self._over.set()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        told = self._over.is_set() or isinstance(sys.exc_info()[1], KeyboardInterrupt)
        if not told and not _deaf(frame):
            raise KeyboardInterrupt

    def _nudge(self) -> None:
        os.read(self._ear, 1)
        while not self._over.wait(AGAIN_S):
            signal.pthread_kill(self._main, signal.SIGALRM)


def _deaf(frame: FrameType | None) -> bool:
    """Whether a function of DEAF is being run."""
    while frame is not None and frame.f_code.co_name not in DEAF:
        frame = frame.f_back
    return frame is not None

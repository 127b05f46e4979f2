"""Programs that run together: started in order, told of when they end by themselves, stopped in the other order."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 20.0  # after each way of telling a program to stop: an engine ends the answer it is at
_POLL_S = 0.2


@dataclass(frozen=True)
class Child:
    """A running program; log is None where its output is that of whoever started it."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path | None = None

    def last_words(self, lines: int = 15) -> str:
        if self.log is None:
            return "see its output above"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@contextmanager
def child(
    name: str, command: Sequence[str], log: Path | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Child]:
    """A program that is told to stop (SIGINT, then harder) and waited for at the end, whatever happens.

    It gets no Ctrl-C of its own from the terminal, so that programs end in order. environment: added to this one's.

    Raises:
        OSError: it cannot be started.
    """
    with log.open("wb") if log else nullcontext() as sink:
        process = subprocess.Popen(
            command,
            stdout=sink,
            stderr=subprocess.STDOUT if sink else None,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
        try:
            yield Child(name, process, log)
        finally:
            for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
                if process.poll() is None:
                    process.send_signal(stop)
                try:
                    process.wait(PATIENCE_S)
                    break
                except subprocess.TimeoutExpired:
                    continue


def watch(children: Sequence[Child], stop: threading.Event, tell: Callable[[str], None]) -> bool:
    """Wait until `stop` is set or all have ended, and tell of each that ends; True unless one of those failed."""
    well, running = True, list(children)
    while running and not stop.wait(_POLL_S):
        for each in [one for one in running if one.process.poll() is not None]:
            status = each.process.returncode
            well = well and status == 0
            running.remove(each)
            left = ", ".join(one.name for one in running)
            tell(f"{each.name} {_ending(status)}" + (f"; {left} runs on, Ctrl-C ends all" if left else ""))
    return well


def stop_on_signals() -> threading.Event:
    """An event that Ctrl-C and SIGTERM set instead of breaking into what the program is doing."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _ending(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return "ended" if status == 0 else f"ended with status {status}"

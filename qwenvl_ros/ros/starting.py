"""rclpy's start in an executable of this package."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import rclpy
from rclpy.signals import SignalHandlerOptions


def start(program: str, arguments: Sequence[str] | None) -> bool:
    """Whether rclpy takes the program's arguments (None: those of the process); where not, the user was told why.

    Not with rclpy's handlers of signals: they take the context away under callbacks that run, see interrupt.
    """
    given = None if arguments is None else list(arguments)
    try:
        rclpy.init(args=given, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # rcl's, of which only the text says what is wrong
        what = " ".join(str(error).partition(", at /")[0].split())
        remedy = "; a parameters file begins with /**: and ros__parameters:" if "params file" in what else ""
        if "Error opening" in what:
            remedy = "; check its path"
        print(f"{program}: {what}{remedy}", file=sys.stderr)
        return False
    return True

"""Property-based tests draw the same examples every time and are never failed for being slow; Ctrl-C always counts."""

import gc
import signal

from hypothesis import settings

# A shell without a terminal starts background jobs with Ctrl-C ignored, and what they start ignores it as well.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("repeatable")


def pytest_collection_finish() -> None:
    """What was imported and collected stays: the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()

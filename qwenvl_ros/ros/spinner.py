"""Spins a node that nobody else does, while one of its threads waits for a message."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node


class Spinner:
    """An executor for as long as somebody waits; of several threads that do, one spins for all."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._spinning = threading.Lock()
        self._executor: _Executor | None = None

    def close(self) -> None:
        """Let the executor go; another is made where it is needed again."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(timeout_sec=0.0)  # this may be one of its callbacks

    def spin(self, seconds: float, heard: Callable[[], int]) -> None:
        """Run the node's callbacks until more was heard, at most so long; return early where rclpy is shut down."""
        before = heard()
        if not self._spinning.acquire(timeout=seconds):
            return
        end = time.monotonic() + seconds
        try:
            # Always the same one, since no other resumes a callback that awaits, and always the same timeout: with
            # another rclpy begins with the node's first callback again, and those behind a busy one would never have
            # their turn.
            executor = self._executor = self._executor or _Executor(context=self._node.context)
            try:
                executor.add_node(self._node)
                while heard() == before and time.monotonic() < end:
                    executor.spin_once(timeout_sec=seconds)
            finally:
                executor.remove_node(self._node)
        except (_rclpy.InvalidHandle, _rclpy.RCLError):  # what rclpy raises where it ends in a wait
            if self._node.context.ok():
                raise
        finally:
            self._spinning.release()


class _Executor(SingleThreadedExecutor):
    def __del__(self) -> None:
        """Nothing: its guard condition destroys itself, where a client ends without close() sometimes before this, and
        rclpy's __del__ would raise."""

"""A real scene_node in a process of its own, and this process's ears for what it says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile

from qwenvl_ros import dds
from qwenvl_ros.benchmark import BenchmarkFailed
from qwenvl_ros.msg import Scene
from qwenvl_ros.ros.transport import missing_profile

PATIENCE_S = 600.0  # to load a model
SILENCE_S = 60.0  # without a scene
_MAIN = "import sys; from qwenvl_ros.ros.node import main; sys.exit(main())"
ASK_AGAIN_S = 10.0  # ROS drops an answer to a client that its server has not discovered yet


class Ears:
    """This process's ROS node; a context manager.

    heard: of each scene the steady seconds of its receipt, the system's nanoseconds of its publication, and itself.
    """

    def __init__(self, domain: int) -> None:
        if missing_profile():
            os.environ.update(dds.environment({"ROS_DISTRO": os.environ.get("ROS_DISTRO", "")}))  # inherited
        self.domain = domain
        self.heard: list[tuple[float, int, Scene]] = []
        self._context = rclpy.Context()
        self._context.init(domain_id=domain)
        self.node = rclpy.create_node("bench", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.node.create_subscription(Scene, "/qwenvl/scene", self._hear, QoSProfile(depth=100))

    def __enter__(self) -> Ears:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()

    def listen(self, seconds: float) -> None:
        """Hear what comes within so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def _hear(self, scene: Scene, info: Any) -> None:
        self.heard.append((time.monotonic(), info["source_timestamp"], scene))


class NodeProcess:
    """A context manager: an active scene_node at its start, none at its end.

    parameters: "name:=value". canned: (text, seconds) of an engine that costs nothing, instead of the parameters'.
    The DDS domain is that of the ears.

    Raises:
        BenchmarkFailed: it did not become active, with the last it said.
    """

    def __init__(
        self, ears: Ears, parameters: Sequence[str], canned: tuple[str, float] | None = None
    ) -> None:
        self._ears = ears
        self._log = tempfile.NamedTemporaryFile("w", prefix="qwenvl_bench_")  # noqa: SIM115
        program = ["-m", "qwenvl_ros.ros.benchmark", canned[0], str(canned[1])] if canned else ["-c", _MAIN]
        told = [word for parameter in parameters for word in ("-p", parameter)]
        self._process = subprocess.Popen(
            [sys.executable, *program, "--ros-args", *told],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"ROS_DOMAIN_ID": str(ears.domain)},
        )
        self._get = ears.node.create_client(GetState, "/qwenvl/get_state")
        self._change = ears.node.create_client(ChangeState, "/qwenvl/change_state")

    def __enter__(self) -> NodeProcess:
        try:
            self._until(lambda: self._state() == "active", "active")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def pid(self) -> int:
        return self._process.pid

    def activate(self) -> None:
        self._transition(Transition.TRANSITION_ACTIVATE, "active")

    def deactivate(self) -> None:
        """Afterwards it takes next to nothing of the machine."""
        self._transition(Transition.TRANSITION_DEACTIVATE, "inactive")

    def scenes(
        self, enough: Callable[[list[tuple[float, int, Scene]]], bool]
    ) -> list[tuple[float, int, Scene]]:
        """What is heard from now on until it is enough.

        Raises:
            BenchmarkFailed: none came for long, or one came without the engine's answer.
        """
        self._ears.heard.clear()
        last = time.monotonic()
        while not enough(self._ears.heard):
            self._ears.listen(0.1)
            if self._ears.heard:
                last = self._ears.heard[-1][0]
            if time.monotonic() - last > SILENCE_S:
                raise BenchmarkFailed(f"no scene for {SILENCE_S:g} s; the node said last: {self._said()}")
            self._check()
        found = list(self._ears.heard)
        bad = next((scene for *_, scene in found if scene.status == Scene.STATUS_BACKEND_FAILED), None)
        if bad is not None:
            raise BenchmarkFailed(f"the engine failed in the node: {bad.status_message}")
        return found

    def _transition(self, number: int, wanted: str) -> None:
        self._answer(self._change, ChangeState.Request(transition=Transition(id=number)), again=False)
        self._until(lambda: self._state() == wanted, wanted)

    def _state(self) -> str:
        return str(self._answer(self._get, GetState.Request()).current_state.label)

    def _answer(self, client: Any, request: Any, again: bool = True) -> Any:
        self._until(lambda: client.wait_for_service(0.0), "heard by its clients")
        asked = [client.call_async(request)]
        since = time.monotonic()

        def answered() -> bool:
            nonlocal since
            if again and time.monotonic() - since > ASK_AGAIN_S:
                asked.append(client.call_async(request))
                since = time.monotonic()
            return any(future.done() for future in asked)

        self._until(answered, "answering")
        return next(future.result() for future in asked if future.done())

    def _until(self, happened: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not happened():
            self._check()
            if "cannot configure" in (said := self._said()):
                raise BenchmarkFailed(said)
            if time.monotonic() > end:
                raise BenchmarkFailed(
                    f"the node is not {what} after {PATIENCE_S:g} s; it said last: {self._said()}"
                )
            self._ears.listen(0.02)

    def _check(self) -> None:
        if self._process.poll() is not None:
            raise BenchmarkFailed(f"the node has ended; it said last: {self._said()}")

    def _said(self) -> str:
        return (Path(self._log.name).read_text().strip().splitlines() or ["nothing"])[-1]

    def _end(self) -> None:
        for client in (self._get, self._change):
            self._ears.node.destroy_client(client)
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(30.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()

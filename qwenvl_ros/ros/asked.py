"""What the servers of questions share: who may be asked, about which camera, and answers that come later."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from rclpy.node import Node
from rclpy.task import Future as Awaitable

from qwenvl_ros.recent import NotThere, age_limit
from qwenvl_ros.ros.active import Active
from qwenvl_ros.ros.node_settings import Settings

T = TypeVar("T")


@dataclass(frozen=True)
class Desk:
    """Where questions come in. active: None while the node is not active."""

    node: Node
    active: Callable[[], Active | None]
    settings: Callable[[], Settings]

    def open(self) -> Active:
        """What answers.

        Raises:
            NotThere: the node is not active.
        """
        active = self.active()
        if active is None:
            name = self.node.get_fully_qualified_name()
            raise NotThere(
                f"the node is not active, so it sees nothing; ros2 lifecycle set {name} activate (after configure)"
            )
        return active

    def camera(self, name: str) -> str:
        """The camera of this name; "" = the first.

        Raises:
            NotThere: there is none.
        """
        cameras = list(self.settings().cameras)
        if name and name not in cameras:
            raise NotThere(f"no camera {name!r}; there are {', '.join(cameras)}")
        return name or cameras[0]

    def age_limit(self, asked: float = 0.0) -> float:
        """The oldest image or scene that will do, seconds; 0 = the node's max_age.

        Raises:
            ValueError: not a number, or negative.
        """
        return age_limit(asked, self.settings().limits.max_age)

    async def result(self, future: Future[T]) -> T:
        """The result of a future that another thread settles, awaited in the executor, which goes on meanwhile.

        A callback that awaits must be in a ReentrantCallbackGroup, or its group's others wait with it.

        Raises:
            What the future holds; CancelledError.
        """
        done = Awaitable()

        def settled(_: Future[T]) -> None:
            # The executor resumes what awaits whenever it wakes, but such a future does not wake it (ros2/rclpy#1467).
            done.set_result(None)
            if self.node.executor is not None:
                self.node.executor.wake()

        future.add_done_callback(settled)
        await done
        return future.result()

"""A planner in its smallest form: it listens to the scenes of `qwenvl` and says what it would act on.

    python examples/planner.py --ros-args -r qwenvl/scene:=/my_robot/qwenvl/scene

Each scene is told by what has changed since the one before, without what follows from the rest.
"""

from __future__ import annotations

import sys

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from qwenvl_ros.msg import Scene as SceneMessage
from qwenvl_ros.planning.words import changes
from qwenvl_ros.ros.conversions.scene import scene_of
from qwenvl_ros.types import Scene, Status


class Planner(Node):
    """Prints each camera's scenes in plain words; an unreadable scene never replaces a good one."""

    def __init__(self) -> None:
        super().__init__("planner")
        self._known: dict[str, Scene] = {}
        self.create_subscription(SceneMessage, "qwenvl/scene", self._hear, 10)

    def _hear(self, message: SceneMessage) -> None:
        try:
            scene = scene_of(message)
        except ValueError as error:  # against the contract: not from scene_node
            self.get_logger().warning(f"a scene of {message.camera!r} is left out: {error}")
            return
        news = changes(self._known.get(scene.camera), scene)
        if scene.status is Status.OK:
            self._known[scene.camera] = scene
        print(f"[{scene.camera} {scene.stamp / 1e9:.2f}] {len(scene.objects)} objects", flush=True)
        for line in news:
            print(f"    {line}", flush=True)


def main() -> int:
    rclpy.init()
    planner = Planner()
    try:
        rclpy.spin(planner)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        planner.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Which object of a kind to take next: one that is seen whole, with nothing on it and nothing before it.

    python examples/pick_next.py cube
    python examples/pick_next.py "red mug" --ros-args -r /qwenvl/scene:=/my_robot/qwenvl/scene

Prints the object with its place, and why not each of the others. Ends with status 1 where none is free.
"""

from __future__ import annotations

import argparse
import sys

import rclpy
from rclpy.executors import ExternalShutdownException

from qwenvl_ros.planning.obstruction import Choice, next_free
from qwenvl_ros.ros import SceneClient
from qwenvl_ros.types import Status


def pick(client: SceneClient, kind: str, camera: str, timeout: float) -> int:
    """Wait for a free one, and say which; the exit status."""
    choice: Choice | None = None

    def free() -> bool:
        nonlocal choice
        scene = client.scene(camera)
        choice = None
        if scene is not None and scene.status is Status.OK:
            choice = next_free(scene, kind)
        return choice is not None and choice.object is not None

    try:
        found = client.wait_until(free, timeout)
    except LookupError as error:  # several cameras
        print(error, file=sys.stderr)
        return 1
    if choice is None:
        print(f"nothing can be told: {client.trouble(camera)}", file=sys.stderr)
        return 1
    if found and choice.object is not None:
        thing = choice.object
        place = (
            "at an unknown place"
            if thing.position is None
            else "at ({:.2f}, {:.2f}, {:.2f}) m".format(*thing.position)
        )
        print(f"take {thing.id} ({thing.label}), {100 * thing.visible_fraction:.0f} % visible, {place}")
    else:
        print(f"no {kind} is free")
    for id, reason in choice.others.items():
        print(f"    not {id}: {reason}")
    return 0 if found else 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", help='such as cube, or "red mug"')
    parser.add_argument("--camera", default="", help="the one to look through, where there are several")
    parser.add_argument("--timeout", type=float, default=30.0, help="wait so long for a free one, seconds")
    args, ros = parser.parse_known_args()
    rclpy.init(args=ros)
    node = rclpy.create_node("pick_next")
    try:
        return pick(SceneClient(node, max_age=10.0), args.kind, args.camera, args.timeout)
    except (KeyboardInterrupt, ExternalShutdownException):
        return 1
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())

"""What has to be taken away to get at an object, in which order: what lies on it, what hides it, and so on for these.

    python examples/clear_target.py "blue mug"

Prints the moves, and what cannot be told from this view. Ends with status 1 where the target is not seen.
"""

from __future__ import annotations

import argparse
import sys

import rclpy
from rclpy.executors import ExternalShutdownException

from qwenvl_ros.planning.obstruction import Clearing, clearing
from qwenvl_ros.planning.truths import named
from qwenvl_ros.ros import SceneClient
from qwenvl_ros.types import Status


def clear(client: SceneClient, target: str, camera: str, timeout: float) -> int:
    """Wait until the target is seen, and say what is in its way; the exit status."""
    found: Clearing | None = None

    def told() -> bool:
        nonlocal found
        scene = client.scene(camera)
        if scene is not None and scene.status is Status.OK and named(scene, target):
            found = clearing(scene, target)
        return found is not None

    try:
        client.wait_until(told, timeout)
    except LookupError as error:
        print(error, file=sys.stderr)
        return 1
    if found is None:
        print(f"no {target} is seen. {client.trouble(camera, target)}", file=sys.stderr)
        return 1
    for number, thing in enumerate(found.order, 1):
        print(f"{number}. take {thing.id} ({thing.label}) away")
    print(f"{len(found.order) + 1}. take {found.target.id} ({found.target.label})")
    for each in found.open:
        print(f"    cannot be told: {each}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", help="what to get at: a name that only one object has, or an id")
    parser.add_argument("--camera", default="", help="the one to look through, where there are several")
    parser.add_argument("--timeout", type=float, default=30.0, help="wait so long to see it, seconds")
    args, ros = parser.parse_known_args()
    rclpy.init(args=ros)
    node = rclpy.create_node("clear_target")
    try:
        return clear(SceneClient(node, max_age=10.0), args.target, args.camera, args.timeout)
    except (KeyboardInterrupt, ExternalShutdownException):
        return 1
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())

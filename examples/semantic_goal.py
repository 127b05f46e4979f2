"""A goal in words for a mobile base: "left of the blue box" becomes a PoseStamped on goal_pose, which Nav2 drives to.

    python examples/semantic_goal.py "left of the blue box" --radius 0.25

scene_node needs depth and target_frame (map, odom): the pose is in that frame. Ends with status 1 where there is no
such place.
"""

from __future__ import annotations

import argparse
import sys

import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from qwenvl_ros.planning.places import NoPlace, place, understood
from qwenvl_ros.planning.truths import named
from qwenvl_ros.ros import SceneClient
from qwenvl_ros.ros.conversions.camera import to_pose
from qwenvl_ros.types import Status, Vector

LISTENER_S = 10.0  # so long is waited for somebody to hear the goal, and for it to have come there


def send(
    node: Node, phrase: str, radius: float, viewpoint: Vector | None, camera: str, timeout: float
) -> int:
    """Wait until there is a place beside the object, and publish it as a goal; the exit status."""
    goals = node.create_publisher(PoseStamped, "goal_pose", 1)
    client = SceneClient(node, max_age=10.0)
    goal, why = PoseStamped(), ""

    def placed() -> bool:
        nonlocal goal, why
        scene = client.scene(camera)
        if scene is None or scene.status is not Status.OK or not named(scene, name):
            return False
        try:
            pose = place(scene, side, name, radius=radius, viewpoint=viewpoint)
        except NoPlace as error:  # as in the first scenes of a node, which may lack depth or pose
            why = str(error)
            return False
        goal = to_pose(pose, scene.stamp, scene.reference_frame)
        return True

    try:
        side, name = understood(phrase)
        if not client.wait_until(placed, timeout):
            raise NoPlace(why or f"no {name} is seen. {client.trouble(camera, name)}")
    except (NoPlace, LookupError) as error:
        print(error, file=sys.stderr)
        return 1
    at, turned = goal.pose.position, goal.pose.orientation
    print(
        f"{phrase}: ({at.x:.2f}, {at.y:.2f}) m in {goal.header.frame_id}, turned by z={turned.z:.2f} w={turned.w:.2f}"
    )
    heard = client.wait_until(goals.get_subscription_count, LISTENER_S)
    goals.publish(goal)
    if not goals.wait_for_all_acked(
        Duration(seconds=LISTENER_S)
    ):  # what is on its way ends with this process
        print(
            f"{goals.topic_name} has not taken it in {LISTENER_S:g} s; is its listener alive?",
            file=sys.stderr,
        )
        return 1
    print(f"sent to {goals.topic_name}" if heard else f"nobody listens on {goals.topic_name}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "place", help='left of, right of, in front of or behind something: "left of the blue box"'
    )
    parser.add_argument("--radius", type=float, default=0.3, help="of the robot, metres")
    parser.add_argument(
        "--viewpoint",
        type=float,
        nargs=3,
        metavar=("X", "Y", "Z"),
        help="in front of is towards here, in target_frame, metres; needed unless that is base_link",
    )
    parser.add_argument("--camera", default="", help="the one to look through, where there are several")
    parser.add_argument("--timeout", type=float, default=30.0, help="wait so long to see it, seconds")
    args, ros = parser.parse_known_args()
    rclpy.init(args=ros)
    node = rclpy.create_node("semantic_goal")
    try:
        return send(
            node, args.place, args.radius, args.viewpoint and tuple(args.viewpoint), args.camera, args.timeout
        )
    except (KeyboardInterrupt, ExternalShutdownException):
        return 1
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())

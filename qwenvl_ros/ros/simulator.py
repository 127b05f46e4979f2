"""The simulator as a ROS 2 node: cameras over a table, with depth, camera models, poses and the truth.

An executable of its own, so that drawing has a process to itself and a busy model cannot slow the cameras down.
Topics of each camera: <camera>/image_raw, <camera>/depth/image_raw, <camera>/camera_info, <camera>/pose (of the
optical frame in `world`) and <camera>/truth (qwenvl_ros/msg/Scene), all with the same stamp; also /tf_static or,
for moving cameras, /tf where tf2_msgs is installed. Depth and truth are computed while somebody subscribes.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import rclpy
from geometry_msgs.msg import PoseStamped
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image as ImageMessage

from qwenvl_ros.msg import Scene as SceneMessage
from qwenvl_ros.ros.conversions import camera as convert
from qwenvl_ros.ros.conversions.scene import to_message
from qwenvl_ros.ros.interrupt import Interrupt
from qwenvl_ros.ros.simulator_settings import SimulatorSettings
from qwenvl_ros.ros.starting import start
from qwenvl_ros.settings import SettingError
from qwenvl_ros.sim.gl import NoOpenGL
from qwenvl_ros.sim.oracle import WORLD
from qwenvl_ros.sim.show import Shot, Show, optical_frame

IMAGE, DEPTH, INFO, POSE, TRUTH = "image_raw", "depth/image_raw", "camera_info", "pose", "truth"
_TYPES = {IMAGE: ImageMessage, DEPTH: ImageMessage, INFO: CameraInfo, POSE: PoseStamped, TRUTH: SceneMessage}


def messages(shot: Shot, stamp: int, depth_encoding: str) -> Iterator[tuple[str, Any]]:
    """(topic below the camera's name, message) of all that a shot holds; stamp: nanoseconds."""
    frame = optical_frame(shot.camera)
    yield POSE, convert.to_pose(shot.pose, stamp, WORLD)
    yield INFO, convert.to_camera_info(shot.intrinsics, stamp, frame)
    if shot.depth is not None:
        yield DEPTH, convert.to_depth_image(shot.depth, stamp, frame, depth_encoding)
    yield IMAGE, convert.to_image(shot.image, stamp, frame)
    if shot.scene is not None:
        scene = dataclasses.replace(shot.scene, stamp=stamp, keyframe_stamp=stamp)
        yield TRUTH, to_message(scene)


def _typed(name: str, value: Any, default: Any) -> Any:
    """The value of a parameter as its setting wants it; a whole number will do for a float."""
    if isinstance(default, tuple) and isinstance(value, (list, tuple)):
        return tuple(str(each) for each in value)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        raise SettingError(f"{name} = {value!r} should be of type {type(default).__name__}")
    return value


def transform(shot: Shot, stamp: int) -> Any:
    """geometry_msgs/TransformStamped from the camera's optical frame to the world."""
    return convert.to_transform(shot.pose, stamp, WORLD, optical_frame(shot.camera))


class Simulator(Node):
    """Publishes a Show at its rate; parameters are those of SimulatorSettings, fixed at the start.

    Raises:
        SettingError: a parameter is out of its range.
        NoOpenGL: this machine cannot draw without a display; the message holds the remedy.
    """

    def __init__(self, defaults: SimulatorSettings | None = None, **node_options: Any) -> None:
        super().__init__("simulator", **node_options)
        self.settings = self._declare(defaults or SimulatorSettings())
        self._show = Show(self.settings)
        reliable = self.settings.reliability == "reliable"
        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        usual = QoSProfile(depth=5, reliability=policy)
        # Who subscribes late still learns where a camera stands.
        kept = QoSProfile(depth=1, reliability=policy, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._out = {
            f"{name}/{topic}": self.create_publisher(
                kind, f"{name}/{topic}", kept if topic == POSE else usual
            )
            for name in self.settings.cameras
            for topic, kind in _TYPES.items()
        }
        self._tf, self._tf_sent = self._create_tf(), False
        self._start: int | None = None
        self.create_timer(1.0 / self.settings.rate_hz, self._publish)
        self._announce()

    def destroy_node(self) -> None:
        """Stop drawing and free the OpenGL context."""
        super().destroy_node()
        self._show.close()

    def _declare(self, defaults: SimulatorSettings) -> SimulatorSettings:
        values = {}
        for field in dataclasses.fields(defaults):
            default, about = getattr(defaults, field.name), field.metadata
            unit = f" [{about['unit']}]" if about["unit"] else ""
            # Dynamic, so that `rate_hz:=5` does for 5.0; the settings are checked as a whole.
            descriptor = ParameterDescriptor(
                description=about["description"] + unit, read_only=True, dynamic_typing=True
            )
            told = list(default) if isinstance(default, tuple) else default
            values[field.name] = _typed(
                field.name, self.declare_parameter(field.name, told, descriptor).value, default
            )
        return SimulatorSettings(**values)

    def _create_tf(self) -> Any:
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            return None
        if self.settings.move_cameras:
            return self.create_publisher(TFMessage, "/tf", QoSProfile(depth=100))
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        return self.create_publisher(TFMessage, "/tf_static", latched)

    def _announce(self) -> None:
        cameras = ", ".join(self.settings.cameras)
        self.get_logger().info(f"seed {self.settings.seed} at {self.settings.rate_hz:g} Hz from {cameras}")

    def _publish(self) -> None:
        now = self.get_clock().now().nanoseconds
        if self._start is None or now < self._start:  # time may jump back
            self._start = now
        seconds = (now - self._start) / 1e9
        depth = any(self._heard(name, DEPTH) for name in self.settings.cameras)
        scene = any(self._heard(name, TRUTH) for name in self.settings.cameras)
        transforms = []
        for shot in self._show.shots(seconds, depth=depth, scene=scene):
            for topic, message in messages(shot, now, self.settings.depth_encoding):
                self._out[f"{shot.camera}/{topic}"].publish(message)
            transforms.append(transform(shot, now))
        if self._tf is not None and (self.settings.move_cameras or not self._tf_sent):
            from tf2_msgs.msg import TFMessage

            self._tf.publish(TFMessage(transforms=transforms))
            self._tf_sent = True
        took = (self.get_clock().now().nanoseconds - now) / 1e9
        if took > 1.0 / self.settings.rate_hz:
            self.get_logger().warning(
                f"drawing took {took:.2f} s, too long for {self.settings.rate_hz:g} Hz: lower rate_hz, width or height",
                throttle_duration_sec=30.0,
            )

    def _heard(self, name: str, topic: str) -> bool:
        return bool(self._out[f"{name}/{topic}"].get_subscription_count())


def main(arguments: Sequence[str] | None = None, defaults: SimulatorSettings | None = None) -> int:
    """Run the node until it is told to stop; returns the exit status."""
    if not start("simulator", arguments):
        return 1
    node, executor = None, SingleThreadedExecutor()
    with Interrupt() as interrupt:
        try:
            node = Simulator(defaults)
            executor.add_node(node)
            interrupt.spin(executor)
        except (SettingError, NoOpenGL) as error:
            print(f"simulator: {error}", file=sys.stderr)
            return 1
        finally:
            executor.shutdown()
            if node is not None:
                node.destroy_node()
            rclpy.try_shutdown()
    return 0

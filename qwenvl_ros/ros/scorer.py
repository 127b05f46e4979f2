"""Scenes and a truth from topics of any simulator, brought to evaluation.live."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from qwenvl_ros.evaluation.live import Known, Matching, known_of
from qwenvl_ros.msg import Scene as SceneMessage
from qwenvl_ros.ros.conversions.camera import header_of
from qwenvl_ros.ros.conversions.scene import scene_of
from qwenvl_ros.ros.interrupt import Interrupt
from qwenvl_ros.ros.transport import check_topic
from qwenvl_ros.settings import SettingError
from qwenvl_ros.types import Scene

LOOK_S = 0.1
SCENE, DETECTIONS = "qwenvl_ros/msg/Scene", "vision_msgs/msg/Detection2DArray"


class Scorer:
    """Listens on construction; the truth's type is found out as soon as somebody publishes it.

    camera: whose scenes count, "" = those of the only one there is. names: what labels of the truth mean, for
    simulators that number them; others stay as they are.

    Raises:
        SettingError: by look(), when the truth or the scenes cannot be used, with the remedy.
    """

    def __init__(
        self,
        node: Node,
        truth: str,
        scenes: str,
        matching: Matching,
        camera: str = "",
        names: Mapping[str, str] | None = None,
    ) -> None:
        self._node, self._matching, self._chosen = node, matching, camera
        self._names = names or {}
        self._truth, self._scenes = node.resolve_topic_name(truth), node.resolve_topic_name(scenes)
        self._fault = ""
        self._listens = False
        self.cameras: set[str] = set()  # whose scenes came
        self._others: set[str] = set()  # the same of those that were not chosen
        # Best effort hears every publisher.
        self._qos = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
        node.create_subscription(SceneMessage, self._scenes, self._on_scene, self._qos)

    def look(self) -> None:
        """Listen to the truth once its type is known; call it often. Raises as the class says."""
        if self._fault:
            raise SettingError(self._fault)
        if self._listens:
            return
        kinds = {each.topic_type for each in self._node.get_publishers_info_by_topic(self._truth)}
        if SCENE in kinds:
            self._node.create_subscription(SceneMessage, self._truth, self._on_true_scene, self._qos)
        elif DETECTIONS in kinds:
            if find_spec("vision_msgs") is None:
                raise SettingError(
                    f"{self._truth} is {DETECTIONS}, but vision_msgs is not installed: "
                    "apt install ros-$ROS_DISTRO-vision-msgs"
                )
            from vision_msgs.msg import Detection2DArray

            self._node.create_subscription(Detection2DArray, self._truth, self._on_detections, self._qos)
        elif kinds:
            raise SettingError(
                f"{self._truth} is {' and '.join(sorted(kinds))}; a truth is {SCENE} or {DETECTIONS}"
            )
        self._listens = bool(kinds)

    def missing(self) -> str:
        """Why nothing can be judged, as far as that is known."""
        matching = self._matching
        for topic, count, remedy in (
            (self._truth, matching.truths, "start the simulator, or set --truth"),
            (
                self._scenes,
                len(self.cameras),
                "start the node, or set --scenes; is it active, does it get images?",
            ),
        ):
            if not count:
                if topic == self._scenes and self._others:
                    there = ", ".join(sorted(self._others))
                    return f"no scene of camera {self._chosen!r} on {topic}, only of {there}: choose with --camera"
                silent = self._node.get_publishers_info_by_topic(topic)
                return f"{'nothing has come' if silent else 'nobody publishes'} on {topic}: {remedy}"
        apart = f"; the nearest are {matching.nearest / 1e9:.3f} s apart: raise --tolerance, or check clocks"
        return "no scene has the stamp of a truth" + (apart if matching.unmatched else " yet")

    def _on_scene(self, message: Any) -> None:
        if self._chosen and message.camera != self._chosen:
            self._others.add(message.camera)
            return
        self.cameras.add(message.camera)
        if len(self.cameras) > 1:
            names = " and ".join(sorted(self.cameras))
            self._fault = f"{self._scenes} has scenes of {names}: choose one with --camera"
            return
        try:
            self._matching.add_scene(scene_of(message))
        except ValueError as error:
            self._fault = f"{self._scenes} cannot be read: {error}"

    def _on_true_scene(self, message: Any) -> None:
        try:
            truth = scene_of(message)
        except ValueError as error:
            self._fault = f"{self._truth} cannot be read: {error}"
            return
        self._tell(truth.stamp, known_of(truth), truth)

    def _on_detections(self, message: Any) -> None:
        from qwenvl_ros.ros.conversions.detections import detections_of

        try:
            found = detections_of(message)
        except ValueError as error:
            self._fault = f"{self._truth} cannot be read: {error}"
            return
        self._tell(header_of(message)[0], [Known(one.label, one.box) for one in found])

    def _tell(self, stamp: int, known: list[Known], truth: Scene | None = None) -> None:
        named = [replace(one, label=self._names.get(one.label, one.label)) for one in known]
        self._matching.add_truth(stamp, named, truth)


def listen(
    truth: str,
    scenes: str,
    matching: Matching,
    camera: str,
    names: Mapping[str, str],
    going: Callable[[Scorer], bool],
) -> str:
    """Listen until `going` says no, or until Ctrl-C; arguments as of Scorer. Returns what was missing at the end.

    going: asked after each message, and some ten times a second.

    Raises:
        SettingError: the truth or the scenes cannot be used.
    """
    for setting, topic in (("truth", truth), ("scenes", scenes)):
        check_topic(setting, topic)
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    with Interrupt() as interrupt:
        node = rclpy.create_node("score")
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        scorer = Scorer(node, truth, scenes, matching, camera, names)
        try:
            while not interrupt.came and going(scorer):
                scorer.look()
                executor.spin_once(timeout_sec=LOOK_S)
        finally:
            missing = scorer.missing()
            executor.shutdown()
            node.destroy_node()
            rclpy.try_shutdown()
    matching.finish()
    return missing

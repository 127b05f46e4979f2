"""One camera's topics: each image with its depth, camera model and pose becomes a frame and is offered on."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from qwenvl_ros.camera_info import CameraInfoRefused
from qwenvl_ros.geometry import registered
from qwenvl_ros.geometry.transforms import JUMP_BACK_NS
from qwenvl_ros.images import ImageRefused
from qwenvl_ros.pairing import Pair, Pairing, joined, same_shape
from qwenvl_ros.ros.arrivals import Arrived
from qwenvl_ros.ros.conversions.camera import (
    depth_of,
    header_of,
    image_of,
    intrinsics_of,
)
from qwenvl_ros.ros.diagnostics import CameraHealth, Latencies
from qwenvl_ros.ros.node_settings import Settings, fixed_pose, topics
from qwenvl_ros.ros.qos import Listening
from qwenvl_ros.ros.transforms import FixedPose, NotYet, PoseSource, PoseTopic, Transforms
from qwenvl_ros.types import Intrinsics

Message: TypeAlias = Image | CompressedImage


class Lens:
    """The camera model that a CameraInfo topic gives. model: the newest; missing: why there is none.

    parameter: what names the topic. rectified: of rectified images, see intrinsics_of.
    """

    def __init__(self, node: Node, topic: str, parameter: str, rectified: bool) -> None:
        self._rectified = rectified
        where = node.resolve_topic_name(topic)
        self.model: Intrinsics | None = None
        self.missing = f"no CameraInfo yet on {where}; start it or set {parameter}"

    def take(self, message: CameraInfo) -> None:
        """The camera model of a message from now on.

        Raises:
            CameraInfoRefused: it cannot be used; there is no model then.
        """
        try:
            self.model = intrinsics_of(message, self._rectified)
        except CameraInfoRefused as refusal:
            self.model, self.missing = None, str(refusal)
            raise


class Camera:
    """Subscribes on construction; everything runs in the executor's thread and none of it waits.

    settings: asked for each message. transforms: None without a target frame. offer: takes the finished frames.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        settings: Callable[[], Settings],
        transforms: Transforms | None,
        offer: Callable[[Arrived], None],
        latencies: Latencies,
    ) -> None:
        self.name = name
        self._node = node
        self._settings = settings
        self._transforms = transforms
        self._offer = offer
        self._latencies = latencies
        own = settings().cameras[name]
        self._own = own
        self._topics = topics(name, own)
        self._poses: PoseSource | None = transforms
        fixed = fixed_pose(own.pose)
        if fixed is not None:
            self._poses = FixedPose(fixed)
        elif own.pose_topic:
            self._poses = PoseTopic(node, own.pose_topic, settings().node.target_frame)
        published = "poses" if own.pose_topic else "tf"
        self._pose_remedy = (
            f"publish {published} up to the stamps of the images, or raise pose_patience if it is late"
        )
        self.since = time.monotonic()
        self.health = CameraHealth(topic=node.resolve_topic_name(self._topics["image"]))
        self._pairing: Pairing[Arrived, Message] = Pairing(settings().pairing)
        info = self._topics.get("camera_info", "camera_info")
        self._lens = Lens(node, info, f"{name}.camera_info_topic", own.rectified)
        self._depth_lens: Lens | None = None
        if "depth_info" in self._topics:
            info = self._topics["depth_info"]
            self._depth_lens = Lens(node, info, f"{name}.depth_info_topic", own.depth_rectified)
        self._depth_place = fixed_pose(own.depth_pose)
        self._told_of_another_frame = self._told_of_rectified = False
        self._newest: int | None = None  # stamp
        self._without_pose: deque[Arrived] = deque()  # in the order in which they are to be offered
        self.image_type = CompressedImage if own.transport == "compressed" else Image
        self._subscriptions = self._subscribe()

    @property
    def has_depth(self) -> bool:
        return "depth" in self._topics

    @property
    def may_wait(self) -> bool:
        """Whether an image may have to wait for something else, so that tick() is needed."""
        return self.has_depth or self._poses is not None

    def tick(self) -> None:
        """Let go what waited long enough for its depth or its pose; call this some 20 times a second."""
        self._pairing.settings = self._settings().pairing
        for pair in self._pairing.due(time.monotonic()):
            self._complete(pair)
        self._let_go()

    def close(self) -> None:
        """Stop listening, and drop what waits."""
        for each in self._subscriptions:
            each.close()
        self._subscriptions = []
        if self._poses is not None and self._poses is not self._transforms:
            self._poses.close()
        self._pairing.clear()
        self._without_pose.clear()

    def unheard(self) -> str:
        """Publishers on its topics that QoS keeps it from hearing, with the remedy; "" = none."""
        return "; ".join(told for each in self._subscriptions if (told := each.unheard()))

    def _subscribe(self) -> list[Listening]:
        wanted: dict[str, tuple[type[Any], Callable[[Any], None]]] = {
            "image": (self.image_type, self._on_image)
        }
        if self.has_depth:
            packed = self._topics["depth"].rsplit("/", 1)[-1] in ("compressed", "compressedDepth")
            wanted["depth"] = (CompressedImage if packed else Image, self._on_depth)
            wanted["camera_info"] = (CameraInfo, partial(self._on_info, self._lens))
        if self._depth_lens is not None:
            wanted["depth_info"] = (CameraInfo, partial(self._on_info, self._depth_lens))
        return [
            Listening(
                self._node,
                kind,
                self._topics[topic],
                callback,
                self._own.reliability,
                f"{self.name}.reliability",
            )
            for topic, (kind, callback) in wanted.items()
        ]

    def _on_image(self, message: Message) -> None:
        arrived = time.monotonic()
        self.health.arrived += 1
        self.health.last_arrival = arrived
        try:
            image = image_of(message, self._settings().node.max_image_pixels)
        except ImageRefused as refusal:
            self.health.refuse("image", str(refusal))
            return
        now = self._node.get_clock().now().nanoseconds
        stamp, frame_id = header_of(message)
        if stamp == 0:
            self.health.without_stamp += 1
            stamp = now
        self._latencies.add("camera to node", (now - stamp) / 1e9)
        self._latencies.add("convert", time.monotonic() - arrived)
        if self._newest is not None and stamp < self._newest - JUMP_BACK_NS and self._transforms is not None:
            self._transforms.forget()
        self._newest = stamp
        frame = Arrived(self.name, image, stamp, frame_id, arrived=arrived)
        if not self.has_depth:
            self._place(frame)
            return
        for pair in self._pairing.add_image(stamp, frame, arrived):
            self._complete(pair)

    def _on_depth(self, message: Message) -> None:
        stamp = header_of(message)[0]
        if stamp == 0:  # as an image without one
            self.health.without_stamp += 1
            stamp = self._node.get_clock().now().nanoseconds
        for pair in self._pairing.add_depth(stamp, message, time.monotonic()):
            self._complete(pair)

    def _on_info(self, lens: Lens, message: CameraInfo) -> None:
        try:
            lens.take(message)
        except CameraInfoRefused as refusal:
            self.health.refuse("camera_info", str(refusal))
        if lens is self._lens:
            self._tell_of_rectified()

    def _complete(self, pair: Pair[Arrived, Message]) -> None:
        """Add depth and camera model to a frame, or the reason why they are missing."""
        frame, note = pair.image, pair.reason
        if pair.depth is not None:
            frame, note = self._with_depth(frame, pair.depth)
        self.health.depth_note = note
        if note:
            self.health.without_depth += 1
            frame = dataclasses.replace(frame, note=note)
        self._place(frame)

    def _with_depth(self, frame: Arrived, message: Message) -> tuple[Arrived, str]:
        began = time.monotonic()
        try:
            depth = depth_of(message, self._settings().node.max_image_pixels)
        except ImageRefused as refusal:
            self.health.refuse("depth", str(refusal))
            return frame, f"no depth: {refusal}"
        if self._depth_lens is None:
            self._tell_of_another_frame(header_of(message)[1], frame.frame_id)
        elif self._lens.model is not None:
            lens, (height, width) = self._depth_lens.model, depth.shape
            if lens is None:
                return frame, f"no depth: {self._depth_lens.missing}"
            if not same_shape((width, height), (lens.width, lens.height)):
                sizes = f"depth is {width}x{height}, its CameraInfo {lens.width}x{lens.height}"
                return frame, f"no depth: {sizes}; set {self.name}.depth_info_topic to the one of the depth"
            depth = registered(depth, lens, self._depth_place, self._lens.model)
        self._latencies.add("convert depth", time.monotonic() - began)
        return joined(frame, depth, self._lens.model, self._lens.missing)

    def _tell_of_another_frame(self, depth_frame: str, image_frame: str) -> None:
        """Once: it may be registered all the same, some drivers name a frame for each topic."""
        if depth_frame != image_frame and not self._told_of_another_frame:
            self._told_of_another_frame = True
            self._node.get_logger().warning(
                f"camera {self.name}: depth is in frame {depth_frame!r}, images are in {image_frame!r}; it is taken as "
                f"registered to the images. If it is not, use the driver's registered topic, or set "
                f"{self.name}.depth_info_topic and {self.name}.depth_pose"
            )

    def _tell_of_rectified(self) -> None:
        """Once: image_proc's image_rect has the CameraInfo of the image before, with its distortion, beside it."""
        topic, lens = self.health.topic, self._lens.model
        named = "rect" in topic.removesuffix("/compressed").rpartition("/")[2]
        if named and lens is not None and lens.distortion and not self._told_of_rectified:
            self._told_of_rectified = True
            self._node.get_logger().warning(
                f"camera {self.name}: {topic} is rectified by its name, yet the distortion in its CameraInfo is taken "
                f"off once more, which moves positions: set {self.name}.rectified, or ignore this if it is not"
            )

    def _place(self, frame: Arrived) -> None:
        """Offer the frame with its pose, after those that wait for theirs."""
        self._without_pose.append(frame)
        self._let_go()

    def _let_go(self) -> None:
        while self._without_pose:
            frame = self._posed(self._without_pose[0])
            if frame is None:
                return
            self._without_pose.popleft()
            self._offer(frame)

    def _posed(self, frame: Arrived) -> Arrived | None:
        """The frame with its pose, or with the reason why it has none; None while it may come."""
        target = self._settings().node.target_frame
        # Of its own optical frame tf knows no more than the frame itself, whose x is not forward.
        if self._poses is None or (self._poses is self._transforms and target == frame.frame_id):
            return frame
        try:
            pose = self._poses.pose(frame.frame_id, frame.stamp)
        except NotYet as reason:
            if time.monotonic() < frame.arrived + self._settings().pairing.pose_patience:
                return None
            self.health.pose_note = f"no pose in {target}: {reason}; {self._pose_remedy}"
            note = "; ".join(text for text in (frame.note, self.health.pose_note) if text)
            return dataclasses.replace(frame, note=note)
        self.health.pose_note = ""
        return dataclasses.replace(frame, pose=pose, reference_frame=target)

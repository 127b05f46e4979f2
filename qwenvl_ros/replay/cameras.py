"""One camera of a recording: each image with its depth, camera model and pose becomes a frame, as in the node.

Its clock is the times at which messages were recorded, so patience means what it means on the robot.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator
from typing import Any

from qwenvl_ros.camera_info import CameraInfoRefused
from qwenvl_ros.geometry.transforms import NotKnown, TransformTree
from qwenvl_ros.images import ImageRefused
from qwenvl_ros.pairing import Pair, Pairing, PairingSettings, joined
from qwenvl_ros.replay.frames import Beat, InputSettings, Recorded, Tally
from qwenvl_ros.replay.messages import (
    CAMERA_INFO,
    COMPRESSED,
    IMAGE,
    POSE,
    depth_of,
    header_of,
    image_of,
    intrinsics_of,
    pose_of,
)
from qwenvl_ros.replay.topics import CameraTopics
from qwenvl_ros.types import Intrinsics, Pose

_POSED = "camera"  # the camera's frame in the tree of its pose topic


class Camera:
    """Frames of one camera. fixed: its pose in the target frame, else it is looked up in `transforms`.

    began: when the recording begins, nanoseconds. follow: frames that come too soon for the rate are given as well,
    to follow objects to. Each call yields the frames that are complete.
    """

    def __init__(
        self,
        topics: CameraTopics,
        settings: InputSettings,
        pairing: PairingSettings,
        transforms: TransformTree,
        fixed: Pose | None,
        began: int,
        follow: bool,
    ) -> None:
        self.topics = topics
        self.tally = Tally()
        self._settings = settings
        self._fixed = fixed
        self._follow = follow
        self._transforms = TransformTree() if topics.pose else transforms
        self._pairing: Pairing[Recorded, Any] = Pairing(pairing, expected_since=began / 1e9)
        self._without_pose: deque[Recorded] = deque()
        self._info: Intrinsics | None = None
        self._info_note = (
            f"no CameraInfo yet on {topics.camera_info}" if topics.camera_info else "no CameraInfo topic"
        )
        self._beat = Beat(settings.rate)
        self._pose_note = ""

    @property
    def patience(self) -> int:
        """The longest that a frame waits, nanoseconds."""
        settings = self._pairing.settings
        return round(max(settings.pose_patience, settings.depth_patience) * 1e9) + 1

    def hear(self, topic: str, message: Any, time: int) -> Iterator[Recorded]:
        """A message on any topic, recorded at a time in nanoseconds."""
        kind = message.__msgtype__
        if topic == self.topics.image and kind not in (IMAGE, COMPRESSED):
            self.refuse(f"{topic} holds a {kind}")
        elif topic == self.topics.image:
            yield from self._on_image(message, time)
        elif topic == self.topics.depth and kind in (IMAGE, COMPRESSED):
            for pair in self._pairing.add_depth(header_of(message)[0] or time, message, time / 1e9):
                yield from self._complete(pair, time)
        elif topic == self.topics.camera_info and kind == CAMERA_INFO:
            self._on_info(message)
        elif topic == self.topics.pose and kind == POSE:
            self._on_pose(message)

    def due(self, time: int) -> Iterator[Recorded]:
        """The frames that waited long enough for their depth or pose at a time, nanoseconds."""
        for pair in self._pairing.due(time / 1e9):
            yield from self._complete(pair, time)
        yield from self._let_go(time)

    def refuse(self, reason: str) -> None:
        """An image came that cannot be read."""
        self.tally.images += 1
        self.tally.refused[reason] += 1

    def _on_image(self, message: Any, time: int) -> Iterator[Recorded]:
        stamp, frame_id = header_of(message)
        if stamp == 0:
            self.tally.without_stamp += 1
            stamp = time
        keyframe = self._beat.takes(stamp)
        if not keyframe and not self._follow:
            self.tally.images += 1
            self.tally.too_soon += 1
            return
        try:
            image = image_of(message)
        except ImageRefused as refusal:
            self.refuse(str(refusal))
            return
        self.tally.images += 1
        frame = Recorded(self.topics.name, image, stamp, frame_id, time=time, keyframe=keyframe)
        if not self.topics.depth:
            yield from self._place(frame, time)
            return
        for pair in self._pairing.add_image(stamp, frame, time / 1e9):
            yield from self._complete(pair, time)

    def _on_info(self, message: Any) -> None:
        try:
            self._info = intrinsics_of(message, self._settings.rectified)
        except CameraInfoRefused as refusal:
            self._info, self._info_note = None, str(refusal)

    def _on_pose(self, message: Any) -> None:
        stamp, frame_id = header_of(message)
        target = self._settings.target_frame
        if frame_id != target:
            self._pose_note = f"poses are in {frame_id!r}, not in target_frame {target!r}"
            return
        try:
            self._transforms.add(_POSED, target, stamp, pose_of(message))
        except ValueError as error:
            self._pose_note = f"a pose cannot be used: {error}"

    def _complete(self, pair: Pair[Recorded, Any], time: int) -> Iterator[Recorded]:
        frame, note = pair.image, pair.reason
        if pair.depth is not None:
            frame, note = self._with_depth(frame, pair.depth)
        if note:
            self.tally.without_depth[note] += 1
            frame = dataclasses.replace(frame, note=note)
        else:
            self.tally.with_depth += 1
        yield from self._place(frame, time)

    def _with_depth(self, frame: Recorded, message: Any) -> tuple[Recorded, str]:
        try:
            depth = depth_of(message)
        except ImageRefused as refusal:
            return frame, f"no depth: {refusal}"
        return joined(frame, depth, self._info, self._info_note)

    def _place(self, frame: Recorded, time: int) -> Iterator[Recorded]:
        """Give the frame with its pose, after those that wait for theirs."""
        self._without_pose.append(frame)
        yield from self._let_go(time)

    def _let_go(self, time: int) -> Iterator[Recorded]:
        while self._without_pose:
            frame = self._posed(self._without_pose[0], time)
            if frame is None:
                return
            self._without_pose.popleft()
            yield frame

    def _posed(self, frame: Recorded, time: int) -> Recorded | None:
        """The frame with its pose, or with the reason why it has none; None while it may come."""
        target, from_tf = self._settings.target_frame, not self.topics.pose and self._fixed is None
        if not target or (from_tf and target == frame.frame_id):
            return frame
        try:
            posed = frame.frame_id if from_tf else _POSED
            pose = self._fixed or self._transforms.pose(posed, target, frame.stamp)
        except NotKnown as reason:
            if time < frame.time + round(self._pairing.settings.pose_patience * 1e9):
                return None
            note = f"no pose in {target}: {self._pose_note or reason}"
            return dataclasses.replace(frame, note="; ".join(filter(None, (frame.note, note))))
        return dataclasses.replace(frame, pose=pose, reference_frame=target)

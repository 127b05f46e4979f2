"""A recording as a source of frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qwenvl_ros.bags import Bag, Decoder, Record, Undecodable
from qwenvl_ros.geometry.transforms import TransformTree
from qwenvl_ros.pairing import PairingSettings
from qwenvl_ros.replay.cameras import Camera
from qwenvl_ros.replay.frames import InputSettings, Keep, Recorded, Tally
from qwenvl_ros.replay.messages import TRANSFORMS, header_of, pose_of
from qwenvl_ros.replay.topics import SAMPLED, CameraTopics, NoCamera, choose
from qwenvl_ros.types import Pose


class Recording:
    """The cameras of a bag; a context manager. fixed: pose of every camera in the target frame, where it is given.
    follow: see Camera.

    Raises:
        BagError: there is no bag.
        NoCamera: a topic that the settings name is not there, or there is no image at all.
    """

    def __init__(
        self,
        path: Path,
        settings: InputSettings,
        pairing: PairingSettings,
        fixed: Pose | None = None,
        follow: bool = False,
    ) -> None:
        self._bag = Bag(path)
        self._settings = settings
        self._pairing = pairing
        self._fixed = fixed
        self._follow = follow
        topics = self._bag.survey(SAMPLED)
        try:
            self.cameras: Sequence[CameraTopics] = choose(topics, settings)
        except NoCamera as error:
            self._bag.close()
            raise NoCamera("; ".join([f"{path}: {error}", *self._bag.damage])) from error
        self._tf = [name for name, each in topics.items() if each.channel.type == TRANSFORMS]
        self.expected: int | None = sum(topics[each.image].count for each in self.cameras)
        self._tallies = {each.name: Tally() for each in self.cameras}
        self._unread: dict[
            str, list[str]
        ] = {}  # by topic, all but the images': why each message cannot be read

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self._bag.close()

    @property
    def tallies(self) -> Mapping[str, Tally]:
        return self._tallies

    @property
    def damage(self) -> Sequence[str]:
        """See Source; images that cannot be read are in the tallies."""
        unread = [f"{len(why)} of {topic} cannot be read: {why[0]}" for topic, why in self._unread.items()]
        return [*self._bag.damage, *unread]

    def frames(self, keep: Keep | None) -> Iterator[Recorded]:
        """See Source."""
        decoder, transforms = Decoder(), TransformTree()
        cameras: list[Camera] = []
        newest = 0
        for record in self._bag.records(None if keep else self._needed()):
            if not cameras:
                cameras = self._start(transforms, record.time)
            newest = max(newest, record.time)
            if keep is not None:
                keep(record)
            for camera in cameras:
                yield from camera.due(record.time)
            yield from self._hear(record, decoder, cameras, transforms)
        for camera in cameras:
            yield from camera.due(newest + camera.patience)

    def _hear(
        self, record: Record, decoder: Decoder, cameras: Sequence[Camera], transforms: TransformTree
    ) -> Iterator[Recorded]:
        topic = record.channel.topic
        concerned = [camera for camera in cameras if topic in _topics(camera.topics)]
        if not concerned and topic not in self._tf:
            return
        try:
            message = decoder.message(record)
        except Undecodable as error:
            showing = [camera for camera in concerned if topic == camera.topics.image]
            for camera in showing:
                camera.refuse(str(error))
            if not showing:
                self._unread.setdefault(topic, []).append(str(error))
            return
        if record.channel.type == TRANSFORMS:
            _note_transforms(message, topic, transforms)
            return
        for camera in concerned:
            yield from camera.hear(topic, message, record.time)

    def _start(self, transforms: TransformTree, began: int) -> list[Camera]:
        made = [
            Camera(each, self._settings, self._pairing, transforms, self._fixed, began, self._follow)
            for each in self.cameras
        ]
        self._tallies.update({camera.topics.name: camera.tally for camera in made})
        return made

    def _needed(self) -> set[str]:
        tf = self._tf if self._settings.target_frame else []
        return {topic for each in self.cameras for topic in _topics(each)} | set(tf)


def _topics(camera: CameraTopics) -> set[str]:
    return {camera.image, camera.depth, camera.camera_info, camera.pose} - {""}


def _note_transforms(message: Any, topic: str, transforms: TransformTree) -> None:
    for each in message.transforms:
        stamp, parent = header_of(each)
        try:
            pose = pose_of(each)
        except ValueError:  # not finite: as if it had not been sent
            continue
        transforms.add(each.child_frame_id, parent, stamp, pose, static=topic.endswith("tf_static"))

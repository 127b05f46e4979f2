"""Which topics of a recording are cameras, and which depth and camera model belong to each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile

from qwenvl_ros.bags import Decoder, Topic, Undecodable
from qwenvl_ros.replay.frames import InputSettings
from qwenvl_ros.replay.messages import CAMERA_INFO, COMPRESSED, IMAGE, POSE, header_of, is_depth

NONE = "none"
SAMPLED = (IMAGE, COMPRESSED, CAMERA_INFO)  # types whose first message tells what a topic holds
_TRANSPORTS = ("/compressed", "/compressedDepth")
_OURS = "/annotated/compressed"  # pictures of a node that ran while it was recorded


class NoCamera(ValueError):
    """There is no such image topic; the message tells which there are."""


@dataclass(frozen=True, slots=True)
class CameraTopics:
    """The topics of one camera; "" where it has none."""

    name: str
    image: str
    depth: str = ""
    camera_info: str = ""
    pose: str = ""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the first message of a topic says: the frame it is in, and whether it is a depth image."""

    type: str
    frame: str = ""
    depth: bool = False
    readable: bool = True


def choose(topics: Mapping[str, Topic], settings: InputSettings) -> list[CameraTopics]:
    """The cameras that the settings want, or all that there are, with what belongs to each.

    Depth belongs to a picture in whose frame it is: then it is registered to it. Pictures that this package drew, and
    those that are there as plain images too, are no cameras of their own.

    Raises:
        NoCamera: a topic is not there or of another type, or there is no picture at all.
    """
    kinds = _kinds(topics)
    if settings.topics:
        for name in settings.topics:
            _check(name, topics, (IMAGE, COMPRESSED))
        images = list(dict.fromkeys(settings.topics))
    else:
        images = sorted(_pictures(kinds))
    if not images:
        raise NoCamera(f"there is no image in it; its topics are: {_listed(topics)}")
    depths = _given("depth", settings.depth, images, topics, (IMAGE, COMPRESSED))
    infos = _given("camera_info", settings.camera_info, images, topics, (CAMERA_INFO,))
    poses = _given("pose_topic", settings.pose_topic, images, topics, (POSE,))
    return [
        CameraTopics(
            name,
            image,
            depths.get(image, _depth_of(image, kinds)),
            infos.get(image, _info_of(image, kinds)),
            poses.get(image, ""),
        )
        for name, image in _named(images).items()
    ]


def _kinds(topics: Mapping[str, Topic]) -> dict[str, _Kind]:
    decoder, kinds = Decoder(), {}
    for name, topic in topics.items():
        kind = topic.channel.type
        if topic.first is None:
            continue
        try:
            message = decoder.message(topic.first)
        except Undecodable:  # the others may be better
            kinds[name] = _Kind(kind, readable=False)
            continue
        _, frame = header_of(message)
        kinds[name] = _Kind(kind, frame, kind != CAMERA_INFO and is_depth(message))
    return kinds


def _pictures(kinds: Mapping[str, _Kind]) -> list[str]:
    pictures = {name for name, kind in kinds.items() if kind.type in (IMAGE, COMPRESSED) and not kind.depth}
    return [
        name
        for name in pictures
        if not name.endswith(_OURS)
        and not (kinds[name].type == COMPRESSED and _plain(name) != name and _plain(name) in pictures)
    ]


def _depth_of(image: str, kinds: Mapping[str, _Kind]) -> str:
    own = kinds.get(image)
    if own is None or not own.readable:
        return ""
    found = [name for name, kind in kinds.items() if kind.depth and kind.frame == own.frame and name != image]
    return _nearest(image, found)


def _info_of(image: str, kinds: Mapping[str, _Kind]) -> str:
    infos = {name: kind for name, kind in kinds.items() if kind.type == CAMERA_INFO}
    beside = "/".join([*_plain(image).split("/")[:-1], "camera_info"])
    if beside in infos:
        return beside
    frame = kinds[image].frame if image in kinds else ""
    return _nearest(image, [name for name, kind in infos.items() if frame and kind.frame == frame])


def _nearest(image: str, names: Iterable[str]) -> str:
    """The name that has most of its beginning in common with the image's, the shorter first; "" of none."""

    def apart(name: str) -> tuple[int, int, str]:
        pairs = zip(name.split("/"), image.split("/"), strict=False)
        return (-len(list(takewhile(lambda pair: pair[0] == pair[1], pairs))), len(name), name)

    return min(names, key=apart, default="")


def _given(
    option: str,
    names: tuple[str, ...],
    images: list[str],
    topics: Mapping[str, Topic],
    types: tuple[str, ...],
) -> dict[str, str]:
    """Topics that were given one for each image, by image; `none` is ""."""
    if not names:
        return {}
    if names == (NONE,):
        names = (NONE,) * len(images)
    if len(names) != len(images):
        raise NoCamera(
            f"{option} = {', '.join(names)} are {len(names)} for {len(images)} image topics ({', '.join(images)}); "
            "give as many, `none` where there is none"
        )
    for name in names:
        if name != NONE:
            _check(name, topics, types)
    return {image: "" if name == NONE else name for image, name in zip(images, names, strict=True)}


def _check(name: str, topics: Mapping[str, Topic], types: tuple[str, ...]) -> None:
    if name not in topics:
        raise NoCamera(f"there is no topic {name} in it; its topics are: {_listed(topics)}")
    if topics[name].channel.type not in types:
        raise NoCamera(f"{name} is of type {topics[name].channel.type}, not {' or '.join(types)}")


def _listed(topics: Mapping[str, Topic]) -> str:
    listed = [f"{name} ({each.channel.type}, {each.count})" for name, each in sorted(topics.items())]
    return ", ".join(listed) or "none"


def _named(images: list[str]) -> dict[str, str]:
    """A name for each camera, after its topic: camera_color of /camera/color/image_raw."""
    named: dict[str, str] = {}
    for image in images:
        parts = [part for part in _plain(image).split("/") if part]
        if len(parts) > 1 and parts[-1].startswith("image"):
            parts.pop()
        base = (
            re.sub(r"\W", "_", "_".join(parts)) if parts and not parts[-1].startswith("image") else "camera"
        )
        name, copy = base, 2
        while name in named:
            name, copy = f"{base}_{copy}", copy + 1
        named[name] = image
    return named


def _plain(topic: str) -> str:
    """The topic without its transport."""
    for transport in _TRANSPORTS:
        topic = topic.removesuffix(transport)
    return topic

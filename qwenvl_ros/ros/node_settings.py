"""Everything the node can be told, as one frozen object; parameter names, values and checks come from here.

A setting marked read_only builds the model or the subscriptions, so its parameter can change only while the node is
unconfigured; all others take effect with the next frame.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qwenvl_ros import geometry
from qwenvl_ros.backends import EngineSettings
from qwenvl_ros.clips import ClipSettings
from qwenvl_ros.images import MAX_PIXELS
from qwenvl_ros.pairing import PairingSettings
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.scheduling import Limits
from qwenvl_ros.settings import build as filled
from qwenvl_ros.settings import fault, leaves, setting
from qwenvl_ros.tracking import TrackingSettings
from qwenvl_ros.types import Pose
from qwenvl_ros.zoo import ModelSettings

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class NodeSettings:
    """What belongs to the node itself."""

    cameras: tuple[str, ...] = setting(
        ("camera",), "Names of the cameras; each has parameters of its own.", read_only=True
    )
    target_frame: str = setting(
        "",
        "Frame of positions and relations (x forward, y left, z up); '' = each camera's own.",
        read_only=True,
    )
    autostart: bool = setting(True, "Configure and activate at start.", read_only=True)
    self_test: bool = setting(
        False,
        "Ask the engine about known scenes at configure; a broken one, which shifts boxes say, is refused.",
        read_only=True,
    )
    max_image_pixels: int = setting(
        MAX_PIXELS, "A larger camera image is refused.", unit="pixels", minimum=1, maximum=2**31 - 1
    )
    clip: ClipSettings = field(default_factory=ClipSettings)


@dataclass(frozen=True)
class CameraSettings:
    """What belongs to one camera; its parameters' names begin with the camera's."""

    image_topic: str = setting(
        "", "Images; '' = <camera>/image_raw, and /compressed after it with that transport.", read_only=True
    )
    depth_topic: str = setting(
        "",
        "Depth images, registered to the images unless depth_info_topic is given; '' = none: scenes are 2D.",
        read_only=True,
    )
    depth_info_topic: str = setting(
        "",
        "CameraInfo of depth that is not registered; it is then laid onto the images. '' = it is registered.",
        read_only=True,
    )
    depth_pose: str = setting(
        "",
        "Pose 'x y z qx qy qz qw' of the depth's optical frame in the images', metres; '' = the same place.",
        read_only=True,
    )
    depth_rectified: bool = setting(
        False,
        "The depth of depth_info_topic is rectified, as of stereo: P of its CameraInfo holds, without distortion.",
        read_only=True,
    )
    camera_info_topic: str = setting(
        "", "CameraInfo, needed with depth; '' = camera_info beside the image topic.", read_only=True
    )
    transport: str = setting(
        "raw",
        "Whether images come as Image or as CompressedImage; depth by what its topic's name says.",
        choices=("raw", "compressed"),
        read_only=True,
    )
    reliability: str = setting(
        "best_effort",
        "QoS of the subscriptions; best_effort hears every publisher.",
        choices=("best_effort", "reliable"),
        read_only=True,
    )
    rate_hz: float = setting(
        0.0, "Most images sent to the model per second; 0 = no limit.", unit="Hz", minimum=0.0, maximum=1000.0
    )
    rectified: bool = setting(
        False, "The images are rectified: P of CameraInfo holds, without distortion.", read_only=True
    )
    pose: str = setting(
        "",
        "Fixed pose 'x y z qx qy qz qw' of the optical frame in target_frame, metres.",
        read_only=True,
    )
    pose_topic: str = setting(
        "",
        "PoseStamped of the optical frame in target_frame, as often as images; without it and `pose`, tf is asked.",
        read_only=True,
    )


# Groups of parameters without a camera: settings, and fields that are not parameters here.
GROUPS: Mapping[str, tuple[type[Any], tuple[str, ...]]] = {
    "node": (NodeSettings, ()),
    "model": (ModelSettings, ()),
    "engine": (EngineSettings, ()),
    "limits": (Limits, ("rate_hz",)),
    "pairing": (PairingSettings, ()),
    "perception": (PerceptionSettings, ()),
    "tracking": (TrackingSettings, ()),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One parameter: its name and the settings field that it fills."""

    name: str
    field: dataclasses.Field[Any]

    @property
    def read_only(self) -> bool:
        """Whether it can change only while the node is unconfigured."""
        return bool(self.field.metadata["read_only"])


@dataclass(frozen=True)
class Settings:
    """Everything the node was told, checked."""

    node: NodeSettings
    model: ModelSettings
    engine: EngineSettings
    limits: Limits
    pairing: PairingSettings
    perception: PerceptionSettings
    tracking: TrackingSettings
    cameras: Mapping[str, CameraSettings] = field(default_factory=dict)

    def limits_of(self, camera: str) -> Limits:
        """The limits of one camera's frames."""
        return dataclasses.replace(self.limits, rate_hz=self.cameras[camera].rate_hz)


def entries() -> list[Entry]:
    """The parameters that do not belong to a camera."""
    return [
        Entry(name, each)
        for settings, left_out in GROUPS.values()
        for name, each in leaves(settings)
        if name not in left_out
    ]


def camera_entries(camera: str) -> list[Entry]:
    """The parameters of one camera."""
    return [Entry(f"{camera}.{each.name}", each) for each in dataclasses.fields(CameraSettings)]


def camera_names(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The cameras that parameter values name; those with an impossible name are left out (and are a problem)."""
    names = values.get("cameras", NodeSettings().cameras)
    return tuple(dict.fromkeys(name for name in names if _NAME.fullmatch(name)))


def build(values: Mapping[str, Any]) -> Settings:
    """The settings of parameter values by name; those not given have their defaults."""

    groups = {
        group: filled(settings, {name: value for name, value in values.items() if name not in left_out})
        for group, (settings, left_out) in GROUPS.items()
    }
    cameras = {name: filled(CameraSettings, values, f"{name}.") for name in camera_names(values)}
    return Settings(**groups, cameras=cameras)


def problems(values: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with parameter values, by parameter name; empty = nothing."""
    return dict(_problems(values))


def topics(camera: str, settings: CameraSettings) -> dict[str, str]:
    """The topics of one camera by kind: image; depth, camera_info, depth_info and pose where it has them."""
    image = settings.image_topic or f"{camera}/image_raw"
    base = image.removesuffix("/compressed")
    found = {"image": f"{base}/compressed" if settings.transport == "compressed" else image}
    if settings.depth_topic:
        beside = "/".join([*base.split("/")[:-1], "camera_info"])
        found |= {"depth": settings.depth_topic, "camera_info": settings.camera_info_topic or beside}
        if settings.depth_info_topic:
            found["depth_info"] = settings.depth_info_topic
    if settings.pose_topic:
        found["pose"] = settings.pose_topic
    return found


def fixed_pose(text: str) -> Pose | None:
    """The pose of a `pose` parameter; None where it is empty.

    Raises:
        ValueError: not seven finite numbers with a quaternion.
    """
    if not text.strip():
        return None
    numbers = [float(word) for word in text.replace(",", " ").split()]
    if len(numbers) != 7:
        raise ValueError(f"it holds {len(numbers)} numbers, not the 7 of 'x y z qx qy qz qw'")
    return geometry.pose(numbers[:3], numbers[3:])


def _problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    cameras = camera_names(values)
    for entry in [*entries(), *(each for name in cameras for each in camera_entries(name))]:
        if entry.name not in values:
            continue
        value, default = values[entry.name], entry.field.default
        if type(value) is not type(default):
            yield entry.name, f"{entry.name} must be {_kind(default)}, not {value!r}"
        elif reason := fault(entry.field, value, entry.name):
            yield entry.name, reason
    yield from _camera_problems(values, cameras)


def _camera_problems(values: Mapping[str, Any], cameras: Sequence[str]) -> Iterator[tuple[str, str]]:
    given = values.get("cameras", NodeSettings().cameras)
    groups = {entry.name.partition(".")[0] for entry in entries() if "." in entry.name}
    if not given:
        yield "cameras", "cameras is empty; name at least one"
    elif len(cameras) != len(given) or groups & set(cameras):
        yield "cameras", f"cameras = {list(given)}: names are letters, digits and _, each given once"
    for name in cameras:
        poses: dict[str, Pose | None] = {}
        for which in ("pose", "depth_pose"):
            text = values.get(f"{name}.{which}", "")
            try:
                poses[which] = fixed_pose(text)
            except ValueError as error:
                yield f"{name}.{which}", f"{name}.{which} = {text!r} cannot be read: {error}"
        topic = values.get(f"{name}.pose_topic", "")
        if poses.get("pose") is not None and topic:
            yield f"{name}.pose", f"{name}.pose and {name}.pose_topic are both given; leave one out"
        if (poses.get("pose") is not None or topic) and not values.get("target_frame"):
            yield (
                "target_frame",
                f"the pose of {name} is given, but target_frame does not say in which frame",
            )
        for which, needed in (("depth_info_topic", "depth_topic"), ("depth_pose", "depth_info_topic")):
            if values.get(f"{name}.{which}") and not values.get(f"{name}.{needed}"):
                yield f"{name}.{which}", f"{name}.{which} is given without {name}.{needed}; give that as well"


def _kind(default: Any) -> str:
    names = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        tuple: "a list of texts",
    }
    return names[type(default)]

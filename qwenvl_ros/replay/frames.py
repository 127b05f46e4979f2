"""What a source gives: frames with the time of their recording, and how many came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from qwenvl_ros.bags import Record
from qwenvl_ros.scheduling import Limits, next_due
from qwenvl_ros.settings import setting
from qwenvl_ros.types import Frame

_JUMP_BACK_NS = round(Limits().jump_back * 1e9)

Keep = Callable[[Record], None]  # takes what was recorded, for the output


@dataclass(frozen=True)
class InputSettings:
    """Which images of a source are looked at, and what belongs to them."""

    topics: tuple[str, ...] = setting((), "Image topics; none means all that hold pictures.")
    depth: tuple[str, ...] = setting(
        (),
        "Depth topics, one for each of `topics` in their order, or none; without it those in the frame of the images.",
    )
    camera_info: tuple[str, ...] = setting(
        (), "CameraInfo topics, likewise; without it those beside the images."
    )
    rate: float = setting(
        0.0,
        "Most images of a camera that are looked at, per second of their stamps; 0 = every one.",
        unit="Hz",
        minimum=0.0,
        maximum=1000.0,
    )
    rectified: bool = setting(False, "The images are rectified: P of CameraInfo holds, without distortion.")
    target_frame: str = setting(
        "",
        "Frame of positions and relations (x forward, y left, z up), by the recording's tf; '' = each camera's own.",
    )
    pose: str = setting("", "Fixed pose 'x y z qx qy qz qw' of the optical frame in target_frame, metres.")
    pose_topic: tuple[str, ...] = setting(
        (),
        "PoseStamped topics of the optical frames in target_frame, one for each of `topics`, instead of tf.",
    )
    fps: float = setting(
        10.0, "Images per second of a folder of images.", unit="Hz", minimum=0.001, maximum=1000.0
    )


@dataclass(frozen=True, slots=True)
class Recorded(Frame):
    """A frame of a source.

    time: of its recording, nanoseconds. note: what is missing of it and why. keyframe: whether the model looks at it;
    other frames there are only where objects are followed.
    """

    time: int = 0
    note: str = ""
    keyframe: bool = True


@dataclass
class Tally:
    """What became of one camera's images. refused and without_depth: by their reasons."""

    images: int = 0
    too_soon: int = 0  # for the rate
    without_stamp: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    without_depth: Counter[str] = field(default_factory=Counter)
    with_depth: int = 0


class Beat:
    """Lets through at most `rate` images a second of their stamps, nanoseconds; 0 = all. Far back it starts anew."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._newest: int | None = None
        self._due: int | None = None

    def takes(self, stamp: int) -> bool:
        if not self._rate:
            return True
        if self._newest is not None and stamp < self._newest - _JUMP_BACK_NS:
            self._newest = self._due = None
        self._newest = stamp if self._newest is None else max(stamp, self._newest)
        if self._due is not None and stamp < self._due:
            return False
        self._due = next_due(stamp, self._due, self._rate)
        return True


class Source(Protocol):
    """A recording, a video or a folder of images.

    expected: how many images there should be, None if nobody knows. tallies: by camera, as it is read. damage: what
    could not be read and why.
    """

    @property
    def expected(self) -> int | None: ...

    @property
    def tallies(self) -> Mapping[str, Tally]: ...

    @property
    def damage(self) -> Sequence[str]: ...

    def frames(self, keep: Keep | None) -> Iterator[Recorded]:
        """The frames to look at, in their order. keep: is given all that was recorded, also what is not looked at."""
        ...

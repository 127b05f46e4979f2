"""The last seconds of a camera, for questions about what happened: sampled, laid out for the model, bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from qwenvl_ros import grounding
from qwenvl_ros.backends import Clip
from qwenvl_ros.grounding import Placement
from qwenvl_ros.settings import setting
from qwenvl_ros.types import Frame, Image
from qwenvl_ros.zoo import Model

_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class ClipSettings:
    """What is kept of each camera for questions about a clip."""

    window: float = setting(
        10.0,
        "Longest clip that ~/ask can be asked about; so much is kept of each camera. 0 = nothing is.",
        unit="s",
        minimum=0.0,
        maximum=600.0,
    )
    rate_hz: float = setting(
        2.0,
        "Frames of a clip per second; more show faster things, for more tokens. Qwen3-VL's own processor takes 2.",
        unit="Hz",
        minimum=0.01,
        maximum=30.0,
    )
    max_pixels: int = setting(
        256 * 1024,
        "Most pixels of a frame in a clip, within the model's own limits; two frames take a token per 1024.",
        unit="pixels",
        minimum=16 * 1024,
        maximum=2**26,
    )
    memory: float = setting(
        64.0,
        "Most that is kept of each camera; beyond it the oldest frames go and clips are shorter.",
        unit="MB",
        minimum=1.0,
        maximum=65536.0,
    )


@dataclass(frozen=True, slots=True)
class Footage:
    """Frames of one camera, oldest first: stamps in nanoseconds, canvases as `placement` lays them out."""

    placement: Placement
    stamps: Sequence[int]
    canvases: Sequence[Image]

    @property
    def seconds(self) -> float:
        """From the first frame to the last."""
        return (self.stamps[-1] - self.stamps[0]) / 1e9

    def covers(self, seconds: float) -> bool:
        """Whether they reach back so far, give or take a frame."""
        gap = max((later - earlier for earlier, later in pairwise(self.stamps)), default=0)
        return self.seconds + 1.5 * gap / 1e9 >= seconds

    def clip(self) -> Clip:
        """For a request; copies the frames."""
        return Clip(np.stack(self.canvases), [(stamp - self.stamps[0]) / 1e9 for stamp in self.stamps])


class Film:
    """What is kept of one camera. Frames come in the order of their stamps; a looped bag starts with a new Film."""

    def __init__(self) -> None:
        self._kept: deque[tuple[int, Image]] = deque()
        self._placement: Placement | None = None
        self._due = 0  # stamp from which the next frame is kept

    def add(self, frame: Frame, model: Model, settings: ClipSettings) -> None:
        """Keep a frame if it is time for one, and drop what is too old or too much."""
        period = round(1e9 / settings.rate_hz)
        if not settings.window:
            self._kept.clear()
        elif frame.stamp >= self._due or self._due - frame.stamp > period:  # due at a slower rate
            # On a beat, so that jitter of the camera does not lower the rate.
            on_beat = 0 <= frame.stamp - self._due < period
            self._due = (self._due if on_beat else frame.stamp) + period
            self._lay_out(frame, model, settings)
            self._kept.append((frame.stamp, self._canvas(frame)))
        oldest = frame.stamp - round(settings.window * 1e9)
        most = max(1, int(settings.memory * _MEGABYTE) // self._kept[0][1].nbytes) if self._kept else 0
        while self._kept and (self._kept[0][0] < oldest or len(self._kept) > most):
            self._kept.popleft()

    def last(self, seconds: float, newest: Frame, model: Model, settings: ClipSettings) -> Footage:
        """The frames of the last so many seconds before the newest frame, and that one."""
        self._lay_out(newest, model, settings)
        assert self._placement is not None
        oldest = newest.stamp - round(seconds * 1e9)
        kept = [each for each in self._kept if oldest <= each[0] < newest.stamp]
        stamps, canvases = zip(*kept, (newest.stamp, self._canvas(newest)), strict=True)
        return Footage(self._placement, stamps, canvases)

    def _lay_out(self, frame: Frame, model: Model, settings: ClipSettings) -> None:
        """Frames of a clip are of one size: after a change of the camera or the settings it starts anew."""
        rules = model.limited(settings.max_pixels).pixels
        placement = grounding.place(frame.width, frame.height, rules)
        if placement != self._placement:
            self._kept.clear()
            self._placement = placement

    def _canvas(self, frame: Frame) -> Image:
        assert self._placement is not None
        canvas = self._placement.apply(frame.image)
        return canvas.copy() if canvas is frame.image else canvas  # a whole message would be kept

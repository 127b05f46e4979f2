"""A camera's images and depth images brought together by their stamps, without ever holding the camera up."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from qwenvl_ros.settings import setting
from qwenvl_ros.types import Depth, Frame, Intrinsics

ImageT = TypeVar("ImageT")
DepthT = TypeVar("DepthT")
FrameT = TypeVar("FrameT", bound=Frame)

ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True)
class PairingSettings:
    """How images find what belongs to them."""

    depth_tolerance: float = setting(
        0.02, "Most difference of the stamps of an image and its depth.", unit="s", minimum=0.0, maximum=1.0
    )
    depth_patience: float = setting(
        0.1, "An image waits this long for its depth, then goes without.", unit="s", minimum=0.0, maximum=2.0
    )
    pose_patience: float = setting(
        0.2,
        "An image waits this long for its pose in target_frame, then its positions are the camera's own.",
        unit="s",
        minimum=0.0,
        maximum=2.0,
    )


@dataclass(frozen=True, slots=True)
class Pair(Generic[ImageT, DepthT]):
    """An image with its depth, or without and why."""

    image: ImageT
    depth: DepthT | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[ImageT]):
    stamp: int
    since: float
    image: ImageT


def joined(frame: FrameT, depth: Depth, info: Intrinsics | None, missing: str) -> tuple[FrameT, str]:
    """The frame with its depth and camera model; or as it is, and why they cannot belong to it.

    Other sizes of the same shape are the same view, scaled. missing: why there is no info, where there is none.
    Depth without any return is told as well.
    """
    if info is None:
        return frame, f"no depth: {missing}"
    for what, width, height in (
        ("depth", depth.shape[1], depth.shape[0]),
        ("CameraInfo", info.width, info.height),
    ):
        if not same_shape((width, height), (frame.width, frame.height)):
            sizes = f"{what} is {width}x{height}, the image {frame.width}x{frame.height}"
            return frame, (
                f"no depth: {sizes}; use the depth that is registered to this image, or give its own CameraInfo "
                "(depth_info_topic)"
            )
    empty = (
        "no depth: it holds no return; is all nearer than the sensor can measure, its emitter off or covered?"
    )
    return replace(frame, depth=depth, intrinsics=info), "" if np.isfinite(depth).any() else empty


def same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether sizes (width, height) can be of one view."""
    return abs(size[0] * other[1] / (size[1] * other[0]) - 1.0) <= ASPECT_TOLERANCE


class Pairing(Generic[ImageT, DepthT]):
    """Images and depth images of one camera; stamps in nanoseconds, `now` in seconds of a steady clock.

    Each call returns the pairs that are ready. An image goes on as soon as its depth is there and no nearer one is due;
    without depth when it has waited too long, when depth moved past it, or at once when another has waited in vain and
    no depth came for `SILENCE` seconds.

    expected_since: when depth is known to come, as in a recording, the time from which it is waited for.
    """

    CAPACITY = 8  # depth images that are kept however long ago they were
    KEPT = 500_000_000  # nanoseconds for which all depth is kept
    MOST = 64  # depth images that are kept, and images that wait
    SILENCE = 1.0
    JUMP_BACK = 500_000_000

    def __init__(self, settings: PairingSettings, expected_since: float | None = None) -> None:
        self.settings = settings
        self._images: deque[_Waiting[ImageT]] = deque()
        self._depths: deque[tuple[int, DepthT]] = deque(maxlen=self.MOST)
        self._depth_seen: float | None = expected_since
        self._in_vain = False  # an image waited, and no depth has come since
        self._newest_image: int | None = None

    def add_image(self, stamp: int, image: ImageT, now: float) -> list[Pair[ImageT, DepthT]]:
        """An image arrived."""
        if self._newest_image is not None and stamp < self._newest_image - self.JUMP_BACK:
            # Depth of the new time may have come before its image.
            known = [each for each in self._depths if each[0] <= stamp + self.JUMP_BACK]
            self._depths = deque(known, maxlen=self.MOST)
        self._newest_image = stamp
        self._images.append(_Waiting(stamp, now, image))
        return self.due(now)

    def add_depth(self, stamp: int, depth: DepthT, now: float) -> list[Pair[ImageT, DepthT]]:
        """A depth image arrived."""
        if self._depths and stamp < self._depths[-1][0] - self.JUMP_BACK:
            self._depths.clear()
        self._depths.append((stamp, depth))
        while len(self._depths) > self.CAPACITY and self._depths[0][0] < stamp - self.KEPT:
            self._depths.popleft()
        self._depth_seen, self._in_vain = now, False
        return self.due(now)

    def due(self, now: float) -> list[Pair[ImageT, DepthT]]:
        """What is ready by now; call it often enough that patience means something."""
        ready: list[Pair[ImageT, DepthT]] = []
        held: deque[_Waiting[ImageT]] = deque()
        for waiting in self._images:
            pair = self._settle(waiting, now)
            if pair is None:
                held.append(waiting)
            else:
                ready.append(pair)
        while len(held) > self.MOST:
            reason = "no depth: too many images wait for theirs; lower depth_patience or the camera's rate"
            ready.append(Pair(held.popleft().image, None, reason))
        self._images = held
        return ready

    def clear(self) -> None:
        """Forget everything."""
        self._images.clear()
        self._depths.clear()
        self._depth_seen, self._in_vain, self._newest_image = None, False, None

    def _settle(self, waiting: _Waiting[ImageT], now: float) -> Pair[ImageT, DepthT] | None:
        if self._depths:
            stamp, depth = min(self._depths, key=lambda each: abs(each[0] - waiting.stamp))
            apart = (stamp - waiting.stamp) / 1e9
            if abs(apart) <= self.settings.depth_tolerance:
                patient = now - waiting.since < self.settings.depth_patience
                return (
                    None if patient and self._nearer_due(waiting.stamp, stamp) else Pair(waiting.image, depth)
                )
            if self._depths[0][0] > waiting.stamp and len(self._depths) >= self.CAPACITY:
                reason = (
                    f"no depth: all that is kept is of after the image, by {apart:.3f} s or more; do images come that "
                    "late, or do clocks differ?"
                )
                return Pair(waiting.image, None, reason)
            if self._depths[-1][0] > waiting.stamp:
                reason = (
                    f"no depth: the nearest is {apart:+.3f} s off, depth_tolerance is "
                    f"{self.settings.depth_tolerance} s; raise it, or have the driver synchronise image and depth"
                )
                return Pair(waiting.image, None, reason)
        if self._depth_seen is None:
            return Pair(waiting.image, None, "no depth: none has arrived yet; check depth_topic and its QoS")
        silent = now - self._depth_seen
        if silent > self.SILENCE and self._in_vain:
            return Pair(
                waiting.image, None, f"no depth: the last one came {silent:.1f} s ago; check the depth camera"
            )
        if now - waiting.since >= self.settings.depth_patience:
            self._in_vain = True
            reason = (
                f"no depth within {self.settings.depth_patience} s; raise depth_patience if depth comes later"
            )
            return Pair(waiting.image, None, reason)
        return None

    def _nearer_due(self, image: int, nearest: int) -> bool:
        """Whether the next depth, should it keep the beat of the last two, is nearer to an image than any yet."""
        if len(self._depths) < 2 or self._depths[-1][0] >= image:
            return False
        before, last = self._depths[-2][0], self._depths[-1][0]
        return abs(2 * last - before - image) < abs(nearest - image)

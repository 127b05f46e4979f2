"""Which camera frame goes to the model next: one newest-wins slot per camera, rate and age limits.

A waiting frame is replaced by a newer one of the same camera, and every frame that is not taken is counted
with its reason. The clock is injected (ROS time in the node, a plain function in tests), so replayed bags and
simulated time work, and so does time that jumps back.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum

from qwenvl_ros.settings import setting, validate
from qwenvl_ros.types import Frame


class Drop(str, Enum):
    """Why a frame never reached the model."""

    REPLACED = "replaced by a newer frame"
    LATE = "out of order: older than the frame before it"
    RATE = "faster than rate_hz"
    AGE = "older than max_age"
    FUTURE = (
        "stamped more than max_age ahead of the clock: is use_sim_time on without a /clock, or a clock wrong?"
    )
    RESET = "waiting when time jumped back"
    CLEARED = "waiting when the slots were cleared"


@dataclass(frozen=True)
class Limits:
    """How often and how late a camera's frames may reach the model."""

    rate_hz: float = setting(
        0.0, "Most frames of a camera sent to the model per second; 0 = no limit.", unit="Hz", minimum=0.0
    )
    max_age: float = setting(
        1.0,
        "A frame older than this when its turn comes is not sent to the model; 0 = no limit.",
        unit="s",
        minimum=0.0,
    )
    jump_back: float = setting(
        0.5, "Stamps or the clock going back by more than this means a looped bag.", unit="s", minimum=0.0
    )


@dataclass(frozen=True, slots=True)
class Put:
    """Whether the frame now waits, what was dropped by this call, and whether time jumped back for its camera."""

    accepted: bool
    dropped: tuple[Drop, ...] = ()
    time_jumped_back: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """One camera since the start; received = taken + waiting + the sum of dropped, always."""

    received: int
    taken: int
    waiting: bool
    dropped: Mapping[Drop, int]


@dataclass(slots=True)
class _Camera:
    waiting: Frame | None = None
    arrival: int = 0
    turn: int = 0  # number of the last turn it had; 0 = none yet
    newest_stamp: int | None = None
    due: int | None = None  # clock time from which rate_hz allows the next frame
    jumped: bool = False  # the clock jumped back and put() has not told yet
    received: int = 0
    taken: int = 0
    drops: Counter[Drop] = field(default_factory=Counter)

    def drop(self, reason: Drop) -> Drop:
        self.drops[reason] += 1
        return reason

    def reset(self, reason: Drop) -> tuple[Drop, ...]:
        """Forget the stamps and drop what waits."""
        dropped = () if self.waiting is None else (self.drop(reason),)
        self.waiting = self.newest_stamp = self.due = None
        return dropped


class Slots:
    """Newest-wins slots, one per camera; safe to use from several threads.

    Args:
        limits: of cameras that have none of their own.
        per_camera: limits by camera name.
        now: the clock of the stamps, integer nanoseconds (ROS time in a node).

    Raises:
        SettingError: a limit is out of range.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        per_camera: Mapping[str, Limits] | None = None,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self._limits = limits or Limits()
        self._per_camera = dict(per_camera or {})
        for each in (self._limits, *self._per_camera.values()):
            validate(each)
        self._clock = now
        self._last_now: int | None = None
        self._cameras: dict[str, _Camera] = {}
        self._turns = 0
        self._arrivals = 0
        self._lock = threading.RLock()

    def put(self, frame: Frame) -> Put:
        """Offer a frame: it waits, replacing an older one, unless it is out of order, too soon, or too old.

        When the clock, or the stamps of this camera, went back by more than `jump_back`, the camera starts
        afresh and `time_jumped_back` tells the caller to reset its tracks.
        """
        with self._lock:
            now = self._now()
            camera = self._cameras.setdefault(frame.camera, _Camera())
            limits = self._limits_of(frame.camera)
            camera.received += 1
            jumped, camera.jumped = camera.jumped, False
            unfit = _unfit(frame, limits, now)
            if unfit is not None:
                return Put(False, (camera.drop(unfit),), jumped)
            dropped: tuple[Drop, ...] = ()
            behind = 0 if camera.newest_stamp is None else camera.newest_stamp - frame.stamp
            if behind > _nanoseconds(limits.jump_back):
                jumped, dropped = True, camera.reset(Drop.RESET)
            elif behind > 0:
                return Put(False, (camera.drop(Drop.LATE),), jumped)
            camera.newest_stamp = frame.stamp
            if camera.waiting is not None:
                dropped += (camera.drop(Drop.REPLACED),)  # and the newer frame keeps its place in the queue
            elif limits.rate_hz > 0 and camera.due is not None and now < camera.due:
                return Put(False, (*dropped, camera.drop(Drop.RATE)), jumped)
            else:
                self._arrivals += 1
                camera.arrival = self._arrivals
            camera.waiting = frame
            return Put(True, dropped, jumped)

    def take(self, limit: int = 1, busy: Collection[str] = ()) -> list[Frame]:
        """Up to `limit` waiting frames, one per camera that is not busy, the camera longest without a turn first.

        A waiting frame that is too old by now is dropped and counted.
        """
        with self._lock:
            now = self._now()
            taken: list[Frame] = []
            waiting = [
                (name, camera)
                for name, camera in self._cameras.items()
                if camera.waiting is not None and name not in busy
            ]
            for name, camera in sorted(waiting, key=lambda each: (each[1].turn, each[1].arrival)):
                if len(taken) >= limit:
                    break
                frame, camera.waiting = camera.waiting, None
                assert frame is not None
                limits = self._limits_of(name)
                unfit = _unfit(frame, limits, now)
                if unfit is not None:
                    camera.drop(unfit)
                    continue
                camera.taken += 1
                self._turns += 1
                camera.turn = self._turns
                if limits.rate_hz > 0:
                    camera.due = next_due(now, camera.due, limits.rate_hz)
                taken.append(frame)
            return taken

    def clear(self) -> None:
        """Drop what waits and forget all stamps; the counts stay."""
        with self._lock:
            for camera in self._cameras.values():
                camera.reset(Drop.CLEARED)
            self._last_now = None

    def set_limits(self, limits: Limits, camera: str | None = None) -> None:
        """Change one camera's limits, or those of all that have none of their own, from the next call on.

        Raises:
            SettingError: a limit is out of range.
        """
        validate(limits)
        with self._lock:
            if camera is None:
                self._limits = limits
            else:
                self._per_camera[camera] = limits
            for state in self._cameras.values():
                state.due = None

    def counts(self) -> dict[str, Counts]:
        """What happened to every frame so far, by camera."""
        with self._lock:
            return {
                name: Counts(each.received, each.taken, each.waiting is not None, dict(each.drops))
                for name, each in self._cameras.items()
            }

    def _limits_of(self, camera: str) -> Limits:
        return self._per_camera.get(camera, self._limits)

    def _now(self) -> int:
        """The clock; when it jumped back, every camera starts afresh."""
        now, last = self._clock(), self._last_now
        self._last_now = now
        if last is not None:
            for name, camera in self._cameras.items():
                if last - now > _nanoseconds(self._limits_of(name).jump_back):
                    camera.reset(Drop.RESET)
                    camera.jumped = True
        return now


def next_due(now: int, due: int | None, rate_hz: float) -> int:
    """When the next frame may be taken after one was, now, that was due then (None: the first); nanoseconds.

    On a fixed beat, so that jitter of the camera does not lower the rate.
    """
    period = round(1e9 / rate_hz)
    beat = now if due is None else due
    return (beat if now - beat < period else now) + period


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _unfit(frame: Frame, limits: Limits, now: int) -> Drop | None:
    """Why the frame's stamp does not fit the clock, if so."""
    allowed = _nanoseconds(limits.max_age)
    if allowed and now - frame.stamp > allowed:
        return Drop.AGE
    if allowed and frame.stamp - now > allowed:
        return Drop.FUTURE
    return None

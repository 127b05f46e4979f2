"""The newest of each camera: its last image, its last scene that says anything, and its last seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from math import inf, isnan
from typing import Generic, TypeVar

from qwenvl_ros.clips import ClipSettings, Film, Footage
from qwenvl_ros.scheduling import Limits
from qwenvl_ros.types import Frame, Scene
from qwenvl_ros.zoo import Model

F = TypeVar("F", bound=Frame)

_JUMP_BACK_NS = round(Limits().jump_back * 1e9)
_ROUNDED = 1e-6  # by which a float32 of an action's goal may be off


class NotThere(LookupError):
    """What was asked for is not there, or too old; with the reason and the remedy."""


def age_limit(asked: float, default: float) -> float:
    """The oldest that will do, seconds: as asked, 0 being the default, and 0 as the default no limit.

    Raises:
        ValueError: not a number, or negative.
    """
    if isnan(asked) or asked < 0.0:
        raise ValueError(f"max_age = {asked:g} s must be 0 (the node's max_age) or more")
    return asked or default or inf


class Recent(Generic[F]):
    """Safe to use from several threads.

    now: the clock of the stamps, integer nanoseconds. model: lays out the frames of clips. clips: asked for each frame.
    """

    def __init__(
        self, now: Callable[[], int], model: Model, clips: Callable[[], ClipSettings] = ClipSettings
    ) -> None:
        self._now = now
        self._model = model
        self._clips = clips
        self._lock = threading.Lock()
        self._frames: dict[str, F] = {}
        self._films: dict[str, Film] = {}
        self._scenes: dict[str, Scene] = {}
        self._keyframes: dict[str, Scene] = {}  # that were answered
        self._failures: dict[str, Scene] = {}  # scenes after those that say nothing

    def add_frame(self, frame: F) -> None:
        """A frame that came; one that is older than the newest of its camera changes nothing."""
        with self._lock:
            newest = self._frames.get(frame.camera)
            if newest is None or frame.stamp > newest.stamp:
                self._frames[frame.camera] = frame
                self._films.setdefault(frame.camera, Film()).add(frame, self._model, self._clips())

    def add_scene(self, scene: Scene) -> None:
        """A scene that was made; a failure does not take back what was seen before it.

        Nor does a keyframe whose answer is later than the scenes that tracking made of newer images. What is told of an
        image from before time jumped back is forgotten.
        """
        with self._lock:
            newest = self._frames.get(scene.camera)
            if newest is not None and scene.stamp > newest.stamp + _JUMP_BACK_NS:
                return
            if scene.status.answered:
                if scene.keyframe:
                    self._keyframes[scene.camera] = scene
                held = self._scenes.get(scene.camera)
                if held is None or not scene.stamp < held.stamp <= self._now():
                    self._scenes[scene.camera] = scene
                self._failures.pop(scene.camera, None)
            else:
                self._failures[scene.camera] = scene

    def forget(self, camera: str) -> None:
        """After time jumped back nothing of before is true any more."""
        with self._lock:
            for each in (self._frames, self._films, self._scenes, self._keyframes, self._failures):
                each.pop(camera, None)

    def frame(self, camera: str, max_age: float) -> F:
        """The newest image of a camera, at most max_age seconds old.

        Raises:
            NotThere: none has come, or it is older.
        """
        with self._lock:
            newest = self._frames.get(camera)
        if newest is None:
            raise NotThere(f"no image of camera {camera} has come yet; /diagnostics says what is missing")
        if not self._fresh(newest.stamp, max_age):
            age = self._age(newest.stamp)
            raise NotThere(
                f"the newest image of camera {camera} is {_too_old(age, max_age)}; check the camera"
            )
        return newest

    def footage(self, camera: str, seconds: float, max_age: float) -> tuple[Footage, F]:
        """The last so many seconds of a camera, or what there is of them, and the newest image, which ends them.

        Raises:
            NotThere: none has come, or it is older than max_age; or clips are not kept so long.
        """
        settings = self._clips()
        if seconds > settings.window * (1.0 + _ROUNDED):
            raise NotThere(
                f"window_seconds = {seconds:g} s is more than is kept, clip.window = {settings.window:g} s; ask about "
                "less, or raise clip.window"
            )
        newest = self.frame(camera, max_age)
        with self._lock:
            film = self._films.setdefault(camera, Film())
            return film.last(seconds, newest, self._model, settings), newest

    def scenes(self, max_age: float) -> list[Scene]:
        """The newest scene of each camera that says anything and is at most max_age seconds old.

        Raises:
            NotThere: no camera has one.
        """
        with self._lock:
            scenes = list(self._scenes.values())
        if fresh := [scene for scene in scenes if self._fresh(scene.stamp, max_age)]:
            return fresh
        raise NotThere(
            "; ".join(self.unseen(max_age))
            or "no scene has been made yet; wait for the first, or see /diagnostics"
        )

    def keyframes(self) -> dict[str, Scene]:
        """The last scene of each camera that the model answered, however old."""
        with self._lock:
            return dict(self._keyframes)

    def failed(self) -> list[Scene]:
        """The last scene of each camera whose last scene says nothing."""
        with self._lock:
            return list(self._failures.values())

    def unseen(self, max_age: float, cameras: Iterable[str] = ()) -> list[str]:
        """Of the cameras that have no such scene, why. cameras: those that there are, also without any answer yet."""
        with self._lock:
            scenes, failures = dict(self._scenes), dict(self._failures)
        fresh = {name for name, scene in scenes.items() if self._fresh(scene.stamp, max_age)}
        reasons = [
            f"the newest scene of camera {name} is {_too_old(self._age(scene.stamp), max_age)}"
            for name, scene in scenes.items()
            if name not in fresh
        ]
        reasons += [
            f"the last scene of camera {name} is {scene.status.name}: {scene.status_message}"
            for name, scene in failures.items()
            if name not in fresh
        ]
        return reasons + [
            f"no scene of camera {name} has been made yet; see /diagnostics"
            for name in cameras
            if name not in scenes and name not in failures
        ]

    def _fresh(self, stamp: int, max_age: float) -> bool:
        """Not too old; nor ahead of the clock by as much, which is a clock that jumped or is wrong."""
        return abs(self._age(stamp)) <= max_age

    def _age(self, stamp: int) -> float:
        return (self._now() - stamp) / 1e9


def _too_old(age: float, max_age: float) -> str:
    if age < 0.0:
        return f"{-age:.3g} s ahead of the clock; is use_sim_time on without a /clock, or a clock wrong"
    return f"{age:.3g} s old, older than max_age = {max_age:g} s; raise max_age if that will do"

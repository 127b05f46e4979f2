"""Frames over time: where one was in another at a stamp, as tf2 tells it, without ROS."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from qwenvl_ros.types import Pose

KEPT_NS = 10_000_000_000  # as tf2 does by default
JUMP_BACK_NS = 500_000_000  # by which stamps go back to mean another time, as of a looped bag
_DEEPEST = 64  # frames from the root; more means a loop


class NotKnown(LookupError):
    """The transform at that time is not known, or not yet; the message tells why."""


@dataclass(slots=True)
class _Link:
    """A frame in its parent over time; a static one has one pose for all times."""

    parent: str
    static: bool
    stamps: list[int] = field(default_factory=list)
    poses: list[Pose] = field(default_factory=list)

    def add(self, stamp: int, pose: Pose) -> None:
        if self.static or (self.stamps and stamp < self.stamps[-1] - JUMP_BACK_NS):
            self.stamps.clear()
            self.poses.clear()
        place = bisect_right(self.stamps, stamp)
        self.stamps.insert(place, stamp)
        self.poses.insert(place, pose)
        old = bisect_left(self.stamps, self.stamps[-1] - KEPT_NS)
        del self.stamps[:old], self.poses[:old]

    def at(self, stamp: int) -> Pose | None:
        """Between the two nearest, linear and spherical; None outside of what is known."""
        if self.static:
            return self.poses[0]
        after = bisect_left(self.stamps, stamp)
        if after < len(self.stamps) and self.stamps[after] == stamp:
            return self.poses[after]
        if after in (0, len(self.stamps)):
            return None
        (t0, t1), (first, second) = self.stamps[after - 1 : after + 1], self.poses[after - 1 : after + 1]
        share = (stamp - t0) / (t1 - t0)
        rotations = Rotation.from_matrix(np.stack([first.rotation, second.rotation]))
        rotation = Slerp([0.0, 1.0], rotations)(share).as_matrix()
        return Pose(rotation, first.translation + share * (second.translation - first.translation))


class TransformTree:
    """Frames in their parents; times in nanoseconds. Those older than KEPT_NS than the newest are forgotten."""

    def __init__(self) -> None:
        self._links: dict[str, _Link] = {}

    def add(self, child: str, parent: str, stamp: int, pose: Pose, *, static: bool = False) -> None:
        """Note where a frame was. pose: takes points of the child to the parent."""
        child, parent = child.lstrip("/"), parent.lstrip("/")  # as ROS 1 wrote them
        link = self._links.get(child)
        if link is None or link.parent != parent or link.static != static:
            link = self._links[child] = _Link(parent, static)
        link.add(stamp, pose)

    def pose(self, frame: str, target: str, stamp: int) -> Pose:
        """What takes points of a frame to the target at a time.

        Raises:
            NotKnown: they are not connected, or not at that time (yet).
        """
        up, down = self._chain(frame.lstrip("/")), self._chain(target.lstrip("/"))
        common = next((each for each in up if each in down), None)
        if common is None:
            raise NotKnown(f"tf does not connect {frame!r} with {target!r}")
        rotation, translation = self._to(up[: up.index(common)], stamp)
        back, shift = self._to(down[: down.index(common)], stamp)
        return Pose(back.T @ rotation, back.T @ (translation - shift))

    def _chain(self, frame: str) -> list[str]:
        chain = [frame]
        while chain[-1] in self._links and len(chain) < _DEEPEST:
            chain.append(self._links[chain[-1]].parent)
        return chain

    def _to(self, frames: list[str], stamp: int) -> tuple[np.ndarray, np.ndarray]:
        """Rotation and translation that take points of the first frame to the parent of the last."""
        rotation, translation = np.eye(3), np.zeros(3)
        for frame in frames:
            link = self._links[frame]
            pose = link.at(stamp)
            if pose is None:
                newest = link.stamps[-1] / 1e9
                raise NotKnown(
                    f"tf of {frame!r} in {link.parent!r} is not known at {stamp / 1e9:.3f} s, the newest is of "
                    f"{newest:.3f} s"
                )
            rotation, translation = pose.rotation @ rotation, pose.rotation @ translation + pose.translation
        return rotation, translation

"""The images between a keyframe and now, so that an answer that comes late can be moved forward."""

from __future__ import annotations

from dataclasses import dataclass

from qwenvl_ros.tracking.flow import Grey

_MOST = 96  # images; of VGA they take 30 MB


@dataclass(frozen=True, slots=True)
class Moment:
    """An image and its stamp, nanoseconds."""

    stamp: int
    grey: Grey


class Past:
    """A bounded record of images in the order of their stamps.

    When it is full every second image of its older half goes, so that it reaches back ever farther in longer steps, as
    far as a slow model's answer takes, and stays dense where most answers need it.
    """

    def __init__(self) -> None:
        self._moments: list[Moment] = []

    @property
    def newest(self) -> Moment | None:
        return self._moments[-1] if self._moments else None

    def add(self, moment: Moment) -> None:
        """Keep the image of the newest frame."""
        if len(self._moments) >= _MOST:
            del self._moments[1 : _MOST // 2 : 2]
        self._moments.append(moment)

    def since(self, stamp: int) -> list[Moment]:
        """The images after a stamp, oldest first."""
        return [each for each in self._moments if each.stamp > stamp]

    def forget(self, stamp: int) -> None:
        """Drop what is older than a stamp: no answer to come is to an older image."""
        self._moments = [each for each in self._moments if each.stamp >= stamp]

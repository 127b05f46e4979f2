"""Which objects of a simulated picture a fair question may be about."""

from __future__ import annotations

from typing import Protocol

from qwenvl_ros.types import Box

MIN_VISIBLE_FRACTION = 0.2
MIN_VISIBLE_PIXELS = 300  # of a 640x480 picture: about 17 x 17


class Seen(Protocol):
    """An object as one camera sees it in a 640x480 picture."""

    @property
    def box(self) -> Box | None: ...

    @property
    def visible_fraction(self) -> float: ...

    @property
    def visible_pixels(self) -> int: ...


def worth_asking(thing: Seen) -> bool:
    """Whether enough of it is seen to expect an answer; the others are ignored, neither hit nor miss."""
    return (
        thing.box is not None
        and thing.visible_fraction >= MIN_VISIBLE_FRACTION
        and thing.visible_pixels >= MIN_VISIBLE_PIXELS
    )

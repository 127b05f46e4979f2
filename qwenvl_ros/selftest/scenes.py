"""Pictures whose objects and boxes are known exactly, for a model to find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qwenvl_ros.evaluation.scoring import Target
from qwenvl_ros.selftest import shapes, tabletops
from qwenvl_ros.selftest.shapes import Drawn
from qwenvl_ros.types import Image
from qwenvl_ros.zoo import Model


@dataclass(frozen=True, slots=True)
class KnownScene:
    """image: (H, W, 3) uint8 RGB. expected: what is asked for, each label once in the picture; boxes in its pixels."""

    name: str
    image: Image
    expected: tuple[Target, ...]

    @property
    def queries(self) -> tuple[str, ...]:
        return tuple(target.label for target in self.expected)

    @property
    def size(self) -> str:
        """ "640x480"."""
        return f"{self.image.shape[1]}x{self.image.shape[0]}"


def knows_only_the_simulator(model: Model) -> bool:
    """Whether a model was taught the simulator's pictures alone, as models/tiny and its retrained copies are.

    They are the ones that take images of one size: every real checkpoint takes a range.
    """
    return model.pixels.min_pixels == model.pixels.max_pixels


def known_scenes(model: Model) -> tuple[KnownScene, ...]:
    """Scenes that a healthy engine with this model answers well; the same on every call.

    Raises:
        NoOpenGL: the simulator's pictures are wanted, and cannot be drawn here.
    """
    made: Sequence[Drawn] = tabletops.draw() if knows_only_the_simulator(model) else shapes.draw()
    return tuple(KnownScene(one.name, one.image, tuple(one.objects)) for one in made)

"""A simulated scene as the product gets to see it, beside everything that is true of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from qwenvl_ros.evaluation.scoring import Target
from qwenvl_ros.evaluation.worth import worth_asking
from qwenvl_ros.sim.oracle import WORLD, Fact, facts, facts_in_view
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import sample
from qwenvl_ros.sim.sensor import Sensor
from qwenvl_ros.sim.truth import TrueObject, Truth, surface, truth
from qwenvl_ros.types import Detection, Frame, Vector

SIZE = (640, 480)


@dataclass(frozen=True, slots=True)
class Sight:
    """One scene: the frame with what the sensor made of its depth, and the truth.

    frame: metric content in the simulator's world. centres: of the visible surface of each thing, metres, None when
    unseen. facts: of whole things in the world; facts_in_view: left_of and above in the picture.
    """

    seed: int
    frame: Frame
    found: Truth
    centres: Sequence[Vector | None]
    facts: Sequence[Fact]
    facts_in_view: Sequence[Fact]

    @property
    def asked(self) -> list[TrueObject]:
        """The things an answer should hold, in the order of the layout; the others are ignored."""
        return [thing for thing in self.found.objects if worth_asking(thing)]

    @property
    def ignored(self) -> list[Target]:
        """The things that may be answered or not."""
        return [
            Target(thing.label, thing.box)
            for thing in self.found.objects
            if thing.box is not None and not worth_asking(thing)
        ]

    @property
    def true_answer(self) -> list[Detection]:
        """What a model would say that finds every visible box."""
        return [Detection(target.label, "", target.box, 1.0) for target in self.expected]

    @property
    def expected(self) -> list[Target]:
        """asked as targets, in the same order."""
        return [Target(thing.label, thing.box) for thing in self.asked if thing.box is not None]


def sight(seed: int, renderer: Renderer, sensor: Sensor) -> Sight:
    """The scene of a seed; the same for the same seed and sensor. renderer: of SIZE."""
    layout = sample(seed)
    found = truth(layout, renderer)
    depth = renderer.depth(layout)
    centres = []
    for thing in found.objects:
        visible = surface(found, depth, thing.index)
        centres.append(visible[0] if visible else None)
    frame = Frame(
        camera="simulator",
        image=renderer.rgb(layout),
        stamp=0,
        frame_id="optical",
        depth=sensor.measured(depth, seed),
        intrinsics=found.intrinsics,
        pose=found.pose,
        reference_frame=WORLD,
    )
    return Sight(seed, frame, found, centres, facts(layout, found), facts_in_view(found))


def sights(seeds: Sequence[int], sensor: Sensor) -> Iterator[Sight]:
    """The scenes of these seeds, one after the other."""
    with Renderer(*SIZE) as renderer:
        for seed in seeds:
            yield sight(seed, renderer, sensor)

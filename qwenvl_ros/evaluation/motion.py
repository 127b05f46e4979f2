"""What tracking brings on moving scenes: identities and boxes at the time of each image, for several latencies.

Clip i has the seed S + i: things, cameras or both are in motion (sim.motion), at RATE images a second. The model is
busy for the latency with each keyframe and then takes the newest image. At every image, what a planner knows is
compared with the truth of that image: without tracking the boxes of the last answer, with tracking those of that
image's scene. The first seconds, in which the slowest has not answered yet, do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from qwenvl_ros.evaluation.identity import Instant, kept
from qwenvl_ros.evaluation.worth import worth_asking
from qwenvl_ros.perception import PerceptionSettings, objects_of
from qwenvl_ros.sim.motion import set_in_motion
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import sample
from qwenvl_ros.sim.truth import TrueObject, truth
from qwenvl_ros.tracking import Tracker
from qwenvl_ros.types import Box, Detection, Frame, Scene

LATENCIES = (0.2, 0.5, 1.0, 2.0)  # seconds
RATE = 15.0  # images a second
SECONDS = 7.0  # of a clip
SIZE = (640, 480)
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """One image of a clip, and what is truly in it."""

    frame: Frame
    things: Sequence[TrueObject]


Answer = Callable[[Moment], Scene]


def clip(seed: int, renderer: Renderer) -> list[Moment]:
    """The images of one moving scene; of three seeds one moves its things, one the camera, one both."""
    layout = set_in_motion(sample(seed, objects=(3, 8)), things=seed % 3 != 1, cameras=seed % 3 != 0)
    moments = []
    for number in range(round(SECONDS * RATE)):
        now, stamp = layout.at(number / RATE), round(number / RATE * _SECOND)
        frame = Frame("simulator", renderer.rgb(now), stamp, "optical")
        moments.append(Moment(frame, truth(now, renderer).objects))
    return moments


def true_answer(moment: Moment) -> Scene:
    """The true boxes of what can be seen, told as a scene."""
    found = [Detection(each.label, "", each.box) for each in moment.things if each.box and worth_asking(each)]
    frame = moment.frame
    objects, _ = objects_of(found, frame, PerceptionSettings(), {})
    return Scene(frame.camera, frame.stamp, frame.frame_id, frame.width, frame.height, objects=objects)


def compare(
    clips: Iterable[Sequence[Moment]], answer: Answer = true_answer, latencies: Sequence[float] = LATENCIES
) -> dict[str, dict[str, dict[str, float]]]:
    """{latency: {"off": figures, "on": figures}} over clips, figures being those of identity.Kept by name.

    answer: the scene of an image as the model tells it, told `latency` seconds later.
    """
    known: dict[tuple[float, str], list[Sequence[Instant]]] = {
        (latency, how): [] for latency in latencies for how in ("off", "on")
    }
    for moments in clips:
        for latency in latencies:
            off, on = _known(moments, answer, latency, max(latencies))
            known[latency, "off"].append(off)
            known[latency, "on"].append(on)
    return {
        f"{latency:g}": {how: asdict(kept(known[latency, how])) for how in ("off", "on")}
        for latency in latencies
    }


def _known(
    moments: Sequence[Moment], answer: Answer, latency: float, begin: float
) -> tuple[list[Instant], list[Instant]]:
    """What is known at each image from `begin` seconds on, without and with tracking."""
    tracker, asked = Tracker(), moments[0]
    last: Scene | None = None
    off, on = [], []
    for moment in moments:
        tracker.advance(moment.frame)
        if moment.frame.stamp >= asked.frame.stamp + latency * _SECOND:
            last = answer(asked)
            tracker.adopt(last, asked.frame)
            asked = moment
        if moment.frame.stamp >= begin * _SECOND:
            followed = tracker.followed()
            frozen = {each.id: each.box for each in last.objects} if last is not None else {}
            tracked = {each.id: each.detection.box for each in followed.objects} if followed else {}
            off.append(_instant(moment, frozen))
            on.append(_instant(moment, tracked))
    return off, on


def _instant(moment: Moment, told: dict[str, Box]) -> Instant:
    true, ignored = {}, []
    for each in moment.things:
        if each.box is not None and worth_asking(each):
            true[each.id] = each.box
        elif each.box is not None:
            ignored.append(each.box)
    return Instant(true, told, ignored)

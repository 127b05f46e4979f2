"""What tracking brings on moving scenes: identities and boxes at the time of each image, for several latencies.

Clip i has the seed S + i: things, cameras or both are in motion (sim.motion), at RATE images a second. The model is
busy for the latency with each keyframe and then takes the newest image. At every image, what a planner knows is
compared with the truth of that image: without tracking the boxes of the last answer, with tracking those of that
image's scene. The first seconds, in which the slowest has not answered yet, do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from qwenvl_ros.evaluation.identity import Instant, kept
from qwenvl_ros.evaluation.sights import SIZE
from qwenvl_ros.evaluation.worth import worth_asking
from qwenvl_ros.perception import PerceptionSettings, objects_of
from qwenvl_ros.sim.motion import set_in_motion
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import sample
from qwenvl_ros.sim.truth import TrueObject, truth
from qwenvl_ros.tracking import Tracker
from qwenvl_ros.types import Box, Detection, Frame, Scene, SceneObject

LATENCIES = (0.2, 0.5, 1.0, 2.0)  # seconds
RATE = 15.0  # images a second
SECONDS = 7.0  # of a clip
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """One image of a clip, and what is truly in it."""

    frame: Frame
    things: Sequence[TrueObject]


Answers = Callable[
    [Sequence[Moment]], Sequence[Scene]
]  # the scene of each of these images, as a model tells it
Moved = dict[str, dict[str, dict[str, float]]]  # {latency: {"off" or "on": {figure: value}}}


def clip(seed: int, renderer: Renderer) -> list[Moment]:
    """The images of one moving scene; of three seeds one moves its things, one the camera, one both."""
    layout = set_in_motion(sample(seed, objects=(3, 8)), things=seed % 3 != 1, cameras=seed % 3 != 0)
    moments = []
    for number in range(round(SECONDS * RATE)):
        now, stamp = layout.at(number / RATE), round(number / RATE * _SECOND)
        frame = Frame("simulator", renderer.rgb(now), stamp, "optical")
        moments.append(Moment(frame, truth(now, renderer).objects))
    return moments


def true_answers(moments: Sequence[Moment]) -> list[Scene]:
    """The true boxes of what can be seen, told as scenes."""
    return [true_answer(moment) for moment in moments]


def true_answer(moment: Moment) -> Scene:
    """The same of one image."""
    found = [Detection(each.label, "", each.box) for each in moment.things if each.box and worth_asking(each)]
    frame = moment.frame
    objects, _ = objects_of(found, frame, PerceptionSettings(), {})
    return Scene(frame.camera, frame.stamp, frame.frame_id, frame.width, frame.height, objects=objects)


def clips(seeds: Iterable[int]) -> Iterator[list[Moment]]:
    """The clips of these seeds, one after the other."""
    with Renderer(*SIZE) as renderer:
        for seed in seeds:
            yield clip(seed, renderer)


def compare(
    clips: Iterable[Sequence[Moment]], answers: Answers = true_answers, latencies: Sequence[float] = LATENCIES
) -> Moved:
    """The figures of identity.Kept for each latency, without ("off") and with tracking ("on"), over clips."""
    known: dict[tuple[float, str], list[Sequence[Instant]]] = {
        (latency, how): [] for latency in latencies for how in ("off", "on")
    }
    for moments in clips:
        asked = {latency: _asked(moments, latency) for latency in latencies}
        places = sorted({place for each in asked.values() for place in each.values()})
        told = dict(zip(places, answers([moments[place] for place in places]), strict=True))
        for latency in latencies:
            due = {now: told[place] for now, place in asked[latency].items()}
            off, on = _known(moments, due, max(latencies))
            known[latency, "off"].append(off)
            known[latency, "on"].append(on)
    return {
        f"{latency:g}": {how: asdict(kept(known[latency, how])) for how in ("off", "on")}
        for latency in latencies
    }


def _asked(moments: Sequence[Moment], latency: float) -> dict[int, int]:
    """{image at which an answer comes: image that it is the answer to}, by number; the model is always busy."""
    asked, found = 0, {}
    for number, moment in enumerate(moments):
        if moment.frame.stamp >= moments[asked].frame.stamp + latency * _SECOND:
            found[number] = asked
            asked = number
    return found


def _known(
    moments: Sequence[Moment], due: Mapping[int, Scene], begin: float
) -> tuple[list[Instant], list[Instant]]:
    """What is known at each image from `begin` seconds on, without and with tracking; due: the answers that come."""
    tracker, frames = Tracker(), {moment.frame.stamp: moment.frame for moment in moments}
    frozen: Sequence[SceneObject] = ()
    off, on = [], []
    for number, moment in enumerate(moments):
        tracker.advance(moment.frame)
        if number in due:
            scene = due[number]
            frozen = scene.objects
            tracker.adopt(scene, frames[scene.stamp])
        if moment.frame.stamp >= begin * _SECOND:
            followed = tracker.followed()
            tracked = followed.objects if followed is not None else ()
            off.append(_instant(moment, {each.id: each.box for each in frozen}))
            on.append(_instant(moment, {each.id: each.detection.box for each in tracked}))
    return off, on


def _instant(moment: Moment, told: dict[str, Box]) -> Instant:
    true, ignored = {}, []
    for each in moment.things:
        if each.box is not None and worth_asking(each):
            true[each.id] = each.box
        elif each.box is not None:
            ignored.append(each.box)
    return Instant(true, told, ignored)

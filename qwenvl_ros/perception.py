"""What an answer says about its frame: detections, then objects with positions and occlusion, then relations."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from math import hypot, inf, isnan, nan

from qwenvl_ros import geometry, grounding, occlusion, relations
from qwenvl_ros.backends import Token
from qwenvl_ros.geometry import Lifted
from qwenvl_ros.grounding import Grounding, Placement
from qwenvl_ros.occlusion import Cover
from qwenvl_ros.settings import setting
from qwenvl_ros.tracking import Carried
from qwenvl_ros.types import Detection, Frame, Origin, Relation, SceneObject, Truth
from qwenvl_ros.zoo import Model

_LONGEST_SLUG = 40


@dataclass(frozen=True)
class PerceptionSettings:
    """What to look for, how much of it, and when relations hold."""

    queries: tuple[str, ...] = setting((), "Categories or descriptions to find; none means every object.")
    max_tokens: int = setting(
        0, "Longest answer; 0 is the model's own limit (zoo).", unit="tokens", minimum=0, maximum=65536
    )
    timeout: float = setting(
        60.0,
        "An answer that takes longer is given up, and the scene is BACKEND_FAILED; 0 = no limit.",
        unit="s",
        minimum=0.0,
        maximum=86400.0,
    )
    constrained: bool = setting(
        True, "Hold answers to a JSON schema: boxes on the grid, labels among the queries, max_objects."
    )
    min_score: float = setting(
        0.0,
        "Objects with a lower score are left out and counted; those without a score stay.",
        minimum=0.0,
        maximum=1.0,
    )
    max_objects: int = setting(
        50, "Most objects in a scene; more are cut off and the scene is TRUNCATED.", minimum=1, maximum=1000
    )
    max_pixels: int = setting(
        0,
        "Most pixels the model is shown of an image; fewer is faster and less exact. 0 is the model's own limit.",
        unit="pixels",
        minimum=0,
        maximum=2**26,
    )
    ask_relations: bool = setting(
        False,
        "Ask the model in one more question about relations that geometry cannot see or is not sure of.",
    )
    max_asked: int = setting(
        24,
        "Most relations in that question; the rest stay as geometry has them.",
        minimum=1,
        maximum=200,
    )
    thresholds: relations.Thresholds = field(default_factory=relations.Thresholds)
    occlusion: occlusion.Thresholds = field(default_factory=occlusion.Thresholds)


def read(
    text: str,
    placement: Placement,
    model: Model,
    settings: PerceptionSettings,
    *,
    finished: bool,
    tokens: Sequence[Token] = (),
    camera: str = "",
) -> Grounding:
    """What an answer says, with calibrated scores and without what is below min_score. camera: see grounding.parse."""
    answer = grounding.parse(
        text,
        placement,
        settings.queries,
        finished=finished,
        tokens=tokens,
        max_objects=settings.max_objects,
        camera=camera,
    )
    scored = [
        replace(each, score=grounding.calibrate(each.score, model.calibration)) for each in answer.detections
    ]
    kept = tuple(each for each in scored if not each.score < settings.min_score)
    notes = [answer.message] if answer.message else []
    if len(kept) < len(scored):
        notes.append(f"objects below min_score left out: {len(scored) - len(kept)}")
    return replace(answer, detections=kept, message="; ".join(notes))


def objects_of(
    found: Sequence[Detection], frame: Frame, settings: PerceptionSettings, timings: dict[str, float]
) -> tuple[list[SceneObject], Cover]:
    """The detections as objects, highest score first, and what covers what; notes how long both steps took."""
    detections = _by_score(found)
    named = [Carried(*each) for each in zip(_ids(detections), detections, strict=True)]
    return _objects(named, Origin.MODEL, frame, settings, timings)


def carried_objects(
    carried: Sequence[Carried], frame: Frame, settings: PerceptionSettings, timings: dict[str, float]
) -> tuple[list[SceneObject], Cover]:
    """The same of what tracking brought to a frame, in its order: ids and scores stay, positions are the frame's."""
    return _objects(carried, Origin.TRACKED, frame, settings, timings)


def _objects(
    known: Sequence[Carried],
    origin: Origin,
    frame: Frame,
    settings: PerceptionSettings,
    timings: dict[str, float],
) -> tuple[list[SceneObject], Cover]:
    clock = time.perf_counter()
    seen, boxes = geometry.upright(geometry.thinned(frame), [each.detection.box for each in known])
    lifted = geometry.lift_all(boxes, seen)
    clock = lap(timings, "lift", clock)
    hidden, cover = occlusion.estimate(boxes, lifted, seen, settings.occlusion)
    lap(timings, "occlusion", clock)
    objects = [
        SceneObject(
            id=each.id,
            label=each.detection.label,
            box=each.detection.box,
            query=each.detection.query,
            score=each.detection.score,
            position=surface.position if surface else None,
            size=surface.size if surface else None,
            position_sigma=hypot(surface.sigma, each.box_sigma * _metres(surface, frame)) if surface else nan,
            occlusion=covered.occlusion,
            visible_fraction=covered.visible_fraction,
            truncated=occlusion.truncated(each.detection.box, frame.width, frame.height),
            origin=origin,
            box_sigma=each.box_sigma,
        )
        for each, surface, covered in zip(known, lifted, hidden, strict=True)
    ]
    return objects, cover


def _metres(surface: Lifted, frame: Frame) -> float:
    """Width of a pixel of the frame's image at the object's depth."""
    lens = frame.intrinsics
    assert lens is not None  # or it would not have been lifted
    return surface.depth * lens.width / (lens.fx * frame.width)


def relations_of(
    objects: Sequence[SceneObject],
    cover: Cover,
    frame: Frame,
    settings: PerceptionSettings,
    timings: dict[str, float],
    doubtful: float = inf,
    listed: bool = True,
) -> tuple[list[Relation], list[str]]:
    """How the objects stand to each other, and the predicates that were evaluated; notes how long it took.

    doubtful: see relations.find. listed: whether the objects are all that the model had to say; else something that is
    missing may lie on any of them, and clear is open.
    """
    clock = time.perf_counter()
    found, evaluated = relations.find(
        objects,
        geometry.view_of(frame),
        settings.thresholds,
        image_frame=frame.frame_id,
        cover=cover,
        doubtful=doubtful,
    )
    lap(timings, "relations", clock)
    return found if listed else clear_open(found, {one.id for one in objects}), evaluated


def clear_open(stated: Sequence[Relation], of: Container[str]) -> list[Relation]:
    """The relations with clear UNKNOWN of the objects with these ids, where it is stated."""
    return [
        one._replace(truth=Truth.UNKNOWN, confidence=0.5)
        if one.predicate == "clear" and one.subject_id in of
        else one
        for one in stated
    ]


def lap(timings: dict[str, float], stage: str, since: float) -> float:
    """Note how long a stage took that began at `since`; returns the time now."""
    now = time.perf_counter()
    timings[stage] = now - since
    return now


def rank(detection: Detection) -> tuple[bool, float]:
    """What detections of a scene are sorted by: highest score first, unknown scores last."""
    return isnan(detection.score), 0.0 if isnan(detection.score) else -detection.score


def _by_score(detections: Sequence[Detection]) -> list[Detection]:
    """Equal ones from left to right."""
    return sorted(detections, key=lambda one: (*rank(one), one.box.corners, one.label))


def _ids(detections: Sequence[Detection]) -> list[str]:
    """A name for each: its label in one word and a number, counted for each label in the order given."""
    count: Counter[str] = Counter()
    names = []
    for detection in detections:
        slug = re.sub(r"\W+", "_", detection.label.lower()).strip("_")[:_LONGEST_SLUG].rstrip("_") or "object"
        count[slug] += 1
        names.append(f"{slug}_{count[slug]}")
    return names

"""What each stage between the engine's answer and the scene costs, and those before it: pure functions, one process."""

from __future__ import annotations

import dataclasses
import time

from qwenvl_ros import geometry, grounding, occlusion, pipeline, relations
from qwenvl_ros.benchmark import Setup
from qwenvl_ros.benchmark.canned import CannedBackend
from qwenvl_ros.benchmark.engine import prepared
from qwenvl_ros.benchmark.figures import milliseconds
from qwenvl_ros.benchmark.sights import sights
from qwenvl_ros.scheduling import Slots
from qwenvl_ros.types import Frame, Scene

SIZES = ((640, 480), (1920, 1080))


def stages(size: tuple[int, int], setup: Setup, times: int) -> dict[str, float]:
    """Median milliseconds of each stage for a frame of this size with depth, and an answer of six objects.

    queue is the slot itself, a put and a take; how long a frame waits there depends on the engine. prompt: the
    image laid on the model's canvas and the request made of it.
    """
    sight = sights(1, *size, depth=True)[0]
    frame, rules = sight.frame, setup.model.limited(setup.perception.max_pixels).pixels
    text, placement = sight.answer(rules), grounding.place(frame.width, frame.height, rules)
    queries = setup.perception.queries
    boxes = [one.box for one in grounding.parse(text, placement, queries).detections]
    thin = geometry.thinned(frame)
    lifted = geometry.lift_all(boxes, thin)
    _, cover = occlusion.estimate(boxes, lifted, thin, setup.perception.occlusion)
    objects = scene_of(frame, text, setup).objects
    view, slots = geometry.view_of(frame), Slots()

    def queue() -> None:
        slots.put(dataclasses.replace(frame, stamp=time.time_ns()))
        assert slots.take()

    return {
        "queue": milliseconds(queue, times),
        "prompt": milliseconds(lambda: prepared(frame, setup), times),
        "parse": milliseconds(lambda: grounding.parse(text, placement, queries), times),
        "lift": milliseconds(lambda: geometry.lift_all(boxes, geometry.thinned(frame)), times),
        "occlusion": milliseconds(
            lambda: occlusion.estimate(boxes, lifted, thin, setup.perception.occlusion), times
        ),
        "relations": milliseconds(
            lambda: relations.find(
                objects, view, setup.perception.thresholds, image_frame=frame.frame_id, cover=cover
            ),
            times,
        ),
    }


def scene_of(frame: Frame, text: str, setup: Setup) -> Scene:
    """The scene that the pipeline makes of a frame and an answer."""
    backend = CannedBackend(text, capacity=1)
    try:
        return pipeline.perceive([frame], backend, setup.model, setup.perception)[0].scene
    finally:
        backend.close()

"""Moving scenes drawn for the tests: their frames, and what is truly in each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qwenvl_ros.evaluation.motion import Moment, true_answer
from qwenvl_ros.evaluation.worth import worth_asking
from qwenvl_ros.sim.layout import Camera, Layout, Thing
from qwenvl_ros.sim.motion import set_in_motion
from qwenvl_ros.sim.placement import stand
from qwenvl_ros.sim.scenes import sample
from qwenvl_ros.sim.truth import truth
from qwenvl_ros.types import Frame

RATE = 15
SECOND = 1_000_000_000


def moving(seed, **moves):
    """A random table with things or cameras in motion."""
    return set_in_motion(sample(seed, objects=(3, 8)), **moves)


def staged(things, swings):
    """A table with these things, some of them swinging, before a camera that looks along x."""
    base = sample(1)
    camera = Camera((-0.75, 0.0, 0.35), (0.0, 0.0, 0.04), 45.0)
    table = replace(base.table, texture="noise", half=(1.2, 1.2), centre=(0.0, 0.0))
    return Layout(0, tuple(things), (camera,), base.light, table, base.floor, base.wall, swings)


def thing(shape, rgb, size, x, y):
    """A thing that stands on the table; its colour's name does not matter but for its label."""
    return stand(Thing(shape, "red", rgb, size, (0.0, 0.0, 0.0)), x, y, 0.0)


def film(renderer, layout, seconds, depth=False, rate=RATE):
    """The moments of a layout, one every 1 / rate s, from 0 on."""
    moments = []
    for number in range(round(seconds * rate) + 1):
        now = layout.at(number / rate)
        frame = Frame("cam", renderer.rgb(now), round(number / rate * SECOND), "optical")
        if depth:
            camera = now.cameras[0]
            frame = replace(
                frame,
                depth=renderer.depth(now),
                intrinsics=camera.intrinsics(renderer.width, renderer.height),
                pose=camera.pose,
                reference_frame="world",
            )
        moments.append(Moment(frame, truth(now, renderer).objects))
    return moments


def blank(like, stamp):
    """A frame of the same size without anything in it."""
    return Frame("cam", np.full_like(like.image, 90), stamp, "optical")


def answer(moment, order=1, **changes):
    """The true boxes as the model's answer; order -1 turns the order of objects around, and their numbers with it."""
    scene = true_answer(moment)
    objects = tuple(scene.objects)[::order]
    ids = sorted(each.id for each in objects)
    if order < 0:
        objects = tuple(replace(each, id=name) for each, name in zip(objects, ids[::-1], strict=True))
    return replace(scene, objects=objects, **changes)


def owners(scene, moment):
    """{id in a scene of true boxes: id of the true thing}."""
    things = {each.box.corners: each.id for each in moment.things if each.box is not None}
    return {each.id: things[each.box.corners] for each in scene.objects}


def clear(moment):
    """{id: box} of the true things that are well in sight."""
    return {each.id: each.box for each in moment.things if worth_asking(each) and each.visible_fraction > 0.8}


def fits(boxes, whose, moment):
    """{true id: IoU} of boxes by id with the true thing that each is on, for those well in sight."""
    true = clear(moment)
    return {whose[name]: box.iou(true[whose[name]]) for name, box in boxes.items() if whose[name] in true}


def boxes_of(followed):
    """{id: box} of what was followed."""
    return {each.id: each.detection.box for each in followed.objects}

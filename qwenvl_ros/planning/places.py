"""Where "left of the blue box" is: a free place beside an object, as a goal for a mobile base."""

from __future__ import annotations

import re
from math import atan2, hypot, inf

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from qwenvl_ros.planning.obstruction import only
from qwenvl_ros.planning.truths import readable
from qwenvl_ros.types import Pose, Scene, SceneObject, Vector

Floats = NDArray[np.float64]

ROBOTS_OWN = (
    "base_link",
    "base_footprint",
)  # frames of REP-105 and REP-120 in which the robot is at the origin
STEP, REACH = 0.01, 2.0  # metres: how finely and how far beside the object a free place is looked for

_PHRASES = {"left of": "left_of", "right of": "right_of", "in front of": "in_front_of", "behind": "behind"}
_PHRASE = re.compile(
    rf"\s*(?:to the )?({'|'.join(_PHRASES)})\s+(?:(?:the|a|an)\s+)?(\S.*?)\s*", re.IGNORECASE
)


class NoPlace(ValueError):
    """There is no such place, or it cannot be told where it is; the message says why."""


def understood(phrase: str) -> tuple[str, str]:
    """(predicate, name) of a phrase such as "left of the blue box".

    Raises:
        NoPlace: it begins with none of the four sides.
    """
    match = _PHRASE.fullmatch(phrase)
    if match is None:
        raise NoPlace(f"{phrase!r} is no place: say {', '.join(_PHRASES)} and what")
    return _PHRASES[match[1].lower()], match[2]


def place(scene: Scene, predicate: str, name: str, *, radius: float, viewpoint: Vector | None = None) -> Pose:
    """The nearest free place beside an object, facing it, in the scene's reference frame (x forward, y left, z up).

    As in relations: left is +y, right -y of that frame, in front towards the viewpoint and behind away from it. Free:
    no object's extent comes within `radius` in the plane. The place lies at the height of the object's foot.

    Args:
        name: id or name of one object.
        radius: of what is to stand there, metres, seen from above.
        viewpoint: in the reference frame, metres: the robot's or the camera's place, for what is in front or behind;
            None = the origin, where the frame is the robot's own (base_link).

    Raises:
        Unreadable: the scene's status is not OK.
        LookupError: nothing has this name, or several things have.
        NoPlace: it has no position, the frame is a camera's, there is no room within 2 m of its edge, or from where
            "in front" is meant is not known.
    """
    readable(scene)
    if scene.reference_frame in ("", scene.frame_id):
        raise NoPlace(
            "positions are in the camera's own frame: set target_frame (map, odom, base_link) of scene_node"
        )
    thing = only(scene, name)
    centre, size = _extent(thing)
    towards, limit = _side(predicate, centre, viewpoint, scene.reference_frame)
    with np.errstate(divide="ignore", invalid="ignore"):  # straight along an axis, and of what is flat
        edge = float(np.nanmin(size[:2] / 2 / np.abs(towards)))
    reach = min(edge + REACH, limit)
    unplaced = [each.id for each in scene.objects if each.position is None]
    if unplaced:
        raise NoPlace(f"no position is known of {', '.join(unplaced)}, so what is free cannot be told")
    extents = [_extent(each) for each in scene.objects]
    for away in np.arange(edge, reach, STEP):
        spot = centre[:2] + away * towards
        if all(_apart(spot, *each) > radius for each in extents):
            break
    else:
        raise NoPlace(
            f"no room for a radius of {radius:g} m within {max(reach - edge, 0.0):.2g} m of {name}, "
            f"on the side {predicate}"
        )
    facing = atan2(-towards[1], -towards[0])
    return Pose(
        Rotation.from_euler("z", facing).as_matrix(), np.array([spot[0], spot[1], centre[2] - size[2] / 2])
    )


def _extent(thing: SceneObject) -> tuple[Floats, Floats]:
    if thing.position is None or thing.size is None:
        raise NoPlace(f"no position is known of {thing.id}: give its camera depth")
    return np.array(thing.position), np.array(thing.size)


def _side(predicate: str, centre: Floats, viewpoint: Vector | None, frame: str) -> tuple[Floats, float]:
    """Unit vector in the plane, from the object's centre towards the place, and how far that side goes, metres."""
    if predicate in ("left_of", "right_of"):
        return np.array([0.0, 1.0 if predicate == "left_of" else -1.0]), inf
    if predicate not in ("in_front_of", "behind"):
        raise NoPlace(f"{predicate} is no side: give one of {', '.join(_PHRASES.values())}")
    if viewpoint is None and frame.rsplit("/", 1)[-1] not in ROBOTS_OWN:
        raise NoPlace(f"{predicate} as seen from where? give the viewpoint: the robot's place in {frame}")
    back = np.array((viewpoint or (0.0, 0.0))[:2]) - centre[:2]
    length = hypot(*back)
    if length < STEP:
        raise NoPlace("the viewpoint is at the object itself: give the place of the robot or the camera")
    ahead: Floats = back / length
    return (ahead, length) if predicate == "in_front_of" else (-ahead, inf)


def _apart(spot: Floats, centre: Floats, size: Floats) -> float:
    """Distance in the plane from a spot to an extent, metres; 0 inside."""
    beyond = np.maximum(np.abs(spot - centre[:2]) - size[:2] / 2, 0.0)
    return float(hypot(*beyond))

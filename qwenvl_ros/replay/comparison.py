"""Scenes against those that are expected, with tolerances: differences in words that a person can act on."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import dist
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from qwenvl_ros.settings import setting
from qwenvl_ros.types import Box, Status, Truth

Fields = Mapping[str, Any]  # of a scene as scene_json gives it, or a part of one

_SYMMETRIC = ("near", "touching")  # either object may be the subject


@dataclass(frozen=True)
class Tolerances:
    """How far a scene may be from the expected one."""

    expect_iou: float = setting(
        0.9, "Least IoU of an object's box with the expected one.", minimum=0.0, maximum=1.0
    )
    expect_position: float = setting(
        0.02, "Most distance of a position from the expected one.", unit="m", minimum=0.0
    )
    expect_size: float = setting(0.05, "Most difference of each side of an extent.", unit="m", minimum=0.0)
    expect_score: float = setting(0.1, "Most difference of a score.", minimum=0.0, maximum=1.0)
    expect_visible: float = setting(0.1, "Most difference of a visible_fraction.", minimum=0.0, maximum=1.0)
    expect_relations: int = setting(0, "Relations of a scene that may differ.", minimum=0)


class ExpectationRefused(ValueError):
    """The file of expected scenes cannot be read; the message holds the remedy."""


class Expectation:
    """The scenes of a file, a line each as `--jsonl` writes them; scenes are found by camera and stamp.

    Raises:
        ExpectationRefused: the file cannot be read.
    """

    def __init__(self, path: Path, tolerances: Tolerances) -> None:
        self._tolerances = tolerances
        self._scenes: dict[tuple[str, int], deque[Fields]] = {}
        self.scenes = self.differing = 0
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ExpectationRefused(
                f"{path} cannot be read: {error}; give what --jsonl has written"
            ) from error
        for number, line in enumerate(lines, 1):
            try:
                scene = json.loads(line)
                self._scenes.setdefault(_key(scene), deque()).append(scene)
            except (ValueError, KeyError, TypeError) as error:
                raise ExpectationRefused(
                    f"{path}, line {number}: no scene: {error}; give what --jsonl has written"
                ) from error
        self.expected = len(lines)

    def differences(self, scene: Fields) -> list[str]:
        """How this scene differs from the expected one, a line each; none of them = it does not."""
        self.scenes += 1
        waiting = self._scenes.get(_key(scene))
        found = list(compare(waiting.popleft(), scene, self._tolerances)) if waiting else ["is not expected"]
        self.differing += bool(found)
        return [f"{_named(scene)}: {text}" for text in found]

    def missing(self) -> list[str]:
        """The expected scenes that did not come, a line each."""
        left = [f"{_named(scene)}: did not come" for waiting in self._scenes.values() for scene in waiting]
        self.differing += len(left)
        return left


def compare(expected: Fields, scene: Fields, tolerances: Tolerances) -> Iterator[str]:
    """The differences of two scenes in words; objects of a label are matched by their boxes."""
    try:
        for name in ("width", "height", "reference_frame", "queries"):
            if expected[name] != scene[name]:
                yield f"{name} was {expected[name]}, is {scene[name]}"
        if expected["status"] != scene["status"]:
            was, now = Status(expected["status"]).name, Status(scene["status"]).name
            yield f"status was {was}, is {now} ({scene['status_message'] or 'no message'})"
        pairs, gone, new = _matched(expected["objects"], scene["objects"])
        yield from (f"{each['id']} is gone, it was at {_corners(each)}" for each in gone)
        yield from (f"{each['id']} is new, at {_corners(each)}" for each in new)
        for before, after in pairs:
            yield from _object_differences(before, after, tolerances)
        names = {after["id"]: before["id"] for before, after in pairs}
        different = list(_relation_differences(expected, scene, names))
        if len(different) > tolerances.expect_relations:
            yield from different
    except (KeyError, TypeError, ValueError) as error:
        raise ExpectationRefused(
            f"the expected scene {_named(expected)} lacks fields of a scene: {error!r}; write it anew with --jsonl"
        ) from error


def _matched(
    expected: Sequence[Fields], objects: Sequence[Fields]
) -> tuple[list[tuple[Fields, Fields]], list[Fields], list[Fields]]:
    """Pairs of what was and is, what is gone and what is new."""
    pairs: list[tuple[Fields, Fields]] = []
    gone, new = list(expected), list(objects)
    for kind in dict.fromkeys((each["label"], each["query"]) for each in expected):
        was = [each for each in expected if (each["label"], each["query"]) == kind]
        now = [each for each in objects if (each["label"], each["query"]) == kind]
        shared = np.array([[_box(a).iou(_box(b)) for b in now] for a in was]).reshape(len(was), len(now))
        for row, column in zip(*linear_sum_assignment(-shared), strict=True):
            pairs.append((was[row], now[column]))
            gone.remove(was[row])
            new.remove(now[column])
    return pairs, gone, new


def _object_differences(was: Fields, now: Fields, tolerances: Tolerances) -> Iterator[str]:
    name = was["id"]
    iou = _box(was).iou(_box(now))
    if iou < tolerances.expect_iou:
        yield f"{name} moved in the image: IoU {iou:.3f}, at least {tolerances.expect_iou:g}: {_moved(was, now)}"
    if was["has_position"] != now["has_position"]:
        yield f"{name} has {'a position now' if now['has_position'] else 'no position any more'}"
    elif was["has_position"]:
        before, after = _vector(was["position"]), _vector(now["position"])
        if (apart := dist(before, after)) > tolerances.expect_position:
            yield (
                f"{name} moved by {apart:.3f} m, at most {tolerances.expect_position:g}: "
                f"{_metres(before)} -> {_metres(after)}"
            )
        sides, others = _vector(was["size"]), _vector(now["size"])
        if max(abs(a - b) for a, b in zip(sides, others, strict=True)) > tolerances.expect_size:
            change = f"{_metres(sides)} -> {_metres(others)}"
            yield f"{name} changed its size by more than {tolerances.expect_size:g} m: {change}"
    for field, most in (("score", tolerances.expect_score), ("visible_fraction", tolerances.expect_visible)):
        if _apart(was[field], now[field]) > most:
            yield f"{name}: {field} was {_number(was[field])}, is {_number(now[field])}, at most {most:g} apart"


def _relation_differences(expected: Fields, scene: Fields, names: Mapping[str, str]) -> Iterator[str]:
    """names: ids of the scene's objects in the expected one; relations of objects without a partner are left out."""
    partners = set(names.values())
    before = dict(_relations(expected, {each: each for each in partners}))
    after = dict(_relations(scene, names))
    evaluated = set(expected["evaluated_predicates"]), set(scene["evaluated_predicates"])
    for key in dict.fromkeys([*before, *after]):
        was = _truth(before.get(key), key[1] in evaluated[0])
        now = _truth(after.get(key), key[1] in evaluated[1])
        if was != now:
            yield f"{' '.join(key)} was {was}, is {now}"


def _relations(scene: Fields, names: Mapping[str, str]) -> Iterator[tuple[tuple[str, str, str], int]]:
    for each in scene["relations"]:
        subject, other = names.get(each["subject_id"]), names.get(each["object_id"])
        if subject is None or other is None:
            continue
        if each["predicate"] in _SYMMETRIC:
            subject, other = sorted((subject, other))
        yield (subject, each["predicate"], other), each["truth"]


def _truth(value: int | None, evaluated: bool) -> str:
    if value is None:
        return Truth.FALSE.name if evaluated else "not evaluated"
    return Truth(value).name


def _key(scene: Fields) -> tuple[str, int]:
    stamp = scene["header"]["stamp"]
    return str(scene["camera"]), int(stamp["sec"]) * 1_000_000_000 + int(stamp["nanosec"])


def _named(scene: Fields) -> str:
    camera, stamp = _key(scene)
    return f"{camera} at {stamp // 1_000_000_000}.{stamp % 1_000_000_000:09d} s"


def _box(thing: Fields) -> Box:
    box = thing["box"]
    return Box(*(float(box[name]) for name in ("x_min", "y_min", "x_max", "y_max")))


def _corners(thing: Fields) -> str:
    return "(" + " ".join(f"{value:.0f}" for value in _box(thing).corners) + ")"


def _moved(was: Fields, now: Fields) -> str:
    return f"{_corners(was)} -> {_corners(now)}"


def _vector(vector: Fields) -> tuple[float, float, float]:
    return (float(vector["x"]), float(vector["y"]), float(vector["z"]))


def _metres(vector: tuple[float, float, float]) -> str:
    return "(" + " ".join(f"{value:.3f}" for value in vector) + ")"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _apart(one: float | None, other: float | None) -> float:
    """Infinite where only one of them is known."""
    if one is None or other is None:
        return 0.0 if one is other else float("inf")
    return abs(one - other)

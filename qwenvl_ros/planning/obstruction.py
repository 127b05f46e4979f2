"""What stands in the way of taking an object: which one is free, and what has to be moved first, in which order."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import isnan

from qwenvl_ros.planning.truths import Truths, named, readable, unasked
from qwenvl_ros.planning.words import names_of
from qwenvl_ros.types import Occlusion, Scene, SceneObject, Truth


@dataclass(frozen=True, slots=True)
class Obstruction:
    """What stands in the way of one object.

    by: what lies on it or hides some of it. What it stands on or lies in, and what lies in it, is not in its way.
    open: in words, what else may be in its way and cannot be told from this view.
    """

    by: tuple[SceneObject, ...]
    open: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """object: the one to take, None where none is free. others: why not each of the rest, in words, by id."""

    object: SceneObject | None
    others: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Clearing:
    """order: what to take away before the target, first things first. open: in words, what else may be in the way."""

    target: SceneObject
    order: tuple[SceneObject, ...]
    open: tuple[str, ...]


def obstruction(scene: Scene, id: str) -> Obstruction:
    """What stands in the way of the object with this id.

    Raises:
        Unreadable: the scene's status is not OK.
        KeyError: there is no such object.
    """
    return _obstruction(Truths(readable(scene)), scene.object(id))


def next_free(scene: Scene, name: str, done: Collection[str] = ()) -> Choice:
    """The next object of this name with nothing in its way; of several the one with fewest of them in front of it.

    done: ids that are not to be chosen again. An object of which it cannot be told is not chosen.

    Raises:
        Unreadable: the scene's status is not OK.
        LookupError: nothing has this name, and it was not asked for: that there is none cannot be told.
    """
    truths = Truths(readable(scene))
    if why := unasked(scene, name):
        raise LookupError(why)
    called, free, others = names_of(scene), [], {}
    for each in named(scene, name):
        found = _obstruction(truths, each)
        if each.id in done:
            others[each.id] = "done"
        elif found.by:
            others[each.id] = f"in its way: {', '.join(called[one.id] for one in found.by)}"
        elif found.open:
            others[each.id] = f"cannot be told: {'; '.join(found.open)}"
        else:
            free.append(each)
    ranked = sorted(free, key=lambda one: _rank(truths, one, free))
    others |= {each.id: "free too" for each in ranked[1:]}
    return Choice(ranked[0] if ranked else None, others)


def clearing(scene: Scene, name: str) -> Clearing:
    """What has to be taken away to get at the one object of this name, and in which order.

    What is in the way of a thing goes before it, all the way down. Where things hide each other in a circle, there is
    no such order, and it is cut where the target meets it.

    Raises:
        Unreadable: the scene's status is not OK.
        LookupError: nothing has this name, or several things have.
    """
    truths = Truths(readable(scene))
    target, called = only(scene, name), names_of(scene)
    order: list[SceneObject] = []
    seen = {target.id}
    open_: list[str] = []

    def visit(thing: SceneObject) -> None:
        found = _obstruction(truths, thing)
        open_.extend(found.open)
        for each in found.by:
            if each.id in seen:
                continue
            if each.id in _bearers(scene, target.id):
                carrier = f"{called[each.id]}, which carries {called[target.id]}"
                open_.append(f"how to get at {called[thing.id]} past {carrier}")
                continue
            seen.add(each.id)
            visit(each)
            order.append(each)

    visit(target)
    return Clearing(target, tuple(order), tuple(open_))


def only(scene: Scene, name: str) -> SceneObject:
    """The one object of this name.

    Raises:
        LookupError: nothing has this name, or several things have.
    """
    found = named(scene, name)
    if not found:
        there = ", ".join(names_of(scene).values()) or "nothing"
        raise LookupError(unasked(scene, name) or f"no {name!r} in the scene; there is {there}")
    if len(found) > 1:
        raise LookupError(f"{name!r} may be any of {', '.join(each.id for each in found)}: give an id")
    return found[0]


def _obstruction(truths: Truths, thing: SceneObject) -> Obstruction:
    called, id = names_of(truths.scene), thing.id
    by, open_, hidden = [], [], False
    bearers = _bearers(truths.scene, id)
    for other in truths.scene.objects:
        if other.id == id:
            continue
        on, hides = truths.of("on", other.id, id), truths.of("occludes", other.id, id)
        hidden = hidden or hides is not Truth.FALSE
        if other.id in bearers or truths.of("inside", other.id, id) is Truth.TRUE:
            hides = Truth.FALSE  # without being in its way
        if Truth.TRUE in (on, hides):
            by.append(other)
        elif on is Truth.UNKNOWN:
            open_.append(f"whether {called[other.id]} is on {called[id]}")
        elif hides is Truth.UNKNOWN:
            open_.append(f"whether {called[other.id]} hides {called[id]}")
    if not open_ and truths.of("clear", id) is Truth.UNKNOWN:
        open_.append(f"whether anything is on {called[id]}")
    if thing.occlusion is Occlusion.UNKNOWN:
        open_.append(f"how much of {called[id]} is hidden")
    elif thing.occlusion is not Occlusion.NONE and not hidden:
        open_.append(f"what hides {called[id]}")
    if thing.truncated:
        open_.append(f"what is beyond the border of the image, which {called[id]} touches")
    return Obstruction(tuple(by), tuple(open_))


def _bearers(scene: Scene, id: str) -> set[str]:
    """Ids of what carries or holds it, of what carries that, and so on: taken away, it would go with it."""
    below: dict[str, set[str]] = {}
    for each in scene.relations:
        if each.predicate in ("on", "inside") and each.truth is Truth.TRUE:
            below.setdefault(each.subject_id, set()).add(each.object_id)
    found, beside = set[str](), [id]
    while beside:
        more = below.get(beside.pop(), set()) - found - {id}
        found |= more
        beside.extend(more)
    return found


def _rank(truths: Truths, thing: SceneObject, free: list[SceneObject]) -> tuple[int, float]:
    ahead = sum(truths.of("in_front_of", one.id, thing.id) is Truth.TRUE for one in free if one is not thing)
    return ahead, 0.0 if isnan(thing.visible_fraction) else -thing.visible_fraction

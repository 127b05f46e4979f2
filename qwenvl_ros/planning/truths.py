"""Whether a relation holds in a scene: TRUE, FALSE or UNKNOWN, for objects by id or by name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from qwenvl_ros.grounding import asked, called
from qwenvl_ros.relations import CONVERSE, PREDICATES, SYMMETRIC, UNARY
from qwenvl_ros.types import Occlusion, Scene, SceneObject, Status, Truth

Fact = tuple[str, str, str]  # subject, predicate, object

_NUMBER = re.compile(r"_\d+$")  # of an id
_TURNED = {converse: predicate for predicate, converse in CONVERSE.items()}


class Unreadable(ValueError):
    """A scene's answer could not be had or read in full, so that nothing can be concluded from what is not in it."""


def readable(scene: Scene) -> Scene:
    """The scene itself.

    Raises:
        Unreadable: its status is not OK.
    """
    if scene.status is not Status.OK:
        reason = f": {scene.status_message}" if scene.status_message else ""
        raise Unreadable(f"the scene of {scene.camera} is {scene.status.name}{reason}; wait for the next one")
    return scene


def named(scene: Scene, name: str) -> tuple[SceneObject, ...]:
    """The object with this id; else those that answer the query of this name or may be called so; "" = all.

    "cube" names every "red cube", "cube on the table" names none of the tables (grounding.called).
    """
    if not name:
        return tuple(scene.objects)
    exact = tuple(each for each in scene.objects if each.id == name)
    return exact or tuple(each for each in scene.objects if each.query == name or called(each.label, name))


def unasked(scene: Scene, name: str) -> str:
    """Why it cannot be told that nothing has this name, "" if it can: no query of the scene means it.

    A query means the name that it is, that may be called by it, or by which it may be called (grounding.called), the
    latter unless something answers it whose label leaves open whether it is that; an id counts without its number.
    Without queries every object was asked for.
    """
    queries, kind = asked(scene.queries), _NUMBER.sub("", name)
    if not queries or not name or name in scene.queries or named(scene, name):
        return ""
    if any(called(each, kind) for each in queries):
        return ""
    broader = [each for each in queries if called(kind, each)]
    maybe = {one.id for each in broader for one in named(scene, each) if called(kind, one.label)}
    if broader and not maybe:
        return ""
    remedy = "add it to the queries of scene_node"
    if maybe:
        return f"{', '.join(sorted(maybe))} may be {name!r}, which was not asked for by that name: {remedy}"
    return f"{name!r} was not asked for, only {', '.join(map(repr, queries))}: {remedy}"


def lost(scene: Scene, keyframe: Scene | None) -> tuple[SceneObject, ...]:
    """The objects of its keyframe that a scene between keyframes no longer has: they may still be there.

    keyframe: the last one of the camera; () where the scene does not come from it.
    """
    if keyframe is None or scene.keyframe or scene.keyframe_stamp != keyframe.stamp:
        return ()
    kept = {each.id for each in scene.objects}
    return tuple(each for each in keyframe.objects if each.id not in kept)


def unbounded(scene: Scene, predicate: str, objects: Iterable[SceneObject]) -> tuple[str, ...]:
    """Ids of these objects about which it is open whether something that the scene does not list is "predicate" them.

    on: whose clear is UNKNOWN; occludes: of which something is hidden, or may be.
    """
    if predicate == "on":
        unsure = {
            one.subject_id
            for one in scene.relations
            if one.predicate == "clear" and one.truth is Truth.UNKNOWN
        }
        return tuple(each.id for each in objects if each.id in unsure)
    if predicate == "occludes":
        return tuple(each.id for each in objects if each.occlusion is not Occlusion.NONE)
    return ()


def turned(predicate: str, subject: str, object: str) -> Fact:
    """The same question in the direction in which scenes state it."""
    return (object, _TURNED[predicate], subject) if predicate in _TURNED else (subject, predicate, object)


def check(predicate: str, object: str = "") -> None:
    """Refuse what no scene will ever answer.

    Raises:
        ValueError: no such predicate, or an object for one that has none.
    """
    if predicate not in PREDICATES and predicate not in _TURNED:
        raise ValueError(f"no predicate {predicate!r}: give one of {', '.join([*PREDICATES, *_TURNED])}")
    if predicate in UNARY and object:
        raise ValueError(f"{predicate} is about one thing: leave {object!r} out")


def stated(predicate: str, subject: str, object: str) -> Fact:
    """The fact as scenes state it: of a converse pair the direction that is listed, near and touching in one order."""
    subject, predicate, object = turned(predicate, subject, object)
    if predicate in SYMMETRIC and object < subject:
        subject, object = object, subject
    return subject, predicate, object


class Truths:
    """What a scene says of any relation.

    A relation that was evaluated and is not listed is FALSE. All is UNKNOWN where the status is not OK, where the
    predicate was not evaluated, and about a name that nothing in the scene has: what is not seen may be hidden.
    For the same reason nothing is FALSE that would hold of something else: of an object with that name that tracking
    lost, or, where the subject is anything, of what may lie unseen on a thing, or hide some of it.

    keyframe: the last one of the camera, of which tracking may have lost something.
    """

    def __init__(self, scene: Scene, keyframe: Scene | None = None) -> None:
        self.scene = scene
        self._lost = replace(scene, objects=lost(scene, keyframe))
        self._evaluated = scene.evaluated_predicates if scene.status is Status.OK else ()
        self._listed = {
            stated(each.predicate, each.subject_id, each.object_id): each.truth for each in scene.relations
        }

    def of(self, predicate: str, subject: str, object: str = "") -> Truth:
        """Whether subject predicate object holds, each an id, a name or "" for any.

        Where several objects have a name, whether it holds for ANY of them: TRUE if it does for one pair, UNKNOWN
        if it may for one, FALSE if it does for none.

        Raises:
            ValueError: no such predicate, or an object for one that has none.
        """
        check(predicate, object)
        first = named(self.scene, subject)
        second = first if predicate in UNARY else named(self.scene, object)
        if (subject and not first) or (object and not second):
            return Truth.UNKNOWN
        if predicate in UNARY:
            facts = [stated(predicate, each.id, each.id) for each in first]
        else:
            facts = [stated(predicate, a.id, b.id) for a in first for b in second if a.id != b.id]
        if _TURNED.get(predicate, predicate) not in self._evaluated:
            return Truth.UNKNOWN
        truth = any_of(self._listed.get(fact, Truth.FALSE) for fact in facts)
        return Truth.UNKNOWN if truth is Truth.FALSE and self._open(predicate, subject, object) else truth

    def _open(self, predicate: str, subject: str, object: str) -> bool:
        """Whether it may hold of something that is not in the scene."""
        subject, predicate, object = turned(predicate, subject, object)
        names = (subject,) if predicate in UNARY else (subject, object)
        if any(named(self._lost, name) for name in names):
            return True
        return not subject and bool(unbounded(self.scene, predicate, named(self.scene, object)))


def any_of(truths: Iterable[Truth]) -> Truth:
    """Whether one of them is so, in Kleene's logic: TRUE before UNKNOWN before FALSE."""
    found = set(truths)
    return next((each for each in (Truth.TRUE, Truth.UNKNOWN) if each in found), Truth.FALSE)

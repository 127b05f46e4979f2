"""The relations of scenes that match a question: subject, predicate and object, each given or left open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from qwenvl_ros.planning.truths import check, lost, named, turned, unbounded
from qwenvl_ros.relations import CONVERSE, SYMMETRIC
from qwenvl_ros.types import Relation, Scene, Status, Truth

# What "B p A" is called when it is told of A first.
_TURNED = (
    CONVERSE | {turned: stated for stated, turned in CONVERSE.items()} | {same: same for same in SYMMETRIC}
)
_LISTED = 20  # names in a message
_NONE: Mapping[str, Scene] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Selection:
    """relations: TRUE and UNKNOWN ones. message: what they may lack, and why; "" if nothing."""

    relations: tuple[Relation, ...]
    message: str


def select(
    scenes: Sequence[Scene],
    subject: str,
    predicate: str,
    object: str,
    unseen: Sequence[str] = (),
    failed: Sequence[Scene] = (),
    keyframes: Mapping[str, Scene] = _NONE,
) -> Selection:
    """What the scenes state of "subject predicate object"; "" leaves a place open.

    subject and object: an id or a name (planning.named). Every fact once, in the direction that was asked:
    of "A left_of B" asking for right_of, or only for subject B, gives "B right_of A"; with both ways open it stays
    as the scene states it. A fact that is not given and whose predicate was evaluated is FALSE. unseen: of cameras that
    have no scene here, why; they could show what these scenes do not. failed: of cameras whose last scene, after the
    one here, says nothing, that scene. keyframes: of each camera the last, of which tracking may have lost something.
    Of an id that several cameras gave it is told that it means more than one thing, and where nothing holds, of what
    else it may (planning.truths.Truths).

    Raises:
        ValueError: no such predicate, the message lists those that there are; or one of one thing with another.
    """
    if predicate:
        check(predicate, "" if object == subject else object)
    found: list[Relation] = []
    notes: list[str] = []
    told = {scene.camera for scene in scenes}
    for scene in scenes:
        subjects, objects = ({each.id for each in named(scene, name)} for name in (subject, object))
        found += _matching(scene, subjects, predicate, objects)
        if scene.status is not Status.OK:
            notes.append(_failure(scene))
        evaluated = (*scene.evaluated_predicates, *(CONVERSE.get(p, p) for p in scene.evaluated_predicates))
        if predicate and predicate not in evaluated:
            notes.append(f"camera {scene.camera}: {predicate} was not evaluated, so nothing is known of it")
    notes += [_failure(scene) for scene in failed if scene.camera in told]
    names = [name for name in dict.fromkeys((subject, object)) if name]
    notes += [*_missing(scenes, names), *_ambiguous(scenes, names)]
    if not any(each.truth is Truth.TRUE for each in found):
        notes += [note for scene in scenes for note in _open(scene, subject, predicate, object, keyframes)]
        notes += unseen
    return Selection(tuple(found), "; ".join(notes))


def _failure(scene: Scene) -> str:
    return f"camera {scene.camera}: {scene.status.name.lower()}: {scene.status_message}"


def _matching(scene: Scene, subjects: set[str], predicate: str, objects: set[str]) -> Iterator[Relation]:
    for stated in scene.relations:
        turned = _turned(stated)
        for told in (stated, turned) if turned else (stated,):
            fits = told.subject_id in subjects and told.object_id in objects
            if fits and predicate in ("", told.predicate):
                yield told
                break


def _turned(stated: Relation) -> Relation | None:
    """The same fact told of its object; None where there is no word for it."""
    predicate = _TURNED.get(stated.predicate)
    if predicate is None:
        return None
    return stated._replace(predicate=predicate, subject_id=stated.object_id, object_id=stated.subject_id)


def _open(
    scene: Scene, subject: str, predicate: str, object: str, keyframes: Mapping[str, Scene]
) -> Iterator[str]:
    """Of what that is not in the scene it may hold."""
    gone = replace(scene, objects=lost(scene, keyframes.get(scene.camera)))
    if ids := sorted({each.id for name in (subject, object) for each in named(gone, name)}):
        yield f"camera {scene.camera}: tracking lost {', '.join(ids)}: nothing is known of it until the next keyframe"
    subject, predicate, object = turned(predicate, subject, object)
    if not subject and (ids := sorted(unbounded(scene, predicate, named(scene, object)))):
        may = "lie on" if predicate == "on" else "hide part of"
        yield f"camera {scene.camera}: something that is not listed may {may} {', '.join(ids)}"


def _missing(scenes: Sequence[Scene], names: Sequence[str]) -> list[str]:
    there = list(dict.fromkeys(each.id for scene in scenes for each in scene.objects))
    listed = ", ".join(there[:_LISTED]) + (" ..." if len(there) > _LISTED else "")
    notes = [
        f"no object with the id or the name {name!r}; there are {listed or 'none'}"
        for name in names
        if not any(named(scene, name) for scene in scenes)
    ]
    together = any(all(named(scene, name) for name in names) for scene in scenes)
    if len(names) == 2 and not notes and not together:
        notes.append(f"no camera sees both {names[0]!r} and {names[1]!r}: nothing is known of the two")
    return notes


def _ambiguous(scenes: Sequence[Scene], names: Sequence[str]) -> Iterator[str]:
    """Cameras number their objects each for itself."""
    for name in names:
        cameras = [scene.camera for scene in scenes if any(each.id == name for each in scene.objects)]
        if len(cameras) > 1:
            others = " and another of camera ".join(cameras)
            yield f"the id {name!r} is one object of camera {others}; ask by name"

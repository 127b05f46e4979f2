"""A scene in plain words, as a planner would log what it is about to act on."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from math import isnan

from qwenvl_ros.grounding import asked
from qwenvl_ros.planning.truths import unasked
from qwenvl_ros.relations import SYMMETRIC
from qwenvl_ros.types import Occlusion, Relation, Scene, SceneObject, Source, Status, Truth

_PHRASES = {
    "left_of": "is left of",
    "right_of": "is right of",
    "above": "is above",
    "below": "is below",
    "in_front_of": "is in front of",
    "behind": "is behind",
    "on": "is on",
    "inside": "is inside",
    "near": "is near",
    "touching": "touches",
}

_ORDERS = ("left_of", "above", "in_front_of")
_PLENTY = ("near", "clear")  # true of nearly every object on a table
_HIDDEN = (Occlusion.PARTIAL, Occlusion.HEAVY, Occlusion.FULL)


def describe(scene: Scene) -> list[str]:
    """What is known and true in a scene, a line each: what is seen and hidden first, then how the objects stand.

    Objects are called by their label, or by their id where several share a label.
    """
    facts = [*visibility(scene), *relations(scene)]
    only = f" of what was asked for: {', '.join(asked(scene.queries))}" if asked(scene.queries) else ""
    return [*_failure(scene), *facts] or [f"nothing there{only}"]


def changes(before: Scene | None, now: Scene) -> list[str]:
    """What holds now and did not before, and what no longer does: objects, what hides them, and relations.

    Only relations that do not follow from others are told (see essential). What held and is UNKNOWN now cannot be told
    any more; that is not that it no longer holds. A scene that could not be had or read
    says so and takes nothing back.
    """
    if now.status is not Status.OK:
        return _failure(now)
    if before is None:
        before = replace(now, objects=(), relations=())
    old_names, names = names_of(before, now), names_of(now, before)
    here, gone = set(names.values()), set(old_names.values())
    new, gone = here - gone, gone - here
    untold = {old_names[o.id] for o in before.objects if unasked(now, o.query or o.label)} & gone
    old_seen, old_facts = _seen(before, old_names), _related(essential(before), old_names)
    new_facts = _related(essential(now), names)
    lines = [f"new: {', '.join(sorted(new))}"] if new else []
    lines += [f"gone: {', '.join(sorted(gone - untold))}"] if gone - untold else []
    lines += [f"not asked for any more: {', '.join(sorted(untold))}"] if untold else []
    lines += [
        text
        for (name, level, occluders), text in _seen(now, names).items()
        if (name, level, occluders) not in old_seen and (level in _HIDDEN or occluders or name not in new)
    ]
    lines += [_with_gap(text, gap) for key, (text, gap) in new_facts.items() if key not in old_facts]
    still = _related(now, names)
    open_ = {_key(r, names) for r in now.relations if r.truth is Truth.UNKNOWN}
    for key, (text, _) in old_facts.items():
        if key not in still and key[0] in here and key[2] in here:
            known = key not in open_ and key[1] in now.evaluated_predicates
            lines.append(f"{'no longer' if known else 'cannot be told any more'}: {text}")
    return lines


def essential(scene: Scene) -> Scene:
    """The scene with only those true relations that do not follow from others, and neither `near` nor `clear`.

    left_of, above and in_front_of are left out where a third object stands in between; above where it is on.
    """
    true = {(r.subject_id, r.predicate, r.object_id) for r in scene.relations if r.truth is Truth.TRUE}

    def follows(r: Relation) -> bool:
        if r.predicate == "above" and (r.subject_id, "on", r.object_id) in true:
            return True
        return r.predicate in _ORDERS and any(
            (r.subject_id, r.predicate, o.id) in true and (o.id, r.predicate, r.object_id) in true
            for o in scene.objects
        )

    kept = [r for r in scene.relations if r.predicate not in _PLENTY and not follows(r)]
    return replace(scene, relations=tuple(kept))


def visibility(scene: Scene) -> list[str]:
    """How much of each object is seen, and what hides the rest of it."""
    return list(_seen(scene, names_of(scene)).values())


def relations(scene: Scene) -> list[str]:
    """How the objects stand to each other.

    What could not be told is counted on the last line, never worded as if it were false.
    """
    lines = [_with_gap(text, gap) for text, gap in _related(scene, names_of(scene)).values()]
    unknown = Counter(r.predicate for r in scene.relations if r.truth is Truth.UNKNOWN)
    if unknown:
        counted = ", ".join(f"{predicate} ({count})" for predicate, count in unknown.items())
        lines.append(f"cannot be told from this view: {counted}")
    return lines


def _failure(scene: Scene) -> list[str]:
    if scene.status is Status.OK:
        return []
    reason = f": {scene.status_message}" if scene.status_message else ""
    return [f"{scene.status.name.lower().replace('_', ' ')}{reason}"]


def _seen(scene: Scene, names: dict[str, str]) -> dict[tuple[str, Occlusion, tuple[str, ...]], str]:
    """A line for each object, by its name, how much of it is hidden, and what hides it."""
    occluders: dict[str, list[str]] = defaultdict(list)
    for relation in scene.relations:
        if relation.predicate == "occludes" and relation.truth is Truth.TRUE:
            occluders[relation.object_id].append(names[relation.subject_id])
    return {
        (names[o.id], o.occlusion, tuple(sorted(occluders[o.id]))): _visibility(
            o, names[o.id], occluders[o.id]
        )
        for o in scene.objects
    }


def _related(scene: Scene, names: dict[str, str]) -> dict[tuple[str, str, str], tuple[str, str]]:
    """(sentence, gap in words) of each true relation, by its key."""
    return {
        _key(r, names): (_sentence(r, names), _gap(r))
        for r in scene.relations
        if r.truth is Truth.TRUE and r.predicate != "occludes"
    }


def _key(relation: Relation, names: dict[str, str]) -> tuple[str, str, str]:
    """Subject, predicate and object; of a symmetric predicate in the same order whichever way it is stated."""
    subject, object_ = names[relation.subject_id], names[relation.object_id]
    if relation.predicate in SYMMETRIC:
        subject, object_ = sorted((subject, object_))
    return subject, relation.predicate, object_


def names_of(scene: Scene, *others: Scene) -> dict[str, str]:
    """What to call each object, by id: its label, or its id where several share a label, here or in another scene."""
    counts = [Counter(o.label for o in each.objects) for each in (scene, *others)]
    return {o.id: o.id if any(each[o.label] > 1 for each in counts) else o.label for o in scene.objects}


def _visibility(thing: SceneObject, name: str, occluders: list[str]) -> str:
    by = f"hidden by {' and '.join(occluders)}" if occluders else ""
    if isnan(thing.visible_fraction):
        return f"{name} partly {by}" if by else f"{name} is there"
    seen = f"{name} {100 * thing.visible_fraction:.0f} % visible"
    return f"{seen}, {by}" if by else seen


def _sentence(relation: Relation, names: dict[str, str]) -> str:
    subject, object_ = names[relation.subject_id], names[relation.object_id]
    if relation.predicate == "clear":
        return f"nothing is on {subject}"
    return f"{subject} {_PHRASES.get(relation.predicate, relation.predicate.replace('_', ' '))} {object_}"


def _gap(relation: Relation) -> str:
    if isnan(relation.value):
        return ""
    metric = relation.source in (Source.GEOMETRY_3D, Source.FUSED)
    # + 0.0 so that what rounds to zero has no sign
    return f"{round(relation.value, 2) + 0.0:.2f} m" if metric else f"{round(relation.value) + 0.0:.0f} px"


def _with_gap(sentence: str, gap: str) -> str:
    return f"{sentence} ({gap})" if gap else sentence

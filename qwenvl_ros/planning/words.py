"""A scene in plain words, as a planner would log what it is about to act on."""

from __future__ import annotations

from collections import Counter, defaultdict
from math import isnan

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


def describe(scene: Scene) -> list[str]:
    """What is known and true in a scene, a line each: what is seen and hidden first, then how the objects stand.

    Objects are called by their label, or by their id where several share a label.
    """
    facts = [*visibility(scene), *relations(scene)]
    return [*_failure(scene), *facts] or ["nothing there"]


def changes(before: Scene | None, now: Scene) -> list[str]:
    """What describe(now) tells that did not hold before, and what held and no longer does; gaps may differ.

    A scene that could not be had or read says so and takes nothing back.
    """
    if before is None or now.status is not Status.OK:
        return describe(now)
    old_seen, new_seen = _seen(before), _seen(now)
    old_facts, new_facts = _related(before), _related(now)
    lines = [text for key, text in new_seen.items() if key not in old_seen]
    still = {name for name, *_ in new_seen}
    lines += [f"{name} is gone" for name in dict.fromkeys(name for name, *_ in old_seen) if name not in still]
    lines += [_with_gap(text, gap) for key, (text, gap) in new_facts.items() if key not in old_facts]
    lines += [
        f"no longer: {text}"
        for key, (text, _) in old_facts.items()
        if key not in new_facts and still >= {*key[::2]}
    ]
    return lines


def visibility(scene: Scene) -> list[str]:
    """How much of each object is seen, and what hides the rest of it."""
    return list(_seen(scene).values())


def relations(scene: Scene) -> list[str]:
    """How the objects stand to each other.

    What could not be told is counted on the last line, never worded as if it were false.
    """
    lines = [_with_gap(text, gap) for text, gap in _related(scene).values()]
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


def _seen(scene: Scene) -> dict[tuple[str, Occlusion, tuple[str, ...]], str]:
    """A line for each object, by its name, how much of it is hidden, and what hides it."""
    names = _names(scene)
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


def _related(scene: Scene) -> dict[tuple[str, str, str], tuple[str, str]]:
    """(sentence, gap in words) of each true relation, by subject, predicate and object."""
    names = _names(scene)
    return {
        (names[r.subject_id], r.predicate, names[r.object_id]): (_sentence(r, names), _gap(r))
        for r in scene.relations
        if r.truth is Truth.TRUE and r.predicate != "occludes"
    }


def _names(scene: Scene) -> dict[str, str]:
    shared = Counter(o.label for o in scene.objects)
    return {o.id: o.label if shared[o.label] == 1 else o.id for o in scene.objects}


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
    return f"{relation.value:.2f} m" if metric else f"{relation.value:.0f} px"


def _with_gap(sentence: str, gap: str) -> str:
    return f"{sentence} ({gap})" if gap else sentence

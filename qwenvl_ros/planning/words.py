"""A scene in plain words, as a planner would log what it is about to act on."""

from __future__ import annotations

from collections import Counter, defaultdict
from math import isnan

from qwenvl_ros.types import Relation, Scene, SceneObject, Source, Status, Truth

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
    if scene.status is Status.OK:
        return facts or ["nothing there"]
    reason = f": {scene.status_message}" if scene.status_message else ""
    return [f"{scene.status.name.lower().replace('_', ' ')}{reason}", *facts]


def visibility(scene: Scene) -> list[str]:
    """How much of each object is seen, and what hides the rest of it."""
    names = _names(scene)
    occluders: dict[str, list[str]] = defaultdict(list)
    for relation in scene.relations:
        if relation.predicate == "occludes" and relation.truth is Truth.TRUE:
            occluders[relation.object_id].append(names[relation.subject_id])
    return [_visibility(o, names[o.id], occluders[o.id]) for o in scene.objects]


def relations(scene: Scene) -> list[str]:
    """How the objects stand to each other; what could not be told is counted on the last line, never worded as false."""
    names = _names(scene)
    lines = [
        _relation(r, names) for r in scene.relations if r.truth is Truth.TRUE and r.predicate != "occludes"
    ]
    unknown = Counter(r.predicate for r in scene.relations if r.truth is Truth.UNKNOWN)
    if unknown:
        counted = ", ".join(f"{predicate} ({count})" for predicate, count in unknown.items())
        lines.append(f"cannot be told from this view: {counted}")
    return lines


def _names(scene: Scene) -> dict[str, str]:
    shared = Counter(o.label for o in scene.objects)
    return {o.id: o.label if shared[o.label] == 1 else o.id for o in scene.objects}


def _visibility(thing: SceneObject, name: str, occluders: list[str]) -> str:
    by = f"hidden by {' and '.join(occluders)}" if occluders else ""
    if isnan(thing.visible_fraction):
        return f"{name} partly {by}" if by else f"{name} is there"
    seen = f"{name} {100 * thing.visible_fraction:.0f} % visible"
    return f"{seen}, {by}" if by else seen


def _relation(relation: Relation, names: dict[str, str]) -> str:
    subject, object_ = names[relation.subject_id], names[relation.object_id]
    if relation.predicate == "clear":
        return f"nothing is on {subject}"
    phrase = _PHRASES.get(relation.predicate, relation.predicate.replace("_", " "))
    if isnan(relation.value):
        return f"{subject} {phrase} {object_}"
    metric = relation.source in (Source.GEOMETRY_3D, Source.FUSED)
    value = f"{relation.value:.2f} m" if metric else f"{relation.value:.0f} px"
    return f"{subject} {phrase} {object_} ({value})"

"""How often what a planner would do agrees with the truth: on the model's boxes, and on true boxes.

    python benchmarks/planning.py --seed 95000 --tables 60

Every table of the range is looked at; one where two things share a label is counted and left out, since names could
not be compared. With true boxes the same depth, geometry, occlusion and relations are used, so that the difference of
the two columns is the model's. "Right": next_free chose something with nothing really in its way; clearing gave the
whole order that the truth gives.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
from tqdm import tqdm

from qwenvl_ros import backends, pipeline, zoo
from qwenvl_ros.backends import EngineSettings
from qwenvl_ros.perception import objects_of, relations_of
from qwenvl_ros.planning.obstruction import clearing, next_free
from qwenvl_ros.sim import oracle, scenes
from qwenvl_ros.sim.as_scene import as_scene
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.truth import truth
from qwenvl_ros.types import Detection, Frame, Scene, Status


def judge(tally: Counter[str], told: Scene, true: Scene) -> None:
    """Compare one scene with the truth; labels are distinct in the truth."""
    tally["scenes"] += 1
    if told.status is not Status.OK:
        tally["scenes not OK"] += 1
        return
    orders = {
        o.label: [x.label for x in clearing(true, o.id).order]
        for o in true.objects
        if o.visible_fraction > 0.2
    }
    for kind in {label.split()[1] for label in orders}:
        chosen = next_free(told, kind).object
        if chosen is not None:
            tally["choices"] += 1
            tally["choices right"] += orders.get(chosen.label) == []
    named = Counter(o.label for o in told.objects)
    for label, order in orders.items():
        group = "obstructed" if order else "free"
        tally[f"{group} targets"] += 1
        if named[label] != 1:
            tally[f"{group} targets not found, or twice"] += 1
            continue
        found = clearing(told, next(o.id for o in told.objects if o.label == label))
        right = [x.label for x in found.order] == order
        tally[f"{group} targets right"] += right
        tally[f"{group} targets wrong, but something was said to be open"] += not right and bool(found.open)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=95000)
    parser.add_argument("--tables", type=int, default=60)
    parser.add_argument("--model", default="tiny")
    args = parser.parse_args()
    model = zoo.resolve(args.model)
    backend = backends.create(model, EngineSettings(threads=1))
    settings = pipeline.PerceptionSettings()
    tallies = {"model": Counter[str](), "true boxes": Counter[str]()}
    twins = 0
    with Renderer(640, 480) as renderer:
        for seed in tqdm(range(args.seed, args.seed + args.tables), unit="table"):
            layout = scenes.sample(seed, objects=(6, 8))
            if len({each.label for each in layout.things}) < len(layout.things):
                twins += 1
                continue
            known = truth(layout, renderer)
            facts = oracle.relations(layout, known)
            true = as_scene(known, facts, camera="camera", stamp=0, frame_id="optical")
            depth = renderer.depth(layout).astype(np.float32)
            lens, pose = known.intrinsics, known.pose
            frame = Frame("camera", renderer.rgb(layout), 0, "optical", depth, lens, pose, "world")
            judge(tallies["model"], pipeline.perceive([frame], backend, model, settings)[0].scene, true)
            boxes = [Detection(o.label, "", o.box, 1.0) for o in known.objects if o.box is not None]
            objects, cover = objects_of(boxes, frame, settings, {})
            found, evaluated = relations_of(objects, cover, frame, settings, {})
            told = Scene(
                "camera", 0, "optical", 640, 480, "world", objects, found, evaluated_predicates=evaluated
            )
            judge(tallies["true boxes"], told, true)
    backend.close()
    print(f"{args.tables} tables, {twins} of them left out: two things share a label")
    for line in sorted(tallies["model"].keys() | tallies["true boxes"].keys()):
        print(f"{line:62}" + "".join(f"{name}: {tally[line]:4}   " for name, tally in tallies.items()))


if __name__ == "__main__":
    main()

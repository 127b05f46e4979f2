"""Do engines give the same boxes for the same pictures? `python benchmarks/agreement.py --scenes 100`

Every question of `qwenvl evaluate` about each scene goes through each backend and is compared with what the first one
answers: as many objects, the same labels, and no corner further off than one unit of the 0..1000 grid.
The openai backend needs a server, see docs/scaling.md; --endpoint says where.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from qwenvl_ros import backends, grounding, pipeline, zoo
from qwenvl_ros.backends import EngineSettings
from qwenvl_ros.evaluation.examination import picture
from qwenvl_ros.evaluation.sights import SIZE
from qwenvl_ros.grounding import Placement
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.types import Frame, Scene, SceneObject
from qwenvl_ros.zoo import Model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backends", default="transformers,vllm,openai")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--endpoint", default=EngineSettings.endpoint)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=95_000)
    args = parser.parse_args()
    model = zoo.resolve(args.model)
    frames = questions(range(args.seed, args.seed + args.scenes))
    placement = grounding.place(*SIZE, model.pixels)
    names = args.backends.split(",")
    for constrained in (False, True):
        scenes = {
            name: answers(EngineSettings(name, endpoint=args.endpoint), model, frames, constrained)
            for name in names
        }
        for name in names[1:]:
            pairs = list(zip(scenes[names[0]], scenes[name], strict=True))
            same = [agree(one, other, placement) for one, other in pairs]
            print(
                f"{'held to a schema' if constrained else 'free':16}  {name} as {names[0]}: "
                f"{sum(same)} of {len(same)} answers ({100 * sum(same) / len(same):.1f} %)"
            )
            off = differences(pairs, placement)
            print(f"{'':16}  scores differ by {np.median(off):.4f} at the median and {max(off):.4f} at most")
            for (one, other), alike in zip(pairs, same, strict=True):
                if not alike:
                    print(
                        f"  {list(one.queries)}: {said(one, placement)}\n    {name}: {said(other, placement)}"
                    )


def questions(seeds: range) -> list[tuple[Frame, tuple[str, ...]]]:
    """(frame, queries) of every question about these scenes."""
    asked = []
    with Renderer(*SIZE) as renderer:
        for seed in tqdm(seeds, desc="render"):
            image, about = picture(seed, renderer)
            asked += [(Frame("simulator", image, 0), each.query.texts) for each in about]
    return asked


def answers(
    settings: EngineSettings, model: Model, frames: list[tuple[Frame, tuple[str, ...]]], constrained: bool
) -> list[Scene]:
    """What one engine finds, as many at once as it takes."""
    backend = backends.create(model, settings)
    perception = PerceptionSettings(constrained=constrained, timeout=0.0)
    try:
        waiting = [
            pipeline.start(frame, backend, model, replace(perception, queries=queries))
            for frame, queries in frames
        ]
        return [pipeline.finish(each).scene for each in tqdm(waiting, desc=settings.backend)]
    finally:
        backend.close()


def corners(scene: Scene, placement: Placement) -> list[tuple[str, tuple[float, ...]]]:
    """(label, box on the grid) of each object."""
    return [(o.label, placement.to_model(o.box)) for o in ordered(scene)]


def ordered(scene: Scene) -> list[SceneObject]:
    """By label and place: engines may order nearly equal scores otherwise."""
    return sorted(scene.objects, key=lambda o: (o.label, o.box.corners))


def agree(one: Scene, other: Scene, placement: Placement) -> bool:
    ours, theirs = corners(one, placement), corners(other, placement)
    if one.status != other.status or [label for label, _ in ours] != [label for label, _ in theirs]:
        return False
    return all(
        abs(a - b) <= 1.0 + 1e-6
        for (_, x), (_, y) in zip(ours, theirs, strict=True)
        for a, b in zip(x, y, strict=True)
    )


def differences(pairs: list[tuple[Scene, Scene]], placement: Placement) -> list[float]:
    """Of the scores of all objects in answers that agree."""
    return [
        abs(ours.score - theirs.score)
        for one, other in pairs
        if agree(one, other, placement)
        for ours, theirs in zip(ordered(one), ordered(other), strict=True)
    ]


def said(scene: Scene, placement: Placement) -> str:
    boxes = [f"{label} {[round(v) for v in box]}" for label, box in corners(scene, placement)]
    return f"{scene.status.name} {scene.status_message} {'; '.join(boxes)}"


if __name__ == "__main__":
    main()

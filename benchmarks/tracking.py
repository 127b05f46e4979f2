"""What tracking costs and what it brings, on moving simulator scenes of 640x480.

    python benchmarks/tracking.py [--clips 30] [--model] [--json FILE]

Identities and boxes for several latencies of the model, without and with tracking (evaluation.motion), of true boxes
or, with --model, of the tiny model's; then the CPU time of each step, on one thread. docs/decisions/tracking.md tells
the results.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from qwenvl_ros import backends, between, pipeline, zoo
from qwenvl_ros.backends import EngineSettings
from qwenvl_ros.evaluation import motion
from qwenvl_ros.evaluation.sights import SIZE
from qwenvl_ros.perception import PerceptionSettings
from qwenvl_ros.sim.motion import set_in_motion
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import sample
from qwenvl_ros.tracking import Tracker
from qwenvl_ros.types import Frame, Scene

SEED = 96_000
LATENCY = 15  # frames, one second


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=30)
    parser.add_argument("--model", action="store_true", help="boxes of the tiny model instead of true ones")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    seeds = range(SEED, SEED + args.clips)
    answers: motion.Answers = motion.true_answers
    if args.model:
        answers = model_answers()
    found = motion.compare(tqdm(motion.clips(seeds), total=len(seeds), unit="clip"), answers)
    with Renderer(*SIZE) as renderer:
        costs = {kind: cost(renderer, seeds[:6], depth=kind == "with depth") for kind in ("2D", "with depth")}
    print("| latency | IDF1 off | IDF1 on | mean IoU off | mean IoU on |\n| --- | --- | --- | --- | --- |")
    for latency, each in found.items():
        row = [each[how][figure] for figure in ("idf1", "mean_iou") for how in ("off", "on")]
        print(f"| {latency} s | " + " | ".join(f"{value:.3f}" for value in row) + " |")
    print("\n| CPU, ms (median, 95 %) | " + " | ".join(costs) + " |\n| --- | --- | --- |")
    for step in costs["2D"]:
        cells = ("{:.1f}, {:.1f}".format(*np.percentile(each[step], (50, 95))) for each in costs.values())
        print(f"| {step} | " + " | ".join(cells) + " |")
    if args.json:
        means = {
            kind: {step: float(np.mean(each)) for step, each in steps.items()}
            for kind, steps in costs.items()
        }
        Path(args.json).write_text(json.dumps({"idf1": found, "cpu_ms": means}, indent=1) + "\n")


def model_answers() -> motion.Answers:
    """What the tiny model answers."""
    model = zoo.resolve("tiny")
    backend = backends.create(model, EngineSettings(threads=1))

    def answers(moments: Sequence[motion.Moment]) -> list[Scene]:
        frames = [moment.frame for moment in moments]
        return [each.scene for each in pipeline.perceive(frames, backend, model, PerceptionSettings())]

    return answers


def cost(renderer: Renderer, seeds: Sequence[int], *, depth: bool) -> dict[str, list[float]]:
    """CPU milliseconds of each step at each frame; the model answers a second late and is asked again at once."""
    spent: dict[str, list[float]] = defaultdict(list)
    settings = PerceptionSettings()
    for seed in seeds:
        tracker, asked = Tracker(), None
        for number, (frame, scene) in enumerate(frames(renderer, seed, depth)):
            began = time.process_time()
            followed = tracker.advance(frame)
            spent["flow to the next image"].append(1e3 * (time.process_time() - began))
            if number % LATENCY == 0:
                if asked is not None:
                    began = time.process_time()
                    tracker.adopt(asked[1], asked[0])
                    spent["an answer, moved forward by 15 images"].append(1e3 * (time.process_time() - began))
                asked = (frame, scene)
            if followed is not None:
                began = time.process_time()
                between.carry(followed, frame, settings)
                spent["its scene"].append(1e3 * (time.process_time() - began))
    return spent


def frames(renderer: Renderer, seed: int, depth: bool) -> Iterator[tuple[Frame, Scene]]:
    """The frames of a clip with true answers to them."""
    layout = set_in_motion(sample(seed, objects=(3, 8)), things=seed % 3 != 1, cameras=seed % 3 != 0)
    for number, moment in enumerate(motion.clip(seed, renderer)):
        now, frame = layout.at(number / motion.RATE), moment.frame
        if depth:
            lens = now.cameras[0].intrinsics(renderer.width, renderer.height)
            frame = replace(frame, depth=renderer.depth(now), intrinsics=lens)
        yield frame, motion.true_answer(moment)


if __name__ == "__main__":
    main()

"""Measure a model, and what is made of its boxes, on simulator scenes with exact truth.

Scene i has the seed SEED + i; training never uses seeds below one million. Each scene is asked five queries: for
objects that are there, that are not, that share only a colour or a shape with one that is, and for every object. The
boxes of "every object" are then reasoned about with depth: relations, occlusion, positions. --boxes truth takes the
true boxes for that and asks no model, so that the reasoning is judged apart from the grounding. Moving clips show
what is still so when an answer comes late, without and with tracking.

examples:
  qwenvl evaluate --scenes 300 --seed 90000
  qwenvl evaluate --scenes 300 --seed 91000 --boxes truth --depth-noise 0.01 --depth-holes 0.05
  qwenvl evaluate --scenes 50 --model Qwen/Qwen3-VL-4B-Instruct --json scores.json --html scores.html
  qwenvl evaluate --scenes 300 --model 8b --ask-relations     # and how far its word on relations goes
  qwenvl evaluate --model 4b --scenes 500 --coco instances_val2017.json --images val2017
  qwenvl evaluate --model 4b --scenes 500 --refcoco "refs(unc).p" --coco instances.json --images train2014 --split testA
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console
from tqdm import tqdm

from qwenvl_ros import backends
from qwenvl_ros.backends import EngineSettings
from qwenvl_ros.evaluation import fit, motion, scored
from qwenvl_ros.evaluation.examination import Answered, Examined, Result, examine, examine_truth, result
from qwenvl_ros.evaluation.opinions import Reliability, reliabilities
from qwenvl_ros.evaluation.page import figure, moved_row, page
from qwenvl_ros.evaluation.reasoning import Figure
from qwenvl_ros.evaluation.reasoning_page import HEADINGS, objects, row
from qwenvl_ros.evaluation.reasoning_scores import Reasoning, reasoning
from qwenvl_ros.pipeline import PerceptionSettings, perceive
from qwenvl_ros.relations import PREDICATES
from qwenvl_ros.sim.queries import Kind
from qwenvl_ros.sim.sensor import Sensor
from qwenvl_ros.tools import ToolError, _photos
from qwenvl_ros.tools._figures import COLUMNS, plain, table
from qwenvl_ros.tools._options import add_settings, read_settings
from qwenvl_ros.types import Scene, Status
from qwenvl_ros.zoo import ModelSettings

ASKED = {
    "asked": "asked",
    "answered": "answered",
    "yes_right": "right where so",
    "no_right": "where not",
    "reliability": "reliability",
}
SCENES_PER_CLIP = 25
LEAST_ASKED = 0.51  # relation_reliability from which a model is asked


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scenes", type=int, default=100, metavar="N", help="how many scenes, or photos (default: 100)"
    )
    parser.add_argument(
        "--seed", type=int, default=90_000, metavar="S", help="seed of the first (default: 90000)"
    )
    parser.add_argument(
        "--boxes",
        choices=("model", "truth"),
        default="model",
        help="reason about the boxes that the model answers, or about the true ones and ask no model (default: model)",
    )
    add_settings(parser, Sensor)
    parser.add_argument(
        "--clips",
        type=int,
        metavar="N",
        help=f"how many moving clips (default: one for every {SCENES_PER_CLIP} scenes)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the scores to this file")
    parser.add_argument(
        "--html", metavar="FILE", help="write a page with the worst and best scenes to this file"
    )
    parser.add_argument(
        "--calibrate",
        metavar="FILE",
        help="fit what scores are worth on these scenes, leaving the model's calibration aside, and write it to this "
        "file, in YAML for the model's entry of the zoo; take other scenes than those it is to be judged on",
    )
    _photos.add_arguments(parser)
    add_settings(parser, ModelSettings)
    add_settings(parser, EngineSettings)
    add_settings(
        parser,
        PerceptionSettings,
        "max_pixels",
        "max_tokens",
        "max_objects",
        "constrained",
        "timeout",
        "min_score",
        "ask_relations",
        "max_asked",
    )


def run(args: argparse.Namespace) -> int:
    if args.scenes < 1 or args.seed < 0:
        raise ToolError(
            f"--scenes {args.scenes} --seed {args.seed}: give at least 1 scene and a seed of 0 or more"
        )
    if args.clips is not None and args.clips < 0:
        raise ToolError(f"--clips {args.clips}: give 0 or more")
    for path in filter(None, (args.json, args.html, args.calibrate)):
        if not Path(path).absolute().parent.is_dir():
            raise ToolError(f"the folder of {path} does not exist; make it first")
    if args.boxes == "truth" and args.calibrate:
        raise ToolError("--calibrate fits what a model's scores are worth; leave out --boxes truth")
    settings, sensor = read_settings(args, PerceptionSettings), read_settings(args, Sensor)
    if args.boxes == "truth" and settings.ask_relations:
        raise ToolError("--ask-relations asks the model; leave out --boxes truth")
    seeds = range(args.seed, args.seed + args.scenes)
    ran: dict[str, Any] = {"boxes": args.boxes, **dataclasses.asdict(sensor), "seed": args.seed}
    photos = _photos.asked_for(args)
    if args.boxes == "truth":
        return report(args, examine_truth(seeds, settings, sensor), motion.true_answers, ran)
    chosen = read_settings(args, ModelSettings)
    model = chosen.resolve()
    if args.calibrate:
        model = dataclasses.replace(model, calibration=())
    if settings.ask_relations:  # whatever its word counts for: that is what is measured
        least = max(model.relation_reliability, LEAST_ASKED)
        model = dataclasses.replace(model, relation_reliability=least)
    backend = backends.create(model, read_settings(args, EngineSettings))
    ran = {"model": backend.model, "backend": args.backend, "device": backend.device, **ran}

    unheard: list[Scene] = []

    def answers(moments: Sequence[motion.Moment]) -> list[Scene]:
        """No more at once than are answered together, as waiting counts for the time-out, too."""
        every, scenes = dataclasses.replace(settings, ask_relations=False), list[Scene]()
        for start in range(0, len(moments), backend.capacity):
            frames = [each.frame for each in moments[start : start + backend.capacity]]
            scenes += [each.scene for each in perceive(frames, backend, model, every)]
        unheard.extend(scene for scene in scenes if scene.status is Status.BACKEND_FAILED)
        return scenes

    try:
        if photos:
            return _photos.report(args, photos, backend, model, settings)
        done = report(args, examine(seeds, backend, model, settings, sensor), answers, ran)
        if unheard:
            raise ToolError(
                f"{len(unheard)} images of moving clips were not answered and count as missed, the first because: "
                f"{unheard[0].status_message}"
            )
        return done
    finally:
        backend.close()


def report(
    args: argparse.Namespace, examination: Iterator[Examined], answers: motion.Answers, ran: dict[str, Any]
) -> int:
    """Run the examination and the moving clips and tell what they showed; returns the exit status."""
    scenes: list[Examined] = []
    stopped, moved = False, motion.Moved()
    started, examined = time.perf_counter(), 0.0
    try:
        for scene in tqdm(examination, total=args.scenes, unit="scene"):
            scenes.append(scene)
            examined = time.perf_counter() - started
        if count := args.scenes // SCENES_PER_CLIP if args.clips is None else args.clips:
            clips = motion.clips(range(args.seed, args.seed + count))
            moved = motion.compare(tqdm(clips, total=count, unit="clip"), answers)
    except KeyboardInterrupt:  # what is done is done: report it
        stopped = True
    if not scenes:
        raise KeyboardInterrupt
    seconds = time.perf_counter() - started
    everything = [answer for scene in scenes for answer in scene.answers]
    scores, reasoned = result(everything), reasoning([scene.findings for scene in scenes])
    ran |= {"scenes": len(scenes), "queries": len(everything), "seconds": round(seconds, 3)}
    if everything:
        ran["seconds_per_query"] = round(examined / len(everything), 4)
    said = reliabilities([scene.opinions for scene in scenes])
    show(scores, reasoned, said, moved, ran)
    if args.json:
        made = to_json(scores, reasoned, said, moved, ran)
        Path(args.json).write_text(json.dumps(made, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if args.html:
        Path(args.html).write_text(page(scenes, scores, reasoned, moved, ran), encoding="utf-8")
    if args.calibrate:
        write_calibration(everything, Path(args.calibrate))
    if unanswered := [answer for answer in everything if answer.status is Status.BACKEND_FAILED]:
        raise ToolError(
            f"{len(unanswered)} of {len(everything)} queries were not answered and count as missed, "
            f"the first because: {unanswered[0].status_message}"
        )
    return 130 if stopped else 0


def write_calibration(answers: Sequence[Answered], path: Path) -> None:
    """Fit on the answers to queries that name something, and write the zoo's `calibration`."""
    try:
        knots = fit(scored([a.verdict for a in answers if a.question.query.kind is not Kind.EVERY]))
    except (ValueError, ImportError) as error:
        raise ToolError(f"no calibration can be fitted: {error}") from error
    text = ", ".join(f"[{score:g}, {share:g}]" for score, share in knots)
    path.write_text(f"calibration: [{text}]\n", encoding="utf-8")
    print(f"{path}: put this line into the model's entry of config/zoo.yaml")


def to_json(
    scores: Result,
    reasoned: Reasoning,
    said: dict[str, Reliability],
    moved: motion.Moved,
    ran: dict[str, Any],
) -> dict[str, Any]:
    """What was run, the scores of the queries that name something at the top, the rest under its name; NaN as null."""
    kinds = {name: plain(s) for name, s in scores.kinds.items()}
    for group in kinds.values():
        del group["per_label"]
    return {
        **ran,
        **plain(scores.queries),
        "kinds": kinds,
        "every": plain(scores.every),
        "statuses": scores.statuses,
        **plain(reasoned),
        "relations_asked": {name: plain(each) for name, each in said.items()},
        "idf1": plain(moved) or None,
    }


def show(
    scores: Result,
    reasoned: Reasoning,
    said: dict[str, Reliability],
    moved: motion.Moved,
    ran: dict[str, Any],
) -> None:
    """The scores as tables, on standard output."""
    console = Console(highlight=False)
    if scores.statuses:
        rows = table(COLUMNS.values())
        groups = {"queries": scores.queries, **scores.kinds, "every object": scores.every}
        for name, group in groups.items():
            rows.add_row(name, *(figure(getattr(group, column)) for column in COLUMNS))
        console.print(rows)
    for figures in ((Figure.AWAY, Figure.FOUND), (Figure.ALL, Figure.FLAT)):  # two fit beside each other
        rows = table(["prec", "recall", "true", "open"] * 2)
        for predicate in PREDICATES:
            cells = (row(getattr(reasoned, each.value)[predicate]) for each in figures)
            rows.add_row(predicate, *chain.from_iterable(cells))
        console.print("relations " + " | ".join(HEADINGS[each] for each in figures), rows, sep="\n")
    if said:
        rows = table(ASKED.values())
        for name, each in said.items():
            rows.add_row(name, *(figure(getattr(each, column)) for column in ASKED))
        console.print("what the model says of relations, asked about them without depth", rows, sep="\n")
    if moved:
        rows = table(["idf1", "with tracking", "iou", "with tracking"])
        for latency, both in moved.items():
            rows.add_row(f"{latency} s", *moved_row(both))
        console.print(
            "what is so by the time it is told, of moving scenes, if an answer takes", rows, sep="\n"
        )
    console.print("\n".join(f"{name}: {value}" for name, value in objects(reasoned).items()))
    console.print("  ".join(f"{name} {value}" for name, value in {**ran, **scores.statuses}.items()))

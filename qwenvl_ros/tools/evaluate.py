"""Measure a model on simulator scenes with exact truth.

Scene i has the seed SEED + i; training never uses seeds below one million. Each scene is asked five queries: for
objects that are there, that are not, that share only a colour or a shape with one that is, and for every object.

examples:
  qwenvl evaluate --scenes 300 --seed 90000
  qwenvl evaluate --scenes 50 --model Qwen/Qwen3-VL-4B-Instruct --json scores.json --html scores.html
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from qwenvl_ros import backends, zoo
from qwenvl_ros.backends import EngineSettings
from qwenvl_ros.evaluation import fit, scored
from qwenvl_ros.evaluation.examination import Answered, Result, examine, result
from qwenvl_ros.evaluation.page import figure, page
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.sim.queries import Kind
from qwenvl_ros.tools import ToolError
from qwenvl_ros.tools._options import add_settings, read_settings
from qwenvl_ros.types import Status
from qwenvl_ros.zoo import ModelSettings

COLUMNS = {
    "cases": "cases",
    "precision": "prec",
    "recall": "recall",
    "f1": "f1",
    "mean_iou": "iou",
    "label_accuracy": "label",
    "absent_rate": "absent",
    "calibration_error": "calib",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenes", type=int, default=100, metavar="N", help="how many scenes (default: 100)")
    parser.add_argument(
        "--seed", type=int, default=90_000, metavar="S", help="seed of the first (default: 90000)"
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
    add_settings(parser, ModelSettings, "model", "variant", "precision")
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
    )


def run(args: argparse.Namespace) -> int:
    if args.scenes < 1 or args.seed < 0:
        raise ToolError(
            f"--scenes {args.scenes} --seed {args.seed}: give at least 1 scene and a seed of 0 or more"
        )
    for path in filter(None, (args.json, args.html, args.calibrate)):
        if not Path(path).absolute().parent.is_dir():
            raise ToolError(f"the folder of {path} does not exist; make it first")
    chosen = read_settings(args, ModelSettings)
    model = zoo.resolve(chosen.model, chosen.variant, chosen.precision)
    if args.calibrate:
        model = dataclasses.replace(model, calibration=())
    settings = read_settings(args, PerceptionSettings)
    backend = backends.create(model, read_settings(args, EngineSettings))
    seeds = range(args.seed, args.seed + args.scenes)
    scenes: list[list[Answered]] = []
    stopped = False
    started = time.perf_counter()
    try:
        for answers in tqdm(examine(seeds, backend, model, settings), total=args.scenes, unit="scene"):
            scenes.append(answers)
    except KeyboardInterrupt:  # what is done is done: report it
        stopped = True
    finally:
        backend.close()
    if not scenes:
        raise KeyboardInterrupt
    seconds = time.perf_counter() - started
    everything = [answer for answers in scenes for answer in answers]
    scores = result(everything)
    ran = {
        "model": backend.model,
        "backend": args.backend,
        "device": backend.device,
        "seed": args.seed,
        "scenes": len(scenes),
        "queries": len(everything),
        "seconds": round(seconds, 3),
        "seconds_per_query": round(seconds / len(everything), 4),
    }
    show(scores, ran)
    if args.json:
        Path(args.json).write_text(
            json.dumps(to_json(scores, ran), indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )
    if args.html:
        Path(args.html).write_text(page(scenes, scores, ran), encoding="utf-8")
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


def to_json(scores: Result, ran: dict[str, Any]) -> dict[str, Any]:
    """What was run, the scores of the queries that name something at the top, the rest under its name; NaN as null."""
    kinds = {name: _plain(s) for name, s in scores.kinds.items()}
    for group in kinds.values():
        del group["per_label"]
    return {
        **ran,
        **_plain(scores.queries),
        "kinds": kinds,
        "every": _plain(scores.every),
        "statuses": scores.statuses,
    }


def show(scores: Result, ran: dict[str, Any]) -> None:
    """The scores as a table, on standard output."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for heading in COLUMNS.values():
        table.add_column(heading, justify="right")
    for name, group in (("queries", scores.queries), *scores.kinds.items(), ("every object", scores.every)):
        table.add_row(name, *(figure(getattr(group, column)) for column in COLUMNS))
    console = Console(highlight=False)
    console.print(table)
    console.print("  ".join(f"{name} {value}" for name, value in {**ran, **scores.statuses}.items()))


def _plain(scores: Any) -> dict[str, Any]:
    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [clean(inner) for inner in value]
        return None if isinstance(value, float) and not isfinite(value) else value

    plain: dict[str, Any] = clean(dataclasses.asdict(scores))
    return plain

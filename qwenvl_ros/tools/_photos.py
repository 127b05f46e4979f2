"""`qwenvl evaluate` on photos with known boxes, as COCO and RefCOCO have them."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from tqdm import tqdm

from qwenvl_ros.backends import Backend
from qwenvl_ros.evaluation.examination import Answered, result
from qwenvl_ros.evaluation.page import figure, photo_page
from qwenvl_ros.evaluation.photos import (
    Photo,
    PhotosRefused,
    accuracy,
    examine_photos,
    from_coco,
    from_refcoco,
)
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.tools import ToolError
from qwenvl_ros.tools._figures import COLUMNS, plain, table
from qwenvl_ros.types import Status
from qwenvl_ros.zoo import Model

SPLIT = "val"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--coco",
        metavar="FILE",
        help="ask about photos instead of simulator scenes: an annotation file in COCO's format; --images too",
    )
    parser.add_argument(
        "--refcoco",
        metavar="FILE",
        help="ask for referring expressions: refs(unc).p, or the same list as JSON; --coco is the instances.json that "
        "comes with it",
    )
    parser.add_argument("--images", metavar="FOLDER", help="where the photos of --coco are")
    parser.add_argument("--split", metavar="NAME", help=f"which expressions of --refcoco (default: {SPLIT})")


def asked_for(args: argparse.Namespace) -> list[Photo]:
    """The photos that the options name; none without --coco.

    Raises:
        ToolError: options that do not go together, or files that cannot be used.
    """
    if args.split and not args.refcoco:
        raise ToolError("--split is of --refcoco: give that as well")
    if not args.coco:
        if args.refcoco or args.images:
            raise ToolError("--refcoco and --images need --coco, the file of the boxes")
        return []
    if not args.images:
        raise ToolError("--coco needs --images, the folder of the photos")
    if args.boxes == "truth" or args.calibrate or args.ask_relations or args.clips is not None:
        raise ToolError(
            "photos have no true relations: leave out --boxes truth, --calibrate, --ask-relations and --clips"
        )
    if args.depth_noise or args.depth_holes:
        raise ToolError("photos have no depth: leave out --depth-noise and --depth-holes")
    coco, images = Path(args.coco), Path(args.images)
    try:
        if args.refcoco:
            return from_refcoco(Path(args.refcoco), coco, images, args.split or SPLIT, args.scenes)
        return from_coco(coco, images, args.scenes, args.seed)
    except PhotosRefused as error:
        raise ToolError(str(error)) from error


def report(
    args: argparse.Namespace,
    photos: Sequence[Photo],
    backend: Backend,
    model: Model,
    settings: PerceptionSettings,
) -> int:
    """Ask about the photos and tell how good the answers were; returns the exit status."""
    answers: list[tuple[Answered, ...]] = []
    stopped, started = False, time.perf_counter()
    examination = examine_photos(photos, backend, model, settings, by_box=bool(args.refcoco))
    try:
        for one in tqdm(examination, total=len(photos), unit="photo"):
            answers.append(one)
    except KeyboardInterrupt:  # what is done is done: report it
        stopped = True
    except PhotosRefused as error:
        raise ToolError(str(error)) from error
    if not answers:
        raise KeyboardInterrupt
    everything = [answer for photo in answers for answer in photo]
    scores, seconds = result(everything), time.perf_counter() - started
    ran: dict[str, Any] = {
        "model": backend.model,
        "backend": args.backend,
        "device": backend.device,
        "coco": args.coco,
        **({"refcoco": args.refcoco, "split": args.split or SPLIT} if args.refcoco else {"seed": args.seed}),
        "photos": len(answers),
        "queries": len(everything),
        "seconds": round(seconds, 3),
        "seconds_per_query": round(seconds / len(everything), 4),
    }
    if args.refcoco:
        ran["accuracy"] = round(accuracy(everything), 4)
    rows = table(COLUMNS.values())
    for name, group in {"queries": scores.queries, **scores.kinds}.items():
        if group.cases:
            rows.add_row(name, *(figure(getattr(group, column)) for column in COLUMNS))
    console = Console(highlight=False)
    console.print(rows)
    console.print("  ".join(f"{name} {value}" for name, value in {**ran, **scores.statuses}.items()))
    if args.json:
        kinds = {name: plain(group) for name, group in scores.kinds.items() if group.cases}
        made = {**ran, **plain(scores.queries), "kinds": kinds, "statuses": scores.statuses}
        Path(args.json).write_text(json.dumps(made, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if args.html:
        Path(args.html).write_text(photo_page(photos, answers, scores, ran), encoding="utf-8")
    if failed := [answer for answer in everything if answer.status is Status.BACKEND_FAILED]:
        raise ToolError(
            f"{len(failed)} of {len(everything)} queries were not answered and count as missed, "
            f"the first because: {failed[0].status_message}"
        )
    return 130 if stopped else 0

"""Score a running node against the truth of a running simulator.

The truth is a topic of qwenvl_ros/msg/Scene or vision_msgs/msg/Detection2DArray, from any simulator; it is matched with
the scenes by stamp. Runs until Ctrl-C, or as long as --count or --seconds say. Figures are those of `evaluate`.

examples:
  qwenvl score --truth /camera/truth                        # with `qwenvl simulate` and scene_node running
  qwenvl score --truth /boxes --names "1=mug, 2=bowl" --count 200 --json scores.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from tqdm import tqdm

from qwenvl_ros.evaluation.live import Matching
from qwenvl_ros.evaluation.page import figure
from qwenvl_ros.evaluation.reasoning_page import row
from qwenvl_ros.evaluation.reasoning_scores import relation_scores
from qwenvl_ros.tools import ToolError, no_ros
from qwenvl_ros.tools._figures import COLUMNS, plain, table

HINT_S = 5.0  # of nothing, after which the reason is told


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--truth", required=True, metavar="TOPIC", help="what is so")
    parser.add_argument(
        "--scenes",
        default="/qwenvl/scene",
        metavar="TOPIC",
        help="what the node says (default: /qwenvl/scene)",
    )
    parser.add_argument("--camera", default="", metavar="NAME", help="whose scenes, where there are several")
    parser.add_argument(
        "--names", default="", metavar="A=B,...", help="what the truth's labels mean, where it numbers them"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.01,
        metavar="S",
        help="most difference of stamps (default: 0.01 s)",
    )
    parser.add_argument("--count", type=int, default=0, metavar="N", help="stop after so many scenes")
    parser.add_argument("--seconds", type=float, default=0.0, metavar="S", help="stop after so long")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores to this file")


def run(args: argparse.Namespace) -> int:
    if not 0 <= args.tolerance <= 10 or args.count < 0 or args.seconds < 0:
        raise ToolError("--tolerance is 0 to 10 s, --count and --seconds are not below 0")
    if args.json and not args.json.absolute().parent.is_dir():
        raise ToolError(f"the folder of {args.json} does not exist; make it first")
    names = names_of(args.names)
    matching = Matching(round(args.tolerance * 1e9))
    try:
        from qwenvl_ros.ros.scorer import Scorer, listen
    except ImportError as error:
        raise no_ros(error) from error
    began, told = time.monotonic(), False
    with tqdm(total=args.count or None, unit="scene") as bar:

        def going(scorer: Scorer) -> bool:
            nonlocal told
            bar.update(len(matching.verdicts) - bar.n)
            passed = time.monotonic() - began
            if not matching.verdicts and not told and passed > HINT_S:
                told = True
                bar.write(f"{scorer.missing()}; waiting", file=sys.stderr)
            enough = args.count and len(matching.verdicts) >= args.count
            return not enough and not (args.seconds and passed >= args.seconds)

        missing = listen(args.truth, args.scenes, matching, args.camera, names, going)
    if not matching.verdicts:
        raise ToolError(f"nothing could be judged: {missing}")
    report(args, matching)
    return 0


def report(args: argparse.Namespace, matching: Matching) -> None:
    """The scores on standard output, and to the file."""
    scores = matching.scores()
    statuses = {status.name: count for status, count in matching.statuses.items()}
    counts = {"judged": len(matching.verdicts), "unmatched": matching.unmatched, "truths": matching.truths}
    rows = table(COLUMNS.values())
    rows.add_row("scenes", *(figure(getattr(scores, column)) for column in COLUMNS))
    console = Console(highlight=False)
    console.print(rows)
    relations = {predicate: relation_scores(counts) for predicate, counts in matching.relations.items()}
    if relations:
        rows = table(("prec", "recall", "true", "open"))
        for predicate, found in relations.items():
            rows.add_row(predicate, *row(found))
        console.print("relations between what was found", rows, sep="\n")
    console.print("  ".join(f"{name} {count}" for name, count in {**counts, **statuses}.items()))
    if args.json:
        ran: dict[str, Any] = {"truth": args.truth, "scenes": args.scenes, "tolerance": args.tolerance}
        made = {**ran, **counts, "statuses": statuses, **plain(scores), "relations": plain(relations)}
        args.json.write_text(json.dumps(made, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def names_of(text: str) -> dict[str, str]:
    """ "1=mug, 2=bowl" as a mapping.

    Raises:
        ToolError: a part without "=".
    """
    parts = [part.partition("=") for part in text.split(",") if part.strip()]
    if any(not equals or not value.strip() for _, equals, value in parts):
        raise ToolError(f"--names {text!r}: give NUMBER=NAME, parted by commas")
    return {key.strip(): value.strip() for key, _, value in parts}

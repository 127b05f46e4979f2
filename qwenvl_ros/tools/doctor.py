"""Tell a healthy engine from one that moves boxes: ask about known scenes, compare, and look at the machine.

The verdict is ok, degraded or broken, with the reasons and what to do; see docs/doctor.md. The exit status is 0 for ok
and degraded, 1 for broken and for an engine that cannot be started.

examples:
  qwenvl doctor
  qwenvl doctor --model 4b --backend vllm --json health.json --picture health.png
"""

from __future__ import annotations

import argparse
import json
from math import isfinite
from pathlib import Path
from typing import Any

import cv2
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from qwenvl_ros import backends, selftest
from qwenvl_ros.backends import Backend, EngineSettings
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.selftest import Diagnosis, Trial, Verdict
from qwenvl_ros.selftest.coordinates import Fit
from qwenvl_ros.selftest.facts import Fact, facts
from qwenvl_ros.selftest.sheet import contact_sheet
from qwenvl_ros.tools import ToolError
from qwenvl_ros.tools._figures import plain
from qwenvl_ros.tools._options import add_settings, read_settings
from qwenvl_ros.zoo import Model, ModelSettings, ZooError

_COLOURS = {Verdict.OK: "green", Verdict.DEGRADED: "yellow", Verdict.BROKEN: "red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", metavar="FILE", help="write everything that was found to this file")
    parser.add_argument(
        "--picture", metavar="FILE", help="write the scenes with true and answered boxes to this image"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=selftest.PATIENCE,
        metavar="S",
        help=f"longest wait for the next word of an answer, seconds (default: {selftest.PATIENCE:g})",
    )
    add_settings(parser, ModelSettings)
    add_settings(parser, EngineSettings)
    add_settings(parser, PerceptionSettings, "max_pixels", "max_tokens")


def run(args: argparse.Namespace) -> int:
    _check(args)
    console = Console(highlight=False)
    chosen, engine = read_settings(args, ModelSettings), read_settings(args, EngineSettings)
    settings = read_settings(args, PerceptionSettings)
    model: Model | None = None
    backend: Backend | None = None
    known: list[Fact] = []
    try:
        try:
            model = chosen.resolve()
        finally:  # before the engine starts: it may take the process with it
            known = facts(model, engine)
            show_facts(known, console)
        console.print(f"starting {escape(model.name)} on backend {engine.backend} ...")
        backend = backends.create(model, engine)
    except Exception as error:  # what an engine breaks on while it starts is a diagnosis too
        text = " ".join(str(error).split())
        expected = isinstance(error, (backends.BackendError, ZooError))
        diagnosis = selftest.unavailable(text if expected else f"{type(error).__name__}: {text}")
    else:
        diagnosis = selftest.run(backend, model, settings, args.patience)
    try:
        show(diagnosis, console)
        ran = {"model": model.name if model else chosen.model, "backend": engine.backend}
        ran["device"] = backend.device if backend else engine.device
        if args.json:
            text = json.dumps(to_json(diagnosis, known, ran), indent=1, allow_nan=False)
            Path(args.json).write_text(text + "\n", encoding="utf-8")
        if args.picture and diagnosis.trial:
            _write_picture(diagnosis.trial, Path(args.picture))
    finally:  # last, for an engine that hangs may hang here too
        if backend is not None:
            backend.close()
    return int(diagnosis.verdict is Verdict.BROKEN)


def show_facts(known: list[Fact], console: Console) -> None:
    """The machine and its software, and what is wrong with them."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), show_header=False)
    for fact in known:
        table.add_row(escape(fact.name), escape(fact.value), style="yellow" if fact.remedy else None)
        if fact.remedy:
            table.add_row("", escape(fact.remedy))
    console.print(table)


def show(diagnosis: Diagnosis, console: Console) -> None:
    """The scenes, the fit, the verdict and its reasons."""
    if diagnosis.trial:
        _show_scenes(diagnosis.trial, console)
        _show_measures(diagnosis.trial, diagnosis.fit, console)
    verdict = diagnosis.verdict
    console.print(
        f"[bold {_COLOURS[verdict]}]{verdict.name.lower()}[/]: {escape(diagnosis.summary)}", soft_wrap=True
    )
    for finding in diagnosis.findings[1:]:
        console.print(f"  also {finding.verdict.name.lower()}: {escape(str(finding))}", soft_wrap=True)


def to_json(diagnosis: Diagnosis, known: list[Fact], ran: dict[str, str]) -> dict[str, Any]:
    """Everything that was found; NaN as null. What was measured is null where nothing could be asked."""
    measured: dict[str, Any] | None = None
    scenes: list[dict[str, Any]] = []
    if (trial := diagnosis.trial) and (found := diagnosis.fit):
        middle, worst = trial.latency
        measured = {
            "found": sum(pair.found for pair in trial.pairs),
            "objects": len(trial.pairs),
            "mean_iou": trial.mean_iou,
            "statuses": trial.statuses,
            "coordinates": found.order.value,
            "shift": found.shift,
            "scale": found.scale,
            "offset": found.offset,
            "error": found.error,
            "boxes": found.boxes,
            "latency_p50_seconds": middle,
            "latency_p99_seconds": worst,
            "in_flight": trial.in_flight,
            "tokens_per_second": trial.tokens_per_second,
        }
        scenes = [
            {
                "scene": answer.scene.name,
                "size": answer.scene.size,
                "status": answer.status.name,
                "message": answer.message,
                "objects": [
                    {
                        "label": pair.target.label,
                        "box": pair.target.box.corners,
                        "answered": pair.answer.box.corners if pair.answer else None,
                        "iou": pair.iou,
                    }
                    for pair in answer.pairs
                ],
            }
            for answer in trial.answers
        ]
    made: dict[str, Any] = plain(
        {
            **ran,
            "verdict": diagnosis.verdict.name.lower(),
            "summary": diagnosis.summary,
            "findings": [
                {"verdict": one.verdict.name.lower(), "reason": one.reason, "remedy": one.remedy}
                for one in diagnosis.findings
            ],
            "measured": measured,
            "scenes": scenes,
            "facts": known,
        }
    )
    return made


def _show_scenes(trial: Trial, console: Console) -> None:
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("scene", no_wrap=True)
    table.add_column("objects with their IoU (- = not answered)")
    table.add_column("answer")
    for answer in trial.answers:
        cells = []
        for pair in answer.pairs:
            text = escape(f"{pair.target.label} {pair.iou:.2f}" if pair.answer else f"{pair.target.label} -")
            cells.append(text if pair.found else f"[red]{text}[/]")
        table.add_row(escape(answer.scene.name), ", ".join(cells), answer.status.name)
    console.print(table)


def _show_measures(trial: Trial, found: Fit | None, console: Console) -> None:
    count = sum(pair.found for pair in trial.pairs)
    console.print(f"found {count} of {len(trial.pairs)}, mean IoU {_number(trial.mean_iou, '.2f')}")
    if found and found.known:
        shift = ", ".join(_number(value, "+.1f") for value in found.shift)
        scale = ", ".join(_number(value, ".3f") for value in found.scale)
        console.print(
            f"coordinates: {found.order.value}; shift ({shift}) of 1000, scale ({scale}), "
            f"error {found.error:.1f}, from {found.boxes} boxes"
        )
    else:
        console.print("coordinates: too few answers to tell")
    middle, worst = trial.latency
    console.print(
        f"an answer takes {_number(middle, '.2f')} s, the slowest {_number(worst, '.2f')} s (p50, p99), "
        f"{trial.in_flight} at once; {_number(trial.tokens_per_second, '.0f')} tokens/s"
    )


def _number(value: float, form: str) -> str:
    return format(value, form) if isfinite(value) else "?"


def _check(args: argparse.Namespace) -> None:
    """Before the model is loaded: where the files go.

    Raises:
        ToolError: they cannot go there, or there is no patience.
    """
    for path in filter(None, (args.json, args.picture)):
        if not Path(path).absolute().parent.is_dir():
            raise ToolError(f"the folder of {path} does not exist; make it first")
    if args.picture and not cv2.haveImageWriter(args.picture):
        raise ToolError(f"OpenCV cannot write {args.picture}; give a .png or .jpg name")
    if not args.patience > 0:
        raise ToolError(f"--patience {args.patience:g}: give more than 0 seconds")


def _write_picture(trial: Trial, path: Path) -> None:
    _, data = cv2.imencode(path.suffix, contact_sheet(trial.answers)[:, :, ::-1])
    path.write_bytes(data.tobytes())

"""Measure this package on this machine: the node against the bare engine, latency, memory, each stage.

Ratios are of two ways measured in turns within one run, medians over repeats; docs/performance.md tells how. The parts
node, latency and memory run a real scene_node over DDS and need ROS; so does what stages tells of messages.

examples:
  qwenvl bench --quick
  qwenvl bench --json bench.json
  qwenvl bench --only engine,first_object --model 4b --backends transformers,vllm
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from qwenvl_ros.backends import BackendError, EngineSettings
from qwenvl_ros.backends.engine_settings import BACKENDS
from qwenvl_ros.benchmark import BenchmarkFailed, Say, Setup
from qwenvl_ros.benchmark.comparison import backends_over_first, batched_over_sequential, first_object
from qwenvl_ros.benchmark.figures import rounded
from qwenvl_ros.benchmark.machine import machine, versions
from qwenvl_ros.benchmark.report import KEYS, show
from qwenvl_ros.benchmark.stages import SIZES, stages
from qwenvl_ros.dds import own_domain
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.tools import ToolError
from qwenvl_ros.tools._options import add_settings, read_settings
from qwenvl_ros.zoo import ModelSettings

Part = tuple[Any, dict[str, Any]]  # the figure, and what it was made of
QUICK = {"cameras": "1,4", "repeats": 1, "seconds": 3.0, "frames": 1500, "latencies": 60, "times": 5}
USUAL = {"cameras": "1,4,8", "repeats": 3, "seconds": 8.0, "frames": 10_000, "latencies": 500, "times": 50}


class NoRos(BenchmarkFailed):
    """A part needs ROS, which is not here."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--quick", action="store_true", help="fewer and shorter measurements: a first impression"
    )
    parser.add_argument("--json", metavar="FILE", help="write the results to this file")
    parser.add_argument("--only", metavar="PARTS", default=",".join(KEYS), help=f"of {','.join(KEYS)}")
    parser.add_argument(
        "--cameras", metavar="N,N", help="numbers of cameras of the part node (default: 1,4,8)"
    )
    parser.add_argument("--repeats", type=int, metavar="N", help="times each is measured (default: 3)")
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="how long a rate is measured at least (default: 8)"
    )
    parser.add_argument("--frames", type=int, metavar="N", help="frames of the part memory (default: 10000)")
    parser.add_argument(
        "--backends", metavar="B,B", default="", help="compare these engines, to the first of them"
    )
    add_settings(parser, ModelSettings)
    add_settings(parser, EngineSettings)
    add_settings(parser, PerceptionSettings, "queries", "max_pixels", "max_tokens", "max_objects")


def run(args: argparse.Namespace) -> int:
    """Measure, show, write; a bar that is missed is no failure."""
    for name, value in (QUICK if args.quick else USUAL).items():
        if getattr(args, name, None) is None:
            setattr(args, name, value)
    wanted, cameras, compared = _checked(args)
    setup = Setup(
        read_settings(args, ModelSettings),
        read_settings(args, EngineSettings),
        read_settings(args, PerceptionSettings),
        args.seconds,
        args.repeats,
    )
    console = Console(stderr=True, highlight=False)
    results: dict[str, Any] = dict.fromkeys(KEYS.values())
    results |= {
        "machine": machine(),
        "versions": versions(),
        "settings": {"model": setup.model.name, "backend": args.backend, "threads": args.threads}
        | {name: getattr(args, name) for name in USUAL},
        "details": {},
        "not_run": {},
    }
    parts = {name: _part(name, setup, args, cameras) for name in wanted}
    if compared:
        parts["backends"] = lambda say: backends_over_first(compared, setup, say)
    began, failed, stopped = time.monotonic(), "", False
    for name, measure in parts.items():
        say = _saying(console, name, began)
        key = KEYS.get(name, name)
        say("measuring")
        try:
            results[key], results["details"][key] = measure(say)
        except KeyboardInterrupt:  # what is done is done: report it
            stopped = True
            break
        except (BenchmarkFailed, BackendError) as error:  # and the others are still worth knowing
            say(f"not measured: {error}")
            results["not_run"][name] = str(error)
            failed = failed or ("" if isinstance(error, NoRos) else f"{name}: {error}")
    results["settings"]["took_seconds"] = round(time.monotonic() - began)
    results = {name: rounded(value) for name, value in results.items()}
    show(results, Console(highlight=False))
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if failed:
        raise ToolError(f"not everything could be measured; {failed}")
    return 130 if stopped else 0


def _checked(args: argparse.Namespace) -> tuple[list[str], list[int], list[str]]:
    """Parts, numbers of cameras, and backends to compare.

    Raises:
        ToolError: an option that makes no sense.
    """
    wanted, compared = _words(args.only), _words(args.backends)
    for given, known, option in ((wanted, tuple(KEYS), "--only"), (compared, BACKENDS, "--backends")):
        if unknown := [word for word in given if word not in known]:
            raise ToolError(f"{option} {','.join(unknown)}: give some of {','.join(known)}")
    try:
        cameras = [int(word) for word in _words(args.cameras)]
    except ValueError:
        cameras = []
    if not cameras or min(cameras) < 1:
        raise ToolError(f"--cameras {args.cameras}: give numbers from 1 on, such as 1,4,8")
    if args.repeats < 1 or args.seconds <= 0 or args.frames < 100:
        raise ToolError("give --repeats from 1 on, --seconds above 0 and --frames from 100 on")
    if args.json and not Path(args.json).absolute().parent.is_dir():
        raise ToolError(f"the folder of {args.json} does not exist; make it first")
    return wanted, cameras, compared


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _saying(console: Console, part: str, began: float) -> Say:
    def say(line: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.0f} s[/]  {part}: {line}", soft_wrap=True)

    return say


def _part(name: str, setup: Setup, args: argparse.Namespace, cameras: list[int]) -> Callable[[Say], Part]:
    """What measures a part, on a DDS domain that no other run of this machine uses."""
    domain = own_domain()

    def node(say: Say) -> Part:
        measure = _ros("throughput").node_over_engine
        found = {str(count): measure(count, setup, domain, say) for count in cameras}
        return {count: one[0] for count, one in found.items()}, {
            count: one[1] for count, one in found.items()
        }

    def of_stages(say: Say) -> Part:
        try:
            measure = _ros("stages").stages_ms
        except NoRos as error:
            say(f"without conversion and publish: {error}")
            return {f"{w}x{h}": stages((w, h), setup, args.times) for w, h in SIZES}, {"times": args.times}
        found: Part = measure(setup, args.times, say)
        return found

    return {
        "node": node,
        "engine": lambda say: batched_over_sequential(setup, say),
        "latency": lambda say: _ros("latency").added_latency(setup, domain, args.latencies, say),
        "first_object": lambda say: first_object(setup, say),
        "memory": lambda say: _ros("memory").memory_growth(setup, domain, args.frames, say),
        "stages": of_stages,
    }[name]


def _ros(module: str) -> Any:
    """A module of qwenvl_ros.ros.benchmark."""
    try:
        import importlib

        return importlib.import_module(f"qwenvl_ros.ros.benchmark.{module}")
    except ImportError as error:
        raise NoRos(
            f"ROS 2 and this package's messages are needed ({error}): . environment/activate.bash"
        ) from error

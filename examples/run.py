"""The example planners, one after the other, on one simulated table: what `make examples` runs.

Starts the simulator and scene_node as the demo does, runs each example as a process of its own, shows what it says, and
ends. Logs of the camera and the model's node are left in --out.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from qwenvl_ros.processes import Child, child, stop_on_signals
from qwenvl_ros.ros.tabletop import camera_and_model
from qwenvl_ros.sim.show import ShowSettings

# Chosen: a table on which the tiny model calls everything by its right name and every planner is right. On most crowded
# tables it does not (docs/planners.md says how often).
SEED = 95069
EXAMPLES = (
    ("pick_next", "bowl"),
    ("clear_target", "purple mug"),
    ("semantic_goal", "left of the red bowl", "--radius", "0.05"),
)
PATIENCE_S = 300.0  # for the first scene; a model has to be loaded


class ProcessDied(RuntimeError):
    """The camera or scene_node ended; the message has its last words."""


def run(seed: int, model: str, out: Path, stop: threading.Event) -> int:
    """All of them; how many failed.

    Raises:
        ProcessDied: the camera or scene_node ended.
    """
    out.mkdir(parents=True, exist_ok=True)
    failed = 0
    with camera_and_model(ShowSettings(seed=seed, fewest=6), model, out) as running:
        for name, *words in EXAMPLES:
            print(
                f"\n$ python examples/{name}.py {' '.join(repr(w) if ' ' in w else w for w in words)}",
                flush=True,
            )
            program = str(Path(__file__).with_name(f"{name}.py"))
            command = [sys.executable, program, *words, "--timeout", str(PATIENCE_S)]
            with child(name, command, None) as example:
                failed += _ended(example, running, stop) != 0
            if stop.is_set():
                break
    return failed


def _ended(example: Child, running: Sequence[Child], stop: threading.Event) -> int:
    """The example's exit status, once it has one."""
    while (status := example.process.poll()) is None and not stop.wait(0.1):
        for each in running:
            if (ended := each.process.poll()) is not None:
                raise ProcessDied(
                    f"the {each.name} ended with status {ended}; its last words:\n{each.last_words()}"
                )
    return 1 if status is None else status


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=SEED, help=f"which table (default: {SEED})")
    parser.add_argument("--model", default="tiny", help="zoo name, hub id or folder (default: tiny)")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder of the logs (default: demo)")
    args = parser.parse_args(arguments)
    stop = stop_on_signals()
    print(f"starting the camera and the model ({args.model}); Ctrl-C ends it", flush=True)
    try:
        failed = run(args.seed, args.model, args.out, stop)
    except (ProcessDied, OSError) as error:
        print(f"examples: {error}", file=sys.stderr)
        return 1
    if failed:
        print(
            f"examples: {failed} of {len(EXAMPLES)} failed; see above and {args.out}/*.log", file=sys.stderr
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

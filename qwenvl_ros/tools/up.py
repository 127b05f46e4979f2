"""Start what a launch file starts, with the same arguments, where ROS 2's launch is missing.

Each program's output is shown. Ctrl-C ends all, the last started first. One that ends by itself is told of, and the
others run on, as with ros2 launch; the exit status is 1 if one failed.

examples:
  qwenvl up scene model:=4b image:=/camera/camera/color/image_raw queries:="red mug, bowl"
  qwenvl up sim planner:=false
  qwenvl up vllm_server model:=8b gpu:=0
  qwenvl up scene --show-args
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

from qwenvl_ros.processes import child, stop_on_signals, watch
from qwenvl_ros.ros.launching import LAUNCHES, Launch, parse
from qwenvl_ros.tools import ToolError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=sorted(LAUNCHES), help="which launch file")
    parser.add_argument("arguments", nargs="*", metavar="NAME:=VALUE", help="its arguments")
    parser.add_argument("--show-args", action="store_true", help="list the arguments instead")


def run(args: argparse.Namespace) -> int:
    launch = LAUNCHES[args.what]
    if args.show_args:
        return _show(launch)
    processes = launch.start(parse(args.arguments))
    programs = _programs()
    stop = stop_on_signals()
    with ExitStack() as running:
        children = []
        for process in processes:
            name = process.name or process.executable
            command = process.command(programs)
            children.append(running.enter_context(child(name, command, environment=process.environment)))
        _tell(f"started {', '.join(each.name for each in children)}; Ctrl-C ends all")
        well = watch(children, stop, _tell)
        if stop.is_set():
            _tell("ending")
    return 0 if well else 1


def _show(launch: Launch) -> int:
    print(launch.about)
    for each in launch.arguments:
        print(f"  {each.name:<24}{each.description}" + (f" Default: {each.default}" if each.default else ""))
    return 0


def _tell(what: str) -> None:
    print(f"up: {what}", file=sys.stderr, flush=True)


def _programs() -> Path:
    try:
        from qwenvl_ros.ros.programs import folder
    except ImportError as error:
        raise ToolError(f"ROS 2 is needed ({error}): . environment/activate.bash") from error
    return folder()

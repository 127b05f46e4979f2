"""Scenes from a recording, a video or a folder of images, through the same pipeline as from a camera; or play it live.

IN is a rosbag2 (sqlite3, MCAP; a file or a folder), a ROS 1 bag, a video (MP4, AVI, GIF ...) or a folder of images. OUT
is an MCAP of scenes, markers and annotated pictures with the original stamps, which opens in Foxglove. The same IN and
options give the same bytes. What was interrupted goes on where it stopped when the same command is given again.

examples:
  qwenvl replay drive.mcap scenes.mcap --find "red mug, bowl" --rate 2
  qwenvl replay drive_bag/ --jsonl scenes.jsonl              # lines of JSON instead
  qwenvl replay drive_bag/ --expect scenes.jsonl             # exits with 1 where a scene is not as it was
  qwenvl replay --live drive_bag/ --speed 0.5 --loop         # its messages over ROS, with /clock
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

from tqdm import tqdm

from qwenvl_ros import backends
from qwenvl_ros.backends import Backend, EngineSettings
from qwenvl_ros.bags import is_bag
from qwenvl_ros.pairing import PairingSettings
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.replay.answers import Remembering
from qwenvl_ros.replay.comparison import Expectation, ExpectationRefused, Tolerances
from qwenvl_ros.replay.frames import InputSettings, Source
from qwenvl_ros.replay.outputs import Outputs
from qwenvl_ros.replay.pictures import Pictures, images_in, is_video
from qwenvl_ros.replay.recording import Recording
from qwenvl_ros.replay.run import perceive
from qwenvl_ros.replay.summary import Summary
from qwenvl_ros.replay.topics import NoCamera
from qwenvl_ros.ros.node_settings import fixed_pose
from qwenvl_ros.scene_json import to_json
from qwenvl_ros.settings import leaves
from qwenvl_ros.tools import ToolError, no_ros
from qwenvl_ros.tools._options import add_settings, read_settings
from qwenvl_ros.tracking import TrackingSettings
from qwenvl_ros.zoo import ModelSettings

_MOST_DIFFERENCES = 50  # lines that are printed
_OF_LIVE = {"--live", "--topics", "--fps"}
_OF_BAGS = (InputSettings, PairingSettings)
_OF_LIVE_ONLY = {"--speed", "--loop", "--delay"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the pipeline are those of the node's parameters."""
    parser.add_argument("input", type=Path, metavar="IN", help="a bag, a video or a folder of images")
    parser.add_argument(
        "output", type=Path, nargs="?", metavar="OUT", help="write here: FILE.mcap, or a rosbag2 folder"
    )
    parser.add_argument(
        "--find", default="", metavar="TEXT", help="what to find, parted by commas; default: everything"
    )
    parser.add_argument("--all", action="store_true", help="what IN holds goes into OUT as well")
    parser.add_argument(
        "--jsonl", type=Path, metavar="FILE", help="write a scene a line (as msg/Scene) to this file"
    )
    what = parser.add_argument_group("which images")
    add_settings(what, InputSettings)
    expect = parser.add_argument_group("regression")
    expect.add_argument(
        "--expect",
        type=Path,
        metavar="FILE",
        help="compare with the scenes that --jsonl has written, and exit with 1 where they differ",
    )
    add_settings(expect, Tolerances)
    live = parser.add_argument_group("live, instead of scenes")
    live.add_argument("--live", action="store_true", help="publish what IN holds over ROS, with /clock")
    live.add_argument(
        "--speed", type=float, default=1.0, help="times as fast as it was recorded (default: 1)"
    )
    live.add_argument("--loop", action="store_true", help="begin anew at the end, until Ctrl-C")
    live.add_argument(
        "--delay",
        type=float,
        default=1.0,
        help="seconds before the first message, for subscribers to find it (default: 1)",
    )
    how = parser.add_argument_group("model and pipeline")
    add_settings(how, ModelSettings)
    add_settings(how, EngineSettings)
    add_settings(how, PairingSettings)
    add_settings(how, TrackingSettings)
    add_settings(
        how, PerceptionSettings, *(name for name, _ in leaves(PerceptionSettings) if name != "queries")
    )


def run(args: argparse.Namespace) -> int:
    if args.live:
        return _live(args)
    if given := sorted(_given(args) & _OF_LIVE_ONLY):
        raise ToolError(f"{', '.join(given)}: only with --live")
    if given := sorted(each for each in _given(args) if each.startswith("--expect-") and not args.expect):
        raise ToolError(f"{', '.join(given)}: only with --expect")
    if args.all and not args.output:
        raise ToolError("--all puts what IN holds into OUT: give OUT, or leave it out")
    if not (args.output or args.jsonl or args.expect):
        raise ToolError("give OUT, --jsonl FILE or --expect FILE: where the scenes go (or --live)")
    try:
        return _replay(args)
    except (NoCamera, ExpectationRefused) as error:
        raise ToolError(str(error)) from error


def _live(args: argparse.Namespace) -> int:
    if given := sorted(_given(args) - _OF_LIVE - _OF_LIVE_ONLY):
        raise ToolError(
            f"--live publishes what was recorded and makes no scenes: leave out {', '.join(given)}"
        )
    if not args.speed > 0 or args.delay < 0:
        raise ToolError(
            f"--speed {args.speed:g} --delay {args.delay:g}: a speed is above 0, a delay not below it"
        )
    _check_input(args)
    try:
        from qwenvl_ros.ros.live import main
    except ImportError as error:
        raise no_ros(error) from error
    settings = read_settings(args, InputSettings)
    return main(args.input, settings, speed=args.speed, loop=args.loop, delay=args.delay)


def _given(args: argparse.Namespace) -> set[str]:
    """The options that are not at their defaults; OUT among them."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    defaults = vars(parser.parse_args([str(args.input)]))
    names = {name for name, default in defaults.items() if getattr(args, name) != default}
    return {"OUT" if name == "output" else _option(name) for name in names}


def _option(name: str) -> str:
    return f"--{name}".replace("_", "-").replace(".", "-")


def _check_input(args: argparse.Namespace) -> None:
    """Refuse an IN that is not there, and options that it takes no notice of."""
    if not args.input.exists():
        raise ToolError(f"{args.input} does not exist; give a bag, a video or a folder of images")
    path, of_bags = args.input, {_option(name) for each in _OF_BAGS for name, _ in leaves(each)}
    what, unused = "a folder of images", of_bags - {"--rate", "--fps"}
    if is_bag(path):
        what, unused = "a bag", {"--fps"}
    elif path.is_file():
        what, unused = "a video", of_bags - {"--rate"}
    if given := sorted(_given(args) & unused):
        raise ToolError(f"{path} is {what}, which takes no notice of {', '.join(given)}: leave that out")


def _replay(args: argparse.Namespace) -> int:
    model = read_settings(args, ModelSettings).resolve()
    queries = tuple(text for part in args.find.split(",") if (text := part.strip()))
    settings = read_settings(args, PerceptionSettings, queries=queries)
    tracking = read_settings(args, TrackingSettings)
    expectation = Expectation(args.expect, read_settings(args, Tolerances)) if args.expect else None
    summary, differences = Summary(), _Differences()
    with ExitStack() as stack:
        source = stack.enter_context(_source(args))
        outputs = stack.enter_context(Outputs(args.output, args.jsonl))
        backend: Backend = backends.create(model, read_settings(args, EngineSettings))
        stack.callback(backend.close)
        if outputs.answers is not None:
            if known := len(outputs.answers):
                print(f"goes on where it was stopped: {known} answers are there already")
            identity = (model.name, model.checkpoint, model.variant, model.precision, args.backend)
            backend = Remembering(backend, outputs.answers, identity)
        began = time.perf_counter()
        bar = stack.enter_context(tqdm(total=source.expected, unit="image", desc=args.input.name))
        frames = source.frames(outputs.keep if args.all else None)
        try:
            for frame, result in perceive(frames, backend, model, settings, backend.capacity, tracking):
                outputs.write(frame, result.scene)
                summary.add(frame, result)
                bar.update(_read(source) - bar.n)
                if expectation is not None:
                    differences.show(expectation.differences(to_json(result.scene)))
        except KeyboardInterrupt:
            if outputs.answers:
                kept = len(outputs.answers)
                tqdm.write(f"stopped with {kept} answers: the same command goes on from there", sys.stderr)
            raise
        bar.update(_read(source) - bar.n)
        bar.close()
        for line in summary.lines(source.tallies, time.perf_counter() - began):
            print(line)
        for text in source.damage:
            print(f"qwenvl: {text}", file=sys.stderr)
        if not summary.scenes:
            raise ToolError(f"{args.input} has no image that could be looked at; see above")
    for text in outputs.written():
        print(text)
    for text in summary.failures:
        print(f"qwenvl: the engine failed: {text}", file=sys.stderr)
    if expectation is not None:
        differences.show(expectation.missing())
        differences.end()
        total = max(expectation.expected, expectation.scenes)
        print(f"{expectation.differing} of {total} scenes differ from {args.expect}")
    unread = any(tally.refused for tally in source.tallies.values())
    return int(bool(source.damage or summary.failures or unread or (expectation and expectation.differing)))


class _Differences:
    """Prints lines beside the progress bar, until there were too many."""

    def __init__(self) -> None:
        self._count = 0

    def show(self, lines: Sequence[str]) -> None:
        for text in lines:
            if self._count < _MOST_DIFFERENCES:
                tqdm.write(text)
            self._count += 1

    def end(self) -> None:
        if self._count > _MOST_DIFFERENCES:
            print(f"... and {self._count - _MOST_DIFFERENCES} more differences")


def _source(args: argparse.Namespace) -> AbstractContextManager[Source]:
    """What IN is."""
    path, settings = args.input, read_settings(args, InputSettings)
    _check_input(args)
    if (settings.pose or settings.pose_topic) and not settings.target_frame:
        raise ToolError("a pose is given, but not in which frame: give --target-frame as well")
    try:
        fixed = fixed_pose(settings.pose)
    except ValueError as error:
        raise ToolError(f"--pose {settings.pose!r} cannot be read: {error}") from error
    if is_bag(path):
        return Recording(path, settings, read_settings(args, PairingSettings), fixed, args.tracking)
    if is_video(path) or (path.is_dir() and images_in(path)):
        return nullcontext(Pictures(path, settings, args.tracking))
    raise ToolError(
        f"{path} is none of these: a bag (.mcap, .db3, .bag or a folder of them), a video (.mp4, .avi, .gif ...), "
        "a folder of images"
    )


def _read(source: Source) -> int:
    return sum(tally.images for tally in source.tallies.values())

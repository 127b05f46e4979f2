"""Publish a simulated camera over ROS, or write what it sees to a bag.

Live, until Ctrl-C:      qwenvl simulate --seed 7 --move-objects
To a bag, without DDS:   qwenvl simulate --seed 7 --frames 100 --bag out.mcap

Topics of each camera: <camera>/image_raw, depth/image_raw, camera_info, pose and truth. A bag also has /tf. The
same options give the same messages.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from qwenvl_ros.ros.simulator_settings import SimulatorSettings
from qwenvl_ros.sim.show import Show
from qwenvl_ros.tools import ToolError, no_ros
from qwenvl_ros.tools._options import add_settings, read_settings

_EPOCH = 1_700_000_000_000_000_000  # nanoseconds: the first stamp of every bag
_FRAMES = 100  # of a bag


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The simulator's parameters as options, and those of a bag."""
    add_settings(parser, SimulatorSettings)
    parser.add_argument("--bag", type=Path, help="write here: FILE.mcap for one file, else a rosbag2 folder")
    parser.add_argument("--frames", type=int, help=f"images of each camera in the bag (default: {_FRAMES})")


def run(args: argparse.Namespace) -> int:
    """Publish until told to stop, or write the bag; returns the exit status."""
    settings = read_settings(args, SimulatorSettings)
    if args.bag is not None:
        return record(settings, _FRAMES if args.frames is None else args.frames, args.bag)
    if args.frames is not None:
        raise ToolError("--frames is of a bag: give --bag as well")
    try:
        from qwenvl_ros.ros.simulator import main
    except ImportError as error:
        raise no_ros(error) from error
    return main([], settings)


def record(settings: SimulatorSettings, frames: int, path: Path) -> int:
    """Write what `settings` shows to a bag at `path`, as fast as it can be drawn."""
    if frames < 1:
        raise ToolError(f"--frames {frames}: a bag needs at least 1")
    try:
        from qwenvl_ros.ros.bags import BagWriter
        from qwenvl_ros.ros.simulator import messages, transform
    except ImportError as error:
        raise no_ros(error) from error
    with Show(settings) as show, BagWriter(path) as bag:
        for number in tqdm(range(frames), unit="frame", desc=str(path)):
            seconds = number / settings.rate_hz
            stamp = _EPOCH + round(seconds * 1e9)
            shots = list(show.shots(seconds))
            bag.write_transforms("/tf", [transform(shot, stamp) for shot in shots], stamp)
            for shot in shots:
                for topic, message in messages(shot, stamp, settings.depth_encoding):
                    bag.write(f"/{shot.camera}/{topic}", message, stamp)
    megabytes = sum(f.stat().st_size for f in ([path] if path.is_file() else path.iterdir())) / 1e6
    print(f"{path}: {frames} frames of {len(settings.cameras)} camera(s), {megabytes:.1f} MB")
    return 0

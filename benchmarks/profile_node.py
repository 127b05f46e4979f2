"""Where the time of a node goes, by function: a real scene_node with an engine that costs nothing, watched by py-spy.

pip install py-spy, then: python benchmarks/profile_node.py --hz 30 --seconds 60

Shares are of the time in which a thread of the node runs, not waits; "with callees" counts a function whenever it is on
the stack. The CPU time of a scene is measured without py-spy, which slows the node.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from qwenvl_ros.benchmark import Setup
from qwenvl_ros.benchmark.machine import cpu_seconds
from qwenvl_ros.benchmark.sights import sights
from qwenvl_ros.dds import own_domain
from qwenvl_ros.ros.benchmark.cameras import Cameras
from qwenvl_ros.ros.benchmark.node import Ears, NodeProcess

LISTED = 40


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hz", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    args = parser.parse_args()
    if shutil.which("py-spy") is None:
        print("py-spy is missing: pip install py-spy", file=sys.stderr)
        return 1
    sight = sights(1)[0]
    name, domain = sight.frame.camera, own_domain()
    answer = (sight.answer(Setup().model.pixels), 0.01)
    with (
        Ears(domain) as ears,
        NodeProcess(ears, [f'cameras:=["{name}"]', "max_age:=0.0"], answer) as node,
        tempfile.TemporaryDirectory() as folder,
    ):
        idle = cpu_seconds(node.pid)
        ears.listen(args.seconds / 4)
        idle = (cpu_seconds(node.pid) - idle) / (args.seconds / 4)
        print(f"idle: {idle:.2%} of a core")
        with Cameras([name], [sight.frame.image], args.hz, domain):
            node.scenes(lambda heard: len(heard) >= 5)
            used = cpu_seconds(node.pid)
            heard = node.scenes(lambda heard: len(heard) >= args.hz * args.seconds / 2)
            used = cpu_seconds(node.pid) - used
            print(f"{used / len(heard) * 1e3:.2f} ms of CPU a scene, {len(heard)} scenes")
            stacks = Path(folder, "stacks")
            watch = [
                "--pid",
                str(node.pid),
                "--duration",
                f"{args.seconds:.0f}",
                "--rate",
                "200",
                "--nonblocking",
            ]
            spy = subprocess.Popen(
                ["py-spy", "record", *watch, "--format", "raw", "--output", str(stacks)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            while spy.poll() is None:
                ears.listen(0.5)
        own: Counter[str] = Counter()
        within: Counter[str] = Counter()
        for line in stacks.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            functions = stack.split(";")
            own[functions[-1]] += int(count)
            for function in set(functions):
                within[function] += int(count)
    total = sum(own.values())
    print(f"\n{'alone':>7} {'with callees':>13}")
    for function, count in within.most_common(LISTED):
        print(f"{own[function] / total:7.1%} {count / total:13.1%}  {function}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

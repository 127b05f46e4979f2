"""scene_node with an engine that costs nothing: `python -m qwenvl_ros.ros.benchmark TEXT SECONDS --ros-args ...`.

Each request is answered with TEXT after SECONDS; the rest is the real thing.
"""

import sys

from qwenvl_ros.benchmark.canned import CannedBackend
from qwenvl_ros.ros.node import main

if __name__ == "__main__":
    program, text, seconds, *rest = sys.argv
    sys.exit(main([program, *rest], lambda model, settings: CannedBackend(text, float(seconds))))

"""`qwenvl replay` in a process of its own, with an engine that answers from a script and notes what it was asked.

python replaying.py NOTES SECONDS CAPACITY [arguments of replay]
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from qwenvl_ros import backends
from qwenvl_ros.backends.scripted import Delayed, ScriptedBackend
from qwenvl_ros.tools import cli


def answer(request) -> str:
    """Boxes that depend on the image."""
    x = int(hashlib.sha256(request.images[0].tobytes()).hexdigest(), 16) % 600
    return f'[{{"bbox_2d": [{x}, 100, {x + 300}, 500], "label": "red cube"}}]'


def main() -> int:
    notes, seconds, capacity, *arguments = sys.argv[1:]

    def script(request):
        with Path(notes).open("a") as file:
            file.write(hashlib.sha256(request.images[0].tobytes()).hexdigest() + "\n")
        return Delayed(float(seconds), answer(request))

    backends.create = lambda model, settings: ScriptedBackend(script, capacity=int(capacity))
    return cli.main(["replay", "--model", "2b", *arguments])


if __name__ == "__main__":
    sys.exit(main())

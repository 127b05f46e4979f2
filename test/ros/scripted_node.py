"""scene_node with an engine that answers from a script, for the tests: the rest is the real thing."""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import sys
import threading
import time
from pathlib import Path

from numbered import number_of

from qwenvl_ros.backends import BackendUnavailable, RequestFailed
from qwenvl_ros.backends.scripted import HANG, Delayed, ScriptedBackend, Streamed
from qwenvl_ros.ros.node import main

ANSWER = """[
    {"bbox_2d": [100, 200, 300, 600], "label": "red cube"},
    {"bbox_2d": [500, 200, 700, 600], "label": "blue sphere"}
]"""


HALF = "\ud83d"
BOXES = """Two things, one each.
[{"camera": "front", "bbox_2d": [100, 200, 300, 600], "label": "cup"},
 {"camera": "back", "bbox_2d": [500, 200, 700, 600], "label": "can"}]"""


def steered(request, three):
    """What the words of a question ask for; None = nothing of the kind."""
    words = request.text
    if "hang" in words:
        return HANG
    if "together" in words:  # answered once three such are being worked on
        three.wait()
        return ANSWER
    if "mumble" in words:
        return "I would rather not say."
    if "half" in words:  # of a pair, as a stream leaves it that splits a character
        return f"a grin {HALF}" if request.schema is None else RequestFailed(f"the gateway said {HALF}")
    if "break" in words:
        return RequestFailed("out of memory; lower max_pixels")
    if "count" in words:
        return Streamed([f"{number} " for number in range(1, 21)], 1.0 if "slowly" in words else 0.05)
    if "which cameras" in words:
        return BOXES
    if "echo" in words:  # the labels that were asked for
        boxes = [
            {"bbox_2d": [100 + 200 * n, 200, 250 + 200 * n, 600], "label": label}
            for n, label in enumerate(request.schema["items"]["properties"]["label"]["enum"])
        ]
        return Delayed(0.05, json.dumps(boxes))
    if request.clips:
        (clip,) = request.clips
        return f"{len(clip.frames)} frames, {clip.seconds[-1]:.1f} seconds"
    return None


def run():
    parser = argparse.ArgumentParser()
    parser.add_argument("--answer", default=ANSWER)
    parser.add_argument(
        "--numbered", help="JSON file with the answers to numbered pictures; it fails with others"
    )
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--hang", action="store_true", help="never answer, after the warm-up")
    parser.add_argument("--hang-once", action="store_true", help="never answer the first, after the warm-up")
    parser.add_argument("--stream", type=float, default=0.0, help="seconds before each object of an answer")
    parser.add_argument("--capacity", type=int, default=1)
    parser.add_argument("--steered", action="store_true", help="do what the words of a question say")
    parser.add_argument("--real", action="store_true", help="no script: the engine that the parameters name")
    parser.add_argument("--second", default="{}", help="what it says about relations, where it is asked")
    parser.add_argument("--fail", default="", help="fail each request with these words, after the warm-up")
    parser.add_argument("--unavailable", default="", help="cannot be built, with these words")
    parser.add_argument("--load", type=float, default=0.0, help="seconds to load the model")
    options, rest = parser.parse_known_args()

    if options.real:
        return main([sys.argv[0], *rest])

    def create(model, settings):
        if options.unavailable:
            raise BackendUnavailable(options.unavailable)
        time.sleep(options.load)
        count = itertools.count()
        three = threading.Barrier(3)
        answers = json.loads(Path(options.numbered).read_text()) if options.numbered else {}

        def script(request):
            if "Is each of these statements true?" in request.text:
                return options.second
            number = next(count)
            if number == 0:
                return "[]"
            if options.hang or (options.hang_once and number == 1):
                return HANG
            if options.steered and (said := steered(request, three)) is not None:
                return said
            if options.stream:
                return Streamed(options.answer.splitlines(keepends=True), options.stream)
            if options.fail:
                return RequestFailed(options.fail)
            answer = options.answer
            if options.numbered:
                answer = answers.get(str(number_of(request.images[0])), RequestFailed("not in the file"))
            return Delayed(options.delay, answer)

        logging.getLogger("qwenvl_ros.backends.scripted").warning("answers come from a script")
        return ScriptedBackend(script, capacity=options.capacity)

    return main([sys.argv[0], *rest], create=create)


if __name__ == "__main__":
    sys.exit(run())

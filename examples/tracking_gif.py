"""An animation of a moving table: what is known without tracking, and with it, when the model takes a second an image.

    python examples/tracking_gif.py [--out docs/images/tracking.gif] [--seed 201] [--latency 1.0]

Nothing is played: the tiny model really finds the objects, its answers are held back for the latency, and each picture
shows what a planner knows at that moment. On the left that is its last answer; on the right what tracking made of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pictures
from tqdm import tqdm

from qwenvl_ros import backends, pipeline, zoo
from qwenvl_ros.backends import EngineSettings
from qwenvl_ros.drawing import Mark, colours_of, draw
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.sim.motion import set_in_motion
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import sample
from qwenvl_ros.tracking import Tracker
from qwenvl_ros.types import Box, Frame, Image

RATE, SECONDS = 10, 7.0
WIDTH, HEIGHT = 400, 300  # of each half


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("docs/images/tracking.gif"))
    parser.add_argument("--seed", type=int, default=201)
    parser.add_argument("--latency", type=float, default=1.0, help="seconds an answer takes (default: 1.0)")
    args = parser.parse_args()
    frames = list(film(args.seed))
    halves = [np.hstack(each) for each in known(frames, args.latency)]
    save(halves[round(args.latency * RATE) :], args.out)  # from the first answer on
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")


def film(seed: int) -> Iterator[Frame]:
    """The pictures of a table whose things and cameras move."""
    still = sample(seed, objects=(4, 6))
    plain = replace(still.table, texture="plain")  # which makes a small file
    layout = set_in_motion(replace(still, table=plain), things=True, cameras=True)
    with Renderer(640, 480) as renderer:
        for number in range(round(SECONDS * RATE)):
            image = renderer.rgb(layout.at(number / RATE))
            yield Frame("camera", image, round(number / RATE * 1e9), "optical")


def known(frames: list[Frame], latency: float) -> Iterator[tuple[Image, Image]]:
    """What is known at each frame, drawn on it: without and with tracking."""
    model = zoo.resolve("tiny")
    backend = backends.create(model, EngineSettings(threads=1))
    tracker, asked = Tracker(), frames[0]
    last: dict[str, Box] = {}
    try:
        for frame in tqdm(frames, unit="frame"):
            tracker.advance(frame)
            if frame.stamp >= asked.stamp + latency * 1e9:
                answer = pipeline.perceive([asked], backend, model, PerceptionSettings())[0].scene
                scene = tracker.adopt(answer, asked)
                last, asked = {each.id: each.box for each in scene.objects}, frame
            followed = tracker.followed()
            tracked = {each.id: each.detection.box for each in followed.objects} if followed else {}
            yield half(frame, last, "its last answer"), half(frame, tracked, "followed")
    finally:
        backend.close()


def half(frame: Frame, boxes: dict[str, Box], title: str) -> Image:
    """A frame with its boxes and a title, HEIGHT x WIDTH."""
    colours = colours_of(sorted(boxes))
    scale = WIDTH / frame.width
    small = cv2.resize(frame.image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    marks = [Mark(Box(*(scale * v for v in box.corners)), name, colours[name]) for name, box in boxes.items()]
    picture = draw(np.asarray(small, np.uint8), marks)
    cv2.putText(
        picture, title, (8, HEIGHT - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA
    )
    return picture


def save(pictures: list[Image], path: Path) -> None:
    """Write an endless animation with one palette."""
    palette = Pictures.fromarray(np.vstack(pictures[:: len(pictures) // 6])).quantize(64)
    small = [
        Pictures.fromarray(each).quantize(palette=palette, dither=Pictures.Dither.NONE) for each in pictures
    ]
    small[0].save(path, save_all=True, append_images=small[1:], duration=1000 // RATE, loop=0, optimize=True)


if __name__ == "__main__":
    main()

"""What it costs to send an image to a server as png or jpeg, and what jpeg does to the boxes.

Sizes and times are of simulator pictures: as the tiny model takes them, and larger, as real checkpoints
do. Boxes and F1 are the tiny model's, asked in this process about what its canvas is after the encoding; scenes and
questions are those of `qwenvl evaluate`. Prints Markdown.

    python benchmarks/image_encoding.py --scenes 60
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import cv2
import numpy as np
from tqdm import tqdm

from qwenvl_ros import backends, grounding, zoo
from qwenvl_ros.backends import Backend, EngineSettings, Reply, Request
from qwenvl_ros.evaluation.examination import examine, result
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import sample
from qwenvl_ros.types import Image

SEED = 90_000  # scenes never trained on
PICTURES = 10  # of each size
REPEATS = 3

FULL_COLOUR = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
CODECS: dict[str, tuple[str, list[int]]] = {
    **{f"png, level {level}": (".png", [cv2.IMWRITE_PNG_COMPRESSION, level]) for level in (0, 1, 3, 6)},
    **{
        f"jpeg, quality {quality}": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality, *FULL_COLOUR])
        for quality in (75, 85, 95, 98)
    },
    "jpeg, quality 95, colour halved": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 95]),
}
BOX = re.compile(r'"bbox_2d": \[(\d+), (\d+), (\d+), (\d+)\], "label": "([^"]*)"')


def encode(image: Image, codec: str) -> bytes:
    kind, options = CODECS[codec]
    return bytes(cv2.imencode(kind, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1])


def decode(data: bytes) -> Image:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))


def pictures(width: int, height: int) -> list[Image]:
    with Renderer(width, height) as renderer:
        return [renderer.rgb(sample(SEED + index)) for index in range(PICTURES)]


def cost(images: Sequence[Image], codec: str) -> tuple[float, float]:
    """(kB, milliseconds of CPU) an image."""
    size = sum(len(encode(image, codec)) for image in images) / len(images) / 1000
    # CPU time, as others may use the machine; the least of several, as they may use the cache.
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        for image in images:
            encode(image, codec)
        times.append(time.process_time() - started)
    return size, 1000 * min(times) / len(images)


class Recoded:
    """A Backend that shows another one the images as they are after a codec; keeps the replies."""

    def __init__(self, backend: Backend, through: Callable[[Image], Image]) -> None:
        self._backend = backend
        self._through = through
        self.futures: list[Future[Reply]] = []
        self.model, self.device, self.capacity = backend.model, backend.device, backend.capacity

    def submit(self, request: Request) -> Future[Reply]:
        images = [self._through(image) for image in request.images]
        self.futures.append(self._backend.submit(dataclasses.replace(request, images=images)))
        return self.futures[-1]

    def close(self) -> None:
        """The other one is not ours."""


def boxes(future: Future[Reply]) -> list[tuple[list[int], str]]:
    found = BOX.findall(future.result().text)
    return [([int(value) for value in box[:4]], box[4]) for box in found]


def kept(before: Sequence[Future[Reply]], after: Sequence[Future[Reply]]) -> float:
    """Share of the boxes before that are there after, with the same label and no side further than one unit away."""
    there = total = 0
    for old, new in zip(before, after, strict=True):
        for corners, label in boxes(old):
            total += 1
            there += any(
                label == other and max(abs(a - b) for a, b in zip(corners, moved, strict=True)) <= 1
                for moved, other in boxes(new)
            )
    return there / max(total, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scenes", type=int, default=60, help="scenes for boxes and F1, five questions each")
    scenes = parser.parse_args().scenes
    model = zoo.resolve("tiny")
    canvas = grounding.place(640, 480, model.pixels)
    large = {size: pictures(*size) for size in ((640, 480), (1280, 960))}
    small = [canvas.apply(image) for image in large[640, 480]]
    sets = {"x".join(map(str, canvas.canvas)): small}
    sets |= {f"{width}x{height}": images for (width, height), images in large.items()}

    backend = backends.create(
        model, EngineSettings(backend="transformers", device="cpu", threads=1, capacity=16)
    )
    settings = PerceptionSettings(timeout=0)  # however busy the machine is
    codecs = [codec for codec in CODECS if codec.startswith("jpeg")]

    def examined(through: Callable[[Image], Image]) -> tuple[list[Future[Reply]], float]:
        recoded = Recoded(backend, through)
        seeds = range(SEED, SEED + scenes)
        answers = [
            answer
            for group in tqdm(examine(seeds, recoded, model, settings), total=scenes, unit="scene")
            for answer in group.answers
        ]
        return recoded.futures, result(answers).queries.f1

    try:
        exact, f1 = examined(lambda image: image)
        worth = {codec: examined(lambda image, codec=codec: decode(encode(image, codec))) for codec in codecs}
    finally:
        backend.close()

    print(f"| | {' | '.join(f'{name}: kB | ms' for name in sets)} | boxes within 1 unit | F1 ({f1:.3f}) |")
    print("|---|" + "---:|" * (2 * len(sets) + 2))
    for codec in CODECS:
        cells = [f"{size:.0f} | {ms:.1f}" for size, ms in (cost(images, codec) for images in sets.values())]
        if codec in worth:
            cells += [f"{kept(exact, worth[codec][0]):.3f}", f"{worth[codec][1] - f1:+.3f}"]
        else:
            for image in small:
                np.testing.assert_array_equal(decode(encode(image, codec)), image)
            cells += ["1", "0"]
        print(f"| {codec} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

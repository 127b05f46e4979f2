"""Rendered scenes on disk, in chunks: pictures, cells and truth. Finished chunks are kept when it is run again."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from qwenvl_ros.evaluation.worth import MIN_VISIBLE_FRACTION, MIN_VISIBLE_PIXELS
from qwenvl_ros.sim.render import Renderer
from qwenvl_ros.sim.scenes import sample
from qwenvl_ros.sim.truth import truth
from qwenvl_ros.sim.vocabulary import COLOURS, SHAPES, label_of
from qwenvl_ros.types import Box
from training.targets import HEIGHT, WIDTH, cell_objects, owners

CHUNK = 400
FIRST_SEED = 1_000_000  # evaluation uses seeds below
LARGELY_VISIBLE = 0.7  # visible fraction below which an object is hard


@dataclass(frozen=True, slots=True)
class Asked:
    """An object of a training scene; box in [0, 1] of the image. hidden: less than LARGELY_VISIBLE of it is seen."""

    label: str
    box: Box
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Pictures:
    """A batch of augmented scenes.

    images: (B, HEIGHT, WIDTH, 3) uint8. shapes, colours: (B, ROWS, COLUMNS) class of each cell, 0 = none.
    owners: (B, *GRID, OWNERS, 6), see targets.owners. mirrored: whether left and right were exchanged.
    """

    images: NDArray[np.uint8]
    shapes: NDArray[np.int64]
    colours: NDArray[np.int64]
    owners: NDArray[np.float32]
    mirrored: Sequence[bool]


@dataclass(frozen=True)
class Pool:
    """Chunks of scenes, memory-mapped; index i is chunk i // CHUNK, scene i % CHUNK. odds: see draw."""

    images: list[NDArray[np.uint8]]
    cells: list[NDArray[np.int8]]
    owners: list[NDArray[np.float32]]
    objects: list[NDArray[np.float32]]
    odds: list[NDArray[np.float64]]

    def __len__(self) -> int:
        return sum(map(len, self.images))

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """(count,) indices of scenes to train on: not of the first chunk, and full or hidden scenes more often."""
        odds = np.concatenate(self.odds[1:])
        return rng.choice(np.arange(CHUNK, len(self)), count, p=odds / odds.sum())

    def things(self, index: int, mirrored: bool) -> tuple[list[Asked], list[str]]:
        """The objects to be asked for, and the labels of those too hidden or too small to ask for."""
        asked, hidden = [], []
        for shape, colour, x0, y0, x1, y1, fraction, pixels in self.objects[index // CHUNK][index % CHUNK]:
            if shape == 0:
                continue
            label = label_of(COLOURS[int(colour) - 1], SHAPES[int(shape) - 1])
            left, right = (1 - x1, 1 - x0) if mirrored else (x0, x1)
            if fraction >= MIN_VISIBLE_FRACTION and pixels >= MIN_VISIBLE_PIXELS:
                asked.append(Asked(label, Box(left, y0, right, y1), bool(fraction < LARGELY_VISIBLE)))
            else:
                hidden.append(label)
        return asked, hidden

    def pictures(self, indices: Sequence[int] | NDArray[np.int64], rng: np.random.Generator) -> Pictures:
        """These scenes, half of them mirrored, with the exposure, colours and noise of another camera."""
        images, shapes, colours, held, mirrored = [], [], [], [], []
        for index in indices:
            chunk, place = divmod(int(index), CHUNK)
            image, owner = np.asarray(self.images[chunk][place]), np.array(self.owners[chunk][place])
            cells, objects = self.cells[chunk][place].astype(int), self.objects[chunk][place]
            flip = bool(rng.random() < 0.5)
            if flip:
                image, cells, owner = image[:, ::-1], cells[:, ::-1], owner[:, ::-1].copy()
                there = owner[..., 0] > 0
                owner[..., 2], owner[..., 4] = there * (1 - owner[..., 4]), there * (1 - owner[..., 2])
            images.append(_jitter(image, rng))
            shapes.append(np.append(objects[:, 0], 0)[cells])
            colours.append(np.append(objects[:, 1], 0)[cells])
            held.append(owner)
            mirrored.append(flip)
        return Pictures(
            np.stack(images),
            np.stack(shapes).astype(np.int64),
            np.stack(colours).astype(np.int64),
            np.stack(held),
            mirrored,
        )


def _jitter(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Exposure, white balance, contrast and sensor noise, as lookup tables and one addition."""
    levels = np.arange(256, dtype=np.float32) / 255
    gamma, gain = rng.uniform(0.8, 1.25), rng.uniform(0.85, 1.15) * rng.uniform(0.95, 1.05, 3)
    table = np.clip(255 * levels[:, None] ** gamma * gain, 0, 255).astype(np.uint8)
    out = cv2.LUT(np.ascontiguousarray(image), table[None])
    if rng.random() < 0.5:
        noise = np.empty(image.shape, np.int8)
        cv2.setRNGSeed(int(rng.integers(2**31)))
        cv2.randn(noise, 0, float(rng.uniform(1, 5)))
        out = cv2.add(out, noise, dtype=cv2.CV_8U)
    return out


def _render_chunk(job: tuple[Path, int]) -> None:
    path, chunk = job
    images = np.zeros((CHUNK, HEIGHT, WIDTH, 3), np.uint8)
    cells = np.full((CHUNK, HEIGHT // 4, WIDTH // 4), -1, np.int8)
    held = np.zeros((CHUNK, HEIGHT // 32, WIDTH // 32, 2, 6), np.float32)
    objects = np.zeros((CHUNK, 8, 8), np.float32)
    with Renderer(640, 480) as renderer:
        for place in range(CHUNK):
            layout = sample(FIRST_SEED + chunk * CHUNK + place)
            seen = truth(layout, renderer)
            rgb, segmentation = renderer.rgb(layout), renderer.segmentation(layout)
            images[place] = cv2.resize(rgb, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
            for thing in seen.objects:
                if thing.box is None:
                    continue
                objects[place, thing.index] = (
                    SHAPES.index(thing.shape) + 1, COLOURS.index(thing.colour) + 1,
                    thing.box.x_min / 640, thing.box.y_min / 480, thing.box.x_max / 640, thing.box.y_max / 480,
                    thing.visible_fraction, thing.visible_pixels,
                )  # fmt: skip
            cells[place] = cell_objects(segmentation)
            shape, colour, box = objects[place, :, 0], objects[place, :, 1], objects[place, :, 2:6]
            held[place] = owners(cells[place].astype(np.int32), shape, colour, box)
    for name, array in (("images", images), ("cells", cells), ("owners", held), ("objects", objects)):
        np.save(path / f"{name}-{chunk:04}.npy", array)
    (path / f"done-{chunk:04}").touch()


def render(path: Path, scenes: int, processes: int) -> None:
    """Render scenes (rounded up to whole chunks) into path; chunks that are there are kept."""
    path.mkdir(parents=True, exist_ok=True)
    missing = [(path, c) for c in range(-(-scenes // CHUNK)) if not (path / f"done-{c:04}").exists()]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for _ in tqdm(
            pool.imap_unordered(_render_chunk, missing), total=len(missing), desc="render", unit="chunk"
        ):
            pass


def load(path: Path) -> Pool:
    """Every chunk that is finished; the first is held out by the stages.

    Raises:
        FileNotFoundError: there is none.
    """
    chunks = sorted(mark.name.removeprefix("done-") for mark in path.glob("done-*"))
    if not chunks:
        raise FileNotFoundError(f"no rendered scenes in {path}; run the render stage first")

    def maps(name: str) -> list[NDArray[Any]]:
        return [np.load(path / f"{name}-{c}.npy", mmap_mode="r") for c in chunks]

    objects = maps("objects")
    return Pool(maps("images"), maps("cells"), maps("owners"), objects, [_odds(chunk) for chunk in objects])


def _odds(objects: NDArray[np.float32]) -> NDArray[np.float64]:
    """(S, N, 8) objects of scenes -> (S,): 1, and one for each that is to be asked for, four if largely hidden.

    An answer is scored by its objects and a relation by its pairs, so a full table counts for more than an empty one.
    """
    fraction, pixels = objects[..., 6], objects[..., 7]
    asked = (objects[..., 0] > 0) & (fraction >= MIN_VISIBLE_FRACTION) & (pixels >= MIN_VISIBLE_PIXELS)
    return 1.0 + asked.sum(1) + 3 * (asked & (fraction < LARGELY_VISIBLE)).sum(1)

"""Photos with known boxes as questions: COCO and RefCOCO files, so that real checkpoints can be examined.

COCO (https://cocodataset.org/#format-data): each photo is asked for its categories, and for as many that it does not
show; crowds are ignored. RefCOCO (https://github.com/lichengunc/refer): each photo is asked for each of its referring
expressions, which mean one box.
"""

from __future__ import annotations

import json
import pickle
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import isfinite, isnan
from pathlib import Path
from typing import Any

import numpy as np

from qwenvl_ros import pipeline
from qwenvl_ros.backends import Backend
from qwenvl_ros.evaluation.examination import Answered, Question, answered
from qwenvl_ros.evaluation.scoring import IOU_THRESHOLD, Case, Target
from qwenvl_ros.images import ImageRefused, read
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.sim.queries import Kind, Query
from qwenvl_ros.types import Box, Frame
from qwenvl_ros.zoo import Model

ABSENT_TEXTS = 3  # at most, in a question for what a photo does not show


class PhotosRefused(ValueError):
    """A file that is not what it should be; the message tells why and what to do."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture file and what it is asked; the seed of its questions is its place in the list."""

    path: Path
    questions: Sequence[Question]


def from_coco(annotations: Path, images: Path, count: int, seed: int) -> list[Photo]:
    """The first `count` photos of a COCO annotation file that have an object; images: the folder of their files.

    seed: of the draw of categories that are not there. COCO tells those: its photos are searched for every category.

    Raises:
        PhotosRefused: a file cannot be read, is no annotation file, or a picture is missing.
    """
    read = _Annotations(annotations)
    photos: list[Photo] = []
    for image, found in read.by_image.items():
        if len(photos) == count:
            break
        place = len(photos)
        clear = [Target(read.names[one.category], one.box) for one in found if not one.crowd]
        unsure = [Target(read.names[one.category], one.box) for one in found if one.crowd]
        if not clear:
            continue
        present = sorted({target.label for target in clear})
        others = sorted(set(read.names.values()) - {target.label for target in (*clear, *unsure)})
        drawn = np.random.default_rng([seed, place]).permutation(others)[:ABSENT_TEXTS].tolist()
        asked = [Question(place, Query(tuple(present), Kind.PRESENT), clear, _among(unsure, present))]
        if drawn:
            asked.append(Question(place, Query(tuple(drawn), Kind.ABSENT), (), ()))
        photos.append(Photo(_file(images, read.files[image]), asked))
    return _some(photos, annotations)


def from_refcoco(references: Path, annotations: Path, images: Path, split: str, count: int) -> list[Photo]:
    """The first `count` photos of a split, each asked for every expression that means one of its objects.

    references: refs(unc).p as RefCOCO ships it, or the same list as JSON. annotations: the instances.json beside it.

    Raises:
        PhotosRefused: as of from_coco, or nothing is of that split.
    """
    read = _Annotations(annotations)
    boxes = {one.id: one.box for found in read.by_image.values() for one in found}
    expressions: dict[Any, list[tuple[str, Box]]] = defaultdict(list)
    listed = _load(references)
    try:
        for one in listed:
            if one["split"] == split and one["ann_id"] in boxes:
                texts = [str(sentence["sent"]) for sentence in one["sentences"]]
                expressions[one["image_id"]] += [(text, boxes[one["ann_id"]]) for text in texts]
        splits = sorted({str(one["split"]) for one in listed})
    except (KeyError, TypeError) as error:
        raise PhotosRefused(
            f"{references} is no list of RefCOCO's references ({error!r}): give refs(unc).p, refs(umd).p or "
            "refs(google).p, or the same as JSON: split, ann_id, image_id and sentences of each"
        ) from error
    if not expressions:
        raise PhotosRefused(
            f"{references} has nothing of the split {split!r} that {annotations} knows: {splits}"
        )
    photos = []
    for place, (image, found) in enumerate(list(expressions.items())[:count]):
        asked = [
            Question(place, Query((text,), Kind.PRESENT), [Target(text, box)], ()) for text, box in found
        ]
        photos.append(Photo(_file(images, read.files[image]), asked))
    return photos


def examine_photos(
    photos: Iterable[Photo], backend: Backend, model: Model, settings: PerceptionSettings, *, by_box: bool
) -> Iterator[tuple[Answered, ...]]:
    """Each photo's questions answered, as many at once as the backend takes.

    by_box: see answered; RefCOCO is judged so.

    Raises:
        PhotosRefused: a picture cannot be decoded.
    """
    for photo in photos:
        try:
            image, done = read(photo.path), list[Answered]()
        except (ImageRefused, OSError) as error:
            raise PhotosRefused(f"{photo.path}: {error}") from error
        frame = Frame(camera=photo.path.name, image=image, stamp=0)
        for start in range(0, len(photo.questions), backend.capacity):
            part = photo.questions[start : start + backend.capacity]
            chosen = [replace(settings, queries=question.query.texts) for question in part]
            pending = [pipeline.start(frame, backend, model, one) for one in chosen]
            try:
                done += [
                    answered(question, pipeline.finish(one).scene, by_box=by_box)
                    for question, one in zip(part, pending, strict=True)
                ]
            finally:  # stopped early: do not leave the engine working for nobody
                for one in pending:
                    one.future.cancel()
        yield tuple(done)


def accuracy(answers: Sequence[Answered]) -> float:
    """Share of the questions for one box whose best answer, by score, is right; NaN without any.

    Where no score is known the leftmost is taken, the first in a scene.
    """
    right = [_right(one.verdict.case) for one in answers]
    return float(np.mean(right)) if right else float("nan")


@dataclass(frozen=True, slots=True)
class _Object:
    id: Any
    category: Any
    box: Box
    crowd: bool


class _Annotations:
    """A COCO annotation file. names: of categories. files: of images. by_image: the objects of each, in its order."""

    def __init__(self, path: Path) -> None:
        listed = _load(path)
        try:
            self.names = {one["id"]: str(one["name"]) for one in listed["categories"]}
            self.files = {one["id"]: str(one["file_name"]) for one in listed["images"]}
            self.by_image: dict[Any, list[_Object]] = {image: [] for image in self.files}
            for one in listed["annotations"]:
                left, top, width, height = map(float, one["bbox"])
                corners = (left, top, left + width, top + height)
                if not all(map(isfinite, corners)) or width <= 0 or height <= 0:
                    continue  # COCO has a few without an area: nothing could answer them
                if one["category_id"] not in self.names:
                    raise KeyError(one["category_id"])
                crowd = bool(one.get("iscrowd") or one.get("ignore"))
                self.by_image[one["image_id"]].append(
                    _Object(one["id"], one["category_id"], Box(*corners), crowd)
                )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PhotosRefused(
                f"{path} is no COCO annotation file ({error!r}): it holds images (id, file_name), categories "
                "(id, name) and annotations (id, image_id, category_id, bbox)"
            ) from error


class _PlainUnpickler(pickle.Unpickler):
    """A pickle of lists, dictionaries, texts and numbers; one that would run anything else is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it holds a {module}.{name}")


def _load(path: Path) -> Any:
    """What a JSON file holds, or a pickle (.p, .pkl, .pickle)."""
    try:
        if path.suffix in (".p", ".pkl", ".pickle"):
            with path.open("rb") as file:
                return _PlainUnpickler(file, encoding="latin1").load()  # RefCOCO's are Python 2's
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PhotosRefused(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, IndexError, pickle.UnpicklingError) as error:
        raise PhotosRefused(f"{path} cannot be read: {error}; give it as it was downloaded") from error


def _file(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise PhotosRefused(f"{path} does not exist; --images is the folder that the file names are in")
    return path


def _some(photos: list[Photo], path: Path) -> list[Photo]:
    if not photos:
        raise PhotosRefused(f"{path} has no image with an object that is not a crowd")
    return photos


def _among(targets: Iterable[Target], labels: Iterable[str]) -> list[Target]:
    return [target for target in targets if target.label in set(labels)]


def _right(case: Case) -> bool:
    """Whether the answer of the highest score, the leftmost of equal ones, has the expected box."""
    best = max(case.answers, key=lambda one: -1.0 if isnan(one.score) else one.score, default=None)
    return best is not None and best.box.iou(case.expected[0].box) >= IOU_THRESHOLD

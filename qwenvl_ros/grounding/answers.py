"""The boxes of an answer as they are written: numbers on the grid, labels, and where both stand in the text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from qwenvl_ros.grounding.confidence import Span
from qwenvl_ros.grounding.pixels import Corners
from qwenvl_ros.grounding.scan import Group, Scalar

_BOX_KEY = re.compile(r"box|(?:^|_)rect|coord|координат|рамк|坐标|座標|边界框|邊界框|バウンディング|좌표")
_POINT_KEY = re.compile(r"point|点|點")
_LABEL_KEYS = (
    "label", "name", "class", "category", "object", "class_name", "object_name", "text_content", "description",
    "type", "标签", "標籤", "名称", "名稱", "类别", "類別", "物体", "物體", "ラベル", "라벨", "метка", "etiqueta",
    "étiquette", "nombre", "nom",
)  # fmt: skip
_CAMERA_KEYS = ("camera", "camera_name", "view", "image", "picture")
_BETWEEN = re.compile(r"[\[\](),;\s]+")


@dataclass(frozen=True, slots=True)
class Answer:
    """One box as it was written: corners on the grid, the label or "", and where both stand in the text.

    bare: nothing but a list of four numbers. camera: whose picture it is said to be in, "" where nothing is said.
    """

    corners: Corners
    label: str
    spans: tuple[Span, ...]
    bare: bool = False
    camera: str = ""


@dataclass(slots=True)
class Tally:
    """Counts of what is told in the message, under the words that tell it."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def notes(self) -> list[str]:
        return [f"{what}: {count}" for what, count in self.counts.items()]


def answers_in(group: Group, tally: Tally) -> Iterator[Answer]:
    """The boxes of one object, or of one bare list of four numbers; what cannot be read is counted."""
    if not group.is_object:
        bare = _four(group) if len(group.values) == 4 else None  # two pairs may as well be two points
        if bare is not None:
            yield Answer(bare[0], "", bare[1], bare=True)
        return
    items = list(zip([key.strip().casefold() for key in group.keys], group.values, strict=True))
    named, camera = _first(items, _LABEL_KEYS), _first(items, _CAMERA_KEYS)
    boxes = [(key, value) for key, value in items if _is_box(key) and not _lists_objects(value)]
    boxes.sort(key=lambda item: item[0] != "bbox_2d")
    for key, value in boxes:
        read = _boxes(value)
        if not read:
            continue
        label = named or _any_text(items)
        name, spans = (label.value or "", ((label.start, label.end),)) if label else ("", ())
        for corners, places in read:
            yield Answer(corners, name, places + spans, camera=(camera and camera.value) or "")
        if sum(other == key for other, _ in boxes) > 1:
            tally.add("objects run into one another, only the first kept")
        return
    if any(_POINT_KEY.search(key) for key, _ in items):
        tally.add("points without a box left out")
    elif boxes or not group.holds_object:
        lists = any(isinstance(value, Group) and not value.blank for value in group.values)
        if named or ((boxes or lists) and not says_nothing(group)):
            tally.add("objects without a readable box dropped")


def says_nothing(group: Group) -> bool:
    """Whether it is [], or an object with nothing else but numbers: {"objects": [], "count": 0}."""
    if not group.is_object:
        return group.blank
    empty = [isinstance(value, Group) and not value.is_object and value.blank for value in group.values]
    scalars = [value.value for value in group.values if isinstance(value, Scalar)]
    return any(empty) and sum(empty) + len(scalars) == len(empty) and all(map(_is_number_or_null, scalars))


def _is_box(key: str) -> bool:
    return _BOX_KEY.search(key) is not None and "3d" not in key


def _lists_objects(value: Scalar | Group) -> bool:
    return isinstance(value, Group) and not value.is_object and value.holds_object


def _first(items: list[tuple[str, Scalar | Group]], keys: Sequence[str]) -> Scalar | None:
    """The text under the first of these keys that has one."""
    texts = {
        key: value
        for key, value in reversed(items)
        if isinstance(value, Scalar) and (value.value or "").strip()
    }
    return next((texts[key] for key in keys if key in texts), None)


def _any_text(items: list[tuple[str, Scalar | Group]]) -> Scalar | None:
    """The first text under a key that is no box, point or camera, in whatever language the key is."""
    for key, value in items:
        other = _BOX_KEY.search(key) or _POINT_KEY.search(key) or key in _CAMERA_KEYS
        if not isinstance(value, Scalar) or other:
            continue
        if value.value and value.value.strip() and _number(value.value) is None:
            return value
    return None


def _boxes(value: Scalar | Group) -> list[tuple[Corners, tuple[Span, ...]]]:
    """Every box in the value of a box key: "1,2,3,4", four numbers, two pairs, or a list of any of these."""
    one = _four(value)
    if one is not None:
        return [one]
    if isinstance(value, Scalar) or value.is_object:
        return []
    several = [_four(inner) for inner in value.values]
    read = [box for box in several if box is not None]
    return read if len(read) == len(several) else []


def _four(value: Scalar | Group) -> tuple[Corners, tuple[Span, ...]] | None:
    """Four numbers and where they stand, or None."""
    spans: tuple[Span, ...]
    if isinstance(value, Scalar):
        if value.value is None or len(value.value) > 200:
            return None
        numbers = [_number(part) for part in _BETWEEN.split(value.value.strip("[]() "))]
        spans = ((value.start, value.end),)
    else:
        flat = value.values
        if len(flat) == 2:  # two corners
            flat = [
                number
                for pair in flat
                if isinstance(pair, Group) and len(pair.values) == 2
                for number in pair.values
            ]
        scalars = [scalar for scalar in flat[:5] if isinstance(scalar, Scalar)]
        if value.is_object or len(flat) != 4 or len(scalars) != 4:
            return None
        numbers = [_number(scalar.value) for scalar in scalars]
        spans = tuple((scalar.start, scalar.end) for scalar in scalars)
    x0, y0, x1, y1 = (numbers + [None] * 4)[:4]
    if len(numbers) != 4 or x0 is None or y0 is None or x1 is None or y1 is None:
        return None
    return (x0, y0, x1, y1), spans


def _number(text: str | None) -> float | None:
    """A number as it stands; None for anything with a unit, a percent sign or a second meaning."""
    try:
        return None if text is None or "_" in text else float(text)
    except ValueError:
        return None


def _is_number_or_null(text: str | None) -> bool:
    return text is None or _number(text) is not None

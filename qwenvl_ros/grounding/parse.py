"""What a Qwen3-VL model answered: text -> detections with a status.

Qwen's own format is `[{"bbox_2d": [x1, y1, x2, y2], "label": "..."}]`, usually in a ```json fence, 0..1000 over the
canvas (Qwen3-VL cookbooks, 2d_grounding). Models stray from it; what is read and what is refused stands in parse().
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite

from qwenvl_ros.backends import Token
from qwenvl_ros.grounding.confidence import Confidence, Span
from qwenvl_ros.grounding.labels import match
from qwenvl_ros.grounding.pixels import GRID, Corners, Placement
from qwenvl_ros.grounding.prompt import plain
from qwenvl_ros.grounding.scan import MAX_DEPTH, Group, Reading, Scalar, scan
from qwenvl_ros.types import Box, Detection, Status

SLACK = 20.0  # grid units a corner may lie outside and still be clipped
SAME = 0.9  # IoU from which two boxes of one label are one object said twice
SLIVER = (
    1e-4  # share of the image's side below which a box has no extent (float32 still tells its corners apart)
)
FALLBACK_LABEL = "object"

_BOX_KEY = re.compile(r"box|rect|coord|coörd|координат|рамк|坐标|座標|边界框|邊界框|バウンディング|좌표")
_POINT_KEY = re.compile(r"point|点|點")
_LABEL_KEYS = (
    "label", "name", "class", "category", "object", "class_name", "object_name", "text_content", "description",
    "type", "标签", "標籤", "名称", "名稱", "类别", "類別", "物体", "物體", "ラベル", "라벨", "метка", "etiqueta",
    "étiquette", "nombre", "nom",
)  # fmt: skip
_FOUR_NUMBERS = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_NOTHING = re.compile(
    r"(?:none|null|nothing|nothing found|无|無|没有|沒有|なし|없음"
    r"|(?:there (?:is|are) )?(?:no|not any) (?:such |matching )?(?P<what>.{1,80}?)"
    r"(?: (?:is|are|was|were))?(?: (?:found|detected|visible|present))?(?: in (?:the|this) (?:image|picture|scene))?)"
)
_THINGS = ("object", "instance", "match", "item", "thing")


@dataclass(frozen=True, slots=True)
class Grounding:
    """What an answer said. status OK with no detections means "nothing there"; message tells all that was mended,
    dropped or refused, "" if nothing was."""

    detections: tuple[Detection, ...]
    status: Status
    message: str = ""


@dataclass(frozen=True, slots=True)
class _Answer:
    """One box as it was written: corners on the grid, the label or "", and where both stand in the text."""

    corners: Corners
    label: str
    spans: tuple[Span, ...]


@dataclass(slots=True)
class _Tally:
    """Counts of what is told in the message, under the words that tell it."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def notes(self) -> list[str]:
        return [f"{what}: {count}" for what, count in self.counts.items()]


def parse(
    text: str,
    placement: Placement,
    queries: Sequence[str],
    *,
    finished: bool = True,
    tokens: Sequence[Token] = (),
    max_objects: int = 100,
) -> Grounding:
    """Detections in pixels of the source image, in the order of the answer; never raises, linear in the text.

    finished: False where the engine cut the answer short (or it is still being written); every object that is
    closed is kept. tokens: see confidence.py. queries: those of the prompt; a missing label becomes the only query,
    else "object".

    Read: lists and single objects at any nesting, prose and fences around, thinking blocks skipped; a box under any
    key that names a box or coordinates (as numbers, numeric strings, two corner pairs, or several boxes) or a bare list
    of four numbers. Mended and counted: swapped corners, one object said twice. Clipped: corners up to 20 units
    off the grid and in the padding. Dropped and counted: boxes further out, without extent, not finite, in fractions
    of 1, objects whose box cannot be read, and points (a point has no extent, and none is made up).

    status: TRUNCATED if the text was cut or objects were left out; PARSE_FAILED if nothing could be read although the
    answer is not "nothing there" ([] or such words), and if numbers beyond the grid fit the image as pixels: which
    of its boxes are on the grid and which in pixels cannot be told, so none is believed. Else OK.
    """
    tally = _Tally()
    start, end = _after_thinking(text)
    reading = scan(text, start, end)
    answers = [answer for group in reading.groups for answer in _answers(group, tally)]
    if _in_pixels(answers, placement):
        reason = (
            f"coordinates beyond {GRID:.0f} that fit the image: they look like pixels, so no box is believed"
        )
        return Grounding((), Status.PARSE_FAILED, _message([reason], text))

    asked = [query for query in queries if query.strip()]
    confidence = Confidence(text, tokens)
    detections, too_many = _detections(answers, placement, asked, confidence, max_objects, tally)
    cut_by = _cut_by(reading, finished, end < len(text), max_objects if too_many else None)
    notes = cut_by + tally.notes()
    if tokens and not confidence.known:
        notes.append("token texts do not add up to the answer: no scores")
    if cut_by:
        return Grounding(detections, Status.TRUNCATED, _message(notes, text if not detections else ""))
    if detections or _says_nothing(text[start:end], reading, tally, asked):
        return Grounding(detections, Status.OK, _message(notes, ""))
    return Grounding((), Status.PARSE_FAILED, _message(notes or ["no box in the answer"], text))


def _after_thinking(text: str) -> tuple[int, int]:
    """Where the answer stands: after the last </think> (the chat template may open it), before an unclosed one."""
    closing = text.rfind("</think>")
    start = 0 if closing < 0 else closing + len("</think>")
    opening = text.find("<think>", start)
    return start, len(text) if opening < 0 else opening


def _answers(group: Group, tally: _Tally) -> Iterator[_Answer]:
    """The boxes of one object, or of one bare list of four numbers."""
    if not group.is_object:
        bare = None if group.holds_object else _four(group)
        if bare is not None:
            yield _Answer(bare[0], "", bare[1])
        return
    items = list(zip([key.strip().casefold() for key in group.keys], group.values, strict=True))
    label = _label(items)
    boxes = [(key, value) for key, value in items if _BOX_KEY.search(key) and "3d" not in key]
    boxes.sort(key=lambda item: item[0] != "bbox_2d")
    for key, value in boxes:
        read = _boxes(value)
        if read:
            spans = ((label.start, label.end),) if label else ()
            for corners, places in read:
                yield _Answer(corners, str(label.value) if label else "", places + spans)
            if sum(other == key for other, _ in boxes) > 1:
                tally.add("objects run into one another: only the first is kept")
            return
    if any(_POINT_KEY.search(key) for key, _ in items):
        tally.add("points without a box left out")
    elif any(not _blank_list(value) for _, value in boxes) or (label and (boxes or not group.holds_object)):
        tally.add("objects without a readable box dropped")


def _label(items: list[tuple[str, Scalar | Group]]) -> Scalar | None:
    """The scalar under the best known label key, else the first text that is no box."""
    named = dict(reversed(items))
    for key in _LABEL_KEYS:
        value = named.get(key)
        if isinstance(value, Scalar) and value.value is not None and str(value.value).strip():
            return value
    for key, value in items:
        text = isinstance(value, Scalar) and isinstance(value.value, str) and value.value.strip()
        if isinstance(value, Scalar) and text and not _BOX_KEY.search(key) and not _POINT_KEY.search(key):
            return value
    return None


def _boxes(value: Scalar | Group) -> list[tuple[Corners, tuple[Span, ...]]]:
    """Every box in the value of a box key: "1,2,3,4", four numbers, two pairs, or a list of any of these."""
    one = _four(value)
    if one is not None:
        return [one]
    if isinstance(value, Scalar) or value.is_object:
        return []
    several = [_four(inner) for inner in value.values if isinstance(inner, Group)]
    return (
        [box for box in several if box is not None]
        if len(several) == len(value.values) and all(several)
        else []
    )


def _four(value: Scalar | Group) -> tuple[Corners, tuple[Span, ...]] | None:
    """Four numbers and where they stand, or None."""
    if isinstance(value, Scalar):
        if not isinstance(value.value, str) or len(value.value) > 200:
            return None
        found = _FOUR_NUMBERS.findall(value.value)
        return (_corners(found), ((value.start, value.end),)) if len(found) == 4 else None
    if value.is_object:
        return None
    flat: list[Scalar | Group] = value.values
    if len(flat) == 2 and all(isinstance(pair, Group) and len(pair.values) == 2 for pair in flat):
        flat = [number for pair in flat if isinstance(pair, Group) for number in pair.values]
    if len(flat) != 4:
        return None
    numbers: list[float] = []
    spans: list[Span] = []
    for scalar in flat:
        if not isinstance(scalar, Scalar) or scalar.value is None:
            return None
        try:
            numbers.append(float(scalar.value))
        except ValueError:
            return None
        spans.append((scalar.start, scalar.end))
    return _corners(numbers), tuple(spans)


def _corners(numbers: Sequence[float | str]) -> Corners:
    x0, y0, x1, y1 = (float(number) for number in numbers)
    return x0, y0, x1, y1


def _in_pixels(answers: Sequence[_Answer], placement: Placement) -> bool:
    """Whether numbers run beyond the grid but fit the image or its canvas, as pixels would."""
    finite = [answer.corners for answer in answers if all(map(isfinite, answer.corners))]
    if not any(max(corners) > GRID + SLACK for corners in finite):
        return False
    right = max(max(corners[0], corners[2]) for corners in finite)
    bottom = max(max(corners[1], corners[3]) for corners in finite)
    return any(right <= width and bottom <= height for width, height in (placement.source, placement.canvas))


def _detections(
    answers: Sequence[_Answer],
    placement: Placement,
    queries: Sequence[str],
    confidence: Confidence,
    max_objects: int,
    tally: _Tally,
) -> tuple[tuple[Detection, ...], bool]:
    """The boxes that hold, and whether there were more than max_objects of them."""
    kept: list[Detection] = []
    names: dict[str, str] = {}  # each label is cleaned once, however many boxes share a long one
    seen: dict[str, list[Box]] = {}
    for answer in answers:
        box = _box(answer.corners, placement, tally)
        if box is None:
            continue
        if answer.label not in names:
            names[answer.label] = plain(answer.label) or (queries[0] if len(queries) == 1 else FALLBACK_LABEL)
        label = names[answer.label]
        same = seen.setdefault(label, [])
        if any(box.iou(other) >= SAME for other in same):
            tally.add("boxes said twice collapsed")
            continue
        if len(kept) == max_objects:
            return tuple(kept), True
        same.append(box)
        kept.append(Detection(label, match(label, queries), box, confidence.score(answer.spans)))
    return tuple(kept), False


def _box(corners: Corners, placement: Placement, tally: _Tally) -> Box | None:
    """The box in the source image, or None where it cannot be one."""
    if not all(map(isfinite, corners)):
        tally.add("boxes that are not finite dropped")
        return None
    if min(corners) < -SLACK or max(corners) > GRID + SLACK:
        tally.add(f"boxes outside of 0..{GRID:.0f} dropped")
        return None
    if max(corners) <= 1.0:
        tally.add("boxes in fractions of 1 dropped")
        return None
    x0, y0, x1, y1 = placement.to_source(*corners)
    if x0 > x1 or y0 > y1:
        tally.add("boxes with swapped corners mended")
        x0, x1, y0, y1 = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
    width, height = placement.source
    x0, x1 = max(x0, 0.0), min(x1, float(width))
    y0, y1 = max(y0, 0.0), min(y1, float(height))
    if x1 - x0 < SLIVER * width or y1 - y0 < SLIVER * height:
        tally.add("boxes without extent in the image dropped")
        return None
    return Box(x0, y0, x1, y1)


def _cut_by(reading: Reading, finished: bool, thinking: bool, limit: int | None) -> list[str]:
    """Why the answer is not whole; [] if it is."""
    reasons = []
    if thinking:
        reasons.append("the answer ends inside its thinking; raise max_tokens")
    elif not finished:
        reasons.append("the answer was cut short; raise max_tokens")
    elif reading.cut:
        reasons.append("the answer ends inside a list or an object")
    if reading.too_deep:
        reasons.append(f"the answer nests deeper than {MAX_DEPTH} brackets; the rest was not read")
    if limit is not None:
        reasons.append(f"more than max_objects = {limit} objects; the rest was left out")
    return reasons


def _says_nothing(text: str, reading: Reading, tally: _Tally, queries: Sequence[str]) -> bool:
    """Whether an answer without boxes states that nothing is there: [], {"objects": []}, or the words for it."""
    if tally.counts:
        return False
    if reading.outer:
        return all(
            any(map(_blank_list, group.values)) if group.is_object else group.blank for group in reading.outer
        )
    words = plain(re.sub(r"```(?:\w*\s)?", " ", text)).casefold().strip(" .!\"'")
    said = _NOTHING.fullmatch(words)
    if said is None:
        return False
    what = said.group("what")
    return what is None or match(what, _THINGS) != "" or (len(queries) == 1 and match(what, queries) != "")


def _blank_list(value: Scalar | Group) -> bool:
    return isinstance(value, Group) and not value.is_object and value.blank


def _message(notes: Sequence[str], unread: str) -> str:
    """One line; with the beginning of the answer where nothing of it could be used."""
    excerpt = plain(unread[:200])[:80]
    return "; ".join([*notes, f"answer begins: {excerpt!r}"] if excerpt else notes)

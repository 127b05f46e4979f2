"""What a Qwen3-VL model answered: text -> detections with a status.

Qwen's own format is `[{"bbox_2d": [x1, y1, x2, y2], "label": "..."}]`, usually in a ```json fence, 0..1000 over the
canvas (Qwen3-VL cookbooks, 2d_grounding). Models stray from it; what is read and what is refused stands in parse().
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from qwenvl_ros.backends import Token
from qwenvl_ros.grounding.answers import Answer, Tally, answers_in, says_nothing
from qwenvl_ros.grounding.confidence import Confidence
from qwenvl_ros.grounding.pixels import GRID, Corners, Placement
from qwenvl_ros.grounding.queries import match, plain, same_name
from qwenvl_ros.grounding.scan import MAX_DEPTH, Reading, scan
from qwenvl_ros.types import Box, Detection, Status

SLACK = 20.0  # grid units a corner may lie outside and still be clipped
# IoU from which two boxes of one label are one object said twice: what detectors suppress at (Ren et al. 2015), and
# more than any of 22,000 pairs of like-named objects on the simulator's tables has.
SAME = 0.7
SLIVER = 1e-4  # share of the image's side below which a box has no extent; float32 tells more apart
FALLBACK_LABEL = "object"

_NOTHING = re.compile(
    r"(?:none|null|nothing|nothing found|无|無|没有|沒有|なし|없음"
    r"|(?:there (?:is|are) )?(?:no|not any) (?:such |matching )?(?P<what>.{1,80}?)"
    r"(?: (?:is|are|was|were))?(?: (?:found|detected|visible|present))?(?: in (?:the|this) (?:image|picture|scene))?"
    r"(?: (?:that match(?:es)?|matching) (?:the|this|your) (?:given )?(?:description|query|categories|category))?)"
)
_THINGS = ("object", "instance", "match", "item", "thing")


@dataclass(frozen=True, slots=True)
class Grounding:
    """What an answer said. status OK with no detections means "nothing there"; message tells all that was mended,
    dropped or refused, "" if nothing was."""

    detections: tuple[Detection, ...]
    status: Status
    message: str = ""


def parse(
    text: str,
    placement: Placement,
    queries: Sequence[str],
    *,
    finished: bool = True,
    tokens: Sequence[Token] = (),
    max_objects: int = 100,
    camera: str = "",
) -> Grounding:
    """Detections in pixels of the source image, in the order of the answer; never raises, linear in the text.

    finished: False where the engine cut the answer short (or it is still being written); every object that is
    closed is kept. tokens: see confidence.py. queries: those of the prompt; a missing label becomes the only query,
    else "object". camera: where pictures of several were shown, whose boxes are wanted: those that name it; boxes that
    name none are counted, since in which picture they are cannot be told.

    Read: lists and single objects at any nesting, prose and fences around, thinking blocks skipped; a box under any
    key that names a box or coordinates (as numbers, numeric strings, two corner pairs, or several boxes) or a bare list
    of four numbers. Mended and counted: swapped corners, one object said twice. Clipped: corners up to 20 units
    off the grid and in the padding. Dropped and counted: boxes further out, without extent, not finite, in fractions
    of 1, objects whose box cannot be read, and points (a point has no extent, and none is made up).

    status: TRUNCATED if the text was cut or objects were left out; PARSE_FAILED if nothing could be read although the
    answer is not "nothing there" ([] or such words), and if numbers beyond the grid fit the image as pixels: which
    of its boxes are on the grid and which in pixels cannot be told, so none is believed. Else OK.
    """
    tally = Tally()
    start, end = after_thinking(text)
    reading = scan(text, start, end)
    answers = [answer for group in reading.groups for answer in answers_in(group, tally)]
    if any(
        not answer.bare for answer in answers
    ):  # beside objects, four numbers in a list are part of the prose
        answers = [answer for answer in answers if not answer.bare]
    if camera:
        answers = _of_camera(answers, camera, tally)
    if _in_pixels(answers, placement):
        reason = (
            "coordinates beyond the grid that fit the image, so they may all be pixels: no box is believed"
        )
        return Grounding((), Status.PARSE_FAILED, _message([reason], text))

    asked = [query for query in queries if query.strip()]
    confidence = Confidence(text, tokens)
    detections, too_many = _detections(answers, placement, asked, confidence, max_objects, tally)
    # What a schema ends holds one more, also where some of them are said twice.
    too_many = too_many or len(answers) == max_objects + 1
    cut_by = _cut_by(reading, finished, end < len(text), max_objects if too_many else None)
    notes = cut_by + tally.notes()
    if tokens and not confidence.known:
        notes.append("token texts do not add up to the answer: no scores")
    if cut_by:
        return Grounding(detections, Status.TRUNCATED, _message(notes, text if not detections else ""))
    if detections or _says_nothing(text[start:end], reading, tally, asked):
        return Grounding(detections, Status.OK, _message(notes, ""))
    nothing = f"no box of camera {camera!r} in the answer" if camera else "no box in the answer"
    return Grounding((), Status.PARSE_FAILED, _message(notes or [nothing], text))


def after_thinking(text: str) -> tuple[int, int]:
    """Where the answer stands: after the last </think> (the chat template may open it), before an unclosed one."""
    closing = text.rfind("</think>")
    start = 0 if closing < 0 else closing + len("</think>")
    opening = text.find("<think>", start)
    return start, len(text) if opening < 0 else opening


def _of_camera(answers: Sequence[Answer], camera: str, tally: Tally) -> list[Answer]:
    for answer in answers:
        if not answer.camera.strip():
            tally.add("boxes that do not say of which camera left out")
    return [answer for answer in answers if answer.camera.strip().casefold() == camera.casefold()]


def _in_pixels(answers: Sequence[Answer], placement: Placement) -> bool:
    """Whether numbers run beyond the grid but fit the image or its canvas, as pixels would, give or take a tenth.

    Pixels of an image smaller than the grid cannot be told from it.
    """
    finite = [answer.corners for answer in answers if all(map(isfinite, answer.corners))]
    if not any(max(corners) > GRID + SLACK for corners in finite):
        return False
    right = max(max(corners[0], corners[2]) for corners in finite)
    bottom = max(max(corners[1], corners[3]) for corners in finite)
    return any(
        right <= 1.1 * width and bottom <= 1.1 * height
        for width, height in (placement.source, placement.canvas)
    )


def _detections(
    answers: Sequence[Answer],
    placement: Placement,
    queries: Sequence[str],
    confidence: Confidence,
    max_objects: int,
    tally: Tally,
) -> tuple[tuple[Detection, ...], bool]:
    """The boxes that hold, and whether there were more than max_objects of them."""
    kept: list[Detection] = []
    names: dict[str, tuple[str, str]] = {}  # one look at each label, however many boxes share a long one
    seen: dict[str, list[Box]] = {}
    for answer in answers:
        box = _box(answer.corners, placement, tally)
        if box is None:
            continue
        if answer.label not in names:
            names[answer.label] = _name(answer.label, queries)
        label, query = names[answer.label]
        same = seen.setdefault(label, [])
        if any(box.iou(other) >= SAME for other in same):
            tally.add("boxes said twice collapsed")
            continue
        if len(kept) == max_objects:
            return tuple(kept), True
        same.append(box)
        kept.append(Detection(label, query, box, confidence.score(answer.spans)))
    return tuple(kept), False


def _name(label: str, queries: Sequence[str]) -> tuple[str, str]:
    """The label in one printable line and the query it answers; where there is none, the only query is meant."""
    cleaned = plain(label)
    if cleaned:
        return cleaned, match(cleaned, queries)
    query = queries[0] if len(queries) == 1 else ""
    return plain(query) or FALLBACK_LABEL, query


def _box(corners: Corners, placement: Placement, tally: Tally) -> Box | None:
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


def _says_nothing(text: str, reading: Reading, tally: Tally, queries: Sequence[str]) -> bool:
    """Whether an answer without boxes states that nothing is there: [], {"objects": []}, or the words for it."""
    if tally.counts:
        return False
    if reading.outer:
        return all(map(says_nothing, reading.outer))
    words = plain(re.sub(r"```(?:\w*\s)?", " ", text)).casefold().strip(" .!\"'")
    said = _NOTHING.fullmatch(words)
    if said is None:
        return False
    what = said.group("what")
    names = (*_THINGS, *queries) if len(queries) == 1 else _THINGS
    return what is None or any(same_name(what, name) for name in names)


def _message(notes: Sequence[str], unread: str) -> str:
    """One line; with the beginning of the answer where nothing of it could be used."""
    excerpt = plain(unread[:200])[:80]
    return "; ".join([*notes, f"answer begins: {excerpt!r}"] if excerpt else notes)

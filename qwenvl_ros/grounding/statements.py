"""Statements about two objects each: how a model is asked whether they are true, and what it answered.

One question for one image: the objects, numbered, each with its label and its box on the 0..1000 grid; then the
statements, numbered. The answer is one JSON object, {"1": "yes", "2": "unsure"}: an engine that holds the model to
schema() writes all of it but the words itself, some six tokens a statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Any

from qwenvl_ros.backends import Token
from qwenvl_ros.grounding.confidence import Confidence, Span
from qwenvl_ros.grounding.parse import after_thinking
from qwenvl_ros.grounding.pixels import GRID, Placement
from qwenvl_ros.grounding.queries import plain, quotable
from qwenvl_ros.grounding.scan import Group, Scalar, scan
from qwenvl_ros.grounding.schema import LONGEST_LABEL
from qwenvl_ros.types import Box

# What can be asked, in words a picture can answer; what is most worth asking comes first. `near` is not here: it
# is a distance in metres, which nobody reads off a picture.
PHRASES = {
    "inside": "is inside",
    "on": "rests on top of",
    "occludes": "hides a part of",
    "touching": "touches",
    "in_front_of": "is closer to the camera than",
}
TELLS = {"yes": 1.0, "no": 0.0, "unsure": 0.5}

_SYNONYMS = {"true": "yes", "false": "no", "unknown": "unsure", "unclear": "unsure", "uncertain": "unsure"}
_NUMBER_KEYS = ("n", "number", "no", "id", "index", "statement")
_TELL_KEYS = ("answer", "value", "truth", "result", "verdict")
_NUMBER = re.compile(r"\s{0,4}#?(?:statement)?\s{0,4}(\d{1,6})\s{0,4}[.:)]?\s{0,4}", re.IGNORECASE)
# Every part is bounded, or ends with its line, which keeps the search linear.
_LINE = re.compile(
    r"^[^\w\n]{0,8}(?:statement)?[^\w\n]{0,8}(\d{1,6})[^\w\n]{1,8}([a-z]{1,12})[^\w\n]*$",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Named:
    """An object as the model is told of it: its label, and its box in pixels of the source image."""

    label: str
    box: Box


@dataclass(frozen=True, slots=True)
class Statement:
    """subject predicate object; both are places in the list of objects, the predicate is a key of PHRASES."""

    subject: int
    predicate: str
    object: int


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer said of each statement.

    probabilities: that the statement is true, [0, 1], as far as the model's own word goes: 1 for "yes" and 0 for "no"
    without token probabilities, 0.5 for "unsure"; NaN where it said nothing. message: what could not be read, "" if
    nothing.
    """

    probabilities: tuple[float, ...]
    message: str = ""


def question(objects: Sequence[Named], statements: Sequence[Statement], placement: Placement) -> str:
    """The text that goes with the image.

    Labels stand in it in one line each, cut to 80 characters, without brackets and what steers a chat.
    """
    lines = ["These objects are in the image, each with its bounding box [x1, y1, x2, y2]:"]
    names = []
    for number, thing in enumerate(objects, 1):
        label = quotable(thing.label)[:LONGEST_LABEL].rstrip() or "object"
        corners = [min(max(round(value), 0), int(GRID)) for value in placement.to_model(thing.box)]
        lines.append(f"object {number}: {label} {corners}")
        names.append(f"object {number} ({label})")
    lines.append("Is each of these statements true?")
    for number, one in enumerate(statements, 1):
        lines.append(f"{number}. {names[one.subject]} {PHRASES[one.predicate]} {names[one.object]}")
    lines.append(
        'Answer in JSON format with "yes", "no" or "unsure" for the number of each statement: '
        '{"1": "...", "2": "..."}. Say "unsure" where the image does not show it.'
    )
    return "\n".join(lines)


def schema(count: int) -> dict[str, Any]:
    """JSON schema of the answer to so many statements: each number once, in order, with one of three words."""
    numbers = [str(number) for number in range(1, count + 1)]
    return {
        "type": "object",
        "properties": {number: {"enum": list(TELLS)} for number in numbers},
        "required": numbers,
        "additionalProperties": False,
    }


def told(text: str, count: int, *, finished: bool = True, tokens: Sequence[Token] = ()) -> Told:
    """Read the answer to `count` statements; never raises, linear in the text.

    Read, with prose and fences around and thinking blocks skipped: an object with the numbers as keys, a list of
    objects such as {"n": 1, "answer": "yes"}, a bare list of `count` words; without any of these, lines such as
    "1. yes". true and false count as yes and no. Not believed, and told in the message: a number that is answered twice
    and differently, numbers of no statement, other words. Of a text that was cut, what is whole counts.

    tokens: see confidence.py. With them "yes" counts as the probability s of its own tokens and "no" as 1 - s, but
    never beyond 0.5: a word that the model itself holds for less likely than all others together says nothing. Where
    the tokens do not fit the text, its word counts as without them.
    """
    start, end = after_thinking(text)
    confidence = Confidence(text, tokens)
    words: dict[int, str] = {}
    found = [nan] * count
    contrary: set[int] = set()
    strange = 0
    for number, word, span in _entries(text, start, end, count):
        if word not in TELLS or not 1 <= number <= count:
            strange += 1
        elif number in words:
            contrary |= {number} if words[number] != word else set()
        else:
            words[number] = word
            score = confidence.score([span]) if confidence.known else nan
            found[number - 1] = _weighed(TELLS[word], score)
    for number in contrary:
        found[number - 1] = nan
    notes = (
        []
        if finished and end == len(text)
        else ["the answer was cut short; raise max_tokens, or lower max_asked"]
    )
    if strange:
        notes.append(f"entries that answer nothing: {strange}")
    if contrary:
        notes.append(f"statements answered twice and differently: {len(contrary)}")
    if missing := count - len(words):
        notes.append(f"statements without an answer: {missing} of {count}")
    excerpt = "" if words else plain(text[:200])[:80]
    return Told(tuple(found), "; ".join([*notes, f"answer begins: {excerpt!r}"] if excerpt else notes))


def _weighed(said: float, score: float) -> float:
    """The probability of a word that says 1, 0 or 0.5, by the probability of its tokens; NaN is not known."""
    if isnan(score) or said == TELLS["unsure"]:
        return said
    return max(score, 0.5) if said > 0.5 else min(1.0 - score, 0.5)


def _entries(text: str, start: int, end: int, count: int) -> Iterator[tuple[int, str, Span]]:
    """(number, word in small letters, its place in the text) of everything that looks like an answer."""
    reading = scan(text, start, end)
    found = [entry for group in reading.groups for entry in _of_group(group, count)]
    if reading.cut:
        # Only closed groups are read: the one that was being written is closed here, whole or at its last comma.
        for stop in (end, max(text.rfind(",", start, end), start)):
            closed = scan(text[:stop] + "}", start)
            found = max(found, [e for group in closed.groups for e in _of_group(group, count)], key=len)
    yield from found
    if not found:
        for line in _LINE.finditer(text, start, end):
            yield int(line[1]), _plain_word(line[2]), line.span(2)


def _of_group(group: Group, count: int) -> Iterator[tuple[int, str, Span]]:
    if not group.is_object:
        words = [value for value in group.values if isinstance(value, Scalar) and value.value is not None]
        if len(words) == len(group.values) == count and all(_word(each) in TELLS for each in words):
            yield from ((n, _word(each), (each.start, each.end)) for n, each in enumerate(words, 1))
        return
    keyed = {key.strip().casefold(): value for key, value in zip(group.keys, group.values, strict=True)}
    number = next((_number(keyed[key]) for key in _NUMBER_KEYS if key in keyed), None)
    tell = next((keyed[key] for key in _TELL_KEYS if key in keyed), None)
    if number is not None and isinstance(tell, Scalar) and tell.value is not None:
        yield number, _word(tell), (tell.start, tell.end)
        return
    for key, value in zip(group.keys, group.values, strict=True):
        at = _NUMBER.fullmatch(key)
        if at is None:
            continue
        if isinstance(value, Group) and value.is_object:  # {"1": {"answer": "yes"}}
            inner = [each for name, each in zip(value.keys, value.values, strict=True) if name in _TELL_KEYS]
            value = inner[0] if inner else value
        if isinstance(value, Scalar) and value.value is not None:
            yield int(at[1]), _word(value), (value.start, value.end)
        else:
            yield int(at[1]), "", (0, 0)


def _word(scalar: Scalar) -> str:
    return _plain_word(scalar.value or "")


def _plain_word(text: str) -> str:
    word = text[:20].strip(" .!*\t\n").casefold()
    return _SYNONYMS.get(word, word)


def _number(value: Scalar | Group) -> int | None:
    at = _NUMBER.fullmatch(value.value) if isinstance(value, Scalar) and value.value else None
    return int(at[1]) if at else None

"""Reading JSON as models write it: one pass, no recursion, every value with its place in the text.

Mended without a word: prose and fences around, trailing or missing commas, comments, single quotes, bare words as
keys, brackets forgotten before an outer one closes. Text that ends inside a list or an object is reported, its
closed parts are kept.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

MAX_DEPTH = 64  # no honest answer is nested deeper

# Every alternative ends in bounded steps or at the end of the text, which keeps the whole pass linear.
_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*(?:.*?\*/|.*))
    |(?P<string>(?<!\w)"[^"\\]*(?:\\.[^"\\]*)*(?P<end2>"|\\?\Z)|(?<!\w)'[^'\\]*(?:\\.[^'\\]*)*(?P<end1>'|\\?\Z))
    |(?P<number>[-+]?\.?\d[\w.%+-]*)
    |(?P<word>[-+]?[^\W\d]\w*)
    |(?P<mark>[\[\]{}:,：，])
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_OPENING = re.compile(r"[\[{]")


@dataclass(frozen=True, slots=True)
class Scalar:
    """A string, number (as it was written) or null (None) at text[start:end]; quotes are left out."""

    value: str | None
    start: int
    end: int


@dataclass(slots=True)
class Group:
    """A list or an object; an object's keys run parallel to its values.

    blank: nothing at all stands between its brackets. holds_object: an object is somewhere inside.
    """

    is_object: bool
    values: list[Scalar | Group] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    blank: bool = True
    holds_object: bool = False
    _key: str | None = None
    _first: Scalar | Group | None = None
    _last: Scalar | Group | None = None

    def take(self, value: Scalar | Group) -> None:
        """A value has been read. Lists do without commas; of several values of one key the first counts."""
        if not self.is_object:
            self.keep()
        self._first = self._first or value
        self._last = value

    def colon(self) -> None:
        """What was read last is a key; anything before it is a value whose comma is missing. None in a list."""
        if not self.is_object:
            self.take(Scalar(None, 0, 0))
        elif isinstance(self._last, Scalar) and self._last.value is not None:
            key = self._last.value
            if self._first is not self._last:
                self.keep()
            self._key, self._first, self._last = key, None, None

    def comma(self) -> None:
        """A value ends; where none was read since the last comma a list holds a null, so that no other moves up."""
        if self._first is None and not self.is_object:
            self.values.append(Scalar(None, 0, 0))
        self.keep()

    def keep(self) -> None:
        """Keep what was read as a value of the list, or of the key."""
        if self._first is not None and not self.is_object:
            self.values.append(self._first)
        elif self._first is not None and self._key is not None:
            self.values.append(self._first)
            self.keys.append(self._key)
        self._key = self._first = self._last = None


@dataclass(slots=True)
class Reading:
    """What a text holds. groups: closed objects, and closed lists that stand in lists only, inner ones first.

    outer: the closed groups that stand in no other. cut: the text ends inside a group. too_deep: reading stopped where
    groups nest deeper than MAX_DEPTH.
    """

    groups: list[Group] = field(default_factory=list)
    outer: list[Group] = field(default_factory=list)
    cut: bool = False
    too_deep: bool = False


def scan(text: str, start: int = 0, end: int | None = None) -> Reading:
    """Read text[start:end] in time linear in its length; never raises."""
    end = len(text) if end is None else end
    reading, position = Reading(), start
    stack: list[Group] = []
    while position < end:
        if not stack:
            opening = _OPENING.search(text, position, end)
            if opening is None:
                break
            position = opening.start()
        token = _TOKEN.match(text, position, end)
        if token is None:  # cannot be: the last alternative takes any character
            break
        position = token.end()
        kind = token.lastgroup if token.lastgroup not in ("end1", "end2") else "string"
        mark = token.group() if kind == "mark" else ""
        if stack and kind != "space" and mark != ("}" if stack[-1].is_object else "]"):
            stack[-1].blank = False
        if kind in ("space", "other"):
            continue
        if mark:
            if mark in "[{":
                if len(stack) == MAX_DEPTH:
                    reading.too_deep = True
                    break
                stack.append(Group(mark == "{"))
            elif mark in "]}":
                _close(mark == "}", stack, reading)
            elif mark in ",，":
                stack[-1].comma()
            else:
                stack[-1].colon()
            continue
        stack[-1].take(_scalar(token, kind))
    reading.cut = bool(stack)
    return reading


def _close(is_object: bool, stack: list[Group], reading: Reading) -> None:
    """Close the innermost group of this kind, and those left open inside it; a stray bracket closes nothing."""
    if not any(group.is_object is is_object for group in stack):
        return
    while stack:
        group = stack.pop()
        group.keep()
        if group.is_object or not any(outer.is_object for outer in stack):
            reading.groups.append(group)
        if stack:
            stack[-1].take(group)
            stack[-1].holds_object |= group.is_object or group.holds_object
        else:
            reading.outer.append(group)
        if group.is_object is is_object:
            return


def _scalar(token: re.Match[str], kind: str | None) -> Scalar:
    whole, start, end = token.group(), token.start(), token.end()
    if kind == "number":
        return Scalar(whole, start, end)
    if kind == "word":
        return Scalar(None if whole.casefold() in ("null", "none") else whole, start, end)
    closed = bool(token.group("end2") or token.group("end1")) and not whole.endswith("\\")
    inner = whole[1:-1] if closed else whole[1:]
    return Scalar(_unescape(inner), start + 1, start + 1 + len(inner))


def _unescape(inner: str) -> str:
    if "\\" not in inner:
        return inner
    quoted = re.sub(
        r'\\.|"', lambda m: '\\"' if m.group() == '"' else m.group().replace("\\'", "'"), inner, flags=re.S
    )
    try:
        return str(json.loads(f'"{quoted}"', strict=False))
    except ValueError:
        return inner

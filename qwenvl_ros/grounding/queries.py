"""Queries: how a Qwen3-VL model is asked for them, and which of them a label of its answer means."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ANSWER = "Report bbox coordinates in JSON format."
_EVERYTHING = f"Locate every object in the image. {_ANSWER}"
_REFERRING = f'Locate every object that matches the description "{{}}" in the image. {_ANSWER}'
_CATEGORIES = f"Locate every instance that belongs to the following categories: '{{}}'. {_ANSWER}"
# Angle brackets spell the chat's control tokens (<|im_end|>, <think>), the others the answer's own structure.
_UNSAFE = str.maketrans({**dict.fromkeys("<>{}[]\\`", " "), '"': "'"})

# Scripts written without spaces (Han, kana) are compared character by character.
_WORD = re.compile(r"[぀-ヿ㐀-鿿]|[^\W_぀-ヿ㐀-鿿]+")
_ARTICLES = frozenset({"a", "an", "the"})
_LINKS = frozenset(
    {"on", "in", "inside", "of", "at", "by", "with", "under", "below", "above", "behind", "near", "beside"}
)
_LINKS |= {"to", "from", "that", "which", "between"}
_SIDES = frozenset({"left", "right", "next", "close", "front", "top"})  # "left of", "next to"


def prompt(queries: Sequence[str]) -> str:
    """The question for these queries; [] asks for every object.

    Several queries use the wording of Qwen3-VL's own ODinW evaluation, one query that of its referring expressions
    (both from the official cookbooks and evaluation scripts); "every object" is the latter without its description.
    Queries are taken as descriptions in any language: white space is collapsed, control characters, brackets and
    quotes that would end the quotation are removed, and in the list form commas too, since they part categories.
    """
    texts = asked(queries)
    if not texts:
        return _EVERYTHING
    if len(texts) == 1:
        return _REFERRING.format(texts[0])
    return _CATEGORIES.format(", ".join(texts))


def asked(queries: Sequence[str]) -> list[str]:
    """The queries as the prompt words them, each once and none empty."""
    cleaned = [quotable(query) for query in queries]
    if len(cleaned) > 1:
        cleaned = [plain(query.replace(",", " ")) for query in cleaned]
    return list(dict.fromkeys(query for query in cleaned if query))


def quotable(text: str) -> str:
    """One line of text that can stand in a prompt: without what steers a chat or ends a quotation."""
    return plain(text.translate(_UNSAFE)).strip("' ")


def plain(text: str) -> str:
    """One line of printable text that can be encoded as UTF-8; runs of white space become one space."""
    encodable = text.encode("utf-8", "replace").decode("utf-8")
    return " ".join("".join(c if c.isprintable() else " " for c in encodable).split())


def match(label: str, queries: Sequence[str]) -> str:
    """The query that a label answers, as it was asked; "" if none does or several could alike.

    In this order: equal; equal but for case, articles, plural and punctuation; all words of the query among the
    label's ("small red cube" answers "red cube"; the query with most words wins); all words of the label among
    those of exactly one query ("cube" answers "red cube on the table"). Words after a preposition do not count as the
    label's ("cube on the table" does not answer "table").
    """
    if label in queries:
        return label
    said = _words(label)
    if not said:
        return ""
    asked = [(query, _words(query)) for query in dict.fromkeys(queries)]
    for query, words in asked:
        if words == said:
            return query
    head = set(_head(said))
    general = [
        (query, set(_head(words))) for query, words in asked if words and head.issuperset(_head(words))
    ]
    if general:
        most = max(len(words) for _, words in general)
        general = [(query, words) for query, words in general if len(words) == most]
        return general[0][0] if len(general) == 1 else ""
    special = [query for query, words in asked if head.issubset(_head(words))]
    return special[0] if len(special) == 1 else ""


def same_name(one: str, other: str) -> bool:
    """Whether two names differ only in case, articles, plural and punctuation."""
    words = _words(one)
    return bool(words) and words == _words(other)


def called(label: str, name: str) -> bool:
    """Whether a thing with this label may be called by the name: all words of the name are among the label's.

    "small red cube" is called "red cube" and "cube"; "cube on the table" is not called "table".
    """
    words = set(_words(name))
    return bool(words) and (words <= set(_head(_words(label))) or same_name(label, name))


def kind(label: str) -> str:
    """What a label says the thing is, without its qualities: "cube" of "small red cubes on the table".

    The last word before a preposition; in a script without spaces all of them; "" where there are no words.
    """
    words = _head(_words(label))
    start = len(words)
    # Each Han character or kana is a word of its own here (_WORD); they are put together again.
    while start and len(words[start - 1]) == 1 and not words[start - 1].isascii():
        start -= 1
    return "".join(words[min(start, len(words) - 1) :])


def _words(text: str) -> tuple[str, ...]:
    words = tuple(_singular(word) for word in _WORD.findall(text.casefold()))
    return tuple(word for word in words if word not in _ARTICLES) or words


def _head(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words before the first preposition ("mug" of "mug left of the bowl"); all of them where it comes first."""
    end = next((index for index, word in enumerate(words) if word in _LINKS and index > 0), len(words))
    while 1 < end < len(words) and words[end - 1] in _SIDES:
        end -= 1
    return words[:end]


def _singular(word: str) -> str:
    """English plural -> singular, well enough to compare two words; both sides go through it."""
    if not word.isascii() or len(word) < 4 or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses", "zes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") else word

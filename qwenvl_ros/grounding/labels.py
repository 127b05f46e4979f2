"""Which requested query a label of the model answers."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Scripts written without spaces (Han, kana) are compared character by character.
_WORD = re.compile(r"[぀-ヿ㐀-鿿]|[^\W_぀-ヿ㐀-鿿]+")
_ARTICLES = frozenset({"a", "an", "the"})
_LINKS = frozenset(
    ("on", "in", "inside", "of", "at", "by", "with", "under", "below", "above", "behind", "near")
)
_LINKS |= frozenset(("beside", "next", "left", "right", "to", "from", "that", "which"))


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
    general = [(query, words) for query, words in asked if words and head.issuperset(_head(words))]
    if general:
        return max(general, key=lambda pair: len(_head(pair[1])))[0]
    special = [query for query, words in asked if head.issubset(_head(words))]
    return special[0] if len(special) == 1 else ""


def _words(text: str) -> tuple[str, ...]:
    words = tuple(_singular(word) for word in _WORD.findall(text.casefold()))
    return tuple(word for word in words if word not in _ARTICLES) or words


def _head(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words before the first preposition; all of them where it comes first."""
    for index, word in enumerate(words):
        if word in _LINKS and index > 0:
            return words[:index]
    return words


def _singular(word: str) -> str:
    """English plural -> singular, well enough to compare two words; both sides go through it."""
    if not word.isascii() or len(word) < 4 or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses", "zes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") else word

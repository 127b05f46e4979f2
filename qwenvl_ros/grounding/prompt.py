"""The words that ask a Qwen3-VL model for boxes; parse.py reads the answers."""

from __future__ import annotations

from collections.abc import Sequence

_ANSWER = "Report bbox coordinates in JSON format."
_EVERYTHING = f"Locate every object in the image. {_ANSWER}"
_REFERRING = f'Locate every object that matches the description "{{}}" in the image. {_ANSWER}'
_CATEGORIES = f"Locate every instance that belongs to the following categories: '{{}}'. {_ANSWER}"
# Angle brackets spell the chat's control tokens (<|im_end|>, <think>), the others the answer's own structure.
_UNSAFE = str.maketrans({**dict.fromkeys("<>{}[]\\`", " "), '"': "'"})


def prompt(queries: Sequence[str]) -> str:
    """The question for these queries; [] asks for every object.

    Several queries use the wording of Qwen3-VL's own ODinW evaluation, one query that of its referring expressions
    (both from the official cookbooks and evaluation scripts); "every object" is the latter without its description.
    Queries are taken as descriptions in any language: white space is collapsed, control characters, brackets and
    quotes that would end the quotation are removed, and in the list form commas too, since they part categories.
    """
    cleaned = [plain(query.translate(_UNSAFE)).strip("' ") for query in queries]
    if len(cleaned) > 1:
        cleaned = [plain(query.replace(",", " ")) for query in cleaned]
    asked = list(dict.fromkeys(query for query in cleaned if query))
    if not asked:
        return _EVERYTHING
    if len(asked) == 1:
        return _REFERRING.format(asked[0])
    return _CATEGORIES.format(", ".join(asked))


def plain(text: str) -> str:
    """One line of printable text that can be encoded as UTF-8; runs of white space become one space."""
    encodable = text.encode("utf-8", "replace").decode("utf-8")
    return " ".join("".join(c if c.isprintable() else " " for c in encodable).split())

"""The JSON schema of an answer: what engines hold the model to, as the prompt asks and parse() reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qwenvl_ros.grounding.pixels import GRID
from qwenvl_ros.grounding.queries import asked

LONGEST_LABEL = 80  # characters


def schema(queries: Sequence[str], max_objects: int) -> dict[str, Any]:
    """Schema of Qwen's own format: boxes with labels, at most one more than max_objects, by which parse() knows that
    there are more.

    A label is one of the texts that the prompt asks for, as the prompt words them; with no queries it is free.
    """
    texts = asked(queries)
    label = {"enum": texts} if texts else {"type": "string", "maxLength": LONGEST_LABEL}
    number = {"type": "integer", "minimum": 0, "maximum": int(GRID)}
    return {
        "type": "array",
        "maxItems": max_objects + 1,
        "items": {
            "type": "object",
            "properties": {
                "bbox_2d": {"type": "array", "items": number, "minItems": 4, "maxItems": 4},
                "label": label,
            },
            "required": ["bbox_2d", "label"],
            "additionalProperties": False,
        },
    }

"""A request that is still being answered when the test is done with it."""

from __future__ import annotations

from typing import Any

from qwenvl_ros.backends import Request


def endless(max_tokens: int, **fields: Any) -> Request:
    """Held to a list of more numbers than max_tokens, no model can stop earlier, whatever its weights would say."""
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": max_tokens}
    return Request([], "mug", max_tokens=max_tokens, schema=schema, **fields)

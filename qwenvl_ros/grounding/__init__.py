"""Grounding: the prompt and the parser, two halves of one contract, and the 0..1000 grid between them."""

from qwenvl_ros.grounding.confidence import Knots, calibrate
from qwenvl_ros.grounding.parse import Grounding, parse
from qwenvl_ros.grounding.pixels import PixelRules, Placement, place
from qwenvl_ros.grounding.queries import asked, called, kind, match, prompt
from qwenvl_ros.grounding.schema import schema
from qwenvl_ros.grounding.statements import PHRASES

__all__ = [
    "PHRASES",
    "Grounding",
    "Knots",
    "PixelRules",
    "Placement",
    "asked",
    "calibrate",
    "called",
    "kind",
    "match",
    "parse",
    "place",
    "prompt",
    "schema",
]

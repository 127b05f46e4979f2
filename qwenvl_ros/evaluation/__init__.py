"""How good a model is, measured through the product's own path."""

from qwenvl_ros.evaluation.scoring import (
    Case,
    LabelScores,
    Match,
    Scores,
    Target,
    Verdict,
    calibration_error,
    judge,
    summarise,
)
from qwenvl_ros.evaluation.worth import MIN_VISIBLE_FRACTION, MIN_VISIBLE_PIXELS, worth_asking

__all__ = [
    "MIN_VISIBLE_FRACTION",
    "MIN_VISIBLE_PIXELS",
    "Case",
    "LabelScores",
    "Match",
    "Scores",
    "Target",
    "Verdict",
    "calibration_error",
    "judge",
    "summarise",
    "worth_asking",
]

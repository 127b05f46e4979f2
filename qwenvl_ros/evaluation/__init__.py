"""How good a model is, measured through the product's own path."""

from qwenvl_ros.evaluation.calibration import Bin, calibration_error, fit, reliability
from qwenvl_ros.evaluation.scoring import (
    Case,
    LabelScores,
    Match,
    Scores,
    Target,
    Verdict,
    judge,
    scored,
    summarise,
)
from qwenvl_ros.evaluation.worth import MIN_VISIBLE_FRACTION, MIN_VISIBLE_PIXELS, worth_asking

__all__ = [
    "MIN_VISIBLE_FRACTION",
    "MIN_VISIBLE_PIXELS",
    "Bin",
    "Case",
    "LabelScores",
    "Match",
    "Scores",
    "Target",
    "Verdict",
    "calibration_error",
    "fit",
    "judge",
    "reliability",
    "scored",
    "summarise",
    "worth_asking",
]

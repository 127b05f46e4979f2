"""What a trial means: ok, degraded or broken, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import isfinite

import numpy as np

from qwenvl_ros.grounding.pixels import GRID
from qwenvl_ros.selftest.coordinates import Fit, Order, fit
from qwenvl_ros.selftest.trial import Answer, Trial
from qwenvl_ros.settings import setting
from qwenvl_ros.types import Status

ANOTHER_ENGINE = (
    "run another version of the engine, and compare with backend transformers, which asks the model directly "
    "(known case: vllm-project/vllm#30918, vLLM 0.11.1 to 0.12.0)"
)


class Verdict(IntEnum):
    """The worse, the higher."""

    OK = 0
    DEGRADED = 1
    BROKEN = 2


@dataclass(frozen=True)
class Limits:
    """What a healthy engine reaches on the known scenes. Shares are in [0, 1], shifts in units of the 0..1000 grid."""

    found: float = setting(0.9, "Share of known objects found; less is degraded.", minimum=0.0, maximum=1.0)
    found_broken: float = setting(0.6, "The same; less is broken.", minimum=0.0, maximum=1.0)
    iou: float = setting(0.8, "Mean IoU of the found ones; less is degraded.", minimum=0.5, maximum=1.0)
    shift: float = setting(8.0, "Systematic shift; more is degraded.", minimum=0.0, maximum=1000.0)
    shift_broken: float = setting(15.0, "The same; more is broken.", minimum=0.0, maximum=1000.0)
    scale: float = setting(0.02, "Systematic scale, off from 1; more is degraded.", minimum=0.0, maximum=1.0)
    scale_broken: float = setting(0.05, "The same; more is broken.", minimum=0.0, maximum=1.0)
    failed_broken: float = setting(
        0.25,
        "Share of questions without a whole answer; more is broken, any is degraded.",
        minimum=0.0,
        maximum=1.0,
    )


# models/tiny on ten sets of 16 such scenes: 0.97 to 1.0 found, IoU 0.97 to 0.98, shift within 1, scale within 0.003.
SIMULATOR_LIMITS = Limits(found=0.85, iou=0.88)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; remedy is "" where the reason holds it."""

    verdict: Verdict
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}" if self.remedy else self.reason


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The findings, the worst first, and what they rest on; trial and fit are None where nothing could be asked."""

    findings: tuple[Finding, ...]
    trial: Trial | None = None
    fit: Fit | None = None

    @property
    def verdict(self) -> Verdict:
        return max((finding.verdict for finding in self.findings), default=Verdict.OK)

    @property
    def summary(self) -> str:
        """One line: what was found, or the worst finding with its remedy."""
        if self.findings:
            return str(self.findings[0])
        assert self.trial is not None
        return f"{100 * self.trial.found_share:.0f} % of the known objects found where they are"


def unavailable(reason: str) -> Diagnosis:
    """Of an engine that cannot be built; the reason holds the remedy."""
    return Diagnosis((Finding(Verdict.BROKEN, reason, ""),))


def untested(reason: str) -> Diagnosis:
    """Of an engine that may be well, but could not be asked; the reason holds the remedy."""
    return Diagnosis((Finding(Verdict.DEGRADED, f"nothing was tested: {reason}", ""),))


def diagnose(trial: Trial, limits: Limits) -> Diagnosis:
    """Judge what came back."""
    found = fit(trial.answers)
    findings = [*_unanswered(trial, limits), *_moved(trial, found, limits), *_missed(trial, limits)]
    return Diagnosis(tuple(sorted(findings, key=lambda one: -one.verdict)), trial, found)


def _unanswered(trial: Trial, limits: Limits) -> Iterator[Finding]:
    """Questions whose answer did not come, could not be read, or is not whole."""
    late = [answer for answer in trial.answers if answer.late]
    groups = (
        (
            late,
            "no answer came to",
            "see the engine's log, nvidia-smi and free memory, and restart it; a slow one needs more patience",
        ),
        (
            [a for a in trial.answers if a.status is Status.BACKEND_FAILED and not a.late],
            "the engine failed on",
            "see its log, and whether it takes this model",
        ),
        (
            [a for a in trial.answers if a.status is Status.PARSE_FAILED],
            "boxes could not be read in the answers to",
            "check that the model is a Qwen3-VL and, on a server, that its chat template is the model's own",
        ),
        (
            [a for a in trial.answers if a.status is Status.TRUNCATED],
            "answers are not whole to",
            "raise max_tokens; an answer without end is an engine or a checkpoint that is broken",
        ),
    )
    for answers, what, remedy in groups:
        if answers:
            share = len(answers) / len(trial.answers)
            verdict = Verdict.BROKEN if share > limits.failed_broken else Verdict.DEGRADED
            said = answers[0].message or answers[0].status.name
            yield Finding(verdict, f"{what} {len(answers)} of {len(trial.answers)} questions: {said}", remedy)


def _moved(trial: Trial, found: Fit, limits: Limits) -> Iterator[Finding]:
    """Boxes that are all moved in one way."""
    if not found.known:
        return
    if found.order is Order.SWAPPED:
        yield Finding(Verdict.BROKEN, "x and y of the coordinates are swapped", ANOTHER_ENGINE)
        return
    if found.order is Order.PIXELS:
        remedy = f"check that the model is a Qwen3-VL (Qwen2.5-VL counts pixels), else {ANOTHER_ENGINE}"
        yield Finding(Verdict.BROKEN, f"coordinates count pixels, not 0..{GRID:.0f}", remedy)
        return
    scale, shift = _largest([scale - 1.0 for scale in found.scale]), _largest(found.shift)
    if scale > limits.scale:
        verdict = Verdict.BROKEN if scale > limits.scale_broken else Verdict.DEGRADED
        x, y = found.scale
        reason = f"coordinates are scaled by ({x:.2f}, {y:.2f}) from {_point(found.offset)} of {GRID:.0f}"
        yield Finding(verdict, reason, ANOTHER_ENGINE)
    elif shift > limits.shift:
        verdict = Verdict.BROKEN if shift > limits.shift_broken else Verdict.DEGRADED
        yield Finding(
            verdict, f"coordinates are shifted by {_point(found.shift)} of {GRID:.0f}", ANOTHER_ENGINE
        )
    elif moved := list(_moved_by_size(trial.answers, limits)):
        remedy = f"keep to other image sizes, or {ANOTHER_ENGINE}"
        yield Finding(Verdict.DEGRADED, f"coordinates are shifted {', '.join(moved)} of {GRID:.0f}", remedy)


def _moved_by_size(answers: Sequence[Answer], limits: Limits) -> Iterator[str]:
    """Engines that resize or interpolate wrongly are right at some sizes and wrong at others."""
    for size in dict.fromkeys(answer.scene.size for answer in answers):
        there = fit([answer for answer in answers if answer.scene.size == size])
        if there.known and _largest(there.shift) > limits.shift_broken:
            yield f"at {size} by {_point(there.shift)}"


def _missed(trial: Trial, limits: Limits) -> Iterator[Finding]:
    """Objects that were not found, or not well."""
    if trial.found_share < limits.found:
        verdict = Verdict.BROKEN if trial.found_share < limits.found_broken else Verdict.DEGRADED
        count = sum(pair.found for pair in trial.pairs)
        remedy = (
            "check that the model is a Qwen3-VL (a smaller or quantised one finds less), and compare engines"
        )
        yield Finding(verdict, f"only {count} of {len(trial.pairs)} known objects were found", remedy)
    elif trial.mean_iou < limits.iou:
        reason = f"boxes are loose: mean IoU {trial.mean_iou:.2f}, {limits.iou:.2f} is expected"
        yield Finding(
            Verdict.DEGRADED, reason, "raise max_pixels or precision, and compare with backend transformers"
        )


def _largest(pair: Sequence[float]) -> float:
    """NaN, an axis on which nothing is known, counts as no error."""
    return float(np.nanmax(np.abs(pair), initial=0.0))


def _point(pair: Sequence[float]) -> str:
    """ "(+30, 0)", "?" for what is not known."""

    def told(value: float) -> str:
        if not isfinite(value):
            return "?"
        return "0" if round(value) == 0 else f"{value:+.0f}"

    return f"({', '.join(map(told, pair))})"

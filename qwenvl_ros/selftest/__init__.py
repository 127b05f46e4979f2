"""Is the engine healthy? Known scenes, the product's own path, and a verdict with the remedy.

    diagnosis = selftest.run(backend, model, settings)
    diagnosis.verdict, diagnosis.summary         BROKEN, "coordinates are shifted by (+30, 0) of 1000; run another ..."

An upgrade of a serving engine can move every box while nothing else changes (vllm-project/vllm#30918); this tells.
"""

from __future__ import annotations

from qwenvl_ros.backends import Backend
from qwenvl_ros.pipeline import PerceptionSettings
from qwenvl_ros.selftest.diagnosis import (
    SIMULATOR_LIMITS,
    Diagnosis,
    Finding,
    Limits,
    Verdict,
    diagnose,
    unavailable,
    untested,
)
from qwenvl_ros.selftest.scenes import KnownScene, known_scenes, knows_only_the_simulator
from qwenvl_ros.selftest.trial import Trial, ask
from qwenvl_ros.sim.gl import NoOpenGL
from qwenvl_ros.zoo import Model

__all__ = [
    "PATIENCE",
    "SIMULATOR_LIMITS",
    "Diagnosis",
    "Finding",
    "KnownScene",
    "Limits",
    "Trial",
    "Verdict",
    "ask",
    "diagnose",
    "known_scenes",
    "knows_only_the_simulator",
    "limits_of",
    "run",
    "unavailable",
    "untested",
]

PATIENCE = 120.0  # seconds without a word of an answer


def limits_of(model: Model) -> Limits:
    """What is expected of a healthy engine with this model."""
    return SIMULATOR_LIMITS if knows_only_the_simulator(model) else Limits()


def run(
    backend: Backend, model: Model, settings: PerceptionSettings | None = None, patience: float = PATIENCE
) -> Diagnosis:
    """Ask about the known scenes and judge; never raises for what the engine or the model did.

    settings: of the perception, for max_pixels and max_tokens. patience: the longest time without a word, seconds;
    then what is not answered is cancelled, and the engine counts as hanging. Draws pictures in the calling thread.
    """
    try:
        scenes = known_scenes(model)
    except NoOpenGL as error:
        return untested(f"the simulator's pictures, all that {model.name} knows, cannot be drawn: {error}")
    trial = ask(scenes, backend, model, settings or PerceptionSettings(), patience)
    return diagnose(trial, limits_of(model))

"""An engine that is ready for camera frames: built, warmed up and, if asked for, found healthy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qwenvl_ros import pipeline, selftest, zoo
from qwenvl_ros.backends import Backend, BackendError, EngineSettings
from qwenvl_ros.ros.node_settings import Settings
from qwenvl_ros.selftest import Diagnosis, Verdict
from qwenvl_ros.settings import SettingError

Create = Callable[[zoo.Model, EngineSettings], Backend]


@dataclass(frozen=True, slots=True)
class Ready:
    """model and the backend that runs it; diagnosis: of the self-test, None where there was none."""

    model: zoo.Model
    backend: Backend
    diagnosis: Diagnosis | None


Load = Callable[[zoo.Model, Settings, Create], Ready]


def resolve(settings: Settings) -> zoo.Model:
    """The model of the settings.

    Raises:
        ZooError: there is none of that name.
        SettingError: it cannot take max_pixels or clip.max_pixels.
    """
    model = settings.model.resolve()
    check_fit(model, settings)
    return model


def check_fit(model: zoo.Model, settings: Settings) -> None:
    """Whether a model can be used as the settings say.

    Raises:
        SettingError: it cannot take max_pixels or clip.max_pixels.
    """
    model.limited(settings.perception.max_pixels)
    try:
        model.limited(settings.node.clip.max_pixels)
    except SettingError as error:
        raise SettingError(f"clip.{error}") from None


def make_ready(model: zoo.Model, settings: Settings, create: Create) -> Ready:
    """Build the engine, show it a first image and, with self_test, the known scenes.

    Raises:
        SettingError: a setting that the engine cannot take.
        BackendError: it cannot be had, fails, or is broken; with the remedy. Nothing of it is left then.
    """
    backend = create(model, settings.engine)
    try:
        pipeline.warm_up(backend, model, settings.perception)
        diagnosis = None
        if settings.node.self_test:
            diagnosis = selftest.run(backend, model, settings.perception)
            if diagnosis.verdict is Verdict.BROKEN:
                raise BackendError(f"the self-test finds the engine broken: {diagnosis.summary}")
    except BaseException:  # an interrupt too
        backend.close()
        raise
    return Ready(model, backend, diagnosis)

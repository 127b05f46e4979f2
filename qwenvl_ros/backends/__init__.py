"""The one seam to a model: submit a request, get a future of its reply.

    backend = create(zoo.resolve("tiny"))
    reply = backend.submit(Request(images=[image], text="...")).result()

Errors:
    BackendError            anything an engine could not do; the message carries the remedy
    |- BackendUnavailable   the engine cannot be built or reached here (missing package, GPU, memory, server)
    |- RequestFailed        this one request failed; the engine lives on
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from qwenvl_ros.backends.engine_settings import EngineSettings, OpenaiSettings, VllmSettings
from qwenvl_ros.settings import validate
from qwenvl_ros.types import Image

if TYPE_CHECKING:
    from qwenvl_ros.zoo import Model


__all__ = [
    "Backend",
    "BackendError",
    "BackendUnavailable",
    "Clip",
    "EngineSettings",
    "OpenaiSettings",
    "Reply",
    "Request",
    "RequestFailed",
    "Token",
    "VllmSettings",
    "create",
    "together",
]

_DEFAULT = EngineSettings()
# Heavy imports happen in create(): module, class, and what has to be installed for it.
_ENGINES = {
    "transformers": (
        "qwenvl_ros.backends.transformers",
        "TransformersBackend",
        "torch, torchvision, xgrammar and transformers >= 4.57",
    ),
    "vllm": (
        "qwenvl_ros.backends.vllm",
        "VllmBackend",
        "vllm >= 0.11 (pip install vllm; without a GPU: make setup-vllm)",
    ),
    "openai": ("qwenvl_ros.backends.openai", "OpenaiBackend", "openai and tenacity"),
}


class BackendError(RuntimeError):
    """Something an engine could not do; the message carries the remedy."""


class BackendUnavailable(BackendError):
    """The engine cannot be built or reached here."""


class RequestFailed(BackendError):
    """One request failed; the engine lives on."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames of one camera in their order.

    frames: (T, H, W, 3) uint8 RGB, T at least 1, of a size as an image's. seconds: T of them, rising, from the clip's
    beginning.
    """

    frames: NDArray[np.uint8]
    seconds: Sequence[float]


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the model.

    images: each (H, W, 3) uint8 RGB, already of the size the model takes (multiples of 32, within its pixel
    budget), so that no engine resizes again. text: the user's words. clips: shown after the images, with their
    time stamps. text_first: the text goes before all of them. temperature 0 is greedy; top_k 0 means no limit.
    presence_penalty is taken off the logit of every token already in the answer. schema: a JSON schema that the
    engine holds the answer to (after the thinking of a thinking checkpoint); None leaves it free. on_text is called
    with the whole text so far, from the engine's thread.
    """

    images: Sequence[Image]
    text: str
    clips: Sequence[Clip] = ()
    text_first: bool = False
    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    presence_penalty: float = 0.0
    schema: Mapping[str, Any] | None = None
    on_text: Callable[[str], None] | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token: the text it adds and its natural-log probability."""

    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    tokens: empty where the engine gives no probabilities; their texts concatenate to text.
    finish: "length" when max_tokens cut the answer short. Times in seconds.
    """

    text: str
    tokens: Sequence[Token] = ()
    finish: Literal["stop", "length"] = "stop"
    queue_seconds: float = 0.0
    inference_seconds: float = 0.0


class Backend(Protocol):
    """An engine that answers requests.

    model names what it runs, as published in Scene.model; device says where, for diagnostics. capacity is how many
    requests it works on at once.
    """

    @property
    def model(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def capacity(self) -> int: ...

    def submit(self, request: Request) -> Future[Reply]:
        """Queue a request; the future holds the reply or a BackendError.

        Cancelling it frees its place, also while its answer is being generated.
        """
        ...

    def close(self) -> None:
        """Stop, free the model and its memory; waiting futures fail with BackendError. Safe to call twice."""
        ...


def create(model: Model, settings: EngineSettings = _DEFAULT) -> Backend:
    """Load the model into the engine of the settings; returns when it is ready to answer.

    Raises:
        SettingError: a setting is out of its range.
        BackendUnavailable: the engine or the model cannot be had here; the message carries the remedy.
    """
    validate(settings)
    name, class_name, packages = _ENGINES[settings.backend]
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise BackendUnavailable(
            f"the {settings.backend} backend cannot be imported ({error}); install {packages}"
        ) from error
    backend: Backend = getattr(module, class_name)(model, settings)
    return backend


def together(backend: Backend) -> AbstractContextManager[object]:
    """Requests that are submitted within belong together; leave it before waiting for their replies.

    What else is in a batch moves the last digits of an answer's probabilities. An engine that makes its own batches
    has a `together` of its own, which keeps it from starting before the end, so that the same requests, at most
    `capacity` of them, are one batch and give the same bits each time.
    """
    own: Callable[[], AbstractContextManager[object]] = getattr(backend, "together", nullcontext)
    return own()

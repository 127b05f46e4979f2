"""The one seam to a model: submit a request, get a future of its reply.

Errors:
    BackendError            anything an engine could not do; the message carries the remedy
    |- BackendUnavailable   the engine cannot be built or reached here (missing package, GPU, memory, server)
    |- RequestFailed        this one request failed; the engine lives on
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal, Protocol

from qwenvl_ros.types import Image


class BackendError(RuntimeError):
    """Something an engine could not do; the message carries the remedy."""


class BackendUnavailable(BackendError):
    """The engine cannot be built or reached here."""


class RequestFailed(BackendError):
    """One request failed; the engine lives on."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the model.

    images: each (H, W, 3) uint8 RGB, already of the size the model takes (multiples of 32, within its pixel
    budget), so that no engine resizes again. text: the user's words. text_first: the text goes before the
    images. temperature 0 is greedy. on_text is called with the whole text so far, from the engine's thread.
    """

    images: Sequence[Image]
    text: str
    text_first: bool = False
    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
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

    model names what it runs, as published in Scene.model. capacity is how many requests it works on at once.
    """

    @property
    def model(self) -> str: ...

    @property
    def capacity(self) -> int: ...

    def submit(self, request: Request) -> Future[Reply]:
        """Queue a request; the future holds the reply or a BackendError. Cancelling it frees its place."""
        ...

    def close(self) -> None:
        """Stop, free the model and its memory; waiting futures fail with BackendError. Safe to call twice."""
        ...

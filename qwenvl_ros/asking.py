"""How the model is asked: a request with the sampling of its zoo entry, and the wait for its reply."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from typing import Any

from qwenvl_ros.backends import BackendError, Reply, Request, RequestFailed
from qwenvl_ros.perception import PerceptionSettings
from qwenvl_ros.types import Image
from qwenvl_ros.zoo import Model


def request(
    images: Sequence[Image],
    text: str,
    schema: Mapping[str, Any],
    model: Model,
    settings: PerceptionSettings,
    on_text: Callable[[str], None] | None = None,
) -> Request:
    """A question of the grounding kind: greedy, and held to the schema unless the settings say otherwise.

    images: each laid on the model's canvas (grounding.place).
    """
    sampling = model.grounding
    return Request(
        images=tuple(images),
        text=text,
        text_first=model.text_first,
        max_tokens=settings.max_tokens or sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        presence_penalty=sampling.presence_penalty,
        schema=schema if settings.constrained else None,
        on_text=on_text,
    )


def failed(error: Exception) -> Future[Reply]:
    """The future of a request that did not get as far as the engine."""
    future: Future[Reply] = Future()
    future.set_exception(RequestFailed(str(error)))
    return future


def patience(placed: float, timeout: float) -> float | None:
    """Seconds left until a request placed at perf_counter() seconds is given up, not below 0; None = no limit."""
    return max(0.0, placed + timeout - time.perf_counter()) if timeout else None


def reply_of(future: Future[Reply], placed: float, timeout: float, remedy: str) -> Reply:
    """Wait for the reply, at most until its time-out; a request that has none by then is cancelled.

    remedy: what helps against a time-out, for the message.

    Raises:
        BackendError: there is no reply; whatever an engine raised, a bug of its own too, comes as this.
    """
    wait([future], patience(placed, timeout))
    if not future.done():
        future.cancel()
        raise RequestFailed(f"no answer within {timeout:g} s, so the request was given up; {remedy}")
    try:
        return future.result()
    except CancelledError:
        raise RequestFailed("the request was cancelled") from None
    except BackendError:
        raise
    except Exception as error:
        raise RequestFailed(f"{type(error).__name__}: {error}") from error

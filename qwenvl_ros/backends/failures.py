"""What goes wrong between here and a server, whose fault it is, and what mends it."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from enum import Enum, auto

import openai

from qwenvl_ros.backends.engine_settings import OpenaiSettings

_LONGEST_QUOTE = 300  # characters of what a server said

_WRONG_SERVER = "its answer is not of OpenAI's API ({}); correct endpoint, which usually ends in /v1"


class Blame(Enum):
    """Whose fault a failure is, which decides who is asked next."""

    REQUEST = auto()  # the request's: no server would take it, so it is not tried again
    BUSY = auto()  # nobody's: the server lives and may take it later
    SERVER = auto()  # the server's: it is down, but may be back in a moment
    ENDPOINT = auto()  # the set-up's, or a server that hangs: only another endpoint helps


class Failure(Exception):
    """A request that failed at one endpoint.

    reason: in words, with the remedy. wait: seconds the server wants to be left alone.
    """

    def __init__(self, reason: str, blame: Blame, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.blame = blame
        self.wait = wait


_STATUSES = {
    400: (Blame.REQUEST, "lower max_tokens or max_pixels if it is too long, else see the server's log"),
    401: (Blame.ENDPOINT, "set OPENAI_API_KEY to a key of this server"),
    403: (Blame.ENDPOINT, "set OPENAI_API_KEY to a key that may use this model"),
    404: (Blame.ENDPOINT, "set openai.model to what it serves; an endpoint usually ends in /v1"),
    408: (Blame.BUSY, "lower capacity, or add an endpoint"),
    409: (Blame.BUSY, "lower capacity, or add an endpoint"),
    413: (
        Blame.REQUEST,
        "lower max_pixels, set openai.image_encoding to jpeg, or raise the server's limit of a request's size",
    ),
    422: (Blame.REQUEST, "the server does not know a field of it; see its log, or use a newer server"),
    429: (Blame.BUSY, "lower capacity or the cameras' rates, or add an endpoint"),
}
_SERVER_ERROR = (Blame.SERVER, "see the server's log")
_OTHER = (Blame.REQUEST, "correct endpoint, which usually ends in /v1")
_SCHEMA = (
    Blame.REQUEST,
    "it does not hold answers to this JSON schema: set constrained to false, or use a server that does (vLLM, SGLang)",
)


def explain(error: Exception, settings: OpenaiSettings, key: str) -> Failure:
    """The failure that an exception of the openai client means; the key never shows in it."""
    if isinstance(error, openai.APIStatusError):
        return _of_status(error.status_code, said(error, key), _retry_after(error), settings.read_timeout)
    if isinstance(error, openai.APIConnectionError):
        return _of_connection(error, settings, key)
    if isinstance(error, openai.APIError) and not isinstance(error, openai.APIResponseValidationError):
        code = str(error.code)  # told in the middle of a stream
        status = int(code) if code.isdigit() else 500
        return _of_status(status, said(error, key), 0.0, settings.read_timeout)
    return Failure(_WRONG_SERVER.format(_short(f"{type(error).__name__}: {error}", key)), Blame.SERVER)


def said(error: openai.APIError, key: str) -> str:
    """The server's own words in one line, without the key."""
    body = error.body
    words = (body.get("message") or body.get("detail") or body) if isinstance(body, dict) else body
    return _short(str(words or error.message), key)


def refuses(error: Exception, field: str, key: str) -> bool:
    """Whether a server refused a request for one of its fields."""
    return (
        isinstance(error, (openai.BadRequestError, openai.UnprocessableEntityError))
        and field in f"{error.param} {said(error, key)}"
    )


def _of_status(status: int, words: str, wait: float, patience: float) -> Failure:
    blame, remedy = _SERVER_ERROR if status >= 500 else _STATUSES.get(status, _OTHER)
    if blame is Blame.REQUEST and any(name in words for name in ("response_format", "json_schema", "schema")):
        blame, remedy = _SCHEMA
    if wait > patience:  # by then the picture is of the past
        blame, remedy = Blame.ENDPOINT, f"it wants to be left alone for {wait:g} s; {remedy}"
    return Failure(f"answered {status} ({words}); {remedy}", blame, wait)


def _of_connection(error: openai.APIConnectionError, settings: OpenaiSettings, key: str) -> Failure:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Failure(
                f"its certificate is not trusted ({cause.verify_message}); name the file of its authority in "
                "SSL_CERT_FILE, and the host as the certificate does",
                Blame.ENDPOINT,
            )
    if isinstance(error, openai.APITimeoutError):
        # httpx or httpx2, as the client's version has it: told apart by name.
        if any(type(cause).__name__ == "ConnectTimeout" for cause in causes):
            return Failure(
                f"no connection within {settings.connect_timeout:g} s; correct endpoint, or raise "
                "openai.connect_timeout",
                Blame.SERVER,
            )
        return Failure(
            f"silent for {settings.read_timeout:g} s; see the server's log, lower capacity or max_tokens, or raise "
            "openai.read_timeout",
            Blame.ENDPOINT,
        )
    words = _short(str(causes[-1]), key) or type(causes[-1]).__name__
    return Failure(
        f"the connection failed ({words}); start the server there, or correct endpoint", Blame.SERVER
    )


def _short(words: str, key: str) -> str:
    text = " ".join(words.split()).replace(key, "***")
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "..."


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it, down to the operating system's word."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _retry_after(error: openai.APIStatusError) -> float:
    """Seconds, said as such or as a date; 0 where the server does not say."""
    value = error.response.headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0

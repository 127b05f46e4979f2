"""Servers that share the load: which one is asked next, which are down, and what they call the model."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import ssl
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import openai

from qwenvl_ros.backends import BackendUnavailable
from qwenvl_ros.backends.engine_settings import OpenaiSettings
from qwenvl_ros.backends.failures import Blame, Failure, explain

IDLE_S = 2.0  # after which a connection is not used again: uvicorn (vLLM, SGLang) closes it at 5 s, maybe at a request
_NO_KEY = "EMPTY"  # the client wants one; servers without keys take any

_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Endpoint:
    """One server. model: what it calls the model; "" until it was reached. fault: why it is down; "" = it is not."""

    url: str
    client: openai.AsyncOpenAI
    model: str
    fault: str = ""
    in_flight: int = 0
    turn: int = 0  # when it was chosen last
    logprobs: bool = True  # False when it refuses to give them


class Endpoints:
    """The servers of one backend; to be used in one event loop.

    addresses: as in EngineSettings.endpoint. names: what the model may be called, the likeliest first; matters where
    settings.model is empty.

    Raises:
        BackendUnavailable: an address or the key cannot be right.
    """

    def __init__(self, addresses: str, names: Sequence[str], settings: OpenaiSettings) -> None:
        self.key = os.environ.get("OPENAI_API_KEY", "").strip() or _NO_KEY
        if not (self.key.isascii() and self.key.isprintable()):
            raise BackendUnavailable("OPENAI_API_KEY holds characters that no key has; set it again")
        self._names = names
        self._settings = settings
        trust = ssl.create_default_context()  # the system's authorities, or those of SSL_CERT_FILE
        limits = copy.copy(openai.DEFAULT_CONNECTION_LIMITS)
        limits.keepalive_expiry = IDLE_S
        self._all = [
            Endpoint(
                url,
                openai.AsyncOpenAI(
                    base_url=url,
                    api_key=self.key,
                    max_retries=0,
                    timeout=openai.Timeout(
                        settings.read_timeout, connect=settings.connect_timeout, pool=None
                    ),
                    http_client=openai.DefaultAsyncHttpxClient(verify=trust, limits=limits),
                ),
                settings.model,
            )
            for url in split(addresses)
        ]
        self._turns = 0
        self._watches: dict[Endpoint, asyncio.Task[None]] = {}

    @property
    def place(self) -> str:
        """The first address and how many more there are."""
        more = len(self._all) - 1
        return self._all[0].url + (f" (+{more})" if more else "")

    async def reach(self) -> None:
        """Look at every endpoint; those that are down are watched.

        Raises:
            BackendUnavailable: none answers and serves the model; the message says why, for each.
        """
        await asyncio.gather(*(self._look_at(endpoint) for endpoint in self._all))
        down = [endpoint for endpoint in self._all if endpoint.fault]
        if len(down) == len(self._all):
            raise BackendUnavailable(self.report({}))
        for endpoint in down:
            self._watch(endpoint, endpoint.fault)

    def best(self, failed: Mapping[Endpoint, Failure]) -> Endpoint | None:
        """Whom to ask next, after these failures; None where it makes no sense to ask anyone.

        Those that are up come first, then those not asked yet, those with the fewest requests in flight, and those
        not asked for the longest time.
        """
        left = [
            endpoint
            for endpoint in self._all
            if endpoint not in failed or failed[endpoint].blame in (Blame.BUSY, Blame.SERVER)
        ]
        return min(
            left,
            key=lambda one: (bool(one.fault), one in failed, one.in_flight, one.turn),
            default=None,
        )

    @contextmanager
    def at_work(self, endpoint: Endpoint) -> Iterator[str]:
        """Counts a request; yields what to call the model."""
        self._turns += 1
        endpoint.turn = self._turns
        endpoint.in_flight += 1
        try:
            known = next((one.model for one in self._all if one.model), self._names[0])
            yield endpoint.model or known
        finally:
            endpoint.in_flight -= 1

    def note(self, endpoint: Endpoint, failure: Failure) -> None:
        """After a failure that was the endpoint's fault it is down, and looked at until it is back."""
        if failure.blame in (Blame.SERVER, Blame.ENDPOINT):
            self._watch(endpoint, failure.reason)

    def report(self, failed: Mapping[Endpoint, Failure]) -> str:
        """What is wrong with each endpoint, with the remedies."""
        reasons = {
            endpoint.url: failed[endpoint].reason if endpoint in failed else endpoint.fault
            for endpoint in self._all
        }
        return "; ".join(f"{url}: {reason or 'not asked'}" for url, reason in reasons.items())

    async def served(self, endpoint: Endpoint) -> list[str] | None:
        """The names of what it serves; None where it has no such list, as some clouds.

        Raises:
            Failure: it does not say.
        """
        patience = self._settings.connect_timeout  # a short list: a server that lives gives it at once
        try:
            page = await endpoint.client.models.list(timeout=patience)
            return [str(model.id) for model in page.data]
        except openai.APITimeoutError:
            raise Failure(
                f"silent for {patience:g} s when asked for its models; see its log, or raise openai.connect_timeout",
                Blame.SERVER,
            ) from None
        except openai.APIStatusError as error:
            if error.status_code in (404, 405):
                return None
            raise explain(error, self._settings, self.key) from None
        except Exception as error:  # what is no list of models breaks whoever reads it
            raise explain(error, self._settings, self.key) from None

    async def close(self) -> None:
        for watch in self._watches.values():
            watch.cancel()
        await asyncio.gather(*self._watches.values(), return_exceptions=True)
        await asyncio.gather(*(endpoint.client.close() for endpoint in self._all))

    async def _look_at(self, endpoint: Endpoint) -> None:
        """Find out whether it is up and serves the model."""
        wanted = self._settings.model
        try:
            served = await self.served(endpoint)
        except Failure as failure:
            endpoint.fault = failure.reason
            return
        if wanted:
            endpoint.fault = ""
            if served is not None and wanted not in served:
                _log.warning(
                    "%s does not list the model %s, it lists %s", endpoint.url, wanted, listed(served)
                )
            return
        if served is None:
            endpoint.fault = (
                "has no list of models; set openai.model, or correct endpoint, which usually ends in /v1"
            )
            return
        endpoint.model = match(served, self._names)
        endpoint.fault = (
            ""
            if endpoint.model
            else (
                f"serves {listed(served)}, none of them {' or '.join(dict.fromkeys(self._names))}; set openai.model"
            )
        )

    def _watch(self, endpoint: Endpoint, fault: str) -> None:
        endpoint.fault = fault
        if endpoint not in self._watches:
            _log.warning("%s is down: %s", endpoint.url, fault)
            self._watches[endpoint] = asyncio.create_task(self._until_back(endpoint))

    async def _until_back(self, endpoint: Endpoint) -> None:
        while endpoint.fault:
            await asyncio.sleep(self._settings.health_interval)
            await self._look_at(endpoint)
        del self._watches[endpoint]
        _log.info("%s is back", endpoint.url)


def split(addresses: str) -> list[str]:
    """The addresses of a list parted by commas, each once.

    Raises:
        BackendUnavailable: there is none, or one that cannot be right.
    """
    urls = list(dict.fromkeys(part.strip().rstrip("/") for part in addresses.split(",") if part.strip()))
    if not urls:
        raise BackendUnavailable("endpoint is empty; set it to the server's address, as http://host:8000/v1")
    for url in urls:
        try:
            parts = urlsplit(url)
            right = (
                parts.scheme in ("http", "https")
                and bool(parts.hostname)
                and parts.port != 0
                and not parts.query
            )
        except ValueError:
            right = False
        if not right:
            raise BackendUnavailable(f"endpoint {url!r} is no address; give one like http://host:8000/v1")
        if parts.username or parts.password:
            raise BackendUnavailable(
                f"the endpoint at {parts.hostname} holds a password, which would show in logs; "
                "set OPENAI_API_KEY instead"
            )
    return urls


def match(served: Sequence[str], names: Sequence[str]) -> str:
    """Which of the served models is the one of these names: the same, or the same after the last slash; "" = none."""
    for name in names:
        if name in served:
            return name
    tails = {_tail(name) for name in names}
    return next((model for model in served if _tail(model) in tails), "")


def listed(names: Collection[str]) -> str:
    return ", ".join(names) or "nothing"


def _tail(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]

"""Qwen3-VL behind any server that speaks OpenAI's API: vLLM, SGLang, a cloud; one or several of them."""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace

import openai
import tenacity

from qwenvl_ros import zoo
from qwenvl_ros.backends import (
    BackendError,
    BackendUnavailable,
    EngineSettings,
    Reply,
    Request,
    RequestFailed,
)
from qwenvl_ros.backends.chat import answer, data_url, fault, parameters
from qwenvl_ros.backends.endpoints import Endpoint, Endpoints, listed
from qwenvl_ros.backends.failures import Blame, Failure, explain, refuses
from qwenvl_ros.backends.prompts import pictures
from qwenvl_ros.backends.replies import PendingReply

_PAUSE = tenacity.wait_exponential(multiplier=0.25, max=4.0) + tenacity.wait_random(0.0, 0.25)

_log = logging.getLogger(__name__)


class OpenaiBackend:
    """A Backend whose requests go out from one thread with an event loop of its own.

    At most `capacity` are on their way; one that waits to be tried again keeps its place. inference_seconds counts
    everything from then on: encoding, the network, other tries. An answer that is not watched (no on_text) comes in
    one piece, so that settings.openai.read_timeout bounds the whole of it. A try that fails in the middle of a watched
    answer starts the text anew. on_text and the callbacks of futures run in the loop's thread: they hold up
    everything while they run.

    Raises:
        BackendUnavailable: no endpoint answers and serves the model; the message says why, for each.
    """

    def __init__(self, model: zoo.Model, settings: EngineSettings) -> None:
        self._model = model
        self._settings = settings
        self._lock = threading.Lock()  # of the two below: who has submitted before close() is told
        self._closed = False
        self._pending: set[PendingReply] = set()
        ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=[ready], name="openai", daemon=True)
        self._thread.start()
        ready.result()
        atexit.register(self.close)

    @property
    def model(self) -> str:
        return self._model.name

    @property
    def device(self) -> str:
        """The first endpoint and how many more there are."""
        return self._where

    @property
    def capacity(self) -> int:
        return self._settings.capacity

    def submit(self, request: Request) -> Future[Reply]:
        """Queue a request; one that no server can take fails at once with RequestFailed."""
        future = PendingReply()
        if reason := fault(request):
            future.settle(RequestFailed(reason))
            return future
        with self._lock:
            if self._closed:
                future.settle(BackendError("the engine is closed; create a new one"))
                return future
            self._pending.add(future)
            self._loop.call_soon_threadsafe(self._begin, request, future, time.perf_counter())
        future.add_done_callback(self._forget)
        return future

    def close(self) -> None:
        """Hang up; everything unanswered fails with BackendError."""
        with self._lock:
            first, self._closed = not self._closed, True
            left = list(self._pending)
        for future in left:
            future.settle(BackendError("the engine was closed before it answered"))
        if first:
            atexit.unregister(self.close)
            self._loop.call_soon_threadsafe(self._closing.set)
        if (
            threading.current_thread() is not self._thread
        ):  # it is in on_text and callbacks; it ends all the same
            self._thread.join()

    def _run(self, ready: Future[None]) -> None:
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:
            if ready.done():
                raise
            if isinstance(error, Exception) and not isinstance(error, BackendError):
                error = BackendUnavailable(
                    f"the HTTP client cannot be made ({error}); see its proxy variables"
                )
            ready.set_exception(error)

    async def _serve(self, ready: Future[None]) -> None:
        settings = self._settings
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        self._places = asyncio.Semaphore(settings.capacity)
        self._tasks: dict[Future[Reply], asyncio.Task[None]] = {}
        names = (self._model.checkpoint, self._model.name)
        self._endpoints = Endpoints(settings.endpoint, names, settings.openai)
        try:
            await self._endpoints.reach()
            self._where = self._endpoints.place
            _log.info("%s at %s", self._model.name, self._where)
            ready.set_result(None)
            await self._closing.wait()
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        finally:
            await self._endpoints.close()

    def _begin(self, request: Request, future: PendingReply, submitted: float) -> None:
        if not future.done():
            self._tasks[future] = task = asyncio.create_task(self._answer(request, future, submitted))
            task.add_done_callback(lambda _: self._tasks.pop(future))

    def _forget(self, future: Future[Reply]) -> None:
        """A future is settled; if its task still works, it was cancelled or the engine is being closed."""
        with self._lock:
            self._pending.discard(future)
            if not self._closed:
                self._loop.call_soon_threadsafe(self._hang_up, future)

    def _hang_up(self, future: Future[Reply]) -> None:
        if task := self._tasks.get(future):
            task.cancel()

    async def _answer(self, request: Request, future: PendingReply, submitted: float) -> None:
        outcome: Reply | BackendError
        try:
            async with self._places:
                started = time.perf_counter()
                reply = await self._ask(request)
                outcome = replace(
                    reply,
                    queue_seconds=started - submitted,
                    inference_seconds=time.perf_counter() - started,
                )
        except BackendError as error:
            outcome = error
        except Exception as error:  # whatever a request or a server broke, the engine lives on
            outcome = RequestFailed(f"{type(error).__name__}: {error}")
        future.settle(outcome)

    async def _ask(self, request: Request) -> Reply:
        """Ask one endpoint after the other until one answers or nothing is left to try.

        Raises:
            RequestFailed: with what every endpoint said.
        """
        settings = self._settings.openai
        # Encoding takes as long as other requests' tokens: not in the loop.
        urls = [await asyncio.to_thread(data_url, image, settings) for image in pictures(request)]
        failed: dict[Endpoint, Failure] = {}

        def worth_another(error: BaseException) -> bool:
            return (
                isinstance(error, Failure)
                and error.blame is not Blame.REQUEST
                and self._endpoints.best(failed) is not None
            )

        def pause(state: tenacity.RetryCallState) -> float:
            other = self._endpoints.best(failed)
            if other is None or (other not in failed and not other.fault):
                return 0.0
            wait = failed[other].wait if other in failed else 0.0
            return max(wait, _PAUSE(state))

        tries = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(settings.attempts),
            retry=tenacity.retry_if_exception(worth_another),
            wait=pause,
            reraise=True,
        )
        try:
            return await tries(self._try, request, urls, failed)
        except Failure as failure:
            if failure.blame is Blame.REQUEST:
                guilty = next(endpoint for endpoint, why in failed.items() if why is failure)
                raise RequestFailed(f"{guilty.url}: {failure.reason}") from None
            raise RequestFailed(self._endpoints.report(failed)) from None

    async def _try(self, request: Request, urls: Sequence[str], failed: dict[Endpoint, Failure]) -> Reply:
        endpoint = self._endpoints.best(failed)
        assert endpoint is not None  # or it would not be tried
        try:
            with self._endpoints.at_work(endpoint) as name:
                return await self._converse(endpoint, name, request, urls)
        except Failure as failure:
            failed[endpoint] = failure
            self._endpoints.note(endpoint, failure)
            raise

    async def _converse(self, endpoint: Endpoint, name: str, request: Request, urls: Sequence[str]) -> Reply:
        key, settings = self._endpoints.key, self._settings.openai
        try:
            try:
                return await answer(
                    endpoint.client, request, parameters(request, urls, name, endpoint.logprobs)
                )
            except openai.APIStatusError as error:
                if not (endpoint.logprobs and refuses(error, "logprobs", key)):
                    raise
            # Boxes without scores are worth more than nothing.
            endpoint.logprobs = False
            _log.warning("%s gives no token probabilities: scores will be NaN", endpoint.url)
            return await answer(endpoint.client, request, parameters(request, urls, name, False))
        except (Failure, BackendError):
            raise
        except openai.NotFoundError as error:
            raise await self._unknown(endpoint, name, explain(error, settings, key)) from None
        except Exception as error:
            raise explain(error, settings, key) from None

    async def _unknown(self, endpoint: Endpoint, name: str, failure: Failure) -> Failure:
        """A 404, with the names of what the server does serve, where it says."""
        try:
            served = await self._endpoints.served(endpoint)
        except Failure:
            return failure
        if served is None or name in served:
            return failure
        return Failure(
            f"does not know the model {name}, it serves {listed(served)}; set openai.model", failure.blame
        )

"""Qwen3-VL in vLLM, in processes of its own under this one: every request joins the running batch at once."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import inspect
import itertools
import logging
import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

import numpy as np
from PIL import Image

from qwenvl_ros import zoo
from qwenvl_ros.backends import BackendError, EngineSettings, Reply, Request, RequestFailed
from qwenvl_ros.backends.decoding import Row
from qwenvl_ros.backends.prompts import Prompts, film, pictures
from qwenvl_ros.backends.vllm_start import (
    Failures,
    Started,
    kill_engines,
    one_line,
    shield_from_ctrl_c,
    start,
)

_log = logging.getLogger(__name__)

_GRACE = (
    10.0  # seconds; what is killed after that leaves shared memory behind for as long as this process lives
)
_CLOSED = "the engine is closed; create a new one"


class VllmBackend:
    """A Backend with one thread, which runs the event loop of vLLM's asynchronous engine.

    At most `capacity` requests are in the engine; others wait here. on_text and the callbacks of futures run in that
    thread: they hold up all answers while they run. Where a request has a schema, the probabilities of its tokens are
    those among the tokens that the schema allows there.

    Raises:
        BackendUnavailable: the device, vLLM or the checkpoint cannot be had; the message carries the remedy.
    """

    _engine: Any
    _failures: Failures
    _where: str

    def __init__(self, model: zoo.Model, settings: EngineSettings) -> None:
        self._name = model.name
        self._capacity = settings.capacity
        self._most_images = settings.vllm.images_per_prompt
        self._most_clips = settings.vllm.clips_per_prompt
        self._most_pixels = model.pixels.max_pixels
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(settings.capacity)
        self._closing = asyncio.Event()
        self._lock = threading.Lock()
        self._gone = ""  # why nothing more is taken
        self._loop = asyncio.new_event_loop()
        failure: SimpleQueue[BaseException | None] = SimpleQueue()
        self._thread = threading.Thread(
            target=self._work, args=(model, settings, failure), name="vllm", daemon=True
        )
        self._others = multiprocessing.active_children()
        self._ready = False
        atexit.register(self.close)  # before multiprocessing's own, which waits for the engine's processes
        self._thread.start()
        try:
            error = failure.get()
        except BaseException:  # Ctrl-C
            self.close()
            raise
        if error is not None:
            self.close()
            raise error
        _log.info("%s on %s", self._name, self._where)

    @property
    def model(self) -> str:
        return self._name

    @property
    def device(self) -> str:
        return self._where

    @property
    def capacity(self) -> int:
        return self._capacity

    def submit(self, request: Request) -> Future[Reply]:
        """Queue a request; a request the model cannot take fails at once with RequestFailed."""
        row = Row(request, self._decode, self._prompts.opened)
        if fault := self._prompts.fault(request) or self._excess(request):
            row.fail(RequestFailed(fault))
            return row.future
        with self._lock:
            if self._gone:
                row.fail(BackendError(self._gone))
            else:
                self._loop.call_soon_threadsafe(self._begin, row)
        return row.future

    def close(self) -> None:
        """Stop, end the engine's processes; everything unanswered fails with BackendError."""
        with self._lock:
            if self._gone != _CLOSED:
                self._gone = _CLOSED
                self._tell(self._closing.set)
        if threading.current_thread() is not self._thread:  # called from on_text it ends all the same
            while self._thread.is_alive():
                if not self._ready:  # nothing else ends the loading of a model
                    kill_engines(self._others)
                self._thread.join(0.2)
        atexit.unregister(self.close)

    def _work(
        self, model: zoo.Model, settings: EngineSettings, failure: SimpleQueue[BaseException | None]
    ) -> None:
        shield_from_ctrl_c()
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve(model, settings, failure))
        finally:
            self._loop.close()

    async def _serve(
        self, model: zoo.Model, settings: EngineSettings, failure: SimpleQueue[BaseException | None]
    ) -> None:
        try:
            self._take(start(model, settings))
        except BaseException as error:
            failure.put(error)
            return
        self._ready = True
        failure.put(None)
        await self._closing.wait()
        await _cancel(self._tasks)
        shutdown = self._engine.shutdown
        patient = "timeout" in inspect.signature(shutdown).parameters  # older ones wait 5 s
        shutdown(**({"timeout": _GRACE} if patient else {}))
        await _cancel(asyncio.all_tasks() - {asyncio.current_task()})  # vLLM's own
        self._failures.close()
        # A module that vLLM imports keeps the frame of this call, and an engine that lived on in it would complain at
        # the interpreter's end.
        del shutdown
        self._engine = None
        gc.collect()

    def _take(self, started: Started) -> None:
        self._engine = started.engine
        self._failures = started.failures
        self._where = started.where
        self._context = started.context
        self._tokenizer = started.processor.tokenizer
        self._prompts = Prompts(started.processor)
        self._failures.forget()

    def _begin(self, row: Row) -> None:
        task = self._loop.create_task(self._answer(row))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        row.future.add_done_callback(lambda future: self._tell(task.cancel) if future.cancelled() else None)

    def _tell(self, what: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop may have ended since
            self._loop.call_soon_threadsafe(what)

    async def _answer(self, row: Row) -> None:
        try:
            async with self._places:
                row.begin()
                await self._generate(row)
        except asyncio.CancelledError:
            row.fail(BackendError("the engine was closed before it answered"))
            raise
        except Exception as error:  # whatever a request broke, the engine lives on, unless it says otherwise
            if self._engine.errored:
                row.fail(BackendError(self._died()))
            else:
                self._failures.forget()
                row.fail(RequestFailed(one_line(error.__cause__ or error)))

    async def _generate(self, row: Row) -> None:
        request = row.request
        prompt: dict[str, Any] = {"prompt_token_ids": self._tokenize(request)}
        shown: dict[str, list[Any]] = {}
        if request.images:
            shown["image"] = [Image.fromarray(np.ascontiguousarray(image)) for image in request.images]
        if request.clips:
            shown["video"] = [(each.frames, film(each)) for each in request.clips]
        if shown:
            prompt["multi_modal_data"] = shown
        outputs = self._engine.generate(prompt, _sampling(request), str(next(self._numbers)))
        async with contextlib.aclosing(outputs):  # left early, the request is aborted in the engine
            async for output in outputs:
                _extend(row, output.outputs[0])
                if row.ended:
                    return
        row.fail(RequestFailed("vLLM stopped without ending the answer; ask again"))

    def _tokenize(self, request: Request) -> list[int]:
        """The prompt's tokens, with one for each image or clip, which vLLM repeats as their sizes demand."""
        tokens: list[int] = self._tokenizer(self._prompts.text(request)).input_ids
        length = len(tokens) + self._prompts.repeated(request)
        if length + request.max_tokens > self._context:
            raise ValueError(
                f"a prompt of {length} tokens and max_tokens = {request.max_tokens} exceed the context of "
                f"{self._context}; ask for less, lower max_tokens or max_pixels, or raise max_model_len"
            )
        return tokens

    def _excess(self, request: Request) -> str:
        """What of a request is more than memory was set aside for; "" when nothing is."""
        if len(request.images) > self._most_images:
            return f"{len(request.images)} images, but images_per_prompt = {self._most_images}; raise it, or send fewer"
        if len(request.clips) > self._most_clips:
            most = f"vllm.clips_per_prompt = {self._most_clips}"
            return f"{len(request.clips)} clips, but {most}; raise it, or ask about the newest image"
        for image in pictures(request):
            height, width = image.shape[:2]
            if height * width > self._most_pixels:
                return (
                    f"an image is {width} x {height}, but the model takes {self._most_pixels} pixels at most; "
                    "lay it out with qwenvl_ros.grounding.place first"
                )
        return ""

    def _died(self) -> str:
        with self._lock:
            if not self._gone:
                cause = self._failures.cause() or "it was killed, perhaps for want of memory"
                self._gone = (
                    f"vLLM's engine process ended: {cause}; create a new engine (deactivate, clean up and configure "
                    "the node); if it happens again, lower capacity, max_model_len or gpu_memory_utilization"
                )
                _log.error("%s", self._gone)
            return self._gone

    def _decode(self, tokens: list[int]) -> str:
        return str(
            self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )


def _sampling(request: Request) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    held = None if request.schema is None else StructuredOutputsParams(json=dict(request.schema))
    return SamplingParams(
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        presence_penalty=request.presence_penalty,
        max_tokens=request.max_tokens,
        logprobs=0,  # of the chosen token alone
        detokenize=False,
        structured_outputs=held,
        output_kind=RequestOutputKind.DELTA,
    )


def _extend(row: Row, added: Any) -> None:
    """Give the row the tokens that came; the last one of an answer that ended by itself is a stop token."""
    ended = added.finish_reason == "stop"
    for left, token in zip(range(len(added.token_ids) - 1, -1, -1), added.token_ids, strict=True):
        logprob = added.logprobs[-1 - left][token].logprob
        row.choose(token, logprob, (token,) if ended and not left else ())


async def _cancel(tasks: Any) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

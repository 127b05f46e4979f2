"""Qwen3-VL in this process through Hugging Face transformers; whatever waits is answered together, in one batch."""

from __future__ import annotations

import atexit
import gc
import logging
import threading
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from qwenvl_ros import zoo
from qwenvl_ros.backends import BackendError, EngineSettings, Reply, Request, RequestFailed
from qwenvl_ros.backends.constraint import Grammars
from qwenvl_ros.backends.decoding import PresencePenalty, Row, Watch
from qwenvl_ros.backends.loading import load
from qwenvl_ros.backends.prompts import Prompts, film

_log = logging.getLogger(__name__)


class TransformersBackend:
    """A Backend with one worker thread.

    A batch is the oldest waiting request and the others with the same sampling, up to `capacity`; prompts are padded
    on the left, and each row has its own images, order, max_tokens and end. A row's reply comes as soon as it ends;
    the next batch starts when the last row has ended. When memory runs out the batch is halved, and stays so.
    on_text and the callbacks of futures run in the worker's thread: they hold up the batch while they run.

    Answers are held to a request's schema by xgrammar; a thinking checkpoint thinks first.

    Raises:
        BackendUnavailable: the device or the checkpoint cannot be had; the message carries the remedy.
    """

    def __init__(self, model: zoo.Model, settings: EngineSettings) -> None:
        if settings.threads:
            torch.set_num_threads(settings.threads)  # of the whole process: PyTorch knows no other
        loaded = load(model, settings.device)
        self._name = model.name
        self._where = loaded.where
        self._device = loaded.device
        self._network = loaded.network
        self._processor = loaded.processor
        self._tokenizer = loaded.processor.tokenizer
        self._capacity = settings.capacity
        self._prompts = Prompts(loaded.processor)
        self._context = int(self._network.config.get_text_config().max_position_embeddings)
        self._stop, self._pad = _ends(self._network.generation_config, self._tokenizer)
        vocabulary = int(self._network.config.get_text_config().vocab_size)
        self._grammars = Grammars(self._tokenizer, vocabulary, self._stop)
        self._thinking_ends = (
            self._tokenizer.convert_tokens_to_ids("</think>") if model.variant == "thinking" else None
        )
        # A checkpoint brings its own sampling; here a request says it all.
        self._network.generation_config = GenerationConfig(
            eos_token_id=list(self._stop), pad_token_id=self._pad
        )
        self._waiting: list[Row] = []
        self._gathering = 0  # callers that are within `together`
        self._wake = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="transformers", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # an interpreter that ends under a running model crashes
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
        if fault := self._prompts.fault(request):
            row.fail(RequestFailed(fault))
            return row.future
        with self._wake:
            if self._closing.is_set():
                row.fail(BackendError("the engine is closed; create a new one"))
            else:
                self._waiting.append(row)
                self._wake.notify()
        return row.future

    @contextmanager
    def together(self) -> Iterator[None]:
        """No batch starts within, so that what is submitted here is answered in one, up to `capacity`."""
        with self._wake:
            self._gathering += 1
        try:
            yield
        finally:
            with self._wake:
                self._gathering -= 1
                self._wake.notify()

    def close(self) -> None:
        """Stop after the token in hand, free the model; everything unanswered fails with BackendError."""
        with self._wake:
            self._closing.set()
            self._wake.notify()
        atexit.unregister(self.close)
        if (
            threading.current_thread() is not self._thread
        ):  # it is in on_text and callbacks; it ends all the same
            self._thread.join()

    def encode(self, requests: Sequence[Request]) -> Any:
        """What the network is given for these requests together, as tensors on the CPU.

        input_ids and attention_mask: (requests, tokens), padded on the left; pixel_values and image_grid_thw: of all
        images in order, pixel_values_videos and video_grid_thw: of all clips. None is resized, no frame left out.
        """
        images = [np.require(image, np.uint8, ["C", "W"]) for request in requests for image in request.images]
        clips = [clip for request in requests for clip in request.clips]
        whole = {"do_resize": False, "do_sample_frames": False, "input_data_format": "channels_last"}
        return self._processor(
            text=[self._prompts.text(request) for request in requests],
            images=images or None,
            videos=[np.require(clip.frames, np.uint8, ["C", "W"]) for clip in clips] or None,
            return_tensors="pt",
            text_kwargs={"padding": True, "padding_side": "left"},
            images_kwargs={"do_resize": False},
            videos_kwargs={**whole, "video_metadata": [film(clip) for clip in clips]} if clips else {},
        )

    def _work(self) -> None:
        while rows := self._next():
            self._answer(rows)
        with self._wake:
            left, self._waiting = self._waiting, []
        for row in left:
            row.fail(BackendError("the engine was closed before it answered"))
        self._network = self._processor = None
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _next(self) -> list[Row]:
        """The next batch; empty when the engine closes."""
        with self._wake:
            while True:
                if self._closing.is_set():
                    return []
                self._waiting = [row for row in self._waiting if not row.future.cancelled()]
                if self._waiting and not self._gathering:
                    break
                self._wake.wait()
            kind = _sampling(self._waiting[0].request)
            rows = [row for row in self._waiting if _sampling(row.request) == kind][: self._capacity]
            self._waiting = [row for row in self._waiting if row not in rows]
            return rows

    def _answer(self, rows: Sequence[Row]) -> None:
        """Answer these rows; after a failure answer them in halves, so that only the guilty one fails."""
        out_of_memory, failure = self._generate(rows)
        rows = [row for row in rows if not row.ended]
        if self._closing.is_set():
            for row in rows:
                row.fail(BackendError("the engine was closed before it answered"))
            return
        if out_of_memory:
            torch.cuda.empty_cache()
        if not rows:
            return
        if len(rows) == 1:
            remedy = (
                "; lower max_pixels or max_tokens, or choose a smaller model or fp8" if out_of_memory else ""
            )
            rows[0].fail(RequestFailed(f"{failure}{remedy}"))
            return
        half = len(rows) // 2
        if out_of_memory:
            self._capacity = max(half, 1)
            _log.warning("out of memory with %d requests at once; from now on %d", len(rows), self._capacity)
        self._answer(rows[:half])
        self._answer(rows[half:])

    def _generate(self, rows: Sequence[Row]) -> tuple[bool, str]:
        """Whether memory ran out, and what went wrong; only words leave here, so that no traceback holds tensors."""
        for row in rows:
            row.begin()
        requests = [row.request for row in rows]
        try:
            inputs = self.encode(requests)
            self._check_context(requests, inputs["attention_mask"].sum(1).tolist())
            inputs = inputs.to(self._device)
            watch = Watch(rows, self._stop, self._closing)
            first, length = requests[0], inputs["input_ids"].shape[1]
            processors: list[Any] = [watch.logits]
            if first.presence_penalty:
                processors.append(PresencePenalty(first.presence_penalty, length))
            if any(request.schema for request in requests):
                processors.append(self._grammars.constraint(rows, self._thinking_ends))
            drawn: dict[str, Any] = {"do_sample": False}
            if first.temperature > 0:
                drawn = {
                    "do_sample": True,
                    "temperature": first.temperature,
                    "top_p": first.top_p,
                    "top_k": first.top_k,
                }
            with torch.inference_mode():
                self._network.generate(
                    **inputs,
                    generation_config=GenerationConfig(
                        max_new_tokens=max(request.max_tokens for request in requests),
                        eos_token_id=list(self._stop),
                        pad_token_id=self._pad,
                        **drawn,
                    ),
                    logits_processor=LogitsProcessorList(processors),
                    stopping_criteria=StoppingCriteriaList([watch]),
                )
        except torch.OutOfMemoryError as error:
            return True, str(error)
        except Exception as error:  # whatever the model or a request of this batch broke, the engine lives on
            return False, f"{type(error).__name__}: {error}"
        return False, "the model stopped without ending the answer"

    def _check_context(self, requests: Sequence[Request], lengths: Sequence[int]) -> None:
        for request, length in zip(requests, lengths, strict=True):
            if length + request.max_tokens > self._context:
                raise ValueError(
                    f"a prompt of {length} tokens and max_tokens = {request.max_tokens} exceed the model's context of "
                    f"{self._context}; ask for less, or lower max_tokens or max_pixels"
                )

    def _decode(self, tokens: list[int]) -> str:
        return str(
            self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )


def _sampling(request: Request) -> Hashable:
    """Requests that agree in this can share a batch."""
    return (request.temperature, request.top_p, request.top_k, request.presence_penalty)


def _ends(config: Any, tokenizer: Any) -> tuple[frozenset[int], int]:
    """(stop tokens, padding token) of a checkpoint."""
    stop = config.eos_token_id if config.eos_token_id is not None else tokenizer.eos_token_id
    stops = frozenset([stop] if isinstance(stop, int) else stop)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(stops)
    return stops, pad

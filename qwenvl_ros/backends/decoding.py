"""One batch while it is generated: which token each row chose, how probable it was, and which rows are done.

generate() of transformers calls a logits processor before each choice and a stopping criterion after it; between
the two only one step's logits are alive.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from threading import Event
from typing import Any, Literal

import torch

from qwenvl_ros.backends import BackendError, Reply, Request, RequestFailed, Token
from qwenvl_ros.backends.replies import PendingReply

_MOST_PIECES = 4  # bytes of a character in UTF-8, so the most tokens it can be spread over


class Row:
    """A request, its answer so far, and its future. decode turns token ids into text, without special tokens.

    opened: see Prompts.opened; the answer is told with it.
    """

    def __init__(self, request: Request, decode: Callable[[list[int]], str], opened: str = "") -> None:
        self.request = request
        self.future = PendingReply()
        self.ended = False
        self._decode = decode
        self._opened = (Token(opened, 0.0),) if opened else ()  # it was not the model's choice
        self._submitted = self._started = time.perf_counter()
        self._tokens: list[Token] = []
        self._pieces: list[int] = []  # tokens of a character that is not complete yet

    def begin(self) -> None:
        """The answer starts, or starts anew."""
        self._started = time.perf_counter()
        self._tokens, self._pieces = [], []

    def choose(self, token: int, logprob: float, stop: Collection[int]) -> None:
        """The next token and its natural-log probability; the row ends at a stop token or at max_tokens."""
        self.ended = self.ended or self.future.cancelled()
        if self.ended:
            return
        if token in stop:
            self._end("stop")
            return
        try:
            self._append(token, logprob)
        except Exception as error:  # on_text is the caller's code; its fault must not cost the other rows
            self.fail(RequestFailed(f"on_text raised {type(error).__name__}: {error}"))
            return
        if len(self._tokens) >= self.request.max_tokens:
            self._end("length")

    def fail(self, error: BackendError) -> None:
        self.ended = True
        self.future.settle(error)

    def _append(self, token: int, logprob: float) -> None:
        self._pieces.append(token)
        text = self._decode(self._pieces)
        if text.endswith("\ufffd") and len(self._pieces) < _MOST_PIECES:
            text = ""  # the character's last token will bring it
        else:
            self._pieces = []
        self._tokens.append(Token(text, logprob))
        if text and self.request.on_text is not None:
            self.request.on_text(self._text())

    def _end(self, finish: Literal["stop", "length"]) -> None:
        if self._pieces:
            self._tokens[-1] = Token(self._decode(self._pieces), self._tokens[-1].logprob)
        self.ended = True
        self.future.settle(
            Reply(
                text=self._text(),
                tokens=(*self._opened, *self._tokens),
                finish=finish,
                queue_seconds=self._started - self._submitted,
                inference_seconds=time.perf_counter() - self._started,
            )
        )

    def _text(self) -> str:
        return "".join(token.text for token in (*self._opened, *self._tokens))


class Logits:
    """Logits processor that keeps the model's own logits, (rows, vocabulary) float32, until the choice is made."""

    def __init__(self) -> None:
        self.last = torch.empty(0)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.last = scores
        return scores


class Watch:
    """Stopping criterion that follows rows through generate(); its `logits` must be the first logits processor.

    Replies are given out as their rows end. A row that ended, was cancelled, or whose engine is `closing` no longer
    holds up the batch.
    """

    def __init__(self, rows: Sequence[Row], stop: Collection[int], closing: Event) -> None:
        self._rows = rows
        self._stop = stop
        self._closing = closing
        self.logits = Logits()

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """(rows,) bool: which rows are done after the choice in input_ids[:, -1]."""
        chosen = input_ids[:, -1:]
        logits = self.logits.last
        logprobs = logits.gather(1, chosen) - logits.logsumexp(1, keepdim=True)
        for row, token, logprob in zip(
            self._rows, chosen[:, 0].tolist(), logprobs[:, 0].tolist(), strict=True
        ):
            row.choose(token, logprob, self._stop)
        closing = self._closing.is_set()
        return torch.tensor([closing or row.ended for row in self._rows], device=input_ids.device)


class PresencePenalty:
    """Logits processor: takes `penalty` off every token already in the answer, as OpenAI and vLLM define it."""

    def __init__(self, penalty: float, prompt_length: int) -> None:
        self._penalty = penalty
        self._prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        present = torch.zeros_like(scores, dtype=torch.bool)
        present.scatter_(1, input_ids[:, self._prompt_length :], True)
        return scores - self._penalty * present

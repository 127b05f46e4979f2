"""The engine's answers kept in a file while they come, so that an interrupted replay goes on without asking again."""

from __future__ import annotations

import fcntl
import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from qwenvl_ros import backends
from qwenvl_ros.backends import Backend, Reply, Request, Token
from qwenvl_ros.backends.replies import PendingReply
from qwenvl_ros.bags import BagError

# What makes a reply another one, beside the image and the words.
_ASKED = ("text", "text_first", "max_tokens", "temperature", "top_p", "top_k", "presence_penalty", "schema")


class Answers:
    """A file with the replies to groups of requests, one a line; those that are complete count.

    A group is what was asked together: only so an answer is the same to the last bit (see backends.together). Its key
    is what was asked, of which model, and how many groups came before it.

    Raises:
        BagError: another process writes it.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise BagError(
                f"another replay is writing {path.parent}; wait for it or choose another name"
            ) from error
        self._known: dict[str, list[Reply]] = {}
        self._read()

    def __len__(self) -> int:
        """How many replies it holds."""
        return sum(len(replies) for replies in self._known.values())

    def find(self, key: str) -> list[Reply] | None:
        return self._known.get(key)

    def add(self, key: str, replies: Sequence[Reply]) -> None:
        self._known[key] = list(replies)
        line = json.dumps({"key": key, "replies": [_to_json(reply) for reply in replies]})
        self._file.write(line.encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _read(self) -> None:
        """Take what is there; a line that the interruption tore ends it."""
        self._file.seek(0)
        whole = 0
        for line in self._file:
            try:
                entry = json.loads(line)
                self._known[entry["key"]] = [_of_json(each) for each in entry["replies"]]
            except (ValueError, KeyError, TypeError):
                break
            whole += len(line)
        self._file.truncate(whole)


class Remembering:
    """A Backend that asks another one only what it has no answer to. Requests are asked in groups (backends.together).

    identity: what else an answer depends on, the model and its precision say.
    """

    def __init__(self, backend: Backend, answers: Answers, identity: Sequence[str]) -> None:
        self._backend = backend
        self._answers = answers
        self._identity = list(identity)
        self._groups = 0
        self._gathered: list[tuple[Request, PendingReply]] = []

    @property
    def model(self) -> str:
        return self._backend.model

    @property
    def device(self) -> str:
        return self._backend.device

    @property
    def capacity(self) -> int:
        return self._backend.capacity

    def submit(self, request: Request) -> Future[Reply]:
        """See Backend; within `together`, where it must be, it is asked at its end."""
        future = PendingReply()
        self._gathered.append((request, future))
        return future

    @contextmanager
    def together(self) -> Iterator[None]:
        """The requests submitted within are a group."""
        self._gathered = []
        yield
        group, self._gathered = self._gathered, []
        if not group:
            return
        key = self._key([request for request, _ in group])
        self._groups += 1
        known = self._answers.find(key)
        if known is not None:
            for (_, future), reply in zip(group, known, strict=True):
                future.settle(reply)
            return
        with backends.together(self._backend):
            asked = [self._backend.submit(request) for request, _ in group]
        self._pass_on(key, asked, [future for _, future in group])

    def close(self) -> None:
        self._backend.close()

    def _pass_on(self, key: str, asked: Sequence[Future[Reply]], given: Sequence[PendingReply]) -> None:
        """Settle what was given out as the engine's futures are, and keep the replies once all are there."""
        replies: dict[int, Reply] = {}
        lock = threading.Lock()

        def answered(number: int, future: Future[Reply]) -> None:
            if future.cancelled():
                given[number].cancel()
            elif (error := future.exception()) is not None:
                given[number].settle(error)
            else:
                with lock:
                    replies[number] = future.result()
                    if len(replies) == len(given):
                        self._answers.add(key, [replies[each] for each in range(len(given))])
                given[number].settle(future.result())

        def given_up(number: int, future: Future[Reply]) -> None:
            if future.cancelled():
                asked[number].cancel()

        for number in range(len(given)):
            given[number].add_done_callback(partial(given_up, number))
            asked[number].add_done_callback(partial(answered, number))

    def _key(self, requests: Sequence[Request]) -> str:
        digest = hashlib.sha256(json.dumps([*self._identity, self._groups]).encode())
        for request in requests:
            said = [getattr(request, name) for name in _ASKED]
            digest.update(json.dumps(said, sort_keys=True).encode())
            clips = [part for clip in request.clips for part in (clip.frames, np.asarray(clip.seconds))]
            for pixels in (*request.images, *clips):
                digest.update(str(pixels.shape).encode() + pixels.tobytes())
        return digest.hexdigest()


def _to_json(reply: Reply) -> dict[str, Any]:
    return {
        "text": reply.text,
        "tokens": [[token.text, token.logprob] for token in reply.tokens],
        "finish": reply.finish,
        "inference_seconds": reply.inference_seconds,
    }


def _of_json(entry: dict[str, Any]) -> Reply:
    tokens = tuple(Token(str(text), float(logprob)) for text, logprob in entry["tokens"])
    return Reply(entry["text"], tokens, entry["finish"], inference_seconds=float(entry["inference_seconds"]))

"""The openai engine against real HTTP servers that know just enough of the protocol to misbehave."""

from __future__ import annotations

import base64
import json
import logging
import math
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, wait
from contextlib import contextmanager, suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np
import pytest

from qwenvl_ros import backends, zoo
from qwenvl_ros.backends import (
    BackendError,
    BackendUnavailable,
    Clip,
    EngineSettings,
    OpenaiSettings,
    Request,
    RequestFailed,
)
from qwenvl_ros.grounding.confidence import Confidence

PATIENCE = 30.0  # seconds after which a test that waits has failed
MODEL = zoo.resolve("tiny")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    """No key, no proxy and no certificates of whoever runs the tests."""
    for name in ("OPENAI_API_KEY", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        assert self.path == "/v1/models"
        self.server.looks += 1
        self.server.models(self)

    def do_POST(self) -> None:
        assert self.path == "/v1/chat/completions"
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.posts.append(body)
            self.server.keys.append(self.headers["authorization"])
            self.server.times.append(time.monotonic())
            self.server.at_work += 1
            self.server.most = max(self.server.most, self.server.at_work)
            script = self.server.script
            behave = script.popleft() if len(script) > 1 else script[0]
            self.server.arrived.release()
        try:
            behave(self)
        finally:
            with self.server.lock:
                self.server.at_work -= 1

    def send(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        data = text.encode()
        with self.server.lock:  # the client may send its next request before this method returns
            self.server.at_work -= self.command == "POST"
        try:
            self.send_response(status)
            for name, value in {"content-type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        finally:
            with self.server.lock:
                self.server.at_work += self.command == "POST"

    def start_stream(self) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def event(self, data: str) -> None:
        text = f"data: {data}\n\n".encode()
        self.wfile.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")

    def until_hung_up(self) -> None:
        """Read until the client closes its side."""
        with suppress(OSError):
            while self.connection.recv(4096):
                pass
        self.server.hung_up.set()

    def log_message(self, *_: Any) -> None:
        pass


Behaviour = Callable[[Handler], None]


class Server(ThreadingHTTPServer):
    """Behaves as its script says, one entry a request; the last one for good."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *script: Behaviour, port: int = 0, models: Behaviour | None = None, tls: Any = None):
        super().__init__(("127.0.0.1", port), Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.script = deque(script or [says("[]")])
        self.models = models or serves("tiny")
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server_port}/v1"
        self.lock = threading.RLock()
        self.posts: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.times: list[float] = []
        self.looks = self.at_work = self.most = 0
        self.arrived = threading.Semaphore(0)
        self.hung_up = threading.Event()
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self.serve_forever, args=[0.01], daemon=True)
        self._thread.start()

    def get_request(self) -> Any:
        connection, address = super().get_request()
        self._sockets.append(connection)
        return connection, address

    def handle_error(self, *_: Any) -> None:
        """Clients that hang up in the middle are what is tested."""

    def stop(self) -> None:
        """As a process that is killed: its connections die with it."""
        self.shutdown()
        self.server_close()
        for connection in self._sockets:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def wait(self, requests: int = 1) -> None:
        for _ in range(requests):
            assert self.arrived.acquire(timeout=PATIENCE), "no request came"


@pytest.fixture
def server() -> Iterator[Callable[..., Server]]:
    """Makes servers that are gone at the end of the test."""
    made: list[Server] = []

    def make(*script: Behaviour, **options: Any) -> Server:
        made.append(Server(*script, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@contextmanager
def engine(*places: Server | str, capacity: int = 8, **options: Any) -> Iterator[backends.Backend]:
    settings: dict[str, Any] = {"connect_timeout": 5.0, "health_interval": 0.1, **options}
    endpoint = ",".join(place if isinstance(place, str) else place.url for place in places)
    backend = backends.create(
        MODEL,
        EngineSettings(
            backend="openai", endpoint=endpoint, capacity=capacity, openai=OpenaiSettings(**settings)
        ),
    )
    try:
        yield backend
    finally:
        backend.close()


def serves(*names: str) -> Behaviour:
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "test"} for name in names]
    return sends(200, json.dumps({"object": "list", "data": data}))


def sends(status: int, text: str, headers: dict[str, str] | None = None) -> Behaviour:
    return lambda handler: handler.send(status, text, headers)


def fails(status: int, message: str = "not today", headers: dict[str, str] | None = None, **more: Any):
    return sends(status, json.dumps({"error": {"message": message, "code": status, **more}}), headers)


def entry(text: str | bytes, logprob: float = -0.5, with_bytes: bool = True) -> dict[str, Any]:
    data = text.encode() if isinstance(text, str) else text
    token = data.decode(errors="replace")
    return {
        "token": token,
        "logprob": logprob,
        "bytes": list(data) if with_bytes else None,
        "top_logprobs": [],
    }


def completion(text: str | None, entries: list[Any] | None = None, finish: str | None = "stop", **more: Any):
    return json.dumps(
        {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": "tiny",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text, **more},
                    "logprobs": None if entries is None else {"content": entries},
                    "finish_reason": finish,
                }
            ],
        }
    )


def chunk(text: str | None, entries: list[Any] | None = None, finish: str | None = None, **more: Any) -> str:
    return json.dumps(
        {
            "id": "1",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": "tiny",
            "choices": [
                {
                    "index": 0,
                    "delta": {"content": text, **more},
                    "logprobs": None if entries is None else {"content": entries},
                    "finish_reason": finish,
                }
            ],
        }
    )


def says(text: str | None, *entries: dict[str, Any], **more: Any) -> Behaviour:
    return sends(200, completion(text, list(entries) or None, **more))


def streams(*chunks: str, done: bool = True) -> Behaviour:
    def behave(handler: Handler) -> None:
        handler.start_stream()
        for one in chunks:
            handler.event(one)
        if done:
            handler.event("[DONE]")
            handler.wfile.write(b"0\r\n\r\n")

    return behave


def hangs(handler: Handler) -> None:
    handler.until_hung_up()


class Gate:
    """A behaviour that answers when the gate is opened."""

    def __init__(self, behave: Behaviour | None = None) -> None:
        self._behave = behave or says("[]")
        self._open = threading.Event()

    def __call__(self, handler: Handler) -> None:
        assert self._open.wait(PATIENCE)
        self._behave(handler)

    def open(self) -> None:
        self._open.set()


def ask(backend: backends.Backend, text: str = "mug", **fields: Any) -> backends.Reply:
    return backend.submit(Request([], text, **fields)).result(PATIENCE)


def failure(backend: backends.Backend, text: str = "mug", **fields: Any) -> str:
    with pytest.raises(RequestFailed) as caught:
        ask(backend, text, **fields)
    return str(caught.value)


def ask_until(backend: backends.Backend, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        ask(backend)


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def image(width: int, height: int, seed: int = 0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pixels(url: str):
    data = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


# What is sent


@pytest.mark.parametrize("text_first", [True, False])
def test_the_message_has_text_and_images_in_their_order(server, text_first):
    there = server()
    pictures = [image(64, 32, 1), image(96, 64, 2)[::-1]]
    with engine(there) as backend:
        backend.submit(Request(pictures, "red cube", text_first=text_first)).result(PATIENCE)
    (message,) = there.posts[0]["messages"]
    assert message["role"] == "user"
    kinds = [part["type"] for part in message["content"]]
    assert kinds == (["text", *["image_url"] * 2] if text_first else [*["image_url"] * 2, "text"])
    (text,) = [part["text"] for part in message["content"] if part["type"] == "text"]
    assert text == "red cube"
    urls = [part["image_url"]["url"] for part in message["content"] if part["type"] == "image_url"]
    for url, picture in zip(urls, pictures, strict=True):
        assert url.startswith("data:image/png;base64,")
        np.testing.assert_array_equal(pixels(url), picture)


def test_a_clip_goes_as_images_each_after_its_time(server):
    there = server()
    film = Clip(np.stack([image(64, 32, n) for n in range(3)]), [0.0, 0.52, 12.0])
    still = image(32, 32, 9)
    with engine(there) as backend:
        backend.submit(Request([still], "what happens?", [film])).result(PATIENCE)
    parts = there.posts[0]["messages"][0]["content"]
    assert [part.get("text", "an image") for part in parts] == [
        "an image",
        *("<0.0 seconds>", "an image", "<0.5 seconds>", "an image", "<12.0 seconds>", "an image"),
        "what happens?",
    ]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    for url, picture in zip(urls, [still, *film.frames], strict=True):
        np.testing.assert_array_equal(pixels(url), picture)


def test_jpeg_is_smaller_and_nearly_the_same(server):
    there = server()
    smooth = cv2.resize(image(8, 6, 3), (256, 192), interpolation=cv2.INTER_CUBIC)
    lengths = []
    for options in ({}, {"image_encoding": "jpeg"}, {"image_encoding": "jpeg", "jpeg_quality": 50}):
        with engine(there, **options) as backend:
            backend.submit(Request([smooth], "mug")).result(PATIENCE)
        url = there.posts[-1]["messages"][0]["content"][0]["image_url"]["url"]
        lengths.append(len(url))
        assert np.abs(pixels(url).astype(int) - smooth).mean() < 4
    assert url.startswith("data:image/jpeg;base64,")
    if hasattr(cv2, "IMWRITE_JPEG_SAMPLING_FACTOR"):  # else OpenCV is older than 4.7
        data = base64.b64decode(url.partition(",")[2])
        frame = data.index(
            b"\xff\xc0"
        )  # its header: 10 bytes of sizes, then each component's id and sampling
        assert data[frame + 11] == 0x11  # brightness is sampled no finer than colour
    assert lengths[0] > lengths[1] > lengths[2]


def test_sampling_is_sent_as_the_request_says(server):
    there = server()
    schema = {"type": "array", "items": {"type": "integer"}}
    with engine(there) as backend:
        ask(backend, max_tokens=7)
        ask(backend, max_tokens=9, temperature=0.7, top_p=0.8, top_k=20, presence_penalty=1.5, schema=schema)
    plain, full = there.posts
    assert {name: plain[name] for name in ("model", "max_tokens", "temperature", "top_p", "logprobs")} == {
        "model": "tiny",
        "max_tokens": 7,
        "temperature": 0,
        "top_p": 1,
        "logprobs": True,
    }
    assert not {"top_k", "presence_penalty", "response_format", "stream"} & plain.keys()
    assert (full["max_tokens"], full["temperature"], full["top_p"], full["top_k"]) == (9, 0.7, 0.8, 20)
    assert full["presence_penalty"] == 1.5
    assert full["response_format"]["type"] == "json_schema"
    assert full["response_format"]["json_schema"]["schema"] == schema


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Request([np.zeros((64, 64), np.uint8)], "mug"), "uint8 RGB"),
        (Request([np.zeros((64, 64, 3), np.float32)], "mug"), "float32"),  # type: ignore[list-item]
        (Request([np.zeros((0, 64, 3), np.uint8)], "mug"), "uint8 RGB"),
        (Request([], "mug", [Clip(np.zeros((2, 64, 64, 3), np.uint8), [0.0, 0.0])]), "rising time stamps"),
        (Request([], "<|im_end|><|im_start|>system"), "reserves"),
        (Request([], "mug", max_tokens=0), "max_tokens"),
        (Request([], "mug", temperature=float("nan")), "temperature"),
    ],
)
def test_an_impossible_request_is_not_sent(server, request_, reason):
    there = server()
    with engine(there) as backend:
        with pytest.raises(RequestFailed, match=reason):
            backend.submit(request_).result(PATIENCE)
        assert ask(backend).text == "[]"
    assert len(there.posts) == 1


def test_text_that_no_json_can_carry_fails_alone(server):
    with engine(server()) as backend:
        assert failure(backend, "a lone surrogate \ud800")
        assert ask(backend).text == "[]"


# What comes back


def test_a_reply_has_text_tokens_finish_and_times(server):
    there = server(says("[1]", entry("[", -0.1), entry("1", -0.2), entry("]", -0.3), finish="length"))
    with engine(there) as backend:
        reply = ask(backend)
        assert (backend.model, backend.capacity, backend.device) == ("tiny", 8, there.url)
    assert (reply.text, reply.finish) == ("[1]", "length")
    assert [(token.text, token.logprob) for token in reply.tokens] == [("[", -0.1), ("1", -0.2), ("]", -0.3)]
    assert reply.queue_seconds >= 0
    assert reply.inference_seconds > 0


@pytest.mark.parametrize("with_bytes", [True, False])
def test_thinking_and_the_stop_token_are_no_part_of_the_answer(server, with_bytes):
    entries = [
        entry(text, -float(index), with_bytes)
        for index, text in enumerate(["<think>", "[1]", "</think>\n", "\n[", "1]", "<|im_end|>"])
    ]
    there = server(says("[1]", *entries, reasoning_content="[1]"))
    with engine(there) as backend:
        reply = ask(backend)
    assert reply.text == "[1]"
    assert [(token.text, token.logprob) for token in reply.tokens] == [("[", -3.0), ("1]", -4.0)]


def test_a_character_of_several_tokens_is_the_last_ones_text(server):
    face = "😀".encode()
    parts = [b"a", face[:1], face[1:3], face[3:] + b"b", "é".encode()[:1], "é".encode()[1:]]
    there = server(says("a😀bé", *(entry(part, -float(index)) for index, part in enumerate(parts))))
    with engine(there) as backend:
        reply = ask(backend)
    assert [token.text for token in reply.tokens] == ["a", "", "", "😀b", "", "é"]
    assert [token.logprob for token in reply.tokens] == [0, -1, -2, -3, -4, -5]


@pytest.mark.parametrize(
    "behave",
    [
        says("[1]"),
        says("[1]", entry("[2]")),
        says("[1]", entry("[1"), entry(b"\xff\xfe")),
    ],
)
def test_probabilities_that_are_missing_or_of_another_text_are_not_invented(server, behave):
    with engine(server(behave)) as backend:
        reply = ask(backend)
    assert reply.text == "[1]"
    assert reply.tokens == ()
    assert math.isnan(Confidence(reply.text, reply.tokens).score([(0, 3)]))


def test_an_answer_without_content_is_an_empty_text(server):
    """A thinking server that was cut off while it thought."""
    with engine(server(says(None, entry("hm"), finish="length", reasoning_content="hm"))) as backend:
        reply = ask(backend)
    assert (reply.text, reply.finish, reply.tokens) == ("", "length", ())


def test_a_watched_answer_grows(server):
    heard: list[str] = []
    there = server(
        streams(
            chunk(None, role="assistant"),
            chunk(None, reasoning_content="hm"),
            chunk("[", [entry("[", -0.1)]),
            json.dumps({"id": "1", "object": "chat.completion.chunk", "choices": []}),
            chunk("1, 2", [entry("1", -0.2), entry(", 2", -0.3)]),
            chunk("]", [entry("]", -0.4)], "stop"),
        )
    )
    with engine(there) as backend:
        reply = ask(backend, on_text=heard.append)
    assert there.posts[0]["stream"] is True
    assert heard == ["[", "[1, 2", "[1, 2]"]
    assert (reply.text, reply.finish) == ("[1, 2]", "stop")
    assert [token.logprob for token in reply.tokens] == [-0.1, -0.2, -0.3, -0.4]


def test_a_listener_that_raises_costs_its_own_request_only(server):
    def broken(text: str) -> None:
        raise KeyError("not my day")

    there = server(streams(chunk("[]", finish="stop")), says("[]"))
    with engine(there) as backend:
        assert "on_text raised KeyError" in failure(backend, on_text=broken)
        assert ask(backend).text == "[]"
    assert len(there.posts) == 2  # it was not tried again


def test_a_filtered_answer_is_a_failure(server):
    there = server(says("", finish="content_filter"))
    with engine(there) as backend:
        assert "content filter" in failure(backend)
    assert len(there.posts) == 1


# Places, cancelling, closing


def test_no_more_than_capacity_are_on_their_way(server):
    gate = Gate()
    there = server(gate)
    with engine(there, capacity=3) as backend:
        futures = [backend.submit(Request([], "mug")) for _ in range(10)]
        there.wait(3)
        gate.open()
        replies = [future.result(PATIENCE) for future in futures]
    assert there.most == 3
    assert len(there.posts) == 10
    assert max(reply.queue_seconds for reply in replies[:3]) < min(
        reply.queue_seconds for reply in replies[3:]
    )


def test_cancelled_while_waiting_is_never_sent(server):
    gate = Gate()
    there = server(gate)
    with engine(there, capacity=1) as backend:
        first = backend.submit(Request([], "first"))
        there.wait()
        doomed, last = backend.submit(Request([], "doomed")), backend.submit(Request([], "last"))
        assert doomed.cancel()
        gate.open()
        for future in (first, last):
            assert future.result(PATIENCE).text == "[]"
        with pytest.raises(CancelledError):
            doomed.result()
    assert [post["messages"][0]["content"][0]["text"] for post in there.posts] == ["first", "last"]


@pytest.mark.parametrize("watched", [False, True])
def test_cancelling_hangs_up_and_frees_the_place(server, watched):
    begun = threading.Event()

    def half(handler: Handler) -> None:
        if watched:
            handler.start_stream()
            handler.event(chunk("["))
        handler.until_hung_up()

    there = server(half, says("[]"))
    with engine(there, capacity=1) as backend:
        doomed = backend.submit(Request([], "mug", on_text=(lambda _: begun.set()) if watched else None))
        there.wait()
        assert not watched or begun.wait(PATIENCE)
        assert doomed.cancel()
        assert wait([doomed], PATIENCE).done
        assert there.hung_up.wait(PATIENCE)
        assert ask(backend).text == "[]"


def test_closing_fails_what_is_unanswered_and_hangs_up(server):
    there = server(hangs)
    with engine(there, capacity=1) as backend:
        futures = [backend.submit(Request([], "mug")) for _ in range(3)]
        there.wait()
        backend.close()
        backend.close()
        futures.append(backend.submit(Request([], "late")))
        for future in futures:
            assert type(future.exception(PATIENCE)) is BackendError
            assert "closed" in str(future.exception())
    assert there.hung_up.wait(PATIENCE)
    assert not any(thread.name == "openai" for thread in threading.enumerate())


def test_an_engine_may_be_closed_from_its_own_thread(server):
    there = server(streams(chunk("["), done=False))
    with engine(there) as backend:
        future = backend.submit(Request([], "mug", on_text=lambda _: backend.close()))
        assert "closed" in str(future.exception(PATIENCE))


def test_a_program_that_forgets_to_close_still_ends(server):
    there = server(hangs)
    code = (
        "import threading\n"
        "from qwenvl_ros import backends, zoo\n"
        f"settings = backends.EngineSettings(backend='openai', endpoint={there.url!r})\n"
        "backends.create(zoo.resolve('tiny'), settings).submit(backends.Request([], 'mug'))\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as program:
        there.wait()
        _, errors = program.communicate(b"\n", timeout=PATIENCE)
    assert (program.returncode, errors.decode()) == (0, "")


# Trying again


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
def test_what_passes_is_tried_again(server, status):
    there = server(fails(status), says("[]"))
    with engine(there) as backend:
        assert ask(backend).text == "[]"
    assert len(there.posts) == 2


@pytest.mark.parametrize("attempts", [1, 3])
def test_tries_are_counted(server, attempts):
    there = server(fails(503, "still loading"))
    with engine(there, attempts=attempts) as backend:
        message = failure(backend)
    assert len(there.posts) == attempts
    assert there.url in message
    assert "503 (still loading)" in message


@pytest.mark.parametrize(
    ("status", "said", "remedy"),
    [
        (
            400,
            "maximum context length is 1024",
            r"400.*context length is 1024.*lower max_tokens or max_pixels",
        ),
        (401, "who are you", r"401.*who are you.*set OPENAI_API_KEY"),
        (403, "not for you", r"403.*OPENAI_API_KEY"),
        (404, "no such model", r"404.*set openai\.model"),
        (413, "too large", r"413.*max_pixels.*openai\.image_encoding to jpeg"),
        (418, "a teapot", r"418.*a teapot.*endpoint"),
        (422, "extra fields", r"422.*extra fields"),
    ],
)
def test_what_does_not_pass_is_not_tried_again(server, status, said, remedy):
    there = server(fails(status, said), says("[]"))
    with engine(there) as backend:
        message = failure(backend)
        assert ask(backend).text == "[]"
    assert len(there.posts) == 2
    assert there.url in message
    assert re.search(remedy, message), message


def test_an_unknown_model_is_told_with_those_that_are_served(server):
    there = server(fails(404), models=serves("qwen-a", "qwen-b"))
    with engine(there, model="qwen-c") as backend:
        assert "does not know the model qwen-c, it serves qwen-a, qwen-b; set openai.model" in failure(
            backend
        )
    assert there.posts[0]["model"] == "qwen-c"


@pytest.mark.parametrize("value", ["1.5", "date"])
def test_retry_after_is_honoured(server, value):
    there = server(says("[]"))
    # A date has whole seconds only, so one in three seconds is more than two away.
    headers = {"retry-after": formatdate(time.time() + 3, usegmt=True) if value == "date" else value}
    there.script = deque([fails(429, headers=headers), says("[]")])
    with engine(there) as backend:
        ask(backend)
    first, second = there.times
    assert second - first > 1.2  # the first pause of its own would be shorter


def test_a_server_that_wants_too_long_a_rest_is_left_alone(server):
    there = server(fails(429, headers={"retry-after": "3600"}))
    with engine(there) as backend:
        assert "left alone for 3600 s" in failure(backend)
    assert len(there.posts) == 1


GARBAGE = {
    "a page": sends(200, "<html>Welcome</html>", {"content-type": "text/html"}),
    "half of JSON": sends(200, '{"choices": ['),
    "other JSON": sends(200, '{"answer": 42}'),
    "no choices": sends(200, '{"id": "1", "choices": []}'),
    "a list": sends(200, "[]"),
    "nothing": sends(200, ""),
    "no end": says("[]", finish=None),
    "aborted": says("[", finish="abort"),
}


@pytest.mark.parametrize("behave", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_a_failure_and_another_try_may_help(server, behave):
    there = server(behave, says("[]"))
    with engine(there) as backend:
        assert ask(backend).text == "[]"
    assert len(there.posts) == 2
    with engine(server(behave), attempts=1) as backend:
        message = failure(backend)
    assert "endpoint" in message or "broke off" in message


def cut(handler: Handler) -> None:
    """Promises a hundred bytes and dies."""
    handler.close_connection = True
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")


def dies(handler: Handler) -> None:
    handler.close_connection = True


BROKEN_STREAMS = {
    "cut": streams(chunk("[1"), done=False),
    "no end": streams(chunk("[1")),
    "an error": streams(
        chunk("[1"), json.dumps({"error": {"message": "engine died", "code": 500}}), done=False
    ),
    "garbage": streams(chunk("[1"), "{", done=False),
}


@pytest.mark.parametrize("behave", BROKEN_STREAMS.values(), ids=BROKEN_STREAMS.keys())
def test_a_watched_answer_that_breaks_off_starts_anew(server, behave):
    heard: list[str] = []
    there = server(behave, streams(chunk("[2"), chunk("]", finish="stop")))
    with engine(there) as backend:
        assert ask(backend, on_text=heard.append).text == "[2]"
    assert heard == ["[1", "[2", "[2]"]
    with engine(server(behave), attempts=1) as backend:
        assert failure(backend, on_text=heard.append)


@pytest.mark.parametrize("behave", [cut, dies])
def test_a_connection_that_is_cut_is_a_failure_and_another_try_may_help(server, behave):
    there = server(behave, says("[]"))
    with engine(there) as backend:
        assert ask(backend).text == "[]"
    with engine(server(behave), attempts=2) as backend:
        assert "the connection failed" in failure(backend)


def test_an_error_of_the_request_in_a_stream_is_not_tried_again(server):
    there = server(streams(json.dumps({"error": {"message": "bad grammar", "code": 400}})))
    with engine(there) as backend:
        assert "400 (bad grammar)" in failure(backend, on_text=lambda _: None)
    assert len(there.posts) == 1


def test_a_server_that_refuses_logprobs_is_asked_without(server, caplog):
    there = server(fails(400, "logprobs are not supported", param="logprobs"), says("[]"))
    with engine(there, attempts=1) as backend:
        assert [ask(backend).tokens for _ in range(2)] == [(), ()]
    assert ["logprobs" in post for post in there.posts] == [True, False, False]
    assert "no token probabilities" in caplog.text


def test_a_server_that_refuses_a_schema_is_a_failure_with_the_remedy(server):
    there = server(fails(400, "Invalid schema for response_format 'answer'"))
    with engine(there) as backend:
        assert "does not hold answers to this JSON schema" in failure(backend, schema={"type": "array"})
    assert len(there.posts) == 1


# A server that hangs


@pytest.mark.parametrize("behave", [hangs, lambda handler: [handler.start_stream(), hangs(handler)]])
def test_a_hung_request_fails_after_the_read_timeout_and_holds_up_nobody(server, behave):
    there = server(behave, says("[]"))
    with engine(there, read_timeout=2.0) as backend:
        hung = backend.submit(Request([], "mug", on_text=lambda _: None))
        there.wait()
        assert [ask(backend).text for _ in range(5)] == ["[]"] * 5
        assert not hung.done()
        with pytest.raises(RequestFailed, match=r"silent for 2 s.*read_timeout"):
            hung.result(PATIENCE)
    assert len(there.posts) == 6  # asking a hung server again would only wait again


def test_a_connection_that_the_server_is_about_to_close_is_not_used_again(server):
    """uvicorn closes one that was idle for 5 s: a request on its way then failed, and its server was called down."""
    came_by = []

    def behave(handler):
        came_by.append(handler.client_address)
        says("[]")(handler)

    with engine(server(behave)) as backend:
        assert [ask(backend).text for _ in range(10)] == ["[]"] * 10
        assert len(set(came_by)) < 10
        time.sleep(4.0)
        ask(backend)
    assert came_by[-1] not in came_by[:-1]


def test_a_hung_server_is_stood_in_for_by_another(server):
    hung, good = server(hangs), server()
    with engine(hung, good, read_timeout=2.0, health_interval=100) as backend:
        assert [ask(backend).text for _ in range(4)] == ["[]"] * 4
    assert len(hung.posts) == 1


# Several servers


def test_the_server_with_the_fewest_requests_is_asked(server):
    gates = [Gate(), Gate()]
    first, second = server(gates[0]), server(gates[1])
    with engine(first, second) as backend:
        assert backend.device == f"{first.url} (+1)"
        futures = [backend.submit(Request([], "mug")) for _ in range(4)]
        first.wait(2)
        second.wait(2)
        gates[1].open()
        end = time.monotonic() + PATIENCE
        while sum(future.done() for future in futures) < 2:
            assert time.monotonic() < end
            wait([future for future in futures if not future.done()], 0.1, "FIRST_COMPLETED")
        for _ in range(2):  # two are still at the first, so the second takes these one after the other
            assert ask(backend).text == "[]"
        gates[0].open()
        wait(futures, PATIENCE)
    assert (len(first.posts), len(second.posts)) == (2, 4)


def test_idle_servers_take_turns(server):
    servers = [server() for _ in range(3)]
    with engine(*servers) as backend:
        for _ in range(9):
            ask(backend)
    assert [len(one.posts) for one in servers] == [3, 3, 3]


def test_a_server_that_fails_is_passed_over_until_it_is_back(server, caplog):
    bad, good = server(fails(503), says("[]")), server()
    bad.models = fails(503)
    with engine(bad, good) as backend:
        looks = bad.looks
        assert [ask(backend).text for _ in range(6)] == ["[]"] * 6
        assert bad.posts == []
        assert "is down" in caplog.text
        bad.models = serves("tiny")
        ask_until(backend, lambda: len(bad.posts) >= 3)  # a 503 once more, then answers
        assert bad.looks > looks


def test_a_server_that_fails_in_the_middle_costs_no_answer(server):
    bad, good = server(says("[]"), fails(500)), server()
    with engine(bad, good, health_interval=100) as backend:
        assert [ask(backend).text for _ in range(8)] == ["[]"] * 8
    assert len(bad.posts) == 2


def test_a_wrong_key_at_one_of_two_servers_draws_no_requests(server):
    """It fails quickest and so looks least loaded."""
    locked, good = server(fails(401)), server()
    with engine(locked, good, health_interval=100) as backend:
        assert [ask(backend).text for _ in range(6)] == ["[]"] * 6
    assert len(locked.posts) == 1


def test_a_server_that_is_down_at_the_start_is_used_once_it_is_there(server, caplog):
    port = unused_port()
    good = server()
    with engine(f"http://127.0.0.1:{port}/v1", good) as backend:
        assert f"127.0.0.1:{port}/v1 is down" in caplog.text
        assert ask(backend).text == "[]"
        late = server(port=port)
        ask_until(backend, lambda: len(late.posts) > 0)


def test_each_server_may_call_the_model_its_own_name(server):
    first, second = server(models=serves("tiny")), server(models=serves("other", "org/tiny"))
    with engine(first, second) as backend:
        for _ in range(2):
            ask(backend)
    assert (first.posts[0]["model"], second.posts[0]["model"]) == ("tiny", "org/tiny")


def test_with_all_down_a_request_fails_with_every_reason_and_recovers(server):
    first, second = server(), server()
    with engine(first, second, health_interval=0.2) as backend:
        ask(backend)
        first.stop()
        second.stop()
        message = failure(backend)
        for url in (first.url, second.url):
            assert f"{url}: the connection failed" in message
        assert "start the server" in message
        again = server(port=second.server_port)
        assert ask(backend).text == "[]"  # not looked at yet or so: a request tries all the same
        assert len(again.posts) == 1


# At the start


@pytest.mark.parametrize(
    ("served", "wanted", "name"),
    [
        ([MODEL.checkpoint, "tiny"], "", MODEL.checkpoint),
        (["other", "tiny"], "", "tiny"),
        (["other", "someone/tiny"], "", "someone/tiny"),
        (["/data/models/tiny/"], "", "/data/models/tiny/"),
        (["other", "tiny"], "other", "other"),
    ],
)
def test_the_model_is_found_among_those_served(server, served, wanted, name):
    there = server(models=serves(*served))
    with engine(there, model=wanted) as backend:
        ask(backend)
    assert there.posts[0]["model"] == name


@pytest.mark.parametrize("status", [404, 405])
def test_a_server_without_a_list_of_models_needs_the_models_name(server, status):
    there = server(models=fails(status))
    with pytest.raises(BackendUnavailable, match=r"no list of models; set openai\.model"), engine(there):
        pass
    with engine(there, model="qwen-vl") as backend:
        assert ask(backend).text == "[]"
    assert there.posts[0]["model"] == "qwen-vl"


@pytest.mark.parametrize(
    ("models", "reason"),
    [
        (serves("a", "b"), r"serves a, b, none of them .*tiny; set openai\.model"),
        (serves(), "serves nothing"),
        (fails(401, "who are you"), "401.*set OPENAI_API_KEY"),
        (fails(500, "no GPU"), r"500 \(no GPU\)"),
        (sends(200, "<html></html>", {"content-type": "text/html"}), "not of OpenAI's API"),
        (sends(200, "{}"), "not of OpenAI's API"),
        (hangs, "silent for 2 s"),
        (dies, "the connection failed"),
    ],
)
def test_a_server_that_cannot_serve_is_told_at_the_start(server, models, reason):
    there = server(models=models)
    dead = f"http://127.0.0.1:{unused_port()}/v1"
    with (
        pytest.raises(BackendUnavailable, match=f"{there.url}: .*{reason}.*; {dead}: the connection failed"),
        engine(there, dead, connect_timeout=2.0),
    ):
        pass
    assert not any(thread.name == "openai" for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("", "endpoint is empty"),
        (" , ", "endpoint is empty"),
        ("localhost:8000", "no address"),
        ("http://", "no address"),
        ("http://host:port/v1", "no address"),
        ("ftp://host/v1", "no address"),
        ("https://user:hunter2@host/v1", "set OPENAI_API_KEY instead"),
        ("https://host/v1?key=hunter2", "no address"),
    ],
)
def test_an_address_that_cannot_be_right_is_refused(endpoint, reason):
    with pytest.raises(BackendUnavailable, match=reason), engine(endpoint):
        pass


def test_a_proxy_that_cannot_be_right_is_told(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "nonsense://proxy")
    with pytest.raises(BackendUnavailable, match=r"nonsense.*proxy variables"), engine(server()):
        pass


def test_the_same_address_twice_is_one_server(server):
    there = server()
    with engine(f" {there.url}/ , {there.url},") as backend:
        assert backend.device == there.url


# Secrets


def test_the_key_comes_from_the_environment_and_shows_nowhere(server, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    key = "sk-very-secret-0123456789"
    monkeypatch.setenv("OPENAI_API_KEY", f" {key}\n")
    there = server(fails(401, f"wrong key {key}"), fails(500, f"{key}!"), says("[]"))
    with engine(there, attempts=1) as backend:
        messages = [failure(backend), failure(backend)]
        ask(backend)
    assert there.keys == [f"Bearer {key}"] * 3
    assert "wrong key ***" in messages[0]
    assert key not in "".join(messages) + caplog.text
    monkeypatch.setenv("OPENAI_API_KEY", f"{key}\nX-Other: 1")
    with pytest.raises(BackendUnavailable, match="OPENAI_API_KEY") as caught, engine(there):
        pass
    assert key not in str(caught.value)


def test_without_a_key_a_dummy_is_sent(server):
    there = server()
    with engine(there) as backend:
        ask(backend)
    assert there.keys == ["Bearer EMPTY"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_an_unknown_certificate_is_refused_until_its_authority_is_named(server, monkeypatch, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = "-nodes -subj /CN=test -addext subjectAltName=IP:127.0.0.1 -days 1"
    command = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 {subject}"
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    there = server(tls=tls)
    with (
        pytest.raises(BackendUnavailable, match=r"certificate is not trusted \(self.signed.*SSL_CERT_FILE"),
        engine(there),
    ):
        pass
    assert there.posts == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with engine(there) as backend:
        assert ask(backend).text == "[]"
    elsewhere = there.url.replace("127.0.0.1", "localhost")
    with (
        pytest.raises(BackendUnavailable, match=r"certificate is not trusted \(Hostname mismatch"),
        engine(elsewhere),
    ):
        pass

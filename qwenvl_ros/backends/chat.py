"""A request in the words of OpenAI's chat completions, and the answer read back."""

from __future__ import annotations

import base64
import codecs
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import cv2
import openai

from qwenvl_ros.backends import Reply, Request, RequestFailed, Token
from qwenvl_ros.backends.engine_settings import OpenaiSettings
from qwenvl_ros.backends.failures import Blame, Failure
from qwenvl_ros.backends.prompts import picture_fault, sampling_fault
from qwenvl_ros.types import Image

# docs/decisions/image-encoding.md has what these are worth.
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]
_FULL_COLOUR = (
    [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    if hasattr(cv2, "IMWRITE_JPEG_SAMPLING_FACTOR")  # not before OpenCV 4.7
    else []
)
_RESERVED = re.compile(r"<\|\w+\|>")  # how Qwen's checkpoints spell the tokens that steer a chat
_FINISHES: dict[str | None, Literal["stop", "length"]] = {"stop": "stop", "length": "length"}


def fault(request: Request) -> str:
    """Why no server can take a request, with the remedy; "" when one may."""
    if reason := picture_fault(request):
        return reason
    if token := _RESERVED.search(request.text):
        return f"the text holds {token[0]!r}, which the model reserves for itself; take it out"
    return sampling_fault(request)


def data_url(image: Image, settings: OpenaiSettings) -> str:
    """An (H, W, 3) uint8 RGB image as a data URL, encoded as the settings say."""
    kind = settings.image_encoding
    options = {"png": _PNG, "jpeg": [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality, *_FULL_COLOUR]}[kind]
    _, data = cv2.imencode(f".{kind}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode('ascii')}"


def parameters(request: Request, urls: Sequence[str], model: str, logprobs: bool) -> dict[str, Any]:
    """What chat.completions.create is given. urls: of the request's pictures. model: the server's name for it."""
    images = list(_shown(request, urls))
    text = [_text(request.text)]
    said: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": text + images if request.text_first else images + text}],
        "max_tokens": request.max_tokens,  # the older name, which every server takes
        "temperature": request.temperature,
        "top_p": request.top_p,
    }
    if request.presence_penalty:
        said["presence_penalty"] = request.presence_penalty
    if request.top_k and request.temperature:
        said["extra_body"] = {"top_k": request.top_k}
    if request.schema is not None:
        answer = {"name": "answer", "schema": dict(request.schema), "strict": True}
        said["response_format"] = {"type": "json_schema", "json_schema": answer}
    if logprobs:
        said["logprobs"] = True
    return said


def _shown(request: Request, urls: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The images, and the frames of the clips, each after its time stamp as Qwen3-VL's processor writes it.

    Frames go as images since a server's own video part cannot carry when each was taken, and is JPEG.
    """
    left = iter(urls)
    for _ in request.images:
        yield {"type": "image_url", "image_url": {"url": next(left)}}
    for seconds in (seconds for clip in request.clips for seconds in clip.seconds):
        yield _text(f"<{seconds:.1f} seconds>")
        yield {"type": "image_url", "image_url": {"url": next(left)}}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


async def answer(client: openai.AsyncOpenAI, request: Request, said: dict[str, Any]) -> Reply:
    """Send it and read the answer, watched where the request has on_text; no times in the reply yet.

    What a thinking server thought is no part of it.

    Raises:
        Failure: the answer is not whole.
        RequestFailed: on_text raised, or the server's filter stopped the answer.
        openai.OpenAIError, or an error of whoever reads what is no JSON or no chat completion.
    """
    create: Any = client.chat.completions.create
    texts: list[str] = []
    entries: list[Any] = []
    finish: str | None = None

    def take(choice: Any, message: Any) -> None:
        nonlocal finish
        finish = choice.finish_reason or finish
        entries.extend((choice.logprobs and choice.logprobs.content) or ())
        if message.content:
            texts.append(message.content)
            if request.on_text is not None:
                _tell(request, "".join(texts))

    if request.on_text is None:
        whole = (await create(**said)).choices[0]
        take(whole, whole.message)
    else:
        async with await create(**said, stream=True) as stream:
            async for chunk in stream:
                for part in chunk.choices[:1]:  # some chunks carry none
                    take(part, part.delta)
    if finish == "content_filter":
        raise RequestFailed(
            "the server's content filter stopped the answer; ask otherwise, or another server"
        )
    if finish not in _FINISHES:
        raise Failure(f"broke off in the middle of the answer ({finish}); see the server's log", Blame.SERVER)
    text = "".join(texts)
    return Reply(text, tokens(entries, text), _FINISHES[finish])


def tokens(entries: Iterable[Any], text: str) -> tuple[Token, ...]:
    """The tokens of an answer, from a server's logprobs; their texts concatenate to it, or there are none.

    entries: with token, bytes and logprob, of everything that was generated: a server's logprobs tell of its thinking
    and of the stop token, too. A character of several tokens is the last one's text.
    """
    entries = list(entries)
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    pieces = []
    for index, entry in enumerate(entries):
        data = entry.token.encode() if entry.bytes is None else bytes(entry.bytes)
        pieces.append(decoder.decode(data, final=index + 1 == len(entries)))
    start = "".join(pieces).rfind(text)  # the answer comes after the thinking
    if start < 0 or not text:
        return ()
    end = start + len(text)
    found: list[Token] = []
    at = 0
    for entry, piece in zip(entries, pieces, strict=True):
        within = piece[max(start - at, 0) : max(end - at, 0)]
        split = not piece and start <= at < end  # the beginning of a character
        if within or split:
            found.append(Token(within, float(entry.logprob)))
        at += len(piece)
    return tuple(found)


def _tell(request: Request, text: str) -> None:
    assert request.on_text is not None
    try:
        request.on_text(text)
    except Exception as error:  # the caller's code
        raise RequestFailed(f"on_text raised {type(error).__name__}: {error}") from error

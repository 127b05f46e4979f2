"""A request as a checkpoint's chat template words it, and why a checkpoint cannot take one.

For the engines of this process; a server does both by itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qwenvl_ros.backends import Request


class Prompts:
    """processor: of the checkpoint, as transformers' AutoProcessor gives it."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        image_processor = processor.image_processor
        self._side = int(image_processor.patch_size * image_processor.merge_size)
        self._reserved = tuple(token for token in processor.tokenizer.all_special_tokens if token)

    def text(self, request: Request) -> str:
        """The prompt up to where the answer begins, with a placeholder for each image."""
        chat = [{"role": "user", "content": content(request)}]
        text = self._processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        return str(text)

    def fault(self, request: Request) -> str:
        """Why the model cannot take a request, with the remedy; "" when it can."""
        for image in request.images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
                return f"an image must be (H, W, 3) uint8 RGB, not {image.shape} {image.dtype}"
            height, width = image.shape[:2]
            if height % self._side or width % self._side or not height or not width:
                return (
                    f"an image is {width} x {height}, but its sides must be multiples of {self._side}; "
                    "lay it out with qwenvl_ros.grounding.place first"
                )
        for token in self._reserved:
            if token in request.text:
                return f"the text holds {token!r}, which the model reserves for itself; take it out"
        return sampling_fault(request)


def sampling_fault(request: Request) -> str:
    """Why no engine can sample as a request wants, with the remedy; "" when they can."""
    if request.max_tokens < 1 or request.top_k < 0:
        return f"max_tokens = {request.max_tokens} must be at least 1 and top_k = {request.top_k} at least 0"
    if not (request.temperature >= 0 and 0 < request.top_p <= 1):
        return f"temperature = {request.temperature} must be at least 0 and top_p = {request.top_p} in 0..1"
    return ""


def content(request: Request) -> list[dict[str, str]]:
    """The parts of the user's message in their order, as chat templates take them."""
    images = [{"type": "image"} for _ in request.images]
    text = [{"type": "text", "text": request.text}]
    return text + images if request.text_first else images + text

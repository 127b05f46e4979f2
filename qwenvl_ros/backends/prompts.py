"""A request as a checkpoint's chat template words it, and why a checkpoint cannot take one.

For the engines of this process; a server does both by itself.
"""

from __future__ import annotations

from itertools import pairwise
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwenvl_ros.backends import Clip, Request

_MILLISECONDS = 1000.0  # frames a second of a film with one place for a frame each millisecond
THINK = "<think>"
_STAMP = 12  # tokens that "<12.5 seconds>" and the marks around a pair of frames take at most


class Prompts:
    """processor: of the checkpoint, as transformers' AutoProcessor gives it."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        image_processor = processor.image_processor
        self._side = int(image_processor.patch_size * image_processor.merge_size)
        self._takes_clips = getattr(processor, "video_processor", None) is not None
        if self._takes_clips:
            # Of resizing, which is off; where it is left open transformers warns.
            processor.video_processor.cap_pixels_per_frame = False
        self._reserved = tuple(token for token in processor.tokenizer.all_special_tokens if token)
        begun = self.text(Request([], "")).rstrip()
        #: With what the chat template has every answer begin, "" or the "<think>" of a thinking checkpoint.
        self.opened = THINK if begun.endswith(THINK) else ""

    def text(self, request: Request) -> str:
        """The prompt up to where the answer begins, with a placeholder for each image and each clip."""
        chat = [{"role": "user", "content": content(request)}]
        text = self._processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        return str(text)

    def repeated(self, request: Request) -> int:
        """How many tokens images and clips, with their time stamps, take at most beyond their placeholders."""
        area: int = self._side**2
        tokens: int = sum(image.shape[0] * image.shape[1] // area - 1 for image in request.images)
        for frames, height, width in (clip.frames.shape[:3] for clip in request.clips):
            tokens += (frames + 1) // 2 * (height * width // area + _STAMP)
        return tokens

    def fault(self, request: Request) -> str:
        """Why the model cannot take a request, with the remedy; "" when it can."""
        if reason := picture_fault(request):
            return reason
        if request.clips and not self._takes_clips:
            return "the checkpoint takes no clips; ask about the newest image, or choose a Qwen3-VL"
        for image in pictures(request):
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


def pictures(request: Request) -> list[NDArray[np.uint8]]:
    """All that is shown, each (H, W, 3) uint8 RGB: the images, then the frames of the clips."""
    return [*request.images, *(frame for clip in request.clips for frame in clip.frames)]


def picture_fault(request: Request) -> str:
    """Why no engine can show these images and clips, with the remedy; "" when they can."""
    for image in request.images:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            return f"an image must be (H, W, 3) uint8 RGB, not {image.shape} {image.dtype}"
    for frames, seconds in ((clip.frames, clip.seconds) for clip in request.clips):
        if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not frames.size:
            return f"a clip must be (T, H, W, 3) uint8 RGB, not {frames.shape} {frames.dtype}"
        rising = all(earlier < later for earlier, later in pairwise(seconds))
        if len(seconds) != len(frames) or not rising or not all(isfinite(s) and s >= 0 for s in seconds):
            return f"a clip of {len(frames)} frames needs as many rising time stamps from 0 s on, not {list(seconds)}"
    return ""


def film(clip: Clip) -> dict[str, Any]:
    """The metadata from which a checkpoint's processor writes "<0.5 seconds>" before each pair of frames.

    A processor counts frames at an even rate; here one a millisecond, of which only the clip's are there, so that any
    time stamp can be said (transformers' VideoMetadata, which vLLM fills, too).
    """
    places = [round(seconds * _MILLISECONDS) for seconds in clip.seconds]
    return {"fps": _MILLISECONDS, "frames_indices": places, "total_num_frames": places[-1] + 1}


def sampling_fault(request: Request) -> str:
    """Why no engine can sample as a request wants, with the remedy; "" when they can."""
    if request.max_tokens < 1 or request.top_k < 0:
        return f"max_tokens = {request.max_tokens} must be at least 1 and top_k = {request.top_k} at least 0"
    if not (request.temperature >= 0 and 0 < request.top_p <= 1):
        return f"temperature = {request.temperature} must be at least 0 and top_p = {request.top_p} in 0..1"
    return ""


def content(request: Request) -> list[dict[str, str]]:
    """The parts of the user's message in their order, as chat templates take them."""
    shown = [{"type": "image"} for _ in request.images] + [{"type": "video"} for _ in request.clips]
    text = [{"type": "text", "text": request.text}]
    return text + shown if request.text_first else shown + text

"""Videos, GIFs and folders of images as sources of frames: one camera, named after the file or folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageSequence

from qwenvl_ros.bags import Channel, Record
from qwenvl_ros.bags.reading import natural
from qwenvl_ros.images import ImageRefused, read
from qwenvl_ros.replay.frames import Beat, InputSettings, Keep, Recorded, Tally
from qwenvl_ros.replay.messages import COMPRESSED, picture_bytes
from qwenvl_ros.types import Image

VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm")
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_COUNTED = (".mp4", ".m4v", ".mov", ".avi")  # containers that say exactly how many frames they hold
_GIF_MS = 100.0  # of a frame that does not say, as browsers do

# (stamp in nanoseconds, the image or why there is none) for each
_Shots: TypeAlias = Iterator[tuple[int, Image | ImageRefused]]


class Pictures:
    """See Source. Stamps begin at 0: those of a video are its frames' own times. follow: see cameras.Camera."""

    def __init__(self, path: Path, settings: InputSettings, follow: bool = False) -> None:
        self.camera = camera_name(path)
        self.channel = Channel(f"/{self.camera}/image_raw/compressed", COMPRESSED)
        self.damage: list[str] = []
        self.tallies: Mapping[str, Tally] = {self.camera: Tally()}
        self._rate = settings.rate
        self._follow = follow
        self.expected: int | None
        self._shots: Callable[[], _Shots]
        if path.is_dir():
            files = images_in(path)
            self.expected = len(files)
            self._shots = lambda: _folder(files, settings.fps)
        elif path.suffix.lower() == ".gif":
            self.expected = None
            self._shots = lambda: _gif(path, self.damage)
        else:
            self.expected = max(0, round(_open(path).get(cv2.CAP_PROP_FRAME_COUNT))) or None
            self._shots = lambda: _video(path, self.damage)

    def frames(self, keep: Keep | None) -> Iterator[Recorded]:
        """See Source."""
        tally, beat = self.tallies[self.camera], Beat(self._rate)
        for stamp, image in self._shots():
            tally.images += 1
            if isinstance(image, ImageRefused):
                tally.refused[str(image)] += 1
                continue
            if keep is not None:
                keep(Record(self.channel, stamp, picture_bytes(image, stamp, self.camera)))
            keyframe = beat.takes(stamp)
            if not keyframe and not self._follow:
                tally.too_soon += 1
                continue
            yield Recorded(self.camera, image, stamp, self.camera, time=stamp, keyframe=keyframe)


def camera_name(path: Path) -> str:
    """A name that topics and frames can have: the file's or the folder's, with a letter first."""
    name = re.sub(r"[^A-Za-z0-9_]+", "_", path.resolve().stem).strip("_")
    return name if name[:1].isalpha() else f"camera_{name}".rstrip("_")


def is_video(path: Path) -> bool:
    """Whether a path is a video or a GIF, going by its name."""
    return path.is_file() and path.suffix.lower() in (*VIDEOS, ".gif")


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder (not below it) by their names, 2 before 10; not those that `qwenvl ask` drew."""
    return sorted(
        (
            path
            for path in folder.iterdir()
            if path.is_file()
            # By name first: a broken image is one as well.
            and (path.suffix.lower() in _IMAGES or cv2.haveImageReader(str(path)))
            and ".found" not in path.suffixes[:-1]
        ),
        key=natural,
    )


def _folder(files: Sequence[Path], fps: float) -> _Shots:
    for number, path in enumerate(files):
        stamp = round(number / fps * 1e9)
        try:
            yield stamp, read(path)
        except ImageRefused as error:
            yield stamp, error


def _gif(path: Path, damage: list[str]) -> _Shots:
    number, milliseconds = 0, 0.0
    try:
        with Pillow.open(path) as gif:
            for frame in ImageSequence.Iterator(gif):
                yield round(milliseconds * 1e6), np.asarray(frame.convert("RGB"), np.uint8)
                number, milliseconds = number + 1, milliseconds + (frame.info.get("duration") or _GIF_MS)
    except Exception as error:  # a broken file makes Pillow fail in many ways
        at = f"after frame {number}, at {milliseconds / 1000:.3f} s" if number else "from its beginning on"
        damage.append(f"{path.name}: it cannot be read {at}: {error}")


def _open(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise ImageRefused(
            f"{path} cannot be read as a video; if it plays elsewhere, convert it to MP4 (H.264)"
        )
    return capture


def _video(path: Path, damage: list[str]) -> _Shots:
    capture = _open(path)
    try:
        said, rate = round(capture.get(cv2.CAP_PROP_FRAME_COUNT)), capture.get(cv2.CAP_PROP_FPS) or 25.0
        number, stamp = 0, -1
        while True:
            read, pixels = capture.read()
            if not read:
                break
            at = round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
            # Some files do not say when their frames are shown.
            stamp = at if at > stamp else max(stamp + 1, round(number / rate * 1e9))
            number += 1
            yield stamp, _rgb(pixels)
        if path.suffix.lower() in _COUNTED and number < said:
            damage.append(
                f"{path.name}: {number} of its {said} frames can be read, the last of {max(stamp, 0) / 1e9:.3f} s"
            )
    finally:
        capture.release()


def _rgb(bgr: np.ndarray) -> Image:
    return np.ascontiguousarray(bgr[:, :, ::-1]).astype(np.uint8, copy=False)

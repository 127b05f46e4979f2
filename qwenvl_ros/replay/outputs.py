"""What a replay leaves: an MCAP file and lines of JSON, complete or not at all."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TextIO

from qwenvl_ros.bags import BagError, Record, RecordWriter
from qwenvl_ros.drawing import annotate
from qwenvl_ros.markers import MarkerBuilder
from qwenvl_ros.replay.answers import Answers
from qwenvl_ros.replay.frames import Recorded
from qwenvl_ros.replay.messages import MARKERS, PICTURES, SCENES, marker_bytes, picture_bytes, scene_bytes
from qwenvl_ros.scene_json import to_json
from qwenvl_ros.types import Scene

_ANSWERS, _LINES = "answers.jsonl", "scenes.jsonl"
_OWN = (SCENES.topic, MARKERS.topic, PICTURES.topic)


class Outputs:
    """Scenes, markers and pictures as an MCAP, and scenes as lines of strict JSON, each where it is wanted.

    A context manager. What is not complete yet lies in `<output>.part`, as do the engine's answers, which alone survive
    an interruption; where the run came to its end the folder goes. answers: None where nothing is written.

    Raises:
        BagError: an output exists or cannot be written, or another process writes it.
    """

    def __init__(self, bag: Path | None, lines: Path | None) -> None:
        self.answers: Answers | None = None
        self._paths = [path for path in (bag, lines) if path is not None]
        self._left_out: Counter[str] = Counter()
        self._markers = MarkerBuilder()
        self._bag: RecordWriter | None = None
        self._lines: TextIO | None = None
        for path in self._paths:
            if path.exists():
                raise BagError(f"{path} exists already: remove it or choose another name")
        if not self._paths:
            return
        self._folder = self._paths[0].with_name(f"{self._paths[0].name}.part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for path in self._paths:
                path.parent.mkdir(parents=True, exist_ok=True)
            self.answers = Answers(self._folder / _ANSWERS)
            self._tidy()
            if bag is not None:
                self._bag = RecordWriter(bag, self._folder)
            if lines is not None:
                self._lines = (self._folder / _LINES).open("w", encoding="utf-8")
        except OSError as error:
            self.__exit__(type(error), error, None)
            if isinstance(error, BagError):
                raise
            raise BagError(
                f"{error.filename} cannot be written: {error.strerror}; choose another folder"
            ) from error

    def __enter__(self) -> Outputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bag is not None:
            self._bag.__exit__(kind, error, trace)
        if self._lines is not None:
            self._lines.close()
            if kind is None:
                shutil.move(self._folder / _LINES, self._paths[-1])
        if self.answers is not None:
            keep = kind is not None and len(self.answers)
            self.answers.close()
            self._tidy()
            if not keep:
                shutil.rmtree(self._folder)

    def keep(self, record: Record) -> None:
        """An input, as it was recorded; those on topics of our own are left out."""
        if self._bag is None:
            return
        try:
            if record.channel.topic in _OWN:
                raise BagError("made anew")
            self._bag.write_bytes(record.channel, record.data, record.time)
        except BagError as error:
            self._left_out[f"{record.channel.topic}: {error}"] += 1

    def write(self, frame: Recorded, scene: Scene) -> None:
        """What was found in a frame, at the time of its recording."""
        if self._bag is not None:
            picture = picture_bytes(annotate(frame.image, scene), scene.stamp, scene.frame_id)
            self._bag.write_bytes(SCENES, scene_bytes(scene), frame.time)
            self._bag.write_bytes(MARKERS, marker_bytes(self._markers.of(scene)), frame.time)
            self._bag.write_bytes(PICTURES, picture, frame.time)
        if self._lines is not None:
            self._lines.write(json.dumps(to_json(scene), allow_nan=False, ensure_ascii=False) + "\n")

    def written(self) -> Iterator[str]:
        """What is there now and what was left out of it, a line each."""
        for reason, count in self._left_out.items():
            yield f"{count} messages were not kept, on {reason}"
        for path in self._paths:
            files = [path] if path.is_file() else list(path.iterdir())
            yield f"{path}: {sum(each.stat().st_size for each in files) / 1e6:.1f} MB"

    def _tidy(self) -> None:
        """Remove all but the answers: what a run that was killed left, too."""
        for path in self._folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != _ANSWERS:
                path.unlink()

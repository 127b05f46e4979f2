"""Recordings of any kind, read in the order of their times; what is broken is left out and told."""

from __future__ import annotations

import re
import tempfile
from array import array
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType

import yaml
import zstandard

from qwenvl_ros.bags import broken_mcap, broken_ros1, broken_sqlite, intact
from qwenvl_ros.bags.intact import Lost, Topic, reason
from qwenvl_ros.bags.records import BagError, Record

_METADATA = "metadata.yaml"
_FORMATS = (".mcap", ".db3", ".bag")
_PACKED = (".zstd", ".zst")  # compression mode "file" of rosbag2
_SALVAGE = {".mcap": broken_mcap.salvage, ".db3": broken_sqlite.salvage, ".bag": broken_ros1.salvage}


def is_bag(path: Path) -> bool:
    """Whether a path is, or is a folder of, what Bag reads, going by names."""
    if not path.is_dir():
        return _format(path) in _FORMATS
    return (path / _METADATA).exists() or any(_format(each) in _FORMATS for each in path.iterdir())


class Bag:
    """A file (.mcap, .db3, .bag), or a folder of them: rosbag2's, split ones too, with its metadata.yaml or without.

    ROS 1 messages come as those of ROS 2; messages that are not in CDR are left out. A context manager.
    damage: what could not be read and why, one text each; it grows while the recording is read.

    Raises:
        BagError: there is no recording.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: list[str] = []
        self._unpacked = tempfile.TemporaryDirectory(prefix="qwenvl_bag_")
        self._files = [self._plain(file) for file in self._find(path)]

    def __enter__(self) -> Bag:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove what was unpacked."""
        self._unpacked.cleanup()

    def survey(self, wanted: Collection[str]) -> dict[str, Topic]:
        """The topics by name; with the first message of those of a wanted type."""
        found: dict[str, Topic] = {}
        for file in self._files:
            try:
                topics = intact.survey(file, wanted, self._report(file))
            except Exception as error:  # a file that is not what it should be makes rosbags fail in many ways
                topics = self._survey_broken(file, error, wanted)
            for name, topic in topics.items():
                known = found.get(name, Topic(topic.channel, 0))
                found[name] = Topic(known.channel, known.count + topic.count, known.first or topic.first)
        return found

    def records(self, topics: Collection[str] | None = None) -> Iterator[Record]:
        """The messages on these topics (None: on all), file by file, each in the order of the times of recording."""
        for file in self._files:
            yield from self._records(file, topics)

    def _records(self, file: Path, topics: Collection[str] | None) -> Iterator[Record]:
        given: dict[str, array[int]] = {}
        try:
            for record in intact.records(file, topics, self._report(file)):
                given.setdefault(record.channel.topic, array("q")).append(record.time)
                yield record
            return
        except Exception as error:
            broken = self._broken(file, error)
        # From the start again, past what was given out already, which need not be in the order of the file.
        done = Counter((topic, time) for topic, times in given.items() for time in times)
        for record in broken:
            key = (record.channel.topic, record.time)
            if done[key]:
                done[key] -= 1
            elif topics is None or record.channel.topic in topics:
                yield record

    def _broken(self, file: Path, error: Exception) -> Iterator[Record]:
        """What can be read of a file that rosbags cannot read; where that is all of it, nothing is damaged."""
        why, count, newest = reason(error), 0, 0
        losses: list[str] = []
        try:
            for record in _SALVAGE[file.suffix](file, losses.append):
                count, newest = count + 1, max(newest, record.time)
                if (whole := intact.unpacked(record, losses.append)) is not None:
                    yield whole
        except Exception as another:
            losses.append(f"nothing more can be read: {reason(another)}")
        if count and not losses:
            return
        report = self._report(file)
        report(f"it is damaged ({why}), so it is read as far as it goes")
        for text in losses:
            report(text)
        last = f", the last of them recorded at {newest / 1e9:.3f} s" if count else ""
        report(f"{count} messages can be read{last}")

    def _survey_broken(self, file: Path, error: Exception, wanted: Collection[str]) -> dict[str, Topic]:
        found: dict[str, Topic] = {}
        for record in self._broken(file, error):
            known = found.get(record.channel.topic, Topic(record.channel, 0))
            first = known.first or (record if record.channel.type in wanted else None)
            found[record.channel.topic] = Topic(known.channel, known.count + 1, first)
        return found

    def _report(self, file: Path) -> Lost:
        def report(text: str) -> None:
            line = f"{file.name}: {text}"
            if line not in self.damage:
                self.damage.append(line)

        return report

    def _find(self, path: Path) -> list[Path]:
        """The files of the recording, in their order."""
        if path.is_file() and is_bag(path):
            return [path]
        if not path.is_dir() or not is_bag(path):
            known = ", ".join(_FORMATS)
            raise BagError(f"{path} is no recording: give a {known} file or a folder with metadata.yaml")
        inside = sorted((p for p in path.iterdir() if _format(p) in _FORMATS), key=natural)
        try:
            information = yaml.safe_load((path / _METADATA).read_text(encoding="utf-8"))
            names = information["rosbag2_bagfile_information"]["relative_file_paths"]
            listed = [path / Path(name).name for name in names]
        except FileNotFoundError:  # the recorder did not end as it should; its files may be whole
            return inside
        except Exception as error:
            self.damage.append(f"{_METADATA} cannot be read ({reason(error)}): files go by their names")
            return inside
        for file in listed:
            if not file.exists():
                self.damage.append(f"{file.name} is missing")
        return [file for file in listed if file.exists()]

    def _plain(self, file: Path) -> Path:
        """The file, unpacked where it is compressed as a whole."""
        if file.suffix not in _PACKED:
            return file
        plain = Path(self._unpacked.name) / file.stem
        with file.open("rb") as source, plain.open("wb") as target:
            try:
                zstandard.ZstdDecompressor().copy_stream(source, target)
            except zstandard.ZstdError as error:
                self.damage.append(f"{file.name} cannot be unpacked to its end: {error}")
        return plain


def natural(path: Path) -> list[tuple[int, int | str]]:
    """Sorts names as people do: bag_2 before bag_10."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", path.name)]


def _format(path: Path) -> str:
    return Path(path.stem).suffix if path.suffix in _PACKED else path.suffix

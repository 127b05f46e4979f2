"""Videos, GIFs and folders of images through `qwenvl replay`: real files, their own times."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from qwenvl_ros import backends, compressed
from qwenvl_ros.backends.scripted import ScriptedBackend
from qwenvl_ros.bags import Bag, Decoder
from qwenvl_ros.tools import cli

ANSWER = '[{"bbox_2d": [100, 100, 900, 900], "label": "ball"}]'


@pytest.fixture
def seen(monkeypatch, tmp_path):
    """The brightness of what the engine was shown, in order."""
    shown: list[float] = []

    def script(request):
        shown.append(float(request.images[0].mean()))
        return ANSWER

    monkeypatch.setattr(backends, "create", lambda model, settings: ScriptedBackend(script))
    monkeypatch.chdir(tmp_path)
    return shown


def replay(*arguments) -> int:
    return cli.main(["replay", "--model", "2b", *map(str, arguments)])


def frames(count, width=320, height=240):
    """Brighter and brighter, with something in it that a coder has to work for."""
    rng = np.random.default_rng(0)
    for number in range(count):
        noise = rng.integers(0, 20, (height, width, 3), np.uint8)
        yield noise + np.uint8(10 + number * 200 // count)


def video(name: str, code: str, count: int, rate: float, **size) -> Path:
    pictures = list(frames(count, **size))
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(name, cv2.VideoWriter_fourcc(*code), rate, (width, height))
    assert writer.isOpened()
    for each in pictures:
        writer.write(each)
    writer.release()
    return Path(name)


def scenes(path="out.jsonl"):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def seconds(found):
    return [each["header"]["stamp"]["sec"] + each["header"]["stamp"]["nanosec"] / 1e9 for each in found]


@pytest.mark.parametrize(("name", "code"), [("a b.mp4", "mp4v"), ("Film.AVI", "MJPG"), ("x.mkv", "VP80")])
def test_a_video_gives_a_scene_a_frame_at_the_frames_own_times(seen, capsys, name, code):
    video(name, code, 6, 12.5)
    assert replay(name, "out.mcap", "--jsonl", "out.jsonl") == 0
    found = scenes()
    np.testing.assert_allclose(seconds(found), [n / 12.5 for n in range(6)], atol=2e-3)
    assert {(each["camera"], each["width"], each["height"]) for each in found} == {
        (Path(name).stem.replace(" ", "_"), 320, 240)
    }
    assert seen == sorted(seen) and len(seen) == 6 and seen[-1] - seen[0] > 50
    assert replay(name, "again.mcap", "--expect", "out.jsonl") == 0
    assert Path("again.mcap").read_bytes() == Path("out.mcap").read_bytes()
    assert "0 of 6 scenes differ" in capsys.readouterr().out


def test_a_gif_has_the_times_it_says(seen):
    pictures = [Pillow.fromarray(each).quantize(64) for each in frames(4, 64, 48)]
    pictures[0].save("a.gif", save_all=True, append_images=pictures[1:], duration=[100, 250, 50, 40], loop=0)
    assert replay("a.gif", "--jsonl", "out.jsonl") == 0
    assert seconds(scenes()) == [0.0, 0.1, 0.35, 0.4]
    assert seen == sorted(seen)


def test_a_folder_goes_by_numbers_in_its_names(seen, capsys):
    folder = Path("shots")
    folder.mkdir()
    for number, each in enumerate(frames(11, 64, 48)):
        cv2.imwrite(str(folder / f"img_{number}.{'png' if number % 2 else 'jpg'}"), each)
    (folder / "notes.txt").write_text("no image")
    (folder / "img_3.png").write_bytes(b"broken")
    (folder / "img_11.jpg").touch()
    assert replay("shots", "--jsonl", "out.jsonl", "--fps", "4") == 1, "two are broken"
    assert seconds(scenes()) == [n / 4 for n in range(11) if n != 3]
    assert seen == sorted(seen)
    told = capsys.readouterr().out
    assert "1 images could not be read: img_3.png cannot be decoded" in told
    assert "1 images could not be read: img_11.jpg cannot be decoded" in told


def test_a_rate_leaves_frames_out(seen):
    video("v.mp4", "mp4v", 20, 20.0)
    assert replay("v.mp4", "--jsonl", "out.jsonl", "--rate", "4") == 0
    np.testing.assert_allclose(seconds(scenes()), [0.0, 0.25, 0.5, 0.75], atol=2e-3)


def test_with_all_the_frames_are_in_the_output(seen):
    video("v.mp4", "mp4v", 3, 10.0)
    assert replay("v.mp4", "out.mcap", "--all", "--rate", "5") == 0
    decoder = Decoder()
    with Bag(Path("out.mcap")) as bag:
        kept = list(bag.records(["/v/image_raw/compressed"]))
        assert [round(each.time / 1e6) for each in kept] == [0, 100, 200]
        for each, picture in zip(kept, frames(3), strict=True):
            shown = compressed.decode(decoder.message(each).format, decoder.message(each).data)
            assert abs(float(shown.mean()) - float(picture.mean())) < 5


def test_a_truncated_video_gives_what_can_be_read_and_says_where_it_broke(seen, capsys):
    path = video("v.avi", "MJPG", 60, 20.0)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert replay("v.avi", "out.mcap", "--jsonl", "out.jsonl", "--rate", "5") == 1
    found = scenes()
    assert 5 <= len(found) <= 8 and Path("out.mcap").exists()
    error = capsys.readouterr().err
    assert "v.avi" in error and "of its 60 frames can be read" in error


def test_a_truncated_gif_says_where_it_broke(seen, capsys):
    pictures = [Pillow.fromarray(each) for each in frames(6, 160, 120)]
    pictures[0].save("a.gif", save_all=True, append_images=pictures[1:], duration=100)
    whole = Path("a.gif").read_bytes()
    Path("a.gif").write_bytes(whole[: int(len(whole) * 0.6)])
    assert replay("a.gif", "--jsonl", "out.jsonl") == 1
    assert 1 <= len(scenes()) < 6
    assert "a.gif: it cannot be read after frame" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["v.mp4", "v.avi", "v.gif"])
def test_what_is_no_video_is_refused(seen, capsys, name):
    Path(name).write_bytes(b"no video at all")
    assert replay(name, "out.mcap") == 1
    assert name in capsys.readouterr().err
    assert [each.name for each in Path().iterdir()] == [name]


@pytest.mark.parametrize(
    "unused",
    [
        ["--target-frame", "map"],
        ["--topics", "/x"],
        ["--depth", "/y"],
        ["--rectified"],
        ["--depth-patience", "2"],
        ["--fps", "5"],
    ],
)
def test_a_video_takes_no_notice_of_what_is_a_bags(seen, capsys, unused):
    video("v.mp4", "mp4v", 2, 10.0)
    assert replay("v.mp4", "out.mcap", *unused) == 1
    assert (
        f"v.mp4 is a video, which takes no notice of {unused[0]}: leave that out" in capsys.readouterr().err
    )
    assert cli.main(["replay", "--live", "v.mp4", *unused]) == 1
    assert re.search(f"{unused[0]}(: leave that out|$)", capsys.readouterr().err)

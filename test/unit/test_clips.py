"""The last seconds of a camera: which frames are kept, how small, how many, and what of them a question gets."""

from __future__ import annotations

import numpy as np
import pytest

from qwenvl_ros import grounding, zoo
from qwenvl_ros.clips import ClipSettings, Film
from qwenvl_ros.types import Frame

SECOND = 1_000_000_000
MODEL = zoo.resolve("Qwen/Qwen3-VL-2B-Instruct")
TINY = zoo.resolve("tiny")


def frame(seconds: float, width: int = 640, height: int = 480) -> Frame:
    image = np.full((height, width, 3), int(10 * seconds) % 256, np.uint8)
    return Frame("front", image, round(seconds * SECOND))


def filmed(seconds, settings, model=MODEL, **size) -> Film:
    film = Film()
    for each in seconds:
        film.add(frame(each, **size), model, settings)
    return film


def stamps(footage) -> list[float]:
    return [stamp / SECOND for stamp in footage.stamps]


def test_frames_are_kept_at_the_rate_and_the_newest_ends_them():
    settings = ClipSettings(window=10.0, rate_hz=2.0)
    camera = np.arange(100.0, 104.0, 1 / 30)
    footage = filmed(camera, settings).last(10.0, frame(104.02), MODEL, settings)
    kept = stamps(footage)
    assert kept[-1] == 104.02 and kept[0] == 100.0
    np.testing.assert_allclose(np.diff(kept)[:-1], 0.5, atol=1 / 30)
    assert len(kept) == 9
    clip = footage.clip()
    assert clip.frames.shape[0] == len(clip.seconds) == 9 and clip.frames.dtype == np.uint8
    assert clip.seconds[0] == 0.0 and clip.seconds[-1] == pytest.approx(4.02)


def test_a_camera_slower_than_the_rate_gives_all_it_has():
    settings = ClipSettings(rate_hz=5.0)
    footage = filmed([0.0, 1.0, 2.0], settings).last(10.0, frame(3.0), MODEL, settings)
    assert stamps(footage) == [0.0, 1.0, 2.0, 3.0]


def test_a_question_gets_no_more_than_it_asks_for():
    settings = ClipSettings()
    film = filmed(np.arange(0.0, 8.0, 0.1), settings)
    footage = film.last(2.0, frame(8.0), MODEL, settings)
    assert stamps(footage)[0] >= 6.0 and footage.covers(2.0) and not footage.covers(4.0)
    only = Film().last(2.0, frame(8.0), MODEL, settings)
    assert stamps(only) == [8.0] and not only.covers(2.0) and only.clip().seconds == [0.0]


def test_no_more_is_kept_than_the_window_and_the_memory_allow():
    long = filmed(np.arange(0.0, 60.0, 0.5), ClipSettings(window=3.0))
    assert len(long._kept) <= 8
    one = frame(0.0)
    bytes_each = grounding.place(640, 480, MODEL.limited(256 * 1024).pixels).apply(one.image).nbytes
    tight = ClipSettings(window=600.0, memory=3.5 * bytes_each / 1e6)
    film = filmed(np.arange(0.0, 60.0, 0.5), tight)
    assert sum(canvas.nbytes for _, canvas in film._kept) <= 3.5 * bytes_each
    footage = film.last(600.0, frame(60.0), MODEL, tight)
    assert len(footage.stamps) == 4 and not footage.covers(600.0)


def test_nothing_is_kept_without_a_window_and_what_was_kept_goes_when_it_is_closed():
    assert not filmed(np.arange(0.0, 5.0, 0.5), ClipSettings(window=0.0))._kept
    film = filmed(np.arange(0.0, 5.0, 0.5), ClipSettings())
    film.add(frame(5.1), MODEL, ClipSettings(window=0.0))
    assert not film._kept


@pytest.mark.parametrize("model", [MODEL, TINY], ids=["2b", "tiny"])
@pytest.mark.parametrize("size", [(640, 480), (4000, 3000), (64, 48), (320, 1000)])
def test_frames_are_small_and_of_the_size_that_the_model_takes(model, size):
    settings = ClipSettings()
    width, height = size
    film = filmed([0.0, 0.5], settings, model, width=width, height=height)
    clip = film.last(1.0, frame(1.0, width, height), model, settings).clip()
    _, tall, wide, _ = clip.frames.shape
    assert tall % 32 == 0 and wide % 32 == 0
    assert tall * wide <= max(settings.max_pixels, model.pixels.min_pixels)


def test_frames_keep_no_message_alive():
    settings = ClipSettings()
    image = np.zeros((192, 256, 3), np.uint8)  # as the tiny model takes it
    film = Film()
    film.add(Frame("front", image, 0), TINY, settings)
    assert not np.shares_memory(film._kept[0][1], image)


def test_a_camera_that_changes_its_size_starts_anew():
    settings = ClipSettings()
    film = filmed([0.0, 0.5], settings)
    film.add(frame(1.0, 480, 640), MODEL, settings)
    assert stamps(film.last(9.0, frame(1.5, 480, 640), MODEL, settings)) == [1.0, 1.5]


def test_settings_that_change_take_effect():
    slow, fast = ClipSettings(rate_hz=1.0), ClipSettings(rate_hz=10.0, max_pixels=64 * 1024)
    film = filmed(np.arange(0.0, 3.0, 0.1), slow)
    for seconds in np.arange(3.0, 5.0, 0.1):
        film.add(frame(seconds), MODEL, fast)
    kept = stamps(film.last(9.0, frame(5.0), MODEL, fast))
    assert kept[0] >= 3.0, "smaller frames are other frames"
    assert len(kept) > 15


def test_a_higher_rate_takes_effect_at_once():
    film, fast = filmed([0.0], ClipSettings(rate_hz=0.01)), ClipSettings(rate_hz=2.0)
    for seconds in np.arange(0.1, 3.1, 0.1):
        film.add(frame(seconds), MODEL, fast)
    kept = stamps(film.last(9.0, frame(3.1), MODEL, fast))
    assert kept[:4] == pytest.approx([0.0, 0.1, 0.6, 1.1]), "not after 100 s, and then on a beat of its own"

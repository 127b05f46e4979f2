"""Slots: newest wins, rate, age, fairness, time that jumps back, and that every frame is accounted for."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenvl_ros.scheduling import Drop, Limits, Slots
from qwenvl_ros.settings import SettingError
from qwenvl_ros.types import Frame

MS = 1_000_000
IMAGE = np.zeros((2, 2, 3), np.uint8)


class Clock:
    def __init__(self, now: int = 0) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def frame(camera: str, stamp: int) -> Frame:
    return Frame(camera, IMAGE, stamp)


def stamps(frames: list[Frame]) -> list[tuple[str, int]]:
    return [(f.camera, f.stamp) for f in frames]


def test_a_newer_frame_replaces_the_waiting_one_and_is_counted() -> None:
    clock = Clock(1000 * MS)
    slots = Slots(now=clock)
    assert slots.put(frame("a", 990 * MS)).accepted
    put = slots.put(frame("a", 1000 * MS))
    assert put.accepted and put.dropped == (Drop.REPLACED,)
    assert stamps(slots.take()) == [("a", 1000 * MS)]
    assert slots.take() == []
    counts = slots.counts()["a"]
    assert (counts.received, counts.taken, counts.waiting, dict(counts.dropped)) == (
        2,
        1,
        False,
        {Drop.REPLACED: 1},
    )


def test_cameras_take_turns_and_a_fast_one_never_starves_a_slow_one() -> None:
    clock = Clock()
    slots = Slots(now=clock)
    turns = []
    for step in range(12):
        clock.now = step * 10 * MS
        slots.put(frame("fast", clock.now))
        if step % 3 == 0:
            slots.put(frame("slow", clock.now))
        turns += [f.camera for f in slots.take(1)]
    assert turns.count("slow") == 4
    clock.now += 10 * MS
    for camera in ("a", "b", "c", "fast"):
        slots.put(frame(camera, clock.now))
    assert [f.camera for f in slots.take(3)] == ["a", "b", "c"]
    assert [f.camera for f in slots.take(3)] == ["fast"]


def test_a_busy_camera_keeps_its_frame() -> None:
    slots = Slots(now=Clock())
    for camera in ("a", "b"):
        slots.put(frame(camera, 0))
    assert [f.camera for f in slots.take(2, busy={"a"})] == ["b"]
    assert [f.camera for f in slots.take(2)] == ["a"]


def test_too_old_is_refused_at_the_door_and_when_its_turn_comes() -> None:
    clock = Clock(5000 * MS)
    slots = Slots(Limits(max_age=0.5), now=clock)
    assert slots.put(frame("a", 4000 * MS)).dropped == (Drop.AGE,)
    assert slots.put(frame("a", 4600 * MS)).accepted
    clock.now = 5200 * MS
    assert slots.take() == []
    assert slots.counts()["a"].dropped == {Drop.AGE: 2}


def test_no_age_limit_when_zero() -> None:
    slots = Slots(Limits(max_age=0.0), now=Clock(10**18))
    assert slots.put(frame("a", 0)).accepted
    assert len(slots.take()) == 1


def test_a_stamp_far_ahead_of_the_clock_is_refused_with_that_reason() -> None:
    slots = Slots(now=Clock(0))
    assert slots.put(frame("a", 10**18)).dropped == (Drop.FUTURE,)
    assert "use_sim_time" in Drop.FUTURE.value


@pytest.mark.parametrize(("camera_hz", "rate_hz"), [(30.0, 10.0), (30.0, 7.0), (15.0, 15.0), (10.0, 30.0)])
def test_rate_is_kept_on_average_in_spite_of_jitter(camera_hz: float, rate_hz: float) -> None:
    clock, rng = Clock(), np.random.default_rng(0)
    slots = Slots(Limits(rate_hz=rate_hz), now=clock)
    taken = 0
    seconds = 60
    for index in range(int(camera_hz * seconds)):
        clock.now = int((index + rng.uniform(0.0, 0.1)) / camera_hz * 1e9)
        slots.put(frame("a", clock.now))
        taken += len(slots.take())
    assert taken / seconds == pytest.approx(min(camera_hz, rate_hz), rel=0.08)
    assert taken <= rate_hz * seconds + 1


def test_the_newest_frame_is_never_refused_by_rate_while_an_older_one_waits() -> None:
    clock = Clock()
    slots = Slots(Limits(rate_hz=1.0, max_age=0.0), now=clock)
    slots.put(frame("a", 0))
    slots.take()
    clock.now = 1100 * MS
    slots.put(frame("a", 1100 * MS))
    clock.now = 1200 * MS
    assert slots.put(frame("a", 1200 * MS)).accepted
    assert stamps(slots.take()) == [("a", 1200 * MS)]


def test_each_camera_has_its_own_limits_and_they_can_change() -> None:
    clock = Clock(10_000 * MS)
    slots = Slots(Limits(max_age=1.0), {"slow": Limits(max_age=5.0)}, now=clock)
    assert not slots.put(frame("a", 8000 * MS)).accepted
    assert slots.put(frame("slow", 8000 * MS)).accepted
    slots.set_limits(Limits(max_age=3.0))
    assert slots.put(frame("a", 8000 * MS)).accepted
    slots.set_limits(Limits(max_age=0.1), "slow")
    assert slots.take(2)[0].camera == "a"
    with pytest.raises(SettingError, match="rate_hz"):
        slots.set_limits(Limits(rate_hz=-1.0))
    with pytest.raises(SettingError, match="max_age"):
        Slots(per_camera={"a": Limits(max_age=-1.0)})


def test_a_little_out_of_order_is_late_and_far_back_is_a_loop() -> None:
    clock = Clock(10_000 * MS)
    slots = Slots(Limits(max_age=0.0), now=clock)
    slots.put(frame("a", 10_000 * MS))
    late = slots.put(frame("a", 9_900 * MS))
    assert not late.accepted and late.dropped == (Drop.LATE,) and not late.time_jumped_back
    looped = slots.put(frame("a", 1_000 * MS))
    assert looped.accepted and looped.time_jumped_back and looped.dropped == (Drop.RESET,)
    assert slots.put(frame("a", 1_100 * MS)).dropped == (Drop.REPLACED,)
    assert stamps(slots.take()) == [("a", 1_100 * MS)]


def test_a_clock_that_jumps_back_resets_every_camera_and_tells_each_once() -> None:
    clock = Clock(60_000 * MS)
    slots = Slots(Limits(rate_hz=5.0), now=clock)
    for camera in ("a", "b"):
        slots.put(frame(camera, 60_000 * MS))
    slots.take(1)  # a is gone, b waits
    clock.now = 1_000 * MS  # the bag starts again, /clock before the first image
    assert slots.take(2) == []
    for camera in ("a", "b"):
        put = slots.put(frame(camera, 1_000 * MS))
        assert put.accepted and put.time_jumped_back
        assert not slots.put(frame(camera, 1_010 * MS)).time_jumped_back
    assert slots.counts()["b"].dropped == {Drop.RESET: 1, Drop.REPLACED: 1}
    assert len(slots.take(2)) == 2


def test_an_image_that_loops_before_the_clock_does_waits_for_it() -> None:
    clock = Clock(60_000 * MS)
    slots = Slots(now=clock)
    slots.put(frame("a", 60_000 * MS))
    slots.take()
    assert slots.put(frame("a", 0)).dropped == (Drop.AGE,)
    clock.now = 30 * MS
    put = slots.put(frame("a", 30 * MS))
    assert put.accepted and put.time_jumped_back


def test_clear_drops_what_waits_and_counts_it() -> None:
    slots = Slots(Limits(max_age=0.0), now=Clock())
    slots.put(frame("a", 9000 * MS))
    slots.clear()
    assert slots.take() == []
    put = slots.put(frame("a", 1 * MS))
    assert put.accepted and not put.time_jumped_back
    assert slots.counts()["a"].dropped == {Drop.CLEARED: 1}


def test_several_threads_lose_nothing() -> None:
    slots = Slots(Limits(max_age=0.0, jump_back=1e6), now=Clock())
    taken: list[Frame] = []
    done = threading.Event()

    def put(camera: str) -> None:
        for stamp in range(300):
            slots.put(frame(camera, stamp))

    def take() -> None:
        while not done.is_set():
            taken.extend(slots.take(2))

    takers = [threading.Thread(target=take) for _ in range(2)]
    putters = [threading.Thread(target=put, args=(c,)) for c in "abcd"]
    for thread in (*takers, *putters):
        thread.start()
    for thread in putters:
        thread.join()
    done.set()
    for thread in takers:
        thread.join()
    taken += slots.take(10)
    counts = slots.counts()
    assert sum(c.taken for c in counts.values()) == len(taken)
    for camera, count in counts.items():
        assert count.received == 300 == count.taken + sum(count.dropped.values())
        assert max(f.stamp for f in taken if f.camera == camera) == 299


EVENTS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(-2000, 2000), st.integers(-300, 300), st.booleans()),
    max_size=60,
)


@given(EVENTS, st.sampled_from([0.0, 5.0]), st.sampled_from([0.0, 0.2]))
def test_every_frame_is_accounted_for_whatever_the_clocks_do(
    events: list[tuple[str, int, int, bool]], rate: float, age: float
) -> None:
    clock = Clock(10**12)
    slots = Slots(Limits(rate_hz=rate, max_age=age), now=clock)
    accepted = 0
    for camera, tick, offset, take in events:
        clock.now += tick * MS
        put = slots.put(frame(camera, clock.now + offset * MS))
        accepted += put.accepted
        assert put.accepted or put.dropped
        if take:
            frames = slots.take(2)
            assert len({f.camera for f in frames}) == len(frames) <= 2
            assert not age or all(abs(clock.now - f.stamp) <= age * 1e9 for f in frames)
    for count in slots.counts().values():
        assert count.received == count.taken + count.waiting + sum(count.dropped.values())


@pytest.mark.parametrize("capacity", [1, 4, 8])
@pytest.mark.parametrize("cameras", [1, 4, 8])
def test_no_camera_gets_less_than_half_of_its_due(cameras: int, capacity: int) -> None:
    """An engine that is always short of time, on a simulated clock: uneven cameras and answers, and one that hangs.

    The due of a camera is its own rate, or an even share of what the engine answered, whichever is less.
    """
    rng = np.random.default_rng([cameras, capacity])
    clock, seconds, time_out = 0, 60.0, 5.0
    slots = Slots(Limits(max_age=1.0), now=lambda: clock)
    rates = {f"camera{k}": 4.0 * (1 + k % 3) for k in range(cameras)}  # Hz, twice what the engine can do
    arrivals = [
        (round(1e9 * n / hz), name) for name, hz in rates.items() for n in range(1, int(seconds * hz))
    ]
    answers: dict[str, int] = dict.fromkeys(rates, 0)
    in_engine: dict[str, int] = {}  # camera -> when its answer comes
    ages, hangs = [], 1
    for stamp, name in sorted(arrivals):
        while (
            in_engine and (first := min(in_engine, key=in_engine.__getitem__)) and in_engine[first] <= stamp
        ):
            clock = in_engine.pop(first)
            answers[first] += 1
            hangs = _fill(slots, in_engine, capacity, clock, rng, hangs, time_out, ages)
        clock = stamp
        slots.put(frame(name, stamp))
        hangs = _fill(slots, in_engine, capacity, clock, rng, hangs, time_out, ages)
        assert len(in_engine) <= capacity
    due = sum(answers.values()) / cameras
    for name, hz in rates.items():
        assert answers[name] >= 0.5 * min(due, hz * seconds), (name, answers)
        counts = slots.counts()[name]
        assert counts.received == counts.taken + counts.waiting + sum(counts.dropped.values())
    assert max(ages) <= 1.0, "no frame older than max_age reached the engine"


def _fill(slots, in_engine, capacity, clock, rng, hangs, time_out, ages) -> int:
    """Hand over what the engine has room for; the first answer of all hangs until its time-out."""
    for taken in slots.take(capacity - len(in_engine), in_engine):
        took = time_out if hangs else rng.uniform(0.1, 0.5) * capacity
        in_engine[taken.camera] = clock + round(1e9 * took)
        ages.append((clock - taken.stamp) / 1e9)
        hangs = 0
    return hangs

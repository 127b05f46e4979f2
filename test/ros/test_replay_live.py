"""`qwenvl replay --live` heard by real subscribers in another process, with /clock."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import recordings
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from recordings import STRING, camera_info, image, make, stamp
from rosbags.rosbag2 import Writer
from rosgraph_msgs.msg import Clock
from scripted_node import ANSWER
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String

from qwenvl_ros import backends
from qwenvl_ros.backends.scripted import ScriptedBackend
from qwenvl_ros.replay.comparison import Expectation, Tolerances
from qwenvl_ros.ros.conversions.camera import image_of, stamp_of
from qwenvl_ros.ros.conversions.scene import scene_of
from qwenvl_ros.scene_json import to_json
from qwenvl_ros.tools import cli

ROOT = Path(__file__).resolve().parents[2]
COLOUR, INFO, DEPTH = "/front/image_raw", "/front/camera_info", "/front/depth/image_raw"
PATIENCE = 60.0


@pytest.fixture
def bag(tmp_path):
    made = []
    for n in range(8):
        made += [
            (INFO, stamp(n), camera_info(stamp(n))),
            (COLOUR, stamp(n), image(stamp(n), recordings.noise(seed=n))),
        ]
    return recordings.write(tmp_path / "bag", made)


@pytest.fixture
def live():
    """live(*arguments) starts it; it is ended at the end."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "qwenvl_ros", "replay", "--live", *map(str, arguments)]
        started.append(
            subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def spin(near, process, enough):
    end = time.monotonic() + PATIENCE
    while not enough():
        assert time.monotonic() < end
        near.executor.spin_once(timeout_sec=0.05)
        if process.poll() is not None:
            for _ in range(100):
                near.executor.spin_once(timeout_sec=0.01)
            assert enough(), process.communicate()
            return


def clock_of(message: Clock) -> int:
    return stamp_of(message.clock)


def test_messages_come_as_they_were_recorded_and_in_the_time_of_the_clock(near, bag, live):
    times = []
    images = near.hear(Image, COLOUR)
    infos = near.hear(CameraInfo, INFO, ReliabilityPolicy.BEST_EFFORT)
    near.node.create_subscription(Clock, "/clock", lambda m: times.append(clock_of(m)), 100)
    process = live(bag, "--speed", "2", "--delay", "7")
    spin(near, process, lambda: len(images) == 8 and len(infos) == 8 and max(times, default=0) >= stamp(7))
    assert [stamp_of(each.header.stamp) for each in images] == [stamp(n) for n in range(8)]
    for n, each in enumerate(images):
        np.testing.assert_array_equal(image_of(each), recordings.noise(seed=n))
    assert [stamp_of(each.header.stamp) for each in infos] == [stamp(n) for n in range(8)]
    assert times[0] == stamp(0) and times == sorted(times) and times[-1] == stamp(7)
    assert len([each for each in times if stamp(0) < each < stamp(7)]) > 10, "it goes on between messages"
    out, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, error
    assert f"{COLOUR}" in out and "Traceback" not in error


def test_a_recorded_clock_is_the_only_one(near, tmp_path, live):
    """A simulator's, whose stamps are not the times at which a bag recorded them."""
    clock, simulated = "/clock", [40_000_000_000 + n * 100_000_000 for n in range(8)]
    made = []
    for n, at in enumerate(simulated):
        time_of = recordings.header(at)["stamp"]
        made += [(clock, stamp(n), make("rosgraph_msgs/msg/Clock", clock=time_of))]
        made += [(INFO, stamp(n) + 1, camera_info(at))]
    times, infos = [], near.hear(CameraInfo, INFO)
    near.node.create_subscription(Clock, clock, lambda m: times.append(clock_of(m)), 100)
    process = live(recordings.write(tmp_path / "bag", made), "--delay", "7")
    spin(near, process, lambda: len(infos) == 8 and len(times) == 8)
    assert times == simulated
    out, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and "Traceback" not in error, error
    assert "publishes /clock, /front/camera_info" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
def test_it_is_looped_until_it_is_stopped(near, bag, live, number):
    """By one signal or several: a terminal and a launch file both send it."""
    infos = near.hear(CameraInfo, INFO)
    process = live(bag, "--loop", "--speed", "8", "--topics", INFO)
    spin(near, process, lambda: len(infos) > 20)
    heard = [stamp_of(each.header.stamp) for each in infos]
    assert any(later < earlier for earlier, later in itertools.pairwise(heard)), "it began anew"
    assert near.node.count_publishers(COLOUR) == 0, "only what was asked for"
    for _ in range(5):
        process.send_signal(number)
        time.sleep(0.01)
    _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and "Traceback" not in error, error


def test_a_speed_is_kept(near, bag, live):
    """0.7 s of recording at a tenth of the speed are 7 s, and no less."""
    arrivals = []
    near.node.create_subscription(
        CameraInfo, INFO, lambda message: arrivals.append((time.monotonic(), message)), 10
    )
    process = live(bag, "--speed", "0.1", "--topics", INFO, "--delay", "7")
    spin(near, process, lambda: arrivals and stamp_of(arrivals[-1][1].header.stamp) == stamp(7))
    # On a busy machine the publisher may be found late.
    assert len(arrivals) >= 4
    (first, from_), (last, to) = (
        (at, stamp_of(each.header.stamp)) for at, each in (arrivals[0], arrivals[-1])
    )
    assert last - first > 0.85 * (to - from_) / 1e9 / 0.1


def test_static_transforms_are_latched(near, tmp_path, live):
    made = [("/tf_static", stamp(0), make("tf2_msgs/msg/TFMessage"))]
    made += [("/note", stamp(n), make(STRING, data="x")) for n in range(50)]
    process = live(recordings.write(tmp_path / "bag", made), "--speed", "1")
    notes = near.hear(String, "/note")
    spin(near, process, lambda: len(notes) > 0)
    infos = near.node.get_publishers_info_by_topic("/tf_static")
    if not infos:  # tf2_msgs is not installed: told and left out
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=PATIENCE)
        assert "/tf_static is left out: tf2_msgs/msg/TFMessage is not installed" in error
        return
    assert infos[0].qos_profile.durability is DurabilityPolicy.TRANSIENT_LOCAL


def test_a_video_is_published_as_compressed_images(near, tmp_path, live):
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for n in range(6):
        writer.write(np.full((48, 64, 3), 40 * n, np.uint8))
    writer.release()
    heard = near.hear(CompressedImage, "/film/image_raw/compressed")
    process = live(path, "--delay", "7")
    spin(near, process, lambda: len(heard) == 6)
    assert [round(stamp_of(each.header.stamp) / 1e6) for each in heard] == [100 * n for n in range(6)]
    for n, each in enumerate(heard):
        assert abs(float(image_of(each).mean()) - 40 * n) < 6
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def test_a_node_with_simulated_time_takes_what_was_recorded_long_ago(near, bag, start, live):
    """max_age counts from /clock: by the clock of the wall these images are years old."""
    node = start("use_sim_time:=true", "cameras:=[front]", "max_age:=0.5")
    node.wait_active(COLOUR)
    process = live(bag, "--speed", "0.5", "--loop", "--delay", "1")
    node.until(lambda: len(node.scenes) >= 3, "scenes")
    found = {stamp_of(each.header.stamp) for each in node.scenes}
    assert found <= {stamp(n) for n in range(8)}
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)


def test_replay_and_a_live_node_make_the_same_scenes(near, start, live, tmp_path, monkeypatch):
    """The same engine, once in the node that hears the recording over DDS, once in replay that reads it."""
    made = []
    for n in range(8):
        time_ = stamp(n)
        depth = np.full((48, 64), 1.0 + 0.1 * n, np.float32)
        made += [
            (INFO, time_, camera_info(time_)),
            (COLOUR, time_, image(time_, recordings.noise(seed=n))),
            (DEPTH, time_, image(time_, depth, "32FC1")),
        ]
    path = recordings.write(tmp_path / "bag", made)
    monkeypatch.setattr(backends, "create", lambda model, settings: ScriptedBackend(lambda request: ANSWER))
    lines = tmp_path / "scenes.jsonl"
    assert cli.main(["replay", "--model", "Qwen/Qwen3-VL-4B-Instruct", str(path), "--jsonl", str(lines)]) == 0
    node = start("use_sim_time:=true", "cameras:=[front]", f"front.depth_topic:={DEPTH}")
    node.wait_active(COLOUR)
    live(path, "--speed", "0.3", "--delay", "2", "--loop")

    def placed():
        """By stamp; on a busy machine depth may come too late for an image."""
        whole = [each for each in node.scenes if all(one.has_position for one in each.objects)]
        return {stamp_of(each.header.stamp): each for each in whole}

    node.until(lambda: len(placed()) >= 3, "scenes with positions")
    strict = Tolerances(
        expect_iou=1.0, expect_position=0.0, expect_size=0.0, expect_score=0.0, expect_visible=0.0
    )
    expectation = Expectation(lines, strict)
    for message in placed().values():
        assert expectation.differences(to_json(scene_of(message))) == []


def test_what_cannot_be_published_is_refused(bag, tmp_path, capsys):
    broken = tmp_path / "broken.mcap"
    broken.write_bytes(b"not a recording")
    silent = tmp_path / "silent"
    with Writer(silent, version=9) as writer:
        writer.add_connection("/note", STRING, typestore=recordings.ROS2)
    for arguments, says in (
        ((bag, "--topics", "/nothing"), "has no topic /nothing"),
        ((recordings.write(tmp_path / "empty", []),), "nothing to publish: it has no topic\n"),
        ((broken,), "nothing to publish: it has no topic; broken.mcap: it is damaged ("),
        ((silent,), "nothing to publish: it holds no message\n"),
        ((tmp_path / "missing.mcap",), "missing.mcap does not exist"),
    ):
        assert cli.main(["replay", "--live", *map(str, arguments)]) == 1
        assert says in capsys.readouterr().err

"""The demo as a user runs it: three processes over DDS, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import Reader

from qwenvl_ros.ros.bags import typestore
from qwenvl_ros.types import Status

ROOT = Path(__file__).parents[2]
MARK = "QWENVL_DEMO_TEST"


class Demo:
    """A running demo, its output so far, and its processes, told apart by a variable in their environment."""

    def __init__(self, out: Path, *arguments: str) -> None:
        self.mark = uuid.uuid4().hex
        environment = {
            **os.environ,
            MARK: self.mark,
            "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
        }
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "examples/demo.py"), "--out", str(out), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.output = ""

    def read_until(self, wanted: str) -> None:
        for line in self.process.stdout:
            self.output += line
            if wanted in line:
                return
        raise AssertionError(f"{wanted!r} never came:\n{self.output}")

    def end(self) -> int:
        rest, _ = self.process.communicate()
        self.output += rest
        return self.process.returncode

    def children(self, name: str = "") -> list[int]:
        """Processes of this demo that still run and have `name` in their command line."""
        found = []
        for folder in Path("/proc").iterdir():
            try:
                if (
                    folder.name.isdigit()
                    and f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes()
                ):
                    command = (folder / "cmdline").read_bytes().decode()
                    if command and name in command and int(folder.name) != self.process.pid:
                        found.append(int(folder.name))
            except OSError:
                continue
        return found

    def kill(self) -> None:
        for pid in [*self.children(), self.process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


@pytest.fixture
def demo(tmp_path):
    running: list[Demo] = []

    def start(*arguments: str) -> Demo:
        running.append(Demo(tmp_path / "demo", *arguments))
        return running[-1]

    yield start
    for each in running:
        each.kill()
        each.process.wait()


def messages(bag: Path) -> dict[str, list]:
    """Every message by topic, decoded with the definitions of this package."""
    store, found = typestore(), {}
    with Reader(bag) as reader:
        for connection, _, data in reader.messages():
            found.setdefault(connection.topic, []).append(store.deserialize_cdr(data, connection.msgtype))
    return found


def schemas(bag: Path) -> dict[str, str]:
    with Reader(bag) as reader:
        return {connection.msgtype: connection.msgdef.data for connection in reader.connections}


def test_it_finds_objects_says_so_and_leaves_a_record(demo, tmp_path):
    run = demo("--scenes", "3")
    assert run.end() == 0, run.output
    assert run.children() == []
    out = tmp_path / "demo"

    scenes = [json.loads(line) for line in (out / "scenes.jsonl").read_text().splitlines()]
    assert len(scenes) >= 3 and all(scene["status"] == Status.OK for scene in scenes)
    objects = [thing for scene in scenes for thing in scene["objects"]]
    assert objects and f"{len(objects)} objects found" in run.output
    for thing in objects:
        box = thing["box"]
        assert 0 <= box["x_min"] < box["x_max"] <= 640 and 0 <= box["y_min"] < box["y_max"] <= 480
        assert thing["has_position"] is (thing["position"]["x"] is not None)
    assert any(scene["relations"] for scene in scenes if len(scene["objects"]) > 1)

    picture = cv2.imread(str(out / "annotated.png"))
    assert picture.shape == (480, 640, 3)

    found = messages(out / "scenes.mcap")
    stamps = {(m.header.stamp.sec, m.header.stamp.nanosec) for m in found["/camera/image_raw"]}
    assert [(s["header"]["stamp"]["sec"], s["header"]["stamp"]["nanosec"]) for s in scenes] == [
        (m.header.stamp.sec, m.header.stamp.nanosec) for m in found["/qwenvl/scene"]
    ]
    assert {(m.header.stamp.sec, m.header.stamp.nanosec) for m in found["/qwenvl/scene"]} & stamps
    assert np.asarray(found["/camera/image_raw"][0].data).std() > 1
    assert found["/qwenvl/markers"] and found["/tf"]
    assert "MSG: qwenvl_ros/SpatialRelation" in schemas(out / "scenes.mcap")["qwenvl_ros/msg/Scene"]


def test_ctrl_c_ends_every_process_and_keeps_the_record(demo, tmp_path):
    run = demo("--scenes", "1000000")
    run.read_until("[camera ")  # the planner heard a scene
    lines = tmp_path / "demo/scenes.jsonl"
    while not lines.read_text() and run.process.poll() is None:
        time.sleep(0.1)  # the recorder has it soon after
    assert len(run.children()) == 3
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.end() == 0, run.output
    assert run.children() == []
    assert messages(tmp_path / "demo/scenes.mcap")["/qwenvl/scene"]


def test_a_process_that_dies_ends_the_demo_with_its_last_words(demo, tmp_path):
    run = demo("--scenes", "1000000")
    run.read_until("[camera ")
    (camera,) = run.children("simulator")
    os.kill(camera, signal.SIGKILL)
    assert run.end() == 1
    assert "the camera ended with status -9" in run.output and "seed 8 at 10 Hz" in run.output
    assert run.children() == []


def test_a_model_that_cannot_be_had_is_said_at_once(demo):
    run = demo("--model", "nonsense")
    assert run.end() == 1
    assert "cannot configure: no model 'nonsense': give one of tiny" in run.output
    assert run.children() == []

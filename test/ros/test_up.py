"""`qwenvl up` as a user runs it: real nodes in their own processes, told of and ended together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT

ENDED = "up: simulator was ended by SIGKILL; qwenvl runs on, Ctrl-C ends all"


def children_of(pid):
    """{process id: its command line} of what a process started itself."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found[int(child)] = Path(f"/proc/{child}/cmdline").read_bytes().decode().replace("\0", " ")
    return found


@pytest.fixture
def up():
    """up(words) starts it; what is left of it at the end is killed."""
    started = []

    def run(*words):
        command = [sys.executable, "-m", "qwenvl_ros", "up", *words]
        environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            for child in children_of(process.pid):
                os.kill(child, signal.SIGKILL)
            process.kill()
        process.wait()


def read_until(process, wanted):
    said = ""
    for line in process.stdout:
        said += line
        if wanted in line:
            return said
    raise AssertionError(f"{wanted!r} never came:\n{said}")


def test_it_starts_all_tells_of_one_that_dies_and_ends_the_rest(near, up):
    process = up("sim", "model:=none_such", "planner:=false", "namespace:=robot1")
    read_until(process, "up: started simulator, qwenvl; Ctrl-C ends all")
    while near.node.count_publishers("/robot1/camera/image_raw") == 0:  # the simulator's
        near.executor.spin_once(timeout_sec=0.1)
    while near.node.count_publishers("/robot1/qwenvl/scene") == 0:
        near.executor.spin_once(timeout_sec=0.1)
    (simulator,) = [
        pid for pid, command in children_of(process.pid).items() if "lib/qwenvl_ros/simulator" in command
    ]
    os.kill(simulator, signal.SIGKILL)
    read_until(process, ENDED)
    (node,) = [pid for pid, command in children_of(process.pid).items() if "__ns:=/robot1" in command]
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, rest  # one failed
    assert "up: ending" in rest and not Path(f"/proc/{node}").exists()

"""The example planners through real processes: the simulator, scene_node with the tiny model, and the example.

What they say is held against the simulator's own truth of the same table, which it publishes beside the images.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from geometry_msgs.msg import PoseStamped

from qwenvl_ros.dds import own_domain
from qwenvl_ros.msg import Scene as SceneMessage
from qwenvl_ros.planning.obstruction import clearing, obstruction, only
from qwenvl_ros.planning.truths import named
from qwenvl_ros.ros.conversions.scene import scene_of
from qwenvl_ros.ros.tabletop import camera_and_model
from qwenvl_ros.sim.show import ShowSettings

ROOT = Path(__file__).parents[2]
PATIENCE = "240"  # only a failing test waits so long

_spec = importlib.util.spec_from_file_location("examples_run", ROOT / "examples" / "run.py")
RUN = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(RUN)
WORDS = {name: words for name, *words in RUN.EXAMPLES}


@pytest.fixture(scope="module")
def table(near, tmp_path_factory):
    """The table of `make examples`, looked at; what is true of it."""
    truths = near.hear(SceneMessage, "/camera/truth")
    with camera_and_model(
        ShowSettings(seed=RUN.SEED, fewest=6), "tiny", tmp_path_factory.mktemp("logs")
    ) as running:
        end = time.monotonic() + float(PATIENCE)
        while not truths:
            assert all(each.process.poll() is None for each in running), running[1].last_words()
            assert time.monotonic() < end
            near.executor.spin_once(timeout_sec=0.1)
        yield scene_of(truths[-1])


def example(name, *words, timeout=PATIENCE):
    """(exit status, what it said; after a failure what it complained of too) of an example."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / f"{name}.py"), *words, "--timeout", timeout],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout if done.returncode == 0 else done.stdout + done.stderr


def label_in(line):
    return re.search(r"\(([a-z ]+)\)", line)[1]


def test_pick_next_takes_one_that_is_really_free(table):
    (kind,) = WORDS["pick_next"]
    status, said = example("pick_next", kind)
    assert status == 0, said
    first, *others = said.splitlines()
    taken = only(table, label_in(first))
    assert taken in named(table, kind)
    assert obstruction(table, taken.id).by == () and obstruction(table, taken.id).open == ()
    # The others are named with the reason, and at least one really is obstructed.
    assert len(others) == len(named(table, kind)) - 1
    blocked = [line for line in others if "in its way" in line]
    assert blocked and any(obstruction(table, each.id).by for each in named(table, kind))
    where = [float(number) for number in re.search(r"at \((.+?)\) m", first)[1].split(",")]
    assert where == pytest.approx(taken.position, abs=0.05)  # the visible surface's centre, not the thing's


def test_pick_next_of_a_kind_that_is_not_there_says_so(table):
    status, said = example("pick_next", "zeppelin", timeout="20")
    assert status == 1 and "no zeppelin is free" in said


def test_clear_target_gives_the_order_that_is_really_needed(table):
    (target,) = WORDS["clear_target"]
    status, said = example("clear_target", target)
    assert status == 0, said
    wanted = clearing(table, target)
    assert len(wanted.order) >= 2
    steps = [label_in(line) for line in said.splitlines() if line[0].isdigit()]
    assert steps == [*(each.label for each in wanted.order), target]


def test_clear_target_needs_one_target(table):
    status, said = example("clear_target", WORDS["pick_next"][0])
    assert status == 1 and "give an id" in said


def test_semantic_goal_sends_a_pose_that_is_really_there(table, near):
    phrase, _, radius = WORDS["semantic_goal"]
    goals = near.hear(PoseStamped, "/goal_pose")
    done = threading.Event()
    outcome = []

    def run():
        outcome.append(example("semantic_goal", phrase, "--radius", radius))
        done.set()

    thread = threading.Thread(target=run)
    thread.start()
    while not done.is_set():
        near.executor.spin_once(timeout_sec=0.1)
    thread.join()
    status, said = outcome[0]
    assert status == 0 and "sent to /goal_pose" in said, said
    end = time.monotonic() + float(PATIENCE)
    while not goals:
        assert time.monotonic() < end, "it was sent and never came"
        near.executor.spin_once(timeout_sec=0.1)
    goal = goals[0]
    target = only(table, phrase.removeprefix("left of the "))
    x, y = goal.pose.position.x, goal.pose.position.y
    assert goal.header.frame_id == "world" and goal.header.stamp.sec > 0
    # Left is +y: clear of the target by its radius, less what the depth hides of the far side.
    assert y - target.position[1] > target.size[1] / 2 + float(radius) - 0.03
    assert x == pytest.approx(target.position[0], abs=0.05)
    # Facing it, along -y.
    assert (goal.pose.orientation.z, goal.pose.orientation.w) == pytest.approx(
        (-(0.5**0.5), 0.5**0.5), abs=1e-6
    )


def test_semantic_goal_that_is_no_place_is_refused(table):
    status, said = example("semantic_goal", "on top of the world")
    assert status == 1 and "say left of" in said


def test_without_a_node_the_examples_say_what_is_missing():
    """On a topic on which nobody publishes."""
    for name, word in (
        ("pick_next", "cube"),
        ("clear_target", "cube"),
        ("semantic_goal", "left of the cube"),
    ):
        status, said = example(name, word, "--ros-args", "-r", "/qwenvl/scene:=/nowhere/scene", timeout="1")
        assert status == 1 and "nobody publishes there; start scene_node" in said, said


def test_make_examples_runs_all_three_and_ends(tmp_path):
    makefile = (ROOT / "Makefile").read_text()
    assert "python examples/run.py" in makefile
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / "run.py"), "--out", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        start_new_session=True,
        # A domain of its own: another camera may be publishing on ours.
        env={
            **os.environ,
            "ROS_DOMAIN_ID": str(own_domain()),
            "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
        },
    )
    try:
        said, _ = process.communicate(timeout=600)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, said
    for name, *_ in RUN.EXAMPLES:
        assert f"$ python examples/{name}.py" in said
    assert "take " in said and "goal_pose" in said

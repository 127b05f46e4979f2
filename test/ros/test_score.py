"""`qwenvl score` in its own process, against the simulator's truth and against one that the test publishes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from conftest import ROOT
from std_msgs.msg import String

from qwenvl_ros.msg import Scene as SceneMessage
from qwenvl_ros.ros.conversions.scene import to_message
from qwenvl_ros.tools import cli
from qwenvl_ros.types import Box, Scene, SceneObject

MUG = SceneObject("mug_1", "mug", Box(10, 10, 110, 110), "", 0.9)


@pytest.fixture
def run():
    """run(verb, *arguments): a verb of the command line in a process; what still runs is stopped by Ctrl-C."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "qwenvl_ros", *arguments]
        pipe = subprocess.PIPE
        environment = os.environ | {"COLUMNS": "160"}
        started.append(
            subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=environment)
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.communicate()


def publish_until_it_ends(near, process, *publications):
    """(publisher, message of a stamp), again and again; returns (exit status, output, errors)."""
    while process.poll() is None:
        stamp = near.now()
        for publisher, make in publications:
            publisher.publish(make(stamp))
        near.executor.spin_once(timeout_sec=0.05)
    output, errors = process.communicate()
    assert "Traceback" not in errors, errors
    return process.returncode, output, errors


def seen(stamp, *objects, camera="camera"):
    return to_message(Scene(camera, stamp, "optical", 640, 480, objects=objects))


def test_the_simulators_truth_against_itself_and_against_a_node(run, start, tmp_path):
    run("simulate", "--seed", "5", "--rate-hz", "5", "--width", "320", "--height", "240")
    files = {
        topic: tmp_path / f"{topic.rpartition('/')[2]}.json" for topic in ("/camera/truth", "/qwenvl/scene")
    }
    start()  # answers the same two objects to every picture
    scorers = [
        run("score", "--truth", "/camera/truth", "--scenes", topic, "--count", "2", "--json", str(path))
        for topic, path in files.items()
    ]
    for scorer in scorers:
        output, errors = scorer.communicate()
        assert scorer.returncode == 0 and "Traceback" not in errors, errors
        assert "judged 2" in output
    perfect, node = (json.loads(path.read_text()) for path in files.values())
    assert (perfect["f1"], perfect["mean_iou"], perfect["cases"]) == (1.0, 1.0, 2)
    assert perfect["statuses"] == {"OK": 2}
    told = perfect["relations"].values()
    assert sum(each["support"] for each in told) > 0
    assert {each[name] for each in told for name in ("precision", "recall")} <= {1.0, None}
    assert node["cases"] == 2 and node["recall"] < 1.0


def test_detections_as_the_truth_with_numbers_for_names(near, run, tmp_path):
    vision = pytest.importorskip(
        "vision_msgs.msg",
        reason="vision_msgs is not installed: sudo apt-get install ros-$ROS_DISTRO-vision-msgs",
    )
    from qwenvl_ros.ros.conversions.detections import to_detections_2d

    truths = near.publisher(vision.Detection2DArray, "/boxes")
    scenes = near.publisher(SceneMessage, "/scene")
    file = tmp_path / "scores.json"
    process = run(
        *("score", "--truth", "/boxes", "--scenes", "/scene", "--names", "7=mug"),
        *("--count", "3", "--json", str(file)),
    )

    def boxes(stamp):
        numbered = SceneObject("7", "7", MUG.box)
        return to_detections_2d(Scene("", stamp, "optical", 640, 480, objects=[numbered]))

    status, _, errors = publish_until_it_ends(
        near, process, (truths, boxes), (scenes, lambda stamp: seen(stamp, MUG))
    )
    assert status == 0, errors
    assert json.loads(file.read_text())["f1"] == 1.0


def test_what_keeps_it_from_judging_is_told(near, run):
    process = run("score", "--truth", "/nowhere", "--seconds", "3")
    status, _, errors = publish_until_it_ends(near, process)
    assert status == 1 and "nobody publishes on /nowhere: start the simulator, or set --truth" in errors

    words = near.publisher(String, "/words")
    process = run("score", "--truth", "/words")
    status, _, errors = publish_until_it_ends(near, process, (words, lambda stamp: String(data="")))
    assert status == 1 and "/words is std_msgs/msg/String; a truth is qwenvl_ros/msg/Scene" in errors


def test_stamps_that_never_meet_and_two_cameras_are_told(near, run):
    truths, scenes = near.publisher(SceneMessage, "/true"), near.publisher(SceneMessage, "/said")
    process = run("score", "--truth", "/true", "--scenes", "/said", "--seconds", "6")
    status, _, errors = publish_until_it_ends(
        near,
        process,
        (truths, lambda stamp: seen(stamp, MUG)),
        (scenes, lambda stamp: seen(stamp - 3600 * 1_000_000_000, MUG)),
    )
    assert status == 1 and "raise --tolerance, or check clocks" in errors
    process = run("score", "--truth", "/true", "--scenes", "/said")
    status, _, errors = publish_until_it_ends(
        near,
        process,
        (scenes, lambda stamp: seen(stamp, camera="left")),
        (scenes, lambda stamp: seen(stamp, camera="right")),
    )
    assert status == 1 and "scenes of left and right: choose one with --camera" in errors
    process = run("score", "--truth", "/true", "--scenes", "/said", "--camera", "lfet", "--seconds", "6")
    status, _, errors = publish_until_it_ends(
        near,
        process,
        (truths, lambda stamp: seen(stamp, MUG)),
        (scenes, lambda stamp: seen(stamp, MUG, camera="left")),
    )
    assert status == 1 and "no scene of camera 'lfet' on /said, only of left: choose with --camera" in errors


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--truth", "/a b"], "truth = '/a b' is no topic name"),
        (["--truth", "/a", "--scenes", "/1bad"], "scenes = '/1bad' is no topic name"),
    ],
)
def test_a_topic_that_cannot_be_is_told_in_a_line(capsys, arguments, says):
    assert cli.main(["score", *arguments]) == 1
    (line,) = [each for each in capsys.readouterr().err.splitlines() if each.startswith("qwenvl:")]
    assert says in line

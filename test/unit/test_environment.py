"""The set-up: torchvision is importable beside a CPU build of torch, and costs nothing until it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qwenvl_ros import dds

ROOT = Path(__file__).resolve().parents[2]
DDS, RTPS, OURS = *dds.VARIABLES, "/config/fastdds_shm.xml"


def run(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_python_starts_without_torch():
    done = run(
        sys.executable, "-c", "import sys; print('torch' in sys.modules or 'torchvision' in sys.modules)"
    )
    assert done.stdout.strip() == "False", done.stderr


def test_torchvision_is_importable():
    script = "import torchvision; torchvision.ops.nms"
    done = run(sys.executable, "-c", script)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "script", [*ROOT.glob("environment/*.*sh"), ROOT / ".ci" / "run"], ids=lambda path: path.name
)
def test_scripts_are_readable_to_bash(script):
    done = run("bash", "-n", str(script))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("distro", "given", "set_to"),
    [
        ("jazzy", {}, {RTPS: OURS}),
        ("jazzy", {DDS: "/mine.xml"}, {DDS: "/mine.xml", RTPS: OURS}),  # which Jazzy does not read
        ("jazzy", {RTPS: "/mine.xml"}, {RTPS: "/mine.xml"}),
        ("kilted", {}, {DDS: OURS}),
        ("kilted", {RTPS: "/mine.xml"}, {RTPS: "/mine.xml"}),
        ("kilted", {DDS: "/mine.xml"}, {DDS: "/mine.xml"}),
    ],
)
def test_a_profile_of_the_users_wins_where_his_ros_looks_for_it(tmp_path, distro, given, set_to):
    """In activate.bash as in what the launch files and `qwenvl up` start."""
    for name in ("environment", ".venv"):
        (tmp_path / name).mkdir()
    (tmp_path / "environment" / "activate.bash").symlink_to(ROOT / "environment" / "activate.bash")
    (tmp_path / ".venv" / "world").write_text("wheels\n")
    (tmp_path / ".venv" / "setup.bash").touch()
    done = subprocess.run(
        ["bash", "-c", '. "$0/environment/activate.bash"; env', str(tmp_path)],
        env={"PATH": os.environ["PATH"], "ROS_DISTRO": distro, **given},
        capture_output=True,
        text=True,
    )
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "_PROFILES_FILE=" in line)
    assert found == {name: value.replace(OURS, f"{tmp_path}{OURS}") for name, value in set_to.items()}
    told = dds.environment({"ROS_DISTRO": distro, **given})
    assert told.keys() == set_to.keys() - given.keys()


def test_make_without_a_target_explains_the_targets():
    done = run("make", "--no-print-directory")
    assert {"demo", "test", "lint", "train-tiny"} <= {line.split()[1] for line in done.stdout.splitlines()}


def test_a_ros_of_which_there_are_no_wheels_is_refused_with_those_that_there_are(tmp_path):
    for name in ("environment", "requirements", "setup.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    plain = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ROS_DISTRO": "foxy"}
    done = subprocess.run(
        ["bash", "-c", 'cd "$0" && bash ./environment/setup.sh', str(tmp_path)],
        env=plain,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "no wheels" in done.stderr and "make ROS_DISTRO=kilted, or jazzy" in done.stderr
    assert not (tmp_path / ".venv").exists()

"""Every run on a machine has a DDS domain to itself, however process numbers fall."""

import fcntl
import os
import subprocess
import sys

import pytest

from qwenvl_ros import dds

HOLD = "from qwenvl_ros.dds import own_domain; print(own_domain(), own_domain(), flush=True); input()"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(dds.tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path


def held_by_another(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return process, [int(word) for word in process.stdout.readline().split()]


def test_a_domain_is_given_once_and_is_free_again_when_its_process_ends(folder):
    process, theirs = held_by_another(folder)
    ours = [dds.own_domain() for _ in range(99)]
    assert sorted(theirs + ours) == list(range(1, 102))
    with pytest.raises(RuntimeError, match=f"every DDS domain.*taken.*{folder}"):
        dds.own_domain()
    process.communicate("\n", timeout=60)
    assert sorted(dds.own_domain() for _ in range(2)) == sorted(theirs)


def test_a_lock_file_of_another_user_is_passed_over(folder):
    for domain in range(1, 101):
        (folder / f"qwenvl_ros-domain-{domain}.lock").mkdir()  # cannot be opened, whoever we are
    assert dds.own_domain() == 101
    with (folder / "qwenvl_ros-domain-101.lock").open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

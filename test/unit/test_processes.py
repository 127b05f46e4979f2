"""Programs started together: order, news of those that end, and an end that always comes."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import ExitStack

import pytest

from qwenvl_ros.processes import child, watch

# Writes its name to a file when it begins and when it is told to stop.
PROGRAM = """
import signal, sys, time
name, file = sys.argv[1:3]
def note(what):
    with open(file, "a") as out:
        out.write(f"{what} {name}\\n")
def end(*_):
    note("end")
    sys.exit(0)
signal.signal(signal.SIGINT, end)
note("begin")
while True:
    time.sleep(0.05)
"""


def lines(file):
    return file.read_text().splitlines() if file.exists() else []


def until(condition):
    pause = threading.Event()
    while not condition():
        pause.wait(0.05)


def test_they_end_in_the_other_order_and_none_is_left(tmp_path):
    file, children = tmp_path / "notes", []
    with ExitStack() as running:
        for name in "abc":
            command = [sys.executable, "-c", PROGRAM, name, str(file)]
            children.append(running.enter_context(child(name, command)))
            until(lambda name=name: f"begin {name}" in lines(file))
    assert lines(file) == ["begin a", "begin b", "begin c", "end c", "end b", "end a"]
    assert [each.process.returncode for each in children] == [0, 0, 0]


def test_one_that_ends_is_told_of_and_the_others_run_on(tmp_path):
    file, told, stop = tmp_path / "notes", [], threading.Event()

    def tell(what):
        told.append(what)
        if len(told) == 2:
            stop.set()

    with ExitStack() as running:
        steady = running.enter_context(child("steady", [sys.executable, "-c", PROGRAM, "s", str(file)]))
        failing = running.enter_context(child("failing", [sys.executable, "-c", "raise SystemExit(3)"]))
        killed = running.enter_context(child("killed", [sys.executable, "-c", PROGRAM, "k", str(file)]))
        until(lambda: {"begin k", "begin s"} <= set(lines(file)) and failing.process.poll() is not None)
        os.kill(killed.process.pid, 9)
        assert watch([steady, failing, killed], stop, tell) is False
        assert steady.process.poll() is None
    assert any(what.startswith("failing ended with status 3; steady") for what in told)
    assert any(what.startswith("killed was ended by SIGKILL; steady") for what in told)


@pytest.mark.parametrize(("status", "well"), [(0, True), (1, False)])
def test_when_all_have_ended_there_is_nothing_to_wait_for(status, well):
    told = []
    with child("only", [sys.executable, "-c", f"raise SystemExit({status})"]) as only:
        assert watch([only], threading.Event(), told.append) is well
    assert told == ["only ended" if well else "only ended with status 1"]


def test_output_goes_into_the_log_with_the_environment_given(tmp_path):
    log = tmp_path / "log"
    code = "import os; print('\\n'.join(['x'] * 30 + [os.environ['WORD']]))"
    with child("only", [sys.executable, "-c", code], log, {"WORD": "hello"}) as only:
        only.process.wait()
    assert only.last_words(2) == "x\nhello"


def test_a_program_that_is_not_there_is_an_error_and_the_others_are_ended(tmp_path):
    file = tmp_path / "notes"
    with child("first", [sys.executable, "-c", PROGRAM, "f", str(file)]) as first:
        until(lambda: "begin f" in lines(file))
        with pytest.raises(OSError, match="no_such_program"), child("second", ["/no_such_program"]):
            pass
    assert first.process.returncode == 0

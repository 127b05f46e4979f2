"""A replay that was interrupted goes on where it stopped: nothing is asked twice, and the result is the same."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import recordings
from recordings import image, stamp

from qwenvl_ros.backends import BackendError, Reply, Request, RequestFailed, Token, together
from qwenvl_ros.backends.scripted import ScriptedBackend
from qwenvl_ros.bags import BagError
from qwenvl_ros.replay.answers import Answers, Remembering

FRAMES, CAPACITY = 12, 3
PATIENCE = 120.0


@pytest.fixture
def folder(tmp_path):
    made = [("/front/image_raw", stamp(n), image(stamp(n), recordings.noise(seed=n))) for n in range(FRAMES)]
    recordings.write(tmp_path / "bag", made)
    return tmp_path


def start(folder: Path, notes: str, seconds: float = 0.0, *more: str) -> subprocess.Popen[str]:
    program = [sys.executable, str(Path(__file__).with_name("replaying.py"))]
    outputs = ["bag", "out.mcap", "--jsonl", "out.jsonl", "--all"]
    return subprocess.Popen(
        [*program, notes, str(seconds), str(CAPACITY), *outputs, *more],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def asked(folder: Path, notes: str) -> list[str]:
    path = folder / notes
    return path.read_text().splitlines() if path.exists() else []


def finish(process) -> tuple[str, str]:
    out, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, error
    return out, error


def interrupt(folder: Path, number: signal.Signals) -> subprocess.Popen[str]:
    """A replay that was stopped when at least two groups had been answered and not all."""
    process = start(folder, "first", 0.3)
    end = time.monotonic() + PATIENCE
    while len(asked(folder, "first")) <= 2 * CAPACITY:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(number)
    return process


def outputs(folder: Path) -> tuple[bytes, bytes]:
    found = (folder / "out.mcap").read_bytes(), (folder / "out.jsonl").read_bytes()
    for name in ("out.mcap", "out.jsonl"):
        (folder / name).unlink()
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda each: each.name)
def test_it_goes_on_without_asking_again_and_gives_the_same(folder, number):
    finish(start(folder, "whole"))
    whole = outputs(folder)
    stopped = interrupt(folder, number)
    out, error = stopped.communicate(timeout=PATIENCE)
    assert stopped.returncode == (130 if number is signal.SIGINT else -number), error
    assert not (folder / "out.mcap").exists() and not (folder / "out.jsonl").exists()
    kept = len((folder / "out.mcap.part" / "answers.jsonl").read_text().splitlines())
    assert 2 <= kept < FRAMES / CAPACITY
    if number is signal.SIGINT:
        assert f"stopped with {kept * CAPACITY} answers" in error and "Traceback" not in error
        assert [each.name for each in (folder / "out.mcap.part").iterdir()] == ["answers.jsonl"]
    out, _ = finish(start(folder, "second"))
    assert f"goes on where it was stopped: {kept * CAPACITY} answers" in out
    assert outputs(folder) == whole
    first, second = asked(folder, "first"), asked(folder, "second")
    assert set(first) | set(second) == set(asked(folder, "whole"))
    assert len(second) == FRAMES - kept * CAPACITY
    assert not set(second) & set(first[: kept * CAPACITY]), "what was answered is not asked again"
    assert not (folder / "out.mcap.part").exists()


def test_other_options_ask_anew(folder):
    stopped = interrupt(folder, signal.SIGINT)
    stopped.communicate(timeout=PATIENCE)
    finish(start(folder, "second", 0.0, "--find", "red cube"))
    assert len(asked(folder, "second")) == FRAMES


def test_two_replays_do_not_write_the_same(folder):
    first = interrupt(folder, signal.SIGSTOP)
    second = start(folder, "second")
    _, error = second.communicate(timeout=PATIENCE)
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 1 and "another replay is writing" in error
    finish(first)
    assert asked(folder, "second") == []


def request(seed: int) -> Request:
    return Request([recordings.noise(64, 32, seed)], "find", schema={"type": "array"})


def group(backend, seeds):
    with together(backend):
        futures = [backend.submit(request(seed)) for seed in seeds]
    return [future.result() for future in futures]


def test_answers_are_kept_exactly_and_a_torn_line_is_dropped(tmp_path):
    path = tmp_path / "answers.jsonl"
    said = Reply(
        "caf\u00e9", (Token("caf", -0.1234567890123456789), Token("\u00e9", -1e-9)), "length", 0.0, 0.5
    )
    engine = ScriptedBackend([said, "b", "c", "d"], capacity=2)
    answers = Answers(path)
    backend = Remembering(engine, answers, ["m"])
    first = group(backend, [1, 2])
    group(backend, [3, 4])
    answers.close()
    path.write_bytes(path.read_bytes()[:-5])  # killed in the middle of a line
    answers = Answers(path)
    assert len(answers) == 2
    again = Remembering(engine, answers, ["m"])
    before = len(engine.requests)
    replies = group(again, [1, 2])
    assert [(r.text, r.tokens, r.finish) for r in replies] == [(r.text, r.tokens, r.finish) for r in first]
    assert replies[0].tokens == said.tokens and len(engine.requests) == before
    with pytest.raises(RequestFailed):  # the script has no more
        group(again, [3, 4])
    engine.close()
    answers.close()
    assert [json.loads(line)["replies"][0]["text"] for line in path.read_text().splitlines()] == ["caf\u00e9"]


@pytest.mark.parametrize("change", ["image", "words", "model", "order"])
def test_another_question_is_asked(tmp_path, change):
    engine = ScriptedBackend(lambda request: "x", capacity=2)
    answers = Answers(tmp_path / "answers.jsonl")
    group(Remembering(engine, answers, ["m"]), [1, 2])
    backend = Remembering(engine, answers, ["other" if change == "model" else "m"])
    if change == "words":
        with together(backend):
            for seed in (1, 2):
                backend.submit(Request(request(seed).images, "lose", schema={"type": "array"}))
    else:
        group(backend, {"image": [1, 3], "order": [2, 1]}.get(change, [1, 2]))
    assert len(engine.requests) == 4
    engine.close()
    answers.close()


def test_a_group_with_a_failure_is_not_kept(tmp_path):
    engine = ScriptedBackend(["a", RequestFailed("no"), "c", "d"], capacity=1)
    answers = Answers(tmp_path / "answers.jsonl")
    backend = Remembering(engine, answers, [])
    with together(backend):
        good, bad = backend.submit(request(1)), backend.submit(request(2))
    assert good.result().text == "a"
    with pytest.raises(BackendError):
        bad.result()
    assert len(answers) == 0
    assert [each.text for each in group(Remembering(engine, answers, []), [1, 2])] == ["c", "d"]
    engine.close()
    answers.close()


def test_answers_have_one_writer(tmp_path):
    answers = Answers(tmp_path / "answers.jsonl")
    with pytest.raises(BagError, match="another replay"):
        Answers(tmp_path / "answers.jsonl")
    answers.close()
    Answers(tmp_path / "answers.jsonl").close()


def test_a_camera_that_stands_still_is_looked_at_each_time(tmp_path):
    engine = ScriptedBackend(["a", "b"], capacity=1)
    answers = Answers(tmp_path / "answers.jsonl")
    backend = Remembering(engine, answers, [])
    assert [group(backend, [1])[0].text for _ in range(2)] == ["a", "b"]
    engine.close()
    answers.close()

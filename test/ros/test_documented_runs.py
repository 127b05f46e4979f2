"""What the pages of docs/ tell their readers to do is done, page by page and in order: files saved, commands given.

docs/replay.md is done by test_replay_docs.py, without a process for each of its commands.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import ExitStack, contextmanager

import pytest
from conftest import PATIENCE
from pages import DOCS, ROOT, blocks

PROGRAMS = ROOT / ".venv" / "bin"


def runs(page):
    return any(block.language == "bash" and not block.needs for block in blocks(page))


def shell(text, folder, log):
    """A shell with the text's commands, which ends at the first that fails."""
    environment = os.environ | {
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
        "PYTHONUNBUFFERED": "1",
    }
    with log.open("w") as out:
        return subprocess.Popen(
            ["bash", "-e", "-c", text],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@contextmanager
def terminal(text, folder, log):
    """The commands run beside others, and have to end well by Ctrl-C."""
    process = shell(text, folder, log)
    try:
        yield
        assert process.poll() is None, f"{text}ended by itself:\n{log.read_text()}"
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE) == 0, f"{text}{log.read_text()}"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def seen(line, said):
    """Whether such a line was printed, whatever its numbers are and what stands for ...; spaces do not count."""
    words = re.escape(" ".join(line.split())).replace(re.escape("..."), ".*")
    return re.search(re.sub(r"[\d.\\]*\d", r"[\\d.]+", words), re.sub(r"[ \t]+", " ", said))


@pytest.mark.parametrize(
    "page",
    [page for page in DOCS if runs(page) and page.name != "replay.md"],
    ids=lambda page: page.stem,
)
def test_a_reader_gets_through(page, tmp_path):
    folder, logs = tmp_path / "checkout", tmp_path / "logs"
    for each in (folder, logs):
        each.mkdir()
    for each in ROOT.iterdir():  # files that are made lie in this folder, beside those of the checkout
        if each.is_dir():
            (folder / each.name).symlink_to(each)
    told, ran = [], False
    with ExitStack() as terminals:
        for number, block in enumerate(blocks(page)):
            log = logs / f"{number:02}.log"
            ran = not block.needs if block.language == "bash" else ran
            if block.language == "text" and ran:
                told += block.text.splitlines()
            if block.file:
                (folder / block.file).write_text(block.text)
            elif block.language != "bash" or block.needs:
                continue
            elif block.runs_on:
                terminals.enter_context(terminal(block.text, folder, log))
            else:
                process = shell(block.text, folder, log)
                try:
                    status = process.wait(5 * PATIENCE)
                finally:
                    if process.poll() is None:
                        os.killpg(process.pid, signal.SIGKILL)
                said = "\n".join(each.read_text() for each in sorted(logs.iterdir()))
                assert status == 0, f"{block.text}{said}"
    said = "\n".join(each.read_text() for each in sorted(logs.iterdir()))
    assert "Traceback" not in said
    assert [line for line in told if not seen(line, said)] == [], said

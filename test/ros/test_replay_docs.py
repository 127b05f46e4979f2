"""The commands of docs/replay.md, one after the other, as a reader gives them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from pages import ROOT, blocks, commands

from qwenvl_ros.replay.comparison import Tolerances
from qwenvl_ros.settings import leaves
from qwenvl_ros.tools import cli

PATH = ROOT / "docs" / "replay.md"
PAGE = PATH.read_text(encoding="utf-8")
PATIENCE = 120.0


def given():
    """The commands that a test can run, as words."""
    runs = [block.text for block in blocks(PATH) if block.language == "bash" and not block.needs]
    return [words for text in runs for _, *words in commands(text)]


def test_every_command_does_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    writer = cv2.VideoWriter("drive.mp4", cv2.VideoWriter_fourcc(*"mp4v"), 2.0, (64, 48))
    Path("shots").mkdir()
    for number in range(3):
        picture = np.full((48, 64, 3), 80 * number, np.uint8)
        writer.write(picture)
        cv2.imwrite(f"shots/{number}.png", picture)
    writer.release()
    assert [words[0] for words in given()].count("replay") >= 9
    for words in given():
        if "--live" in words:
            done = subprocess.run(
                [sys.executable, "-m", "qwenvl_ros", *words],
                timeout=PATIENCE,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0 and "/camera/image_raw" in done.stdout, done.stderr
        else:
            assert cli.main(words) == 0, words
        if words[0] == "replay" and not words[2].startswith("-") and "--live" not in words:
            assert Path(words[2]).stat().st_size > 0, words
    assert Path("expected.jsonl").read_text().count("\n") == 6


def test_the_table_of_tolerances_is_the_codes():
    told = dict(re.findall(r"^\| `--(expect-\w+)` \| ([\d.]+)", PAGE, re.MULTILINE))
    expected = {name.replace("_", "-"): field.default for name, field in leaves(Tolerances)}
    assert {name: float(value) for name, value in told.items()} == expected

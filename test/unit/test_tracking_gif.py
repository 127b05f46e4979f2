"""The animation of README is made by the script that says so, of the tiny model's own answers."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
GIF = ROOT / "docs" / "images" / "tracking.gif"


def pictures(path):
    with Image.open(path) as animation:
        for number in range(animation.n_frames):
            animation.seek(number)
            yield np.asarray(animation.convert("RGB"))


def test_the_script_makes_the_animation(monkeypatch, tmp_path, capsys):
    made = tmp_path / "made.gif"
    monkeypatch.setattr("sys.argv", ["tracking_gif.py", "--out", str(made)])
    runpy.run_path(str(ROOT / "examples" / "tracking_gif.py"), run_name="__main__")
    assert str(made) in capsys.readouterr().out
    for new, old in zip(pictures(made), pictures(GIF), strict=True):
        assert np.mean(np.abs(new.astype(int) - old)) < 5, "make docs/images/tracking.gif anew"


def test_its_halves_differ_and_it_is_small():
    assert GIF.stat().st_size < 1.5e6
    differ = [np.mean(np.abs(p[:270, :400].astype(int) - p[:270, 400:])) for p in pictures(GIF)]
    assert len(differ) == 60 and np.median(differ) > 2

"""The code of docs/planners.md and of README's section for planners runs as it stands, against a real node."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from by_hand import picture
from sensor_msgs.msg import Image

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "planners.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)
SECTION = README.partition("## For planners")[2].partition("\n## ")[0]


@pytest.fixture(scope="module")
def looking(near, start_for_module):
    """A node that sees a red cube left of a blue sphere, without depth, in images that keep coming."""
    node = start_for_module()
    pictures = near.publisher(Image, "/camera/image_raw")
    node.wait_active()
    stop = threading.Event()

    def show():
        while not stop.wait(0.1):
            pictures.publish(picture(near.now()))

    thread = threading.Thread(target=show)
    thread.start()
    yield node
    stop.set()
    thread.join()


def run(code):
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"},
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_code_of_the_page_runs_in_order(looking):
    blocks = CODE.findall(DOC)
    assert len(blocks) == 4
    said = run("\n".join([*blocks, "node.destroy_node(); rclpy.shutdown()"]))
    first, *rest = said.splitlines()
    assert first == "True ['red_cube_1']"
    text = "\n".join(rest)
    assert "(left_of red_cube_1 blue_sphere_1)" in text and "; unknown: (" in text
    assert "red_cube_1 - cube" in text and "blue_sphere_1 - sphere" in text
    assert "Status.SUCCESS" in text
    assert "Choice(object=None" in text and "cannot be told" in text  # no depth: not taken for free


def test_the_readme_section_is_short_and_runs(looking):
    (code,) = CODE.findall(SECTION)
    assert len(code.splitlines()) <= 8
    said = run(
        "import rclpy\n"
        "from qwenvl_ros.planning.obstruction import clearing\n"
        "from qwenvl_ros.ros import SceneClient\n"
        "from qwenvl_ros.types import Truth\n"
        "rclpy.init()\n" + code.replace("timeout=10.0", "timeout=3.0").replace("max_age=3.0", "max_age=30.0")
    )
    assert said.strip() == "cannot be told"  # without depth nothing is known to be clear, nor to be on it


def test_every_command_is_one_that_is_tested():
    """make examples and the examples by test_examples.py, with the very words; the benchmark has to be there."""
    commands = re.findall(r"^    (\S.*?)(?:\s{2,}#.*)?$", CODE.sub("", DOC), re.MULTILINE)
    assert len(commands) == 5 and commands[0] == "make examples"
    tested = (ROOT / "examples" / "run.py").read_text()
    for command in commands[1:]:
        script, rest = re.match(r"python (\S+\.py) (.+)", command).groups()
        assert (ROOT / script).exists(), command
        if script.startswith("examples/"):
            assert all(f'"{word}"' in tested for word in shlex.split(rest)), command

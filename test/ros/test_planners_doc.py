"""The code of docs/planners.md and of README's section for planners runs as it stands, against a real node."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading

import pytest
from by_hand import picture
from pages import ROOT, blocks, commands
from sensor_msgs.msg import Image

from qwenvl_ros.msg import Scene as SceneMessage
from qwenvl_ros.relations import PREDICATES
from qwenvl_ros.ros.conversions.scene import to_message
from qwenvl_ros.types import Box, Relation, Scene, SceneObject, Source, Truth

BY_HAND = "/by_hand/scene"
PAGE = ROOT / "docs" / "planners.md"
DOC = PAGE.read_text(encoding="utf-8")
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


def told_until(stop, near, *relations):
    """Publish, until stopped, a scene of a red cube and what is true of it, on a topic that no node has."""
    scenes = near.publisher(SceneMessage, BY_HAND)
    while not stop.wait(0.1):
        cube, box = (SceneObject(f"{n}_1", n.replace("_", " "), Box(0, 0, 9, 9)) for n in ("red_cube", "box"))
        scene = Scene(
            "camera",
            near.now(),
            "optical",
            64,
            48,
            objects=[cube, box],
            relations=relations,
            evaluated_predicates=PREDICATES,
        )
        scenes.publish(to_message(scene))


@pytest.mark.parametrize(
    ("relation", "timeout", "said"),
    [
        (("red_cube_1", "clear", "red_cube_1"), "240.0", "id='red_cube_1'"),
        # Is never clear, so that it waits in vain, but long enough to hear of what is on it.
        (("box_1", "on", "red_cube_1"), "20.0", "['box_1']"),
    ],
)
def test_the_readme_section_is_short_and_runs(near, relation, timeout, said):
    (code,) = CODE.findall(SECTION)
    assert len(code.splitlines()) <= 8
    told = Relation(*relation, Truth.TRUE, 0.9, 0.0, Source.GEOMETRY_3D, "map")
    stop = threading.Event()
    thread = threading.Thread(target=told_until, args=(stop, near, told))
    thread.start()
    try:
        shown = run(
            "import rclpy\n"
            "from qwenvl_ros.planning.obstruction import clearing\n"
            "from qwenvl_ros.ros import SceneClient\n"
            "from qwenvl_ros.types import Truth\n"
            f"rclpy.init(args=['--ros-args', '-r', '/qwenvl/scene:={BY_HAND}'])\n"
            + code.replace("timeout=10.0", f"timeout={timeout}").replace("max_age=3.0", "max_age=60.0")
        )
    finally:
        stop.set()
        thread.join()
    assert said in shown, shown


def test_the_examples_are_those_that_are_tested():
    """With the very words, by test_examples.py; the benchmark has to be there."""
    scripts = [words for block in blocks(PAGE) if block.language == "bash" for words in commands(block.text)]
    assert scripts.pop(0) == ["make", "examples"] and len(scripts) == 4
    tested = (ROOT / "examples" / "run.py").read_text()
    for _, script, *words in scripts:
        assert script.startswith("benchmarks/") or all(f'"{word}"' in tested for word in words), script

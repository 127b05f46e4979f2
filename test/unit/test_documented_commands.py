"""Commands of the pages: what they call is there, with the options, arguments and parameters that they give."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from pages import DOCS, PAGES, ROOT, blocks, commands, prose

from qwenvl_ros.relations import PREDICATES
from qwenvl_ros.ros import node_settings
from qwenvl_ros.ros.launching import LAUNCHES, parse
from qwenvl_ros.ros.simulator_settings import SimulatorSettings
from qwenvl_ros.settings import build, leaves, validate
from qwenvl_ros.tools import cli

OTHERS = {
    ".",
    "colcon",
    "curl",
    "export",
    "grep",
    "pip",
    "pytest",
    "python3",
    "rosdep",
    "vllm",
    "vllm-router",
}
OF_ROS = {"use_sim_time", "qos_overrides"}
# Names in the text that are no parameter, argument or field: of Python, of results, of other programs.
OTHER_NAMES = {
    *("scene_node", "right_of", "header.frame_id", "camera_color", "camera.pose", "base_link", "qwenvl_ros"),
    *("qwenvl_ros.planning", "backend.submit", "wait_until", "next_free", "rclpy.spin", "goal_pose", "top_k"),
    *("cameras_cpu_share", "node_cpu_seconds_over_engine", "cache_aware", "power_of_two", "response_format"),
    *("class_id", "optical_frame_id", "ros_gz_bridge", "isaacsim.ros2.bridge", "white_cylinder_1"),
}
INTERFACES = {path.stem: path for kind in ("msg", "srv", "action") for path in (ROOT / kind).iterdir()}


def given(words: Sequence[str]) -> dict[str, Any]:
    """The parameters that -p options give."""
    pairs = [after.split(":=", 1) for word, after in itertools.pairwise(words) if word == "-p"]
    return {name: yaml.safe_load(value) for name, value in pairs}


def parameters(values: Mapping[str, Any]) -> None:
    """They are scene_node's, and it takes their values."""
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if name.partition(".")[0] not in OF_ROS
    }
    cameras = values.get("cameras", ("camera",))
    entries = [*node_settings.entries(), *(e for c in cameras for e in node_settings.camera_entries(c))]
    assert set(values) <= {entry.name for entry in entries}
    assert node_settings.problems(values) == {}


def flat(told: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names of nested ones."""
    for name, value in told.items():
        yield from flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]


def qwenvl(*words: str) -> None:
    cli.parse(words)  # which takes options for the longer ones that they begin
    options = re.findall(r"`(--[a-z-]+)`", (ROOT / "docs/reference/commands.md").read_text())
    assert {word for word in words if word.startswith("--")} <= {*options, "--help"}
    if words[0] == "up":
        launch(*words[1:])


def launch(name: str, *words: str) -> None:
    told = parse([word for word in words if not word.startswith("-")])
    told.pop("params_file", None)  # is the reader's
    LAUNCHES[name].start(told)


def ros2(noun: str, verb: str = "", *words: str) -> None:
    plain = [word for word in words if not word.startswith("-")]
    if noun == "launch" and verb == "qwenvl_ros":
        launch(plain[0].removesuffix(".launch.py"), *plain[1:])
    elif noun == "launch" and (ROOT / verb).is_file():
        launch(Path(verb).name.removesuffix(".launch.py"), *plain)
    elif noun == "run" and verb == "qwenvl_ros":
        CHECKS[words[0]](*words[1:])
    elif noun == "param" and verb == "set":
        parameters({plain[1]: yaml.safe_load(plain[2])})
    elif (noun, verb) in (("service", "call"), ("action", "send_goal")):
        fields = INTERFACES[plain[1].rpartition("/")[2]].read_text().partition("---")[0]
        assert set(yaml.safe_load(plain[2])) <= set(re.findall(r"^[\w\[\]]+ (\w+)", fields, re.MULTILINE))
    else:
        assert noun in ("bag", "launch", "lifecycle", "node", "param", "run", "service", "topic"), noun


def scene_node(*words: str) -> None:
    parameters(given(words))


def simulator(*words: str) -> None:
    validate(build(SimulatorSettings, given(words)))
    assert given(words).keys() <= {name for name, _ in leaves(SimulatorSettings)}


def make(*words: str) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {word for word in words if "=" not in word} <= set(targets)


def python(script: str, *words: str) -> None:
    assert script == "-m" or (ROOT / script).is_file() or "/" not in script


CHECKS = {
    "qwenvl": qwenvl,
    "ros2": ros2,
    "scene_node": scene_node,
    "simulator": simulator,
    "make": make,
    "python": python,
}


each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def refused(program: str, words: Sequence[str]) -> str:
    """Why the command would not be taken; "" = it would."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(None):
            if program in CHECKS:
                CHECKS[program](*words)
    except SystemExit as end:  # with 0 after --help
        return f"{program} {' '.join(words)}: {said.getvalue()[-200:]}" if end.code else ""
    except Exception as error:
        return f"{program} {' '.join(words)}: {error!r}"
    return ""


@each_page
def test_commands_are_taken(page):
    for block in blocks(page):
        if block.language == "bash":
            for program, *words in commands(block.text):
                assert program in CHECKS or program in OTHERS, f"what is {program}?"
                assert not (why := refused(program, words)), why


@each_page
def test_commands_in_the_text_are_taken(page):
    """With less than they need, since they are only spoken of."""
    for span in re.findall(r"`((?:qwenvl|make|scene_node|ros2 launch) [^`]+)`", prose(page)):
        for program, *words in commands(span.replace(" ...", "")):
            if not any(word.isupper() for word in words):  # those stand for something
                assert not (why := refused(program, words)) or "are required" in why, why


@each_page
def test_commands_stand_where_they_are_looked_for(page):
    plain = "".join(block.text for block in blocks(page) if block.language != "bash")
    text = prose(page) + textwrap.indent(plain, " " * 4)
    assert not re.findall(rf"^ {{4}}(?:{'|'.join(CHECKS)}) .*$", text, re.MULTILINE)


@each_page
def test_names_in_the_text_are_declared(page):
    """Not in docs/decisions, which tell of what was."""
    entries = [*node_settings.entries(), *node_settings.camera_entries("<camera>")]
    declared = {entry.name for entry in entries} | {name for name, _ in leaves(SimulatorSettings)}
    declared |= {argument.name for launch in LAUNCHES.values() for argument in launch.arguments}
    for interface in INTERFACES.values():
        declared |= set(re.findall(r"^[\w/\[\]]+ +(\w+)", interface.read_text(), re.MULTILINE))
    named = re.findall(r"`((?:<camera>\.)?[a-z][a-z0-9]*(?:[_.][a-z0-9]+)+)(?:: [^`]+)?`", prose(page))
    named = [name for name in named if not name.endswith((".bash", ".jpg", ".jsonl", ".mcap", ".py"))]
    if page.parent.name != "decisions":
        assert set(named) - OTHER_NAMES <= declared | set(PREDICATES)


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_readers_save_have_parameters_that_there_are(page):
    for block in blocks(page):
        if block.language == "yaml" and "ros__parameters" in block.text:
            for told in yaml.safe_load(block.text).values():
                parameters(dict(flat(told["ros__parameters"])))

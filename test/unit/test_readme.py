"""The README says what the code does: tables, topics, verbs, targets, links."""

import ast
import re
import runpy
from pathlib import Path

import pytest

from qwenvl_ros.ros import node_settings
from qwenvl_ros.tools.cli import verbs

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TABLES = runpy.run_path(str(ROOT / "docs" / "readme_tables.py"))


def offered(module):
    """Topics, services and actions whose names are given as literals where they are made."""
    for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            what = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if what in ("create_publisher", "publisher", "create_service", "ActionServer"):
                yield from (each.value for each in node.args if isinstance(each, ast.Constant))


def test_tables_come_from_the_code():
    assert TABLES["rewritten"](README) == README, "run `python docs/readme_tables.py`"


def test_every_table_is_there():
    assert {found["name"] for found in TABLES["MARKED"].finditer(README)} == TABLES["TABLES"].keys()


def test_topics_services_and_actions_are_those_of_the_node():
    listed = re.findall(r"^\| `(~?/[\w/]+)` \|", README, re.MULTILINE)
    modules = ("node", "outputs", "detections", "ground_server", "relations_server", "ask_server")
    out = {name for module in modules for name in offered(f"qwenvl_ros/ros/{module}.py")}
    assert sorted(listed) == sorted(out)


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_is_shown(verb):
    assert f"qwenvl {verb}" in README


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(
        r"(?:^    |`)make ([a-z-]+)", README + (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE
    )
    assert {"demo", "test"} <= set(named) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_verbs_and_targets_of_every_page_exist(page):
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"(?:^    |`)qwenvl ([a-z]+)\b", text, re.MULTILINE)) <= set(verbs())
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:^    |`)make ([a-z-]+)", text, re.MULTILINE)) <= set(targets)


def test_troubleshooting_speaks_of_parameters_that_there_are():
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    names = {entry.name for entry in [*node_settings.entries(), *node_settings.camera_entries("<camera>")]}
    named = re.findall(r"`((?:<camera>|vllm|openai)\.[a-z_]+|[a-z]+_[a-z_]+)(?:: \w+)?`", text)
    assert named and set(named) - {"use_sim_time", "status_message"} <= names


def test_executables_are_installed():
    cmake = (ROOT / "CMakeLists.txt").read_text()
    for name in re.findall(r"executable `(\w+)`", README):
        assert f'"{name}=' in cmake

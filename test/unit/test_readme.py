"""The README says what the code does: tables, topics, verbs; its links, and those of all pages, lead somewhere."""

import ast
import re
import runpy

import pytest
from pages import PAGES, ROOT

from qwenvl_ros.tools.cli import verbs

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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_executables_are_installed():
    cmake = (ROOT / "CMakeLists.txt").read_text()
    for name in re.findall(r"executable `(\w+)`", README):
        assert f'"{name}=' in cmake

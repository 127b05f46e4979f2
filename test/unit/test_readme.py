"""The README shows every verb, and executables that there are; links of all pages lead somewhere."""

import re

import pytest
import yaml
from pages import PAGES, ROOT

from qwenvl_ros.tools.cli import verbs

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_is_shown(verb):
    assert f"qwenvl {verb}" in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#:]*)#?([^):]*)\)", page.read_text(encoding="utf-8")):
        there = page.parent / target if target else page
        assert there.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_executables_are_installed():
    cmake = (ROOT / "CMakeLists.txt").read_text()
    for name in re.findall(r"executable `(\w+)`", README):
        assert f'"{name}=' in cmake


def test_questions_are_asked_of_the_camera_that_the_launch_makes():
    """It is called camera; "" and [] mean the first one, whatever it is called."""
    asked = re.findall(r"(?:service call|send_goal)[^{]*\"(\{.*\})\"", README)
    assert len(asked) == 3
    assert not any({"camera", "cameras"} & set(yaml.safe_load(each)) for each in asked)


def test_a_realsense_has_the_topics_of_its_driver():
    """Below the namespace of the camera and its name, both `camera` unless the launch says otherwise."""
    for page in [*PAGES, *ROOT.glob("launch/*.py"), *ROOT.glob("qwenvl_ros/tools/*.py")]:
        topics = re.findall(r"(?:image|depth):=(/camera/\S+)", page.read_text(encoding="utf-8"))
        assert [each for each in topics if not each.startswith("/camera/camera/")] == [], page

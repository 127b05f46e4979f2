"""docs/reference is what the code says now, all of it; and README lists the same topics."""

import re
import runpy

import pytest
from pages import ROOT

MADE = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))
TEXT = {page.stem: page.read_text(encoding="utf-8") for page in MADE["PAGES"]}


@pytest.mark.parametrize("page", TEXT)
def test_pages_come_from_the_code(page):
    assert MADE["rewritten"](TEXT[page]) == TEXT[page], "run `python docs/make_reference.py`"


def test_everything_is_on_a_page():
    found = [table["name"] for text in TEXT.values() for table in MADE["MARKED"].finditer(text)]
    assert sorted(found) == sorted(MADE["TABLES"])


def test_every_constant_and_field_is_told():
    for path in (each for kind in ("msg", "srv", "action") for each in (ROOT / kind).iterdir()):
        section = TEXT["messages"].partition(f"## {path.parent.name}/{path.stem}\n")[2].partition("\n## ")[0]
        lines = [
            line for line in path.read_text(encoding="utf-8").splitlines() if line and line[0] not in "#-"
        ]
        names = [re.split(r"[ =]+", line)[1] for line in lines]
        assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == names


def test_readme_lists_the_topics_services_and_actions():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(~?/[\w/]+)` \| (\S+) \|", readme, re.MULTILINE)
    made = {(name, of.replace("/msg/", "/")) for name, _, of in MADE["offered"]()}
    assert sorted(listed) == sorted(made)

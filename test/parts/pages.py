"""The pages of documentation, and in them the commands and files as their readers are to take them.

Commands stand in ```bash blocks, whose first line says how a test is to take them: CONTRIBUTING.md has the rule.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]

_FENCED = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_NEEDS = re.compile(r"# needs: (\S.*)\n")
_TERMINAL = "# in a terminal of its own\n"
_FILE = re.compile(r"# ([\w-]+\.(?:py|yaml))\n")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; language: what its fence says."""

    language: str
    text: str

    @property
    def needs(self) -> str:
        """What it takes that tests do not have; "" = nothing."""
        found = _NEEDS.match(self.text)
        return found[1] if found else ""

    @property
    def runs_on(self) -> bool:
        """Whether it runs beside what follows, until Ctrl-C."""
        return self.text.startswith(_TERMINAL)

    @property
    def file(self) -> str:
        """The name under which the reader saves it; "" = it is no file."""
        found = _FILE.match(self.text)
        return found[1] if found and self.language in ("python", "yaml") else ""


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    return [
        Block(each["language"], each["text"]) for each in _FENCED.finditer(page.read_text(encoding="utf-8"))
    ]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


def commands(text: str) -> Iterator[list[str]]:
    """The commands of shell text, each as words: without comments, and without variables set for them."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars="|&;")
        words.whitespace_split = True
        command: list[str] = []
        for word in [*words, ";"]:
            if set(word) <= set("|&;"):
                if command:
                    yield command
                command = []
            elif command or not re.match(r"[A-Z_]+=", word):
                command.append(word)

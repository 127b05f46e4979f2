"""The results of `qwenvl bench --json FILE` as the Markdown of docs/performance.md.

python benchmarks/report.py bench.json              prints it
python benchmarks/report.py bench.json --write      puts it into docs/performance.md
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from qwenvl_ros.benchmark.report import markdown  # noqa: E402

PAGE = ROOT / "docs" / "performance.md"
MARKED = re.compile(r"(<!-- results -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    args = parser.parse_args()
    text = markdown(json.loads(args.results.read_text(encoding="utf-8")))
    if not args.write:
        print(text, end="")
        return
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(MARKED.sub(lambda found: found[1] + text + found[2], page), encoding="utf-8")


if __name__ == "__main__":
    main()

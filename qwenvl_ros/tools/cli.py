"""`qwenvl VERB ...`: finds the verb's module, parses its arguments, turns known errors into one line.

A verb is a module of this package with `add_arguments(parser)` and `run(args) -> int`; its docstring is its help.
Modules whose name begins with an underscore are what verbs share. Only the module of the verb asked for is imported.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence

from qwenvl_ros import __version__, tools
from qwenvl_ros.backends import BackendError
from qwenvl_ros.images import ImageRefused
from qwenvl_ros.settings import SettingError
from qwenvl_ros.sim.gl import NoOpenGL
from qwenvl_ros.tools import ToolError
from qwenvl_ros.zoo import ZooError

_EXPECTED = (ToolError, BackendError, ZooError, SettingError, ImageRefused, NoOpenGL, OSError)


def verbs() -> list[str]:
    """Names of the verbs there are."""
    names = (module.name for module in pkgutil.iter_modules(tools.__path__))
    return sorted(name for name in names if name != "cli" and not name.startswith("_"))


def parse(given: Sequence[str]) -> argparse.Namespace:
    """A command line's options (without the program's name); `run` of them is the verb's.

    Raises:
        SystemExit: argparse refuses it, or help was asked for.
    """
    names = verbs()
    wanted = next((word for word in given if not word.startswith("-")), "")
    parser = argparse.ArgumentParser("qwenvl", description="Spatial reasoning on images with Qwen3-VL.")
    parser.add_argument("--version", action="version", version=__version__)
    chooser = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name in [wanted] if wanted in names else names:
        module = importlib.import_module(f"qwenvl_ros.tools.{name}")
        summary, _, details = (module.__doc__ or "").strip().partition("\n")
        verb = chooser.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=details.strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(verb)
        verb.set_defaults(run=module.run)
    return parser.parse_args(given)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (without the program's name); returns the exit status."""
    args = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except _EXPECTED as error:
        print(f"qwenvl: {' '.join(str(error).split())}", file=sys.stderr)
        return 1

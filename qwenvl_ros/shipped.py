"""Where the files that ship with the package lie. Imports nothing of the package or of pip's: launch files find the DDS
profile by it, in an interpreter that may have neither NumPy nor OpenCV."""

from __future__ import annotations

from pathlib import Path


def share(relative: str) -> Path:
    """A file or folder that ships with the package, in the source checkout or an installation.

    Raises:
        FileNotFoundError: it is not there.
    """
    package = Path(__file__).absolute().parent
    places = [package.parent / relative]
    places += [parent / "share" / "qwenvl_ros" / relative for parent in package.parents]
    for place in places:
        if place.exists():
            return place
    raise FileNotFoundError(
        f"{relative} is missing: neither in {package.parent} nor in share/qwenvl_ros above it; reinstall"
    )

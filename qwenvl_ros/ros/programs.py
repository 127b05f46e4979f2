"""Where this package's executables are installed."""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix

_PACKAGE = "qwenvl_ros"


def folder() -> Path:
    """The folder that `ros2 run` looks in.

    Raises:
        FileNotFoundError: the package is not built, or its workspace is not sourced.
    """
    try:
        return Path(get_package_prefix(_PACKAGE)) / "lib" / _PACKAGE
    except PackageNotFoundError as error:
        raise FileNotFoundError(
            f"{_PACKAGE} is not in any sourced workspace: make build, then . environment/activate.bash"
        ) from error

"""The verbs of the `qwenvl` command line: one verb, one module, found by its name (see cli.py)."""


class ToolError(RuntimeError):
    """A verb cannot go on; the message is one line and says what to do about it."""


def no_ros(error: ImportError) -> ToolError:
    """Of a verb that needs ROS where an import of it failed."""
    return ToolError(f"ROS 2 and this package's messages are needed ({error}): . environment/activate.bash")

"""The verbs of the `qwenvl` command line: one verb, one module, found by its name (see cli.py)."""


class ToolError(RuntimeError):
    """A verb cannot go on; the message is one line and says what to do about it."""

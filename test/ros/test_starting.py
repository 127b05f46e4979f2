"""What the executables say to arguments that ROS cannot read: one line, and status 1."""

from __future__ import annotations

import pytest

from qwenvl_ros.ros import node, simulator


@pytest.mark.parametrize(("program", "main"), [("scene_node", node.main), ("simulator", simulator.main)])
@pytest.mark.parametrize(
    ("text", "says", "remedy"),
    [
        (
            "camera:\n  rate_hz: 1.0\n",
            "Cannot have a value before ros__parameters at line 2",
            "; a parameters file begins with /**: and ros__parameters:",
        ),
        (None, "Error opening YAML file", "; check its path"),
    ],
)
def test_a_parameters_file_that_is_none_is_told_in_a_line(
    program, main, text, says, remedy, tmp_path, capsys
):
    file = tmp_path / "mine.yaml"
    if text is not None:
        file.write_text(text)
    assert main(["--ros-args", "--params-file", str(file)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{program}: ") and str(file) in line and says in line
    assert line.endswith(remedy)


def test_the_remedy_is_of_parameters_files_only(capsys):
    assert simulator.main(["--ros-args", "-p", "cameras"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "'-p cameras'" in line and "ros__parameters" not in line

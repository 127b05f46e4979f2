"""What `qwenvl up` and the launch files start, without starting it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from qwenvl_ros import dds
from qwenvl_ros.ros.launching import LAUNCHES, parse
from qwenvl_ros.ros.node_settings import camera_entries, entries
from qwenvl_ros.ros.simulator_settings import SimulatorSettings
from qwenvl_ros.settings import SettingError, leaves
from qwenvl_ros.tools import cli

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def without_profile(monkeypatch):
    for name in dds.VARIABLES:
        monkeypatch.delenv(name, raising=False)


def scene(*words):
    (process,) = LAUNCHES["scene"].start(parse(words))
    return process


def test_there_is_a_file_for_each_and_each_for_a_file():
    assert {f"{name}.launch.py" for name in LAUNCHES} == {path.name for path in (ROOT / "launch").iterdir()}


def test_launch_files_are_read_where_pips_packages_are_not():
    """By the ros2 of apt, whose Python need not have them."""
    script = """
import sys
import qwenvl_ros.processes, qwenvl_ros.ros.launching, qwenvl_ros.ros.programs
print(*{"cv2", "numpy", "scipy"} & sys.modules.keys())"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr


def test_nothing_told_changes_no_parameter():
    process = scene()
    assert (process.executable, process.name, process.parameters) == ("scene_node", "qwenvl", {})
    assert process.params_file == process.namespace == ""


def test_arguments_become_parameters(tmp_path):
    file = tmp_path / "given.yaml"
    file.write_text("{}")
    process = scene(
        "model:=8b", "precision:=fp8", "image:=/a/compressed", "depth:=/d", "queries:=red mug,  bowl,",
        "use_sim_time:=True", "autostart:=false",
        "namespace:=robot1", f"params_file:={file}", "endpoint:=http://a:1/v1", "zoo_file:=z.yaml",
    )  # fmt: skip
    assert process.parameters == {
        "model": "8b",
        "precision": "fp8",
        "camera.image_topic": "/a/compressed",
        "camera.transport": "compressed",
        "camera.depth_topic": "/d",
        "queries": ["red mug", "bowl"],
        "use_sim_time": True,
        "autostart": False,
        "endpoint": "http://a:1/v1",
        "zoo_file": "z.yaml",
    }
    assert process.command(Path("/lib")) == [
        *(
            "/lib/scene_node",
            "--ros-args",
            "-r",
            "__node:=qwenvl",
            "-r",
            "__ns:=/robot1",
            "--params-file",
            str(file),
        ),
        *("-p", 'model:="8b"', "-p", 'precision:="fp8"', "-p", 'zoo_file:="z.yaml"'),
        *("-p", 'endpoint:="http://a:1/v1"', "-p", 'camera.image_topic:="/a/compressed"'),
        *("-p", 'camera.depth_topic:="/d"', "-p", 'camera.transport:="compressed"'),
        *("-p", 'queries:=["red mug", "bowl"]', "-p", "use_sim_time:=true", "-p", "autostart:=false"),
    ]


def test_every_parameter_that_is_set_exists():
    known = {each.name for each in [*entries(), *camera_entries("camera")]} | {"use_sim_time"}
    told = {each.name: "1" for each in LAUNCHES["scene"].arguments} | {"params_file": ""}
    (process,) = LAUNCHES["scene"].start(told)
    assert set(process.parameters) <= known and len(process.parameters) >= len(told) - 3
    simulator = LAUNCHES["sim"].start({})[0]
    assert set(simulator.parameters) <= {name for name, _ in leaves(SimulatorSettings)}


def test_gpus_are_chosen_by_their_numbers_and_share_the_model():
    one, two = scene("gpu:=1"), scene("gpu:=0, 2")
    assert one.environment["CUDA_VISIBLE_DEVICES"] == "1" and one.parameters["device"] == "cuda"
    assert two.environment["CUDA_VISIBLE_DEVICES"] == "0,2"
    assert two.environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert two.parameters["vllm.tensor_parallel_size"] == 2
    cpu = scene("gpu:=cpu")
    assert cpu.parameters == {"device": "cpu"} and "CUDA_VISIBLE_DEVICES" not in cpu.environment


def test_images_get_through_unless_a_profile_is_set(monkeypatch):
    monkeypatch.setenv("ROS_DISTRO", "kilted")
    assert Path(scene().environment["FASTDDS_DEFAULT_PROFILES_FILE"]).is_file()
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    assert Path(scene().environment["FASTRTPS_DEFAULT_PROFILES_FILE"]).is_file()
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", "/mine.xml")
    assert scene().environment == {}


def test_the_simulator_and_the_node_meet_in_one_namespace():
    simulator, planner, node = LAUNCHES["sim"].start({"namespace": "robot1", "seed": "3", "rate_hz": "2"})
    assert [each.executable for each in (simulator, planner, node)] == ["simulator", "planner", "scene_node"]
    assert {each.namespace for each in (simulator, planner, node)} == {"robot1"}
    assert simulator.parameters == {"seed": 3, "rate_hz": 2.0}
    assert node.parameters["model"] == "tiny" and node.parameters["target_frame"] == "world"
    assert not any(
        str(value).startswith("/") for value in node.parameters.values()
    )  # relative: in the namespace
    assert len(LAUNCHES["sim"].start({"planner": "false"})) == 2


def test_the_server_is_the_verb_with_what_was_told(capsys):
    words = ["model:=tiny", "gpu:=cpu", "port:=9000", "max_model_len:=1000", "capacity:=4"]
    (process,) = LAUNCHES["vllm_server"].start(parse(words))
    assert process.command(Path("/lib")) == [
        *("/lib/qwenvl", "serve", "--model", "tiny", "--port", "9000", "--capacity", "4"),
        *("--vllm-max-model-len", "1000", "--device", "cpu"),
    ]
    (process,) = LAUNCHES["vllm_server"].start({"gpu": "0,1"})
    assert process.environment["CUDA_VISIBLE_DEVICES"] == "0,1"
    # Every option that can be passed on is one.
    told = {each.name: "1" for each in LAUNCHES["vllm_server"].arguments}
    told |= {"variant": "instruct", "precision": "bf16", "gpu": "cpu", "model": "none", "zoo_file": ""}
    (process,) = LAUNCHES["vllm_server"].start(told)
    assert cli.main([*process.arguments, "--show"]) == 1
    assert "no model 'none'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("what", "words", "says"),
    [
        ("scene", ["modl:=4b"], "no argument modl; there are model, variant"),
        ("scene", ["gpu:=first"], "gpu:=first must be a number"),
        ("scene", ["gpu:=0,"], "gpu:=0, must be"),
        ("scene", ["autostart:=maybe"], "autostart:=maybe must be true or false"),
        ("scene", ["params_file:=/nowhere.yaml"], "params_file /nowhere.yaml: there is no such file"),
        ("scene", ["model=4b"], "'model=4b' must be name:=value"),
        ("sim", ["seed:=x"], "seed:=x is no number"),
        ("sim", ["image:=/mine"], "no argument image"),
        ("vllm_server", ["queries:=x"], "no argument queries"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(what, words, says):
    with pytest.raises(SettingError, match=says):
        LAUNCHES[what].start(parse(words))


def test_up_lists_the_arguments_and_refuses_in_one_line(capsys):
    assert cli.main(["up", "sim", "--show-args"]) == 0
    said = capsys.readouterr().out
    assert all(f"  {each.name} " in said for each in LAUNCHES["sim"].arguments)
    assert cli.main(["up", "scene", "gpu:=first"]) == 1
    assert capsys.readouterr().err.startswith("qwenvl: gpu:=first must be")

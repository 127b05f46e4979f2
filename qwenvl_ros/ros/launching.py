"""What the launch files and `qwenvl up` start: their arguments, and the processes that these make; neither launch nor
rclpy is needed to say it.

An argument left empty leaves its parameter as params_file has it, or at its default.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qwenvl_ros import dds
from qwenvl_ros.settings import SettingError

_GPUS = re.compile(r"(\d+|GPU-[0-9a-f-]+)(,(\d+|GPU-[0-9a-f-]+))*")
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a launch file; default "" where the parameter's own holds."""

    name: str
    description: str
    default: str = ""


@dataclass(frozen=True, slots=True)
class Process:
    """A program of this package; ros: a node, with namespace and parameters, else `arguments` is all it is told."""

    executable: str
    arguments: tuple[str, ...] = ()
    ros: bool = True
    name: str = ""
    namespace: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    params_file: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self, programs: Path) -> list[str]:
        """Its command line; programs: the folder with the package's executables."""
        if not self.ros:
            return [str(programs / self.executable), *self.arguments]
        ros = [f"__node:={self.name}"] if self.name else []
        ros += [f"__ns:=/{self.namespace.strip('/')}"] if self.namespace.strip("/") else []
        options = [word for rule in ros for word in ("-r", rule)]
        options += ["--params-file", self.params_file] if self.params_file else []
        # A JSON value is a YAML value too.
        options += [
            word for name, value in self.parameters.items() for word in ("-p", f"{name}:={json.dumps(value)}")
        ]
        return [
            str(programs / self.executable),
            *self.arguments,
            *(["--ros-args", *options] if options else []),
        ]


@dataclass(frozen=True, slots=True)
class Launch:
    """A launch file: what it is for, its arguments, and what it starts when told their values."""

    about: str
    arguments: tuple[Argument, ...]
    processes: Callable[[Mapping[str, str]], list[Process]]

    def start(self, told: Mapping[str, str]) -> list[Process]:
        """The processes; arguments that are not told have their defaults.

        Raises:
            SettingError: an argument that there is not, or with a value that it cannot have.
        """
        defaults = {each.name: each.default for each in self.arguments}
        if unknown := sorted(set(told) - set(defaults)):
            raise SettingError(f"there is no argument {', '.join(unknown)}; there are {', '.join(defaults)}")
        return self.processes({name: value.strip() for name, value in (defaults | dict(told)).items()})


# Arguments that are one parameter's text as it is.
_PARAMETERS = {
    "model": "model",
    "variant": "variant",
    "precision": "precision",
    "zoo_file": "zoo_file",
    "backend": "backend",
    "endpoint": "endpoint",
    "target_frame": "target_frame",
    "image": "camera.image_topic",
    "depth": "camera.depth_topic",
    "camera_info": "camera.camera_info_topic",
    "pose": "camera.pose_topic",
}

_MODEL = (
    Argument("model", "tiny, 2b, 4b, 8b ..., a name of zoo_file, a hub id or a folder."),
    Argument("variant", "instruct or thinking."),
    Argument("precision", "bf16 or fp8."),
    Argument("zoo_file", "YAML file with models of your own."),
    Argument("gpu", "0, or 0,1 to share the model between several, as nvidia-smi numbers them; or cpu."),
)
_SCENE = (
    *_MODEL,
    Argument("backend", "Engine that runs the model: transformers, vllm or openai."),
    Argument("endpoint", "Of backend openai: the server's address; several, parted by commas."),
    Argument("image", "Image topic; may end in /compressed."),
    Argument("depth", "Depth topic, registered to the image."),
    Argument("camera_info", "CameraInfo topic."),
    Argument("pose", "PoseStamped of the camera in target_frame."),
    Argument("target_frame", "Frame of positions and relations."),
    Argument("queries", "What to look for, parted by commas."),
    Argument("namespace", "Of the node."),
    Argument("params_file", "YAML file with parameters."),
    Argument("use_sim_time", "true or false: time from /clock."),
    Argument("autostart", "true or false: configure and activate."),
)
# In the simulator the topics are known.
_SIMULATED = {
    "image": "camera/image_raw",
    "depth": "camera/depth/image_raw",
    "pose": "camera/pose",
    "target_frame": "world",
}
_SIM = (
    Argument("model", _MODEL[0].description, "tiny"),
    *(each for each in _SCENE[1:] if each.name not in (*_SIMULATED, "camera_info", "use_sim_time")),
    Argument("seed", "Which table.", "0"),
    Argument("rate_hz", "Images per second.", "10.0"),
    Argument("planner", "true or false: the example planner runs.", "true"),
)
# Options of `qwenvl serve`, by the arguments that are passed on to them.
_SERVER = {
    "host": "Address to listen on (127.0.0.1); 0.0.0.0 lets other machines in: set VLLM_API_KEY then.",
    "port": "Port to listen on (8000).",
    "capacity": "Requests worked on at once.",
    "gpu_memory_utilization": "Share of each GPU's memory that vLLM takes.",
    "max_model_len": "Longest prompt and answer together, in tokens.",
    "images_per_prompt": "Most images in one question.",
    "clips_per_prompt": "Most clips in one question.",
}


def _scene(told: Mapping[str, str]) -> list[Process]:
    parameters: dict[str, object] = {
        parameter: told[name] for name, parameter in _PARAMETERS.items() if told.get(name)
    }
    if told.get("image", "").endswith("/compressed"):
        parameters["camera.transport"] = "compressed"
    if queries := [query.strip() for query in told["queries"].split(",") if query.strip()]:
        parameters["queries"] = queries
    for name in ("use_sim_time", "autostart"):
        if told.get(name):
            parameters[name] = _truth(name, told[name])
    if told["params_file"] and not Path(told["params_file"]).expanduser().is_file():
        raise SettingError(f"params_file {told['params_file']}: there is no such file")
    device, environment = _gpu(told["gpu"])
    if device:
        parameters["device"] = device
    if environment:
        parameters["vllm.tensor_parallel_size"] = told["gpu"].count(",") + 1
    node = Process(
        "scene_node",
        name="qwenvl",
        namespace=told["namespace"],
        parameters=parameters,
        params_file=str(Path(told["params_file"]).expanduser()) if told["params_file"] else "",
        environment=dds.environment() | environment,
    )
    return [node]


def _sim(told: Mapping[str, str]) -> list[Process]:
    numbers: dict[str, object] = {}
    for name, kind in (("seed", int), ("rate_hz", float)):
        try:
            numbers[name] = kind(told[name])
        except ValueError as error:
            raise SettingError(f"{name}:={told[name]} is no number") from error
    namespace, environment = told["namespace"], dds.environment()
    simulator = Process("simulator", parameters=numbers, namespace=namespace, environment=environment)
    planner = Process("planner", namespace=namespace, environment=environment)
    listening = [planner] if _truth("planner", told["planner"]) else []
    return [simulator, *listening, *_scene({**told, **_SIMULATED})]


def _vllm_server(told: Mapping[str, str]) -> list[Process]:
    device, environment = _gpu(told["gpu"])
    options = {name: told[name] for name in ("model", "variant", "precision", "zoo_file", *_SERVER)}
    words = ["serve"]
    for name, value in (options | {"device": device}).items():
        own = (
            ""
            if name in ("model", "variant", "precision", "zoo_file", "host", "port", "capacity", "device")
            else "vllm-"
        )
        words += [f"--{own}{name.replace('_', '-')}", value] if value else []
    return [Process("qwenvl", tuple(words), ros=False, name="vllm_server", environment=environment)]


LAUNCHES: Mapping[str, Launch] = {
    "scene": Launch("scene_node for one camera; several: params_file.", _SCENE, _scene),
    "sim": Launch("The simulator, scene_node looking at it, and the example planner.", _SIM, _sim),
    "vllm_server": Launch(
        "A vLLM server for this or another machine, to be asked with backend openai.",
        (*_MODEL, *(Argument(name, text) for name, text in _SERVER.items())),
        _vllm_server,
    ),
}


def _truth(name: str, text: str) -> bool:
    try:
        return _TRUTH[text.lower()]
    except KeyError:
        raise SettingError(f"{name}:={text} must be true or false") from None


def _gpu(text: str) -> tuple[str, dict[str, str]]:
    """(device, environment) of the argument gpu; nothing of "".

    Raises:
        SettingError: it is neither cpu nor a list of GPUs.
    """
    wanted = text.replace(" ", "")
    if wanted in ("", "cpu"):
        return wanted, {}
    if not _GPUS.fullmatch(wanted):
        raise SettingError(f"gpu:={text} must be a number of nvidia-smi, several parted by commas, or cpu")
    # CUDA's own order is by speed, nvidia-smi's by bus.
    return "cuda", {"CUDA_VISIBLE_DEVICES": wanted, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def parse(words: Sequence[str]) -> dict[str, str]:
    """name:=value arguments, as ros2 launch takes them.

    Raises:
        SettingError: one has another form.
    """
    told = {}
    for word in words:
        name, sign, value = word.partition(":=")
        if not sign or not name:
            raise SettingError(f"{word!r} must be name:=value")
        told[name] = value
    return told

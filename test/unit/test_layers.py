"""Imports point one way: ros, tools -> pipeline -> grounding, relations, occlusion, ... -> geometry -> types."""

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "qwenvl_ros"
MODULES = sorted(PACKAGE.rglob("*.py"))

# From the bottom up; what is not named here knows something of its own and is checked below it all the same.
LAYERS = (
    {"types", "settings"},
    {"geometry"},
    {"grounding", "relations", "occlusion", "tracking", "fusion", "backends", "scheduling", "zoo"},
    {"perception"},
    {"asking", "inquiry"},
    {"pipeline"},
    {"between", "questions"},
    {"evaluation", "selftest", "benchmark", "planning", "replay"},
    {"ros", "tools"},
)
ENGINES = {
    "torch",
    "torchvision",
    "transformers",
    "vllm",
    "accelerate",
    "openai",
    "httpx",
    "requests",
    "aiohttp",
}
ENGINES |= {"http.client", "urllib.request"}
ROS = {
    *("rclpy", "launch", "launch_ros", "ament_index_python", "tf2_ros", "cv_bridge", "rosidl_runtime_py"),
    *(
        "action_msgs",
        "builtin_interfaces",
        "diagnostic_msgs",
        "geometry_msgs",
        "lifecycle_msgs",
        "rcl_interfaces",
    ),
    *(
        "rosgraph_msgs",
        "sensor_msgs",
        "std_msgs",
        "std_srvs",
        "tf2_msgs",
        "vision_msgs",
        "visualization_msgs",
    ),
    *("qwenvl_ros.msg", "qwenvl_ros.srv", "qwenvl_ros.action"),
}


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_of(path) for path in MODULES}


@cache
def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path, where=ast.walk):
    """Dotted names that a module imports; of `from a import b`, a.b where that is a module, else a."""
    name = module_of(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in where(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {
                f"{base}.{alias.name}" if is_module(f"{base}.{alias.name}") else base for alias in node.names
            }
    return found


def is_module(name):
    return name in NAMES or name in ROS


def of(names, packages):
    """Those of the names that are, or lie in, one of the packages."""
    return {name for name in names if any(name == each or name.startswith(f"{each}.") for each in packages)}


def first(module):
    """qwenvl_ros.ros.node -> ros."""
    return module.split(".")[1] if "." in module else ""


def level(module):
    return next((index for index, layer in enumerate(LAYERS) if first(module) in layer), None)


def at_the_top(tree):
    """Nodes that run when a module is imported, but for those under `if TYPE_CHECKING:`."""
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        yield node
        waiting += ast.iter_child_nodes(node)


def test_the_package_is_found():
    assert {"types", "geometry", "grounding", "pipeline", "ros", "tools"} <= {first(name) for name in NAMES}


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_ros_stays_in_ros(path):
    if first(module_of(path)) != "ros":
        assert not of(imports(path), ROS)
    if level(module_of(path)) != len(LAYERS) - 1:
        assert not of(imports(path), {"qwenvl_ros.ros"})


def test_everything_but_ros_imports_on_a_machine_without_ros_and_engines():
    """In a fresh interpreter that has neither; a backend's own module is what needs its engine."""
    names = sorted(n for n in NAMES if first(n) != "ros" and not n.startswith("qwenvl_ros.backends."))
    script = f"""
import importlib, sys

class Absent:
    def find_spec(name, path=None, target=None):
        if name in absent or name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"{{name}} is not there", name=name)

absent = {sorted((ROS | ENGINES | {"mujoco"}) - {"http.client", "urllib.request"})}
sys.meta_path.insert(0, Absent)
for name in {names}:
    if not name.endswith("__main__"):
        importlib.import_module(name)
"""
    environment = os.environ | {"_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_engines_stay_in_backends(path):
    if first(module_of(path)) != "backends":
        assert not of(imports(path), ENGINES)


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_imports_point_down(path):
    own = level(module_of(path))
    for other in of(imports(path), {"qwenvl_ros"}):
        there = level(other)
        if own is not None and there is not None:
            assert there <= own, f"{module_of(path)} (layer {own}) imports {other} (layer {there})"


def test_no_module_imports_itself_by_way_of_others():
    edges = {module_of(path): of(imports(path, at_the_top), NAMES) for path in MODULES}
    while edges:
        free = {name for name, others in edges.items() if not others & edges.keys()}
        assert free, f"these import each other in a circle: {sorted(edges)}"
        edges = {name: others for name, others in edges.items() if name not in free}


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_modules_are_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300, "split it by what it knows"


@pytest.mark.parametrize("path", MODULES, ids=module_of)
def test_modules_are_named_after_what_they_know(path):
    assert not {"utils", "util", "helpers", "common", "misc"} & set(module_of(path).split("."))

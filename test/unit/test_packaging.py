"""What is said twice about the package must be alike: CMake, setup.py, package.xml, requirements, interfaces, docs."""

import ast
import re
import sys
import tokenize
import xml.etree.ElementTree as ET
from enum import IntEnum
from importlib import metadata
from pathlib import Path

import pytest
from catkin_pkg.package import parse_package
from packaging.requirements import Requirement

import qwenvl_ros
from qwenvl_ros import types

ROOT = Path(__file__).resolve().parents[2]
INTERFACES = sorted([*ROOT.glob("msg/*"), *ROOT.glob("srv/*"), *ROOT.glob("action/*")])
CMAKE = (ROOT / "CMakeLists.txt").read_text()

# The public contract. Planners are written against these names and types.
FIELDS = {
    "Box2D": "float32 x_min, float32 y_min, float32 x_max, float32 y_max",
    "SceneObject": "string id, string label, string query, float32 score, Box2D box, bool has_position, "
    "geometry_msgs/Point position, geometry_msgs/Vector3 size, uint8 occlusion, float32 visible_fraction, "
    "bool truncated, uint8 origin",
    "SpatialRelation": "string subject_id, string predicate, string object_id, uint8 truth, float32 confidence, "
    "float32 value, uint8 source, string frame_id",
    "Scene": "std_msgs/Header header, string camera, uint32 width, uint32 height, string reference_frame, "
    "SceneObject[] objects, SpatialRelation[] relations, string[] evaluated_predicates, uint8 status, "
    "string status_message, bool keyframe, builtin_interfaces/Time keyframe_stamp, string model, string[] queries, "
    "float32 queue_seconds, float32 inference_seconds, float32 total_seconds",
    "Ground": "string[] queries, string camera, float32 max_age, ---, Scene scene, bool success, string message",
    "GetRelations": "string subject, string predicate, string object, float32 max_age, ---, "
    "SpatialRelation[] relations, bool success, string message",
    "Ask": "string question, string[] cameras, float32 window_seconds, ---, string answer, Scene[] scenes, "
    "bool success, string message, ---, string partial_answer",
}
# Interface, prefix of its constants, and the enum that the core speaks.
ENUMS = [
    ("SceneObject", "OCCLUSION_", types.Occlusion),
    ("SceneObject", "ORIGIN_", types.Origin),
    ("Scene", "STATUS_", types.Status),
    ("SpatialRelation", "", types.Truth),
    ("SpatialRelation", "", types.Source),
]
# What a distribution is imported as, where the names differ.
IMPORTED_AS = {"nvidia-ml-py": "pynvml", "opencv-python-headless": "cv2", "pillow": "PIL", "pyyaml": "yaml"}


def interface(name):
    return next(path for path in INTERFACES if path.stem == name)


def declarations(path):
    """(declaration, comment) of each line that declares something; '---' for a separator."""
    for line in path.read_text().splitlines():
        declaration, _, comment = line.partition("#")
        if declaration.strip():
            yield " ".join(declaration.split()), comment.strip()


def constants(name):
    found = (re.match(r"uint8 ([A-Z0-9_]+)=(\d+)$", each) for each, _ in declarations(interface(name)))
    return {match[1]: int(match[2]) for match in found if match}


def setup_arguments():
    """Keyword arguments of setup() that are literals."""
    call = next(
        node
        for node in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setup"
    )
    wanted = {"entry_points", "install_requires", "extras_require", "license"}
    return {each.arg: ast.literal_eval(each.value) for each in call.keywords if each.arg in wanted}


def requirements(*names):
    lines = "\n".join((ROOT / "requirements" / f"{name}.txt").read_text() for name in names).splitlines()
    return {
        each.name: each for each in (Requirement(line) for line in lines if line and not line.startswith("#"))
    }


def imported(folder):
    """Top-level names of what the Python files in a folder import."""
    for path in (ROOT / folder).rglob("*.py"):
        with tokenize.open(path) as source:
            for node in ast.walk(ast.parse(source.read())):
                if isinstance(node, ast.Import):
                    yield from (alias.name.partition(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    yield (node.module or "").partition(".")[0]


def test_one_version():
    package = ET.parse(ROOT / "package.xml").getroot()
    assert package.findtext("version") == qwenvl_ros.__version__
    changes = (ROOT / "CHANGELOG.rst").read_text()
    assert re.search(r"^(\d+\.\d+\.\d+) \(", changes, re.MULTILINE)[1] == qwenvl_ros.__version__


def test_package_xml_is_valid():
    """By what colcon and bloom read it with: names, email, version, no key twice."""
    complaints = []
    parse_package(str(ROOT / "package.xml"), warnings=complaints)
    assert not complaints


def test_where_each_dependency_comes_from_is_told():
    package = ET.parse(ROOT / "package.xml").getroot()
    keys = {each.text for each in package if each.tag.endswith("depend")}
    page = (ROOT / "docs" / "platforms.md").read_text()
    table = page.partition("| key of package.xml |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| (\w[\w-]*) \|", table, re.MULTILINE)) == keys


def test_one_license():
    license = ET.parse(ROOT / "package.xml").getroot().find("license")
    assert license.text == setup_arguments()["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / license.get("file")).read_text()


def test_setup_py_and_cmake_install_the_same_executables():
    block = re.search(r"set\(EXECUTABLES\s+(.*?)\)", CMAKE, re.DOTALL)[1]
    by_cmake = {entry.replace("=", " = ") for entry in re.findall(r'"([^"]+)"', block)}
    assert by_cmake == set(setup_arguments()["entry_points"]["console_scripts"])


@pytest.mark.parametrize("entry", setup_arguments()["entry_points"]["console_scripts"])
def test_executables_exist(entry):
    module, function = entry.partition(" = ")[2].split(":")
    tree = ast.parse((ROOT / (module.replace(".", "/") + ".py")).read_text())
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_interface_is_generated():
    block = re.search(r"rosidl_generate_interfaces\(\$\{PROJECT_NAME\}(.*?)DEPENDENCIES", CMAKE, re.DOTALL)[1]
    assert block.split() == [str(path.relative_to(ROOT)) for path in sorted(INTERFACES)]


def test_interfaces_keep_the_contract():
    assert {path.stem for path in INTERFACES} == FIELDS.keys()
    for name, fields in FIELDS.items():
        declared = [each for each, _ in declarations(interface(name)) if "=" not in each]
        assert ", ".join(declared) == fields, name


@pytest.mark.parametrize("path", INTERFACES, ids=lambda path: path.name)
def test_every_field_is_explained(path):
    assert path.read_text().startswith("# ")
    for declaration, comment in declarations(path):
        assert declaration == "---" or len(comment) > 5, f"{path.name}: {declaration}"
        if declaration.startswith("float32"):
            told = re.search(r"pixels|metres|seconds|\[0, 1\]", comment)
            assert told, f"{path.name}: {declaration} has no unit or range"


@pytest.mark.parametrize(
    ("name", "prefix", "enum"), ENUMS, ids=lambda value: getattr(value, "__name__", value)
)
def test_constants_are_the_enums(name, prefix, enum):
    known = constants(name)
    assert {prefix + each.name: each.value for each in enum}.items() <= known.items()


def test_no_other_constants():
    for name in FIELDS:
        expected = {prefix + each.name for owner, prefix, enum in ENUMS if owner == name for each in enum}
        assert constants(name).keys() == expected


def test_every_enum_of_the_core_is_checked():
    enums = {each for each in vars(types).values() if isinstance(each, type) and issubclass(each, IntEnum)}
    assert enums - {IntEnum} == {enum for _, _, enum in ENUMS}


def test_tested_versions_are_within_the_declared_ranges():
    declared = {each.name: each for each in map(Requirement, setup_arguments()["install_requires"])}
    pinned = requirements("runtime", "torch")
    assert declared.keys() <= pinned.keys()
    for name, requirement in declared.items():
        version = next(iter(pinned[name].specifier)).version
        assert requirement.specifier.contains(version), f"{requirement} does not allow {version}"
    assert pinned.keys() - declared.keys() <= {need for name in declared for need in brought(name)}


def brought(name):
    """What pip installs with a distribution, by the metadata of the one that is here; its extras are not asked for."""
    for each in map(Requirement, metadata.requires(name) or ()):
        if each.marker is None or each.marker.evaluate({"extra": ""}):
            yield each.name


def test_develop_extras_are_the_develop_requirements():
    extras = {Requirement(each).name for each in setup_arguments()["extras_require"]["develop"]}
    assert extras == requirements("develop").keys()


@pytest.mark.parametrize("folder", ["qwenvl_ros", "training", "examples"])
def test_every_import_is_declared(folder):
    declared = {IMPORTED_AS.get(name, name.replace("-", "_")) for name in requirements("runtime", "torch")}
    package = ET.parse(ROOT / "package.xml").getroot()
    declared |= {each.text for tag in ("depend", "exec_depend") for each in package.iter(tag)}
    # Python names of packages declared otherwise: tf2_ros_py, and what transformers is built on.
    declared |= {"tf2_ros", "tokenizers", "huggingface_hub"}
    extras = setup_arguments()["extras_require"]
    declared |= {Requirement(each).name for each in [*extras["vllm"], *extras["behaviour_trees"]]}
    ours = {"qwenvl_ros", "training", "__future__"}
    undeclared = set(imported(folder)) - declared - ours - sys.stdlib_module_names
    assert not undeclared, undeclared


def test_every_requirement_is_used():
    used = {name for folder in ("qwenvl_ros", "training", "examples") for name in imported(folder)}
    needed = {IMPORTED_AS.get(name, name) for name in requirements("runtime", "torch")}
    # transformers needs these for device_map, chat templates and processors; mujoco is imported by name.
    assert needed - used <= {"accelerate", "jinja2", "torchvision", "PIL", "mujoco", "apache-tvm-ffi"}

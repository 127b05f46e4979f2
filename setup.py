"""For `pip install -e .` and the console scripts; colcon builds by CMakeLists.txt (a test keeps both in step)."""

import os
import re

from setuptools import find_packages, setup

HERE = os.path.dirname(os.path.abspath(__file__))


def version():
    with open(os.path.join(HERE, "qwenvl_ros", "__init__.py"), encoding="utf-8") as source:
        return re.search(r'__version__ = "(.+)"', source.read()).group(1)


def shared(*folders):
    """data_files that put folders under share/qwenvl_ros, where the package looks for them, as CMake does."""
    for folder in folders:
        for path, _, names in os.walk(os.path.join(HERE, folder)):
            relative = os.path.relpath(path, HERE)
            yield f"share/qwenvl_ros/{relative}", [os.path.join(relative, name) for name in names]


setup(
    name="qwenvl_ros",
    version=version(),
    description="Spatial reasoning on camera topics with Qwen3-VL, for ROS 2",
    license="Apache-2.0",
    packages=find_packages(include=["qwenvl_ros", "qwenvl_ros.*"]),
    package_data={"qwenvl_ros": ["py.typed"]},
    data_files=list(shared("config", "models")),
    python_requires=">=3.10",
    install_requires=[
        "accelerate>=1.0",
        "jinja2>=3",
        "mcap>=1.1",
        "mujoco>=3.2",
        "numpy>=1.21",
        "nvidia-ml-py>=12",
        "openai>=1.60",
        "opencv-python-headless>=4.5",
        "pillow>=9",
        "pyyaml>=5.4",
        "rich>=12",
        "rosbags>=0.10",
        "scipy>=1.8",
        "tenacity>=8",
        "torch>=2.4",
        "torchvision>=0.19",
        "tqdm>=4.57",
        "transformers>=4.57",
        "xgrammar>=0.1.21",
        "zstandard>=0.20",
    ],
    extras_require={
        "vllm": ["vllm>=0.11"],
        "behaviour_trees": ["py_trees>=2.2"],
        "develop": [
            "hypothesis>=6.100",
            "mypy>=1.11",
            "py_trees>=2.2",
            "pyperplan==2.1",
            "pytest>=7",
            "ruff==0.17.6",
            "types-PyYAML",
            "types-tqdm",
        ],
    },
    entry_points={
        "console_scripts": [
            "qwenvl = qwenvl_ros.tools.cli:main",
            "scene_node = qwenvl_ros.ros.node:main",
            "simulator = qwenvl_ros.ros.simulator:main",
        ]
    },
)

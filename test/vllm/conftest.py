"""These tests need vLLM, which `make test-vllm` installs into .venv; without it they are skipped."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from qwenvl_ros import zoo

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Not find_spec("vllm"): this folder of that name would do as a namespace package.
    try:
        installed = importlib.util.find_spec("vllm.engine") is not None
    except ImportError:
        installed = False
    if not installed:
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="vLLM is not installed: make test-vllm"))


@pytest.fixture(scope="session")
def model() -> zoo.Model:
    """The tiny model as it ships."""
    return zoo.resolve("tiny")

"""These tests need vLLM, which `make test-vllm` installs into .venv; without it they are skipped."""

from __future__ import annotations

from pathlib import Path

import pytest
from vllm_server import installed

from qwenvl_ros import zoo

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not installed():
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="vLLM is not installed: make test-vllm"))


@pytest.fixture(scope="session")
def model() -> zoo.Model:
    """The tiny model as it ships."""
    return zoo.resolve("tiny")

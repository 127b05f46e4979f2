"""Settings that hold settings: named with dots, built from values by name, checked all the way down."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass, field

import pytest

from qwenvl_ros.backends import EngineSettings
from qwenvl_ros.settings import SettingError, build, leaves, setting, validate
from qwenvl_ros.tools._options import add_settings, read_settings


@dataclass(frozen=True)
class Inner:
    size: int = setting(3, "How large.", unit="m", minimum=0, maximum=9)


@dataclass(frozen=True)
class Outer:
    name: str = setting("a", "What it is called.", choices=("a", "b"))
    first: Inner = field(default_factory=Inner)
    second: Inner = field(default=Inner(7))
    note: str = "no setting"


def test_leaves_have_dotted_names_and_what_is_no_setting_is_left_out():
    assert [name for name, _ in leaves(Outer)] == ["name", "first.size"]
    names = {name for name, _ in leaves(EngineSettings)}
    assert {"backend", "endpoint", "vllm.gpu_memory_utilization", "openai.attempts"} <= names


def test_values_land_where_their_names_say():
    made = build(Outer, {"name": "b", "first.size": 5, "unknown": 1, "size": 8})
    assert made == dataclasses.replace(Outer(), name="b", first=Inner(5))


def test_what_is_within_is_checked_under_its_full_name():
    validate(Outer())
    with pytest.raises(SettingError, match=r"first\.size = 10 m is above its maximum 9"):
        validate(Outer(first=Inner(10)))
    with pytest.raises(SettingError, match=r"vllm\.gpu_memory_utilization = 7"):
        validate(build(EngineSettings, {"vllm.gpu_memory_utilization": 7.0}))


def test_the_command_line_offers_them_all():
    parser = argparse.ArgumentParser()
    add_settings(parser, EngineSettings)
    args = parser.parse_args(["--backend", "vllm", "--vllm-seed", "4", "--no-vllm-encoder-data-parallel"])
    made = read_settings(args, EngineSettings)
    assert (made.backend, made.vllm.seed, made.vllm.encoder_data_parallel) == ("vllm", 4, False)
    assert made.openai == EngineSettings().openai
    with pytest.raises(SettingError, match=r"openai\.attempts"):
        read_settings(parser.parse_args(["--openai-attempts", "0"]), EngineSettings)

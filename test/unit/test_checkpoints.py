"""What is said of a checkpoint that is not at hand, in whole or in part."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from qwenvl_ros import zoo
from qwenvl_ros.backends import BackendUnavailable, checkpoints

HUB_ID = "Qwen/Qwen3-VL-4B-Instruct"
REVISION = "0123456789abcdef0123456789abcdef01234567"


def folder_with(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("{}")
    return folder


def test_a_folder_is_at_hand_with_all_that_its_index_names(tmp_path):
    folder = folder_with(tmp_path / "mine", "config.json", "a.safetensors")
    assert checkpoints.at_hand(zoo.resolve(str(folder)))
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}))
    with pytest.raises(
        BackendUnavailable, match=r"1 of its files are missing in .*mine \(b\.safetensors\); copy"
    ):
        checkpoints.at_hand(zoo.resolve(str(folder)))
    index.write_text("[")
    with pytest.raises(BackendUnavailable, match="a readable model"):
        checkpoints.at_hand(zoo.resolve(str(folder)))


def test_without_weights_it_is_no_checkpoint(tmp_path):
    folder = folder_with(tmp_path / "mine", "config.json")
    with pytest.raises(BackendUnavailable, match=r"\(model\.safetensors\)"):
        checkpoints.at_hand(zoo.resolve(str(folder)))


def offline(cache, value="1"):
    """What a program that may not use the network says; the variables are read when it starts."""
    code = f"""
from qwenvl_ros import zoo
from qwenvl_ros.backends import BackendUnavailable, checkpoints
try:
    print(checkpoints.at_hand(zoo.resolve({HUB_ID!r})))
except BackendUnavailable as error:
    print(error)
"""
    environment = os.environ | {"HF_HUB_OFFLINE": value, "HF_HUB_CACHE": str(cache)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_offline_what_was_never_downloaded_is_named_with_the_cache_and_the_remedy(tmp_path):
    said = offline(tmp_path)
    assert f"HF_HUB_OFFLINE is set and it is not in the cache {tmp_path}" in said
    assert f"hf download {HUB_ID}" in said


def test_offline_what_was_downloaded_is_taken_and_half_of_it_is_not(tmp_path):
    repository = tmp_path / "models--Qwen--Qwen3-VL-4B-Instruct"
    folder_with(repository / "refs")
    (repository / "refs/main").write_text(REVISION)
    snapshot = folder_with(repository / "snapshots" / REVISION, "config.json")
    assert "1 of its files are missing" in offline(tmp_path)
    folder_with(snapshot, "model.safetensors")
    assert offline(tmp_path).strip() == "True"
    assert offline(tmp_path / "other", value="0").strip() == "False"  # then the hub is asked

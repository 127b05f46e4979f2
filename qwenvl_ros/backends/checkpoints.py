"""Whether a checkpoint is at hand, asked before an engine loads it: all of a folder, or what was downloaded."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError

from qwenvl_ros import zoo
from qwenvl_ros.backends import BackendUnavailable

_INDEX = "model.safetensors.index.json"


def at_hand(model: zoo.Model) -> bool:
    """True: it is a folder, or the network may not be used (HF_HUB_OFFLINE) and it was downloaded before. False: the
    hub is to be asked.

    Raises:
        BackendUnavailable: files are missing, or it may not be downloaded and never was.
    """
    folder = Path(model.checkpoint)
    remedy = "copy the folder again"
    if not folder.is_dir():
        if not constants.HF_HUB_OFFLINE:
            return False
        remedy = (
            f"run `hf download {model.checkpoint}` with HF_HUB_OFFLINE=0 where there is a network (and bring the "
            "cache along, HF_HOME), or set model to a folder with it"
        )
        try:
            folder = Path(huggingface_hub.snapshot_download(model.checkpoint, local_files_only=True))
        except LocalEntryNotFoundError as error:
            raise BackendUnavailable(
                f"cannot load {model.checkpoint}: HF_HUB_OFFLINE is set and it is not in the cache "
                f"{constants.HF_HUB_CACHE}; {remedy}"
            ) from error
    if missing := _missing(folder):
        raise BackendUnavailable(
            f"cannot load {model.checkpoint}: {len(missing)} of its files are missing in {folder} "
            f"({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}); {remedy}"
        )
    return True


def _missing(folder: Path) -> list[str]:
    """Files without which it cannot be loaded and that are not there."""
    wanted = {"config.json"}
    try:
        wanted |= set(json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except FileNotFoundError:
        wanted |= set() if any(folder.glob("*.safetensors")) else {"model.safetensors"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        wanted.add(f"a readable {_INDEX}")
    return sorted(name for name in wanted if not (folder / name).is_file())

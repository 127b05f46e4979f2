"""A checkpoint into memory through transformers: where it may run, whether it fits, and what to do when not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers.utils import is_flash_attn_2_available

from qwenvl_ros import gpus, zoo
from qwenvl_ros.backends import BackendUnavailable, checkpoints, memory

FLASH_ATTENTION = (8, 0)  # least compute capability of a GPU


@dataclass(frozen=True, slots=True)
class Loaded:
    """network and processor as transformers gives them; device: of the inputs."""

    network: Any
    processor: Any
    device: torch.device
    where: str


def choose_device(wanted: str, model: zoo.Model) -> torch.device:
    """The device of the `device` setting; auto is the GPU, and the CPU only for a small model on a machine without one.

    Raises:
        BackendUnavailable: there is no such device here, or auto would put a large model on the CPU.
    """
    if wanted == "cpu":
        return torch.device("cpu")
    if wanted == "auto" and not torch.cuda.is_available():
        if model.memory_gb < gpus.SMALL_GB:
            return torch.device("cpu")
        raise BackendUnavailable(
            f"{_no_gpu()}, and {model.name} is too large to run on the CPU unasked; set device to cpu to have it "
            "there all the same (slowly), or model to tiny"
        )
    try:
        device = torch.device("cuda" if wanted == "auto" else wanted)
    except RuntimeError:
        device = torch.device("meta")
    if device.type != "cuda":
        raise BackendUnavailable(f"device {wanted!r} is not known; give auto, cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        raise BackendUnavailable(f"{_no_gpu()}; set device to cpu to run without one")
    if (device.index or 0) >= torch.cuda.device_count():
        raise BackendUnavailable(
            f"there is no {wanted}: {torch.cuda.device_count()} GPUs are visible, from cuda:0"
        )
    return device


def load(model: zoo.Model, wanted_device: str) -> Loaded:
    """Load a checkpoint; float32 on a CPU, the checkpoint's own precision on a GPU.

    A model that does not fit on one GPU is spread over the visible ones when the device is `auto` or `cuda`.

    Raises:
        BackendUnavailable: no such device, too little memory, or the checkpoint cannot be read.
    """
    device = choose_device(wanted_device, model)
    options: dict[str, Any] = {"attn_implementation": "sdpa", "dtype": torch.float32}
    if device.type == "cuda":
        options = {"dtype": "auto", "device_map": _device_map(device, model)}
        flash = is_flash_attn_2_available() and torch.cuda.get_device_capability(device) >= FLASH_ATTENTION
        options["attn_implementation"] = "flash_attention_2" if flash else "sdpa"
        check_precision(model, torch.cuda.get_device_capability(device), torch.cuda.get_device_name(device))
    elif model.precision == "fp8":
        raise BackendUnavailable(f"{model.name} in fp8 needs a GPU; set precision to bf16 for the CPU")
    local = checkpoints.at_hand(model)
    try:
        processor = transformers.AutoProcessor.from_pretrained(model.checkpoint, local_files_only=local)
        network = transformers.AutoModelForImageTextToText.from_pretrained(
            model.checkpoint, local_files_only=local, **options
        )
    except torch.OutOfMemoryError as error:
        raise BackendUnavailable(
            f"{model.name} needs about {model.memory_gb:g} GB of GPU memory ({error}); free some, choose another GPU, "
            f"or another model:\n{zoo.memory_table()}"
        ) from error
    except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
        raise BackendUnavailable(
            f"cannot load {model.checkpoint}: {error}; check the name, the folder, the network and the disk"
        ) from error
    network.eval()
    where = "cpu" if device.type == "cpu" else f"{device} ({torch.cuda.get_device_name(device)})"
    return Loaded(network, processor, network.device, f"{where}, {options['attn_implementation']}")


def check_precision(model: zoo.Model, capability: tuple[int, int], name: str) -> None:
    """Whether a GPU of this compute capability computes in the model's precision.

    Raises:
        BackendUnavailable: it does not; with what to take instead.
    """
    needed = gpus.CAPABILITY[model.precision]
    if capability >= needed:
        return
    remedy = (
        "set precision to bf16"
        if capability >= gpus.CAPABILITY["bf16"]
        else "choose another GPU, or set device to cpu"
    )
    raise BackendUnavailable(
        f"{model.name} is in {model.precision}, which needs compute capability {needed[0]}.{needed[1]} of a GPU; "
        f"{name} has {capability[0]}.{capability[1]}: {remedy}"
    )


def _device_map(device: torch.device, model: zoo.Model) -> Any:
    """Where transformers puts the layers.

    Raises:
        BackendUnavailable: there is not enough free memory.
    """
    cards, _ = gpus.visible()
    if len(cards) == torch.cuda.device_count() and memory.spread(model, cards, device.index):
        return "auto"
    return {"": device.index or 0}


def _no_gpu() -> str:
    cuda = torch.version.cuda
    if cuda is None:
        return "no GPU: this PyTorch is built without CUDA; install a CUDA build of it (https://pytorch.org)"
    return f"no GPU: PyTorch for CUDA {cuda} sees none; check nvidia-smi and CUDA_VISIBLE_DEVICES"

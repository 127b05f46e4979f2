"""Whether a model fits on the GPUs it is given, asked before it is loaded: the same question for every engine here."""

from __future__ import annotations

from collections.abc import Sequence

from qwenvl_ros import zoo
from qwenvl_ros.backends import BackendUnavailable, EngineSettings
from qwenvl_ros.gpus import Gpu, room_gb


def check(model: zoo.Model, cards: Sequence[Gpu], share: float = 1.0) -> None:
    """Nothing, where the model fits on the GPUs together, or where it or they do not tell their memory.

    share: of each GPU's memory that the engine may take.

    Raises:
        BackendUnavailable: it does not fit; with what there is and what would fit.
    """
    room = room_gb(cards, share)
    if not cards or not model.memory_gb > room:
        return
    had = "; ".join(f"GPU {card.number}: {card.memory}" for card in cards)
    allowed = f", of which gpu_memory_utilization = {share:g} allows {room:.1f} GB" if share < 1 else ""
    raise BackendUnavailable(
        f"{model.name} needs about {model.memory_gb:g} GB of GPU memory, but there is ({had}{allowed}): free some, let "
        f"more or other GPUs be seen (CUDA_VISIBLE_DEVICES), or choose a model that fits:\n{zoo.memory_table(room)}"
    )


def for_vllm(model: zoo.Model, cards: Sequence[Gpu], settings: EngineSettings) -> int:
    """How many of the GPUs vLLM shares the model over: tensor_parallel_size, or all.

    Raises:
        BackendUnavailable: there are not so many, or the model does not fit on them.
    """
    count = settings.vllm.tensor_parallel_size or len(cards)
    if count > len(cards):
        raise BackendUnavailable(
            f"tensor_parallel_size = {count}, but {len(cards)} GPUs can be seen; lower it, or let more be seen "
            "(CUDA_VISIBLE_DEVICES)"
        )
    if not settings.vllm.quantization:  # what it makes of the weights is not known
        check(model, cards[:count], settings.vllm.gpu_memory_utilization)
    return count


def spread(model: zoo.Model, cards: Sequence[Gpu], index: int | None) -> bool:
    """Whether the model must be spread over all the GPUs; index: of the only one it may use, None = any.

    Raises:
        BackendUnavailable: it does not fit.
    """
    first = cards[index or 0 :][:1]
    if index is not None or not model.memory_gb > room_gb(first):
        check(model, first)
        return False
    check(model, cards)
    return True

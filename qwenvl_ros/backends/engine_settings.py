"""Which engine runs the model, on what, and how: one settings class for all, and one for each engine's own."""

from __future__ import annotations

from dataclasses import dataclass, field

from qwenvl_ros.settings import setting

BACKENDS = ("transformers", "vllm", "openai")


@dataclass(frozen=True)
class VllmSettings:
    """What only the vllm backend needs; names and meanings are those of vLLM's engine arguments."""

    gpu_memory_utilization: float = setting(
        0.85,
        "Share of the GPU's memory that vLLM takes, weights and cache together.",
        minimum=0.05,
        maximum=1.0,
        read_only=True,
    )
    tensor_parallel_size: int = setting(
        0,
        "GPUs that share each layer; 0 = as many as are visible (CUDA_VISIBLE_DEVICES).",
        unit="GPUs",
        minimum=0,
        maximum=64,
        read_only=True,
    )
    max_model_len: int = setting(
        8192,
        "Longest prompt and answer together, the image's tokens counted; at most the model's own context.",
        unit="tokens",
        minimum=256,
        maximum=262144,
        read_only=True,
    )
    images_per_prompt: int = setting(
        1, "Most images in one question (limit_mm_per_prompt).", minimum=1, maximum=64, read_only=True
    )
    clips_per_prompt: int = setting(
        0,
        "Most clips in one question; memory is set aside for one that fills max_model_len. 0 = none are taken.",
        minimum=0,
        maximum=16,
        read_only=True,
    )
    quantization: str = setting(
        "", "Quantise while loading, such as fp8; '' = as the checkpoint is.", read_only=True
    )
    seed: int = setting(0, "Seed of sampling.", minimum=0, maximum=2**31 - 1, read_only=True)
    enforce_eager: bool = setting(
        False, "No CUDA graphs: starts sooner, answers slower. On a CPU always so.", read_only=True
    )
    encoder_data_parallel: bool = setting(
        True,
        "With several GPUs each encodes whole images (mm_encoder_tp_mode data) instead of a share of each.",
        read_only=True,
    )


@dataclass(frozen=True)
class OpenaiSettings:
    """What only the openai backend needs. The API key comes from the environment: OPENAI_API_KEY."""

    model: str = setting(
        "", "What the server calls the model; '' = the checkpoint's or the zoo's name.", read_only=True
    )
    image_encoding: str = setting(
        "png",
        "How images travel: png is exact, jpeg smaller.",
        choices=("png", "jpeg"),
        read_only=True,
    )
    jpeg_quality: int = setting(95, "Quality of jpeg.", minimum=1, maximum=100, read_only=True)
    attempts: int = setting(
        3,
        "Most tries of a request that failed for a passing reason, on another endpoint where there is one.",
        minimum=1,
        maximum=20,
        read_only=True,
    )
    connect_timeout: float = setting(
        5.0, "Longest wait for a connection.", unit="s", minimum=0.1, maximum=300.0, read_only=True
    )
    read_timeout: float = setting(
        60.0,
        "Longest silence of a server; an answer that nobody watches comes in one piece, so the longest it may take.",
        unit="s",
        minimum=0.1,
        maximum=3600.0,
        read_only=True,
    )
    health_interval: float = setting(
        2.0,
        "How often an endpoint that failed is looked at again.",
        unit="s",
        minimum=0.1,
        maximum=300.0,
        read_only=True,
    )


@dataclass(frozen=True)
class ServerSettings:
    """Where a server of one's own listens."""

    host: str = setting("127.0.0.1", "Address to listen on; 0.0.0.0 lets other machines in.")
    port: int = setting(8000, "Port to listen on.", minimum=1, maximum=65535)


@dataclass(frozen=True)
class EngineSettings:
    """Which engine runs the model, and on what."""

    backend: str = setting(
        "transformers",
        "Engine: transformers or vllm in this process, or openai, a server that speaks OpenAI's API.",
        choices=BACKENDS,
        read_only=True,
    )
    device: str = setting(
        "auto",
        "cuda, cuda:N or cpu. auto is the GPU; without one, only models under 1 GB run on the CPU unasked.",
        read_only=True,
    )
    capacity: int = setting(
        8, "Requests worked on at once.", unit="requests", minimum=1, maximum=256, read_only=True
    )
    threads: int = setting(
        0,
        "CPU threads of the engine; 0 leaves its own choice.",
        unit="threads",
        minimum=0,
        maximum=1024,
        read_only=True,
    )
    endpoint: str = setting(
        "http://localhost:8000/v1",
        "Of the openai backend: the server's address; several, parted by commas, share the load.",
        read_only=True,
    )
    vllm: VllmSettings = field(default_factory=VllmSettings)
    openai: OpenaiSettings = field(default_factory=OpenaiSettings)

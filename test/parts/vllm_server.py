"""A real vLLM server with one model, to be started, asked and killed by tests."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

KEY = "the-key-of-this-test"
STARTED_WITHIN = 600.0  # seconds, on a machine that does other things too
PATIENCE = 120.0
CONTEXT = 2048


def installed() -> bool:
    """Whether vLLM is; not find_spec("vllm"), as the tests' folder of that name would do as a namespace package."""
    try:
        return importlib.util.find_spec("vllm.engine") is not None
    except ImportError:
        return False


class VllmServer:
    """`python -m vllm.entrypoints.openai.api_server`, and not `vllm serve`, which the CPU build does not know."""

    def __init__(self, checkpoint: str, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.root = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.root}/v1"
        self._checkpoint = checkpoint
        self._log = folder / f"{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> VllmServer:
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", self._checkpoint]
        command += ["--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--dtype", "float32", "--enforce-eager", "--max-model-len", str(CONTEXT)]
        command += ["--limit-mm-per-prompt", '{"image":4,"video":0}', "--api-key", KEY]
        few = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=os.environ | few | {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"},
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that all its processes can be killed together
            )
        return self

    def ready(self) -> VllmServer:
        end = time.monotonic() + STARTED_WITHIN
        while not self._healthy():
            assert self._process is not None
            died = self._process.poll() is not None
            assert not died and time.monotonic() < end, self._log.read_text(errors="replace")[-3000:]
            time.sleep(0.5)
        return self

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def running(self) -> float:
        """How many requests it is answering."""
        with urllib.request.urlopen(f"{self.root}/metrics", timeout=PATIENCE) as page:
            lines = page.read().decode().splitlines()
        return sum(
            float(line.rpartition(" ")[2]) for line in lines if line.startswith("vllm:num_requests_running{")
        )

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.root}/health", timeout=5) as page:
                return page.status == 200
        except OSError:
            return False

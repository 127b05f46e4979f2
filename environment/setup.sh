#!/bin/bash
# Usage: environment/setup.sh: all that this checkout needs, into .venv. Does nothing when nothing has changed.
#
# Two worlds. With a ROS 2 sourced, .venv sees that ROS and adds what it lacks. Without one, .venv gets a real ROS 2
# from wheels, Kilted or the one that ROS_DISTRO names, and is made to look like /opt/ros/kilted.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "==> $*"; }
# On a terminal pip and apt-get show their own progress; a log has the steps alone.
if [ -t 1 ]; then
  details=/dev/stdout pip_quiet=
else
  details=/dev/null pip_quiet=-qq
fi
fail() {
  echo "setup: $1" >&2
  echo "       $2" >&2
  exit 1
}

# The prefix of the sourced ROS 2, or nothing. A sourced .venv of ours is not one.
sourced_ros() {
  local prefix
  [ "${ROS_VERSION:-2}" = 2 ] || fail "this shell has ROS 1 sourced" "open a shell without it, or source a ROS 2"
  IFS=: read -ra prefixes <<< "${AMENT_PREFIX_PATH:-}"
  for prefix in "${prefixes[@]}"; do
    if [ -d "$prefix/share/rclpy" ] && [ "$prefix" != "$PWD/.venv" ]; then
      echo "$prefix"
      return
    fi
  done
}

ros=$(sourced_ros)
made_for=$(cat .venv/world 2> /dev/null || true)
if [ -z "$ros" ] && [ -f "$made_for/setup.bash" ]; then
  # Set up with this ROS before; a shell that has not sourced it is no wish to change that.
  set +u && . "$made_for/setup.bash" && set -u
  ros=$made_for
fi
world=${ros:-wheels}
# Of the wheels: the distribution that is here, and the one that is wanted.
has=$(sed -n 's/^export ROS_DISTRO=//p' .venv/setup.sh 2> /dev/null || true)
distro=
if [ -z "$ros" ]; then
  distro=${ROS_DISTRO:-${has:-kilted}}
  [ -f "requirements/ros-$distro.txt" ] ||
    fail "ROS_DISTRO is $distro, which is not sourced here and of which there are no wheels" \
      "source /opt/ros/$distro/setup.bash; or take wheels: make ROS_DISTRO=kilted, or jazzy"
fi
inputs=$(cat requirements/*.txt environment/*.* environment/ros_prefix/* setup.py | sha256sum)
ready="$world $distro $inputs"
if [ "$(cat .venv/ready 2> /dev/null)" = "$ready" ]; then
  exit 0
fi

# ---- What must come from the system ----------------------------------------------------------------------------

system() {
  local reason=$1
  shift
  local line="apt-get install -y --no-install-recommends $*"
  if ! command -v apt-get > /dev/null; then
    fail "$reason" "install what Debian calls: $*"
  elif [ "$(id -u)" = 0 ]; then
    sudo=
  elif sudo -n true 2> /dev/null; then
    sudo="sudo -n"
  else
    fail "$reason, and apt-get needs a password here" "run: sudo apt-get update && sudo $line"
  fi
  say "$reason: $line"
  { $sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive $line; } > "$details" ||
    fail "apt-get failed" "see above; then run make again"
}

if [ -n "$ros" ]; then
  # The interpreter that ROS was built for, which need not be the first on PATH.
  for python in python3 /usr/bin/python3 none; do
    "$python" -c "import rclpy" 2> /dev/null && break
  done
  [ "$python" != none ] || fail "no python3 can import rclpy, though $ros is sourced" "leave conda or venvs and try again"
  "$python" -c "import sys; sys.exit(sys.version_info < (3, 10))" || fail "ROS 2 before Humble is too old" "use Humble or later"
else
  # Wheels of all we need exist for these.
  for python in python3 python3.13 python3.12 python3.11 none; do
    "$python" -c "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))" 2> /dev/null && break
  done
  if [ "$python" = none ]; then
    system "Python 3.11 to 3.13 is missing" python3
    python=python3
    "$python" -c "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))" ||
      fail "$("$python" --version) has no ROS 2 wheels" "install Python 3.11, 3.12 or 3.13 beside it, or source a ROS 2"
  fi
fi

missing=()
"$python" -c "import ensurepip, venv" 2> /dev/null || missing+=(python3-venv)
"$python" -c "import os, sysconfig; os.stat(sysconfig.get_paths()['include'] + '/Python.h')" 2> /dev/null ||
  missing+=(python3-dev)
command -v cmake > /dev/null || missing+=(cmake)
command -v g++ > /dev/null || missing+=(g++)
if [ ${#missing[@]} -gt 0 ]; then
  system "Missing: ${missing[*]}" "${missing[@]}"
fi
[ -n "$ros" ] || "$python" - "$(cmake --version | head -1)" << 'CHECK' || fail "CMake is older than 3.21" "install a newer one"
import re, sys
sys.exit(tuple(map(int, re.findall(r"\d+", sys.argv[1])[:2])) < (3, 21))
CHECK

# ---- The venv --------------------------------------------------------------------------------------------------

if [ -n "$made_for" ] && [ "$made_for $has" != "$world $distro" ]; then
  say "Starting afresh: .venv was made for $made_for $has, now it is $world $distro"
  rm -rf .venv build install
fi
if [ ! -f .venv/world ]; then
  free=$(df -Pm . | awk 'NR == 2 { print $4 }')
  [ "$free" -ge 5000 ] || fail "only $free MB are free on the disk of $PWD" "make room for 5000 MB"
  say "Python environment in .venv ($("$python" --version))"
  "$python" -m venv ${ros:+--system-site-packages} .venv || fail "no venv could be made" "remove .venv and look above"
  [ -z "$ros" ] || .venv/bin/python -c "import rclpy" ||
    fail "a venv of $python does not see the rclpy of $ros" "open a new shell and source that ROS 2 there"
  echo "$world" > .venv/world
fi

# In a venv of wheels each start of Python would start it once more, see make_ros_prefix.sh.
export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
pip() {
  .venv/bin/python -m pip --disable-pip-version-check "$@"
}
install() {
  local what=$1
  shift
  say "$what"
  pip install $pip_quiet "$@" ||
    fail "pip could not install it" "see above (the network? HTTPS_PROXY?); run make again: it goes on from here"
}

if [ -z "$ros" ]; then
  sh environment/make_ros_prefix.sh .venv "$distro"
  install "ROS 2 ${distro^}, real, from wheels (150 MB to download)" -r "requirements/ros-$distro.txt" -r requirements/colcon.txt
elif ! command -v colcon > /dev/null; then
  install "colcon" -r requirements/colcon.txt
fi

torch=$(sed -n 's/^torch==//p' requirements/torch.txt)
if ! .venv/bin/python -c "import torch" 2> /dev/null; then
  if nvidia-smi -L > /dev/null 2>&1; then
    install "torch $torch for the GPU here (3 GB to download)" "torch==$torch"
  elif say "torch $torch for the CPU (200 MB to download)" && ! pip install $pip_quiet "torch==$torch+cpu" 2> /dev/null; then
    install "  from PyTorch's own index" "torch==$torch" --index-url https://download.pytorch.org/whl/cpu
  fi
fi
if [ -z "$ros" ]; then
  install "transformers, MuJoCo, OpenCV and the tools of make test (250 MB to download)" \
    -r requirements/runtime.txt -r requirements/develop.txt
  install "qwenvl_ros itself, as it lies here" --no-deps --no-build-isolation -e .
else
  # The C extensions of that ROS are bound to the NumPy it came with, and colcon to setuptools before 80; the torchvision
  # that pip takes has to fit the torch that is here. transformers is what most of our code stands on; any Python from
  # 3.10 on takes the tested one.
  .venv/bin/python -c "import numpy, torch; print(f'numpy=={numpy.__version__}\ntorch=={torch.__version__}\nsetuptools<80')" \
    > .venv/constraints.txt
  grep ^transformers requirements/runtime.txt >> .venv/constraints.txt
  install "transformers, MuJoCo, OpenCV, and qwenvl_ros as it lies here (250 MB to download)" \
    -c .venv/constraints.txt -e '.[develop]'
fi
install "torchvision and xgrammar, without what they would bring" --no-deps $(grep -E '^[a-z-]+==' requirements/torch.txt | grep -v ^torch==)
packages=$(.venv/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")
cp environment/torchvision_schemas.py "$packages/"
echo 'import torchvision_schemas; torchvision_schemas.install()' > "$packages/torchvision_schemas.pth"

# ---- Does it work? ---------------------------------------------------------------------------------------------

renders() {
  .venv/bin/python -c "
from qwenvl_ros.sim.gl import load_mujoco
mujoco = load_mujoco()
mujoco.Renderer(mujoco.MjModel.from_xml_string('<mujoco/>'), 32, 32).render()" > .venv/render.log 2>&1
}
say "Trying the renderer and transformers"
if ! renders; then
  system "MuJoCo finds no OpenGL that works without a display" libegl1 libopengl0 libgl1-mesa-dri
  renders || fail "MuJoCo cannot render: $(tail -1 .venv/render.log)" "try MUJOCO_GL=osmesa with libosmesa6 installed"
fi
.venv/bin/python -c "from transformers import AutoProcessor, Qwen3VLForConditionalGeneration" ||
  fail "transformers with Qwen3-VL cannot be imported" "see above; remove .venv and run make again"

echo "$ready" > .venv/ready
say "Set up"

#!/bin/bash
# Usage: environment/build.sh: colcon build, when a file of the package is newer than the last build.
set -eo pipefail
cd "$(dirname "$0")/.."
sources=(CMakeLists.txt package.xml msg srv action qwenvl_ros config launch models)
if [ -f install/built ] && [ -z "$(find "${sources[@]}" -type f -newer install/built -not -name '*.pyc' -print -quit)" ]; then
  exit 0
fi
echo "==> colcon build (half a minute the first time)"
touch .venv/build-started
. environment/activate.bash
colcon build
mv .venv/build-started install/built

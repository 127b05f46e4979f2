# The same as setup.sh; bash knows where this file is, so the venv may have been moved.
_here=$(builtin cd -P "$(dirname "${BASH_SOURCE[0]}")" > /dev/null && pwd)
COLCON_CURRENT_PREFIX="${COLCON_CURRENT_PREFIX:-$_here}"
. "$_here/setup.sh"
unset COLCON_CURRENT_PREFIX _here

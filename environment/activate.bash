# . environment/activate.bash: everything sourced, for working in this checkout after `make setup` and a build.
_root=$(builtin cd -P "$(dirname "${BASH_SOURCE[0]}")/.." > /dev/null && pwd)
_world=$(cat "$_root/.venv/world" 2> /dev/null || echo none)

if [ "$_world" = none ]; then
  echo "environment/activate.bash: nothing is set up yet: run \`make setup\` first" >&2
  unset _root _world
  return 1
elif [ "$_world" = wheels ]; then
  . "$_root/.venv/setup.bash"
else
  # The ROS 2 that was sourced at set-up.
  case ":${AMENT_PREFIX_PATH:-}:" in
    *":$_world:"*) ;;
    *) . "$_world/setup.bash" ;;
  esac
  . "$_root/.venv/bin/activate"
fi
if [ -f "$_root/install/setup.bash" ]; then
  . "$_root/install/setup.bash"
fi

# Images need more shared memory than Fast DDS takes by itself; a profile of your own wins, where this ROS looks for it.
case "${ROS_DISTRO:-}" in
  humble | iron | jazzy)
    [ -n "${FASTRTPS_DEFAULT_PROFILES_FILE:-}" ] ||
      export FASTRTPS_DEFAULT_PROFILES_FILE="$_root/config/fastdds_shm.xml"
    ;;
  *)
    [ -n "${FASTDDS_DEFAULT_PROFILES_FILE:-}${FASTRTPS_DEFAULT_PROFILES_FILE:-}" ] ||
      export FASTDDS_DEFAULT_PROFILES_FILE="$_root/config/fastdds_shm.xml"
    ;;
esac
if [ "$(df -Pm /dev/shm 2> /dev/null | awk 'NR == 2 { print $2 }')" -lt 256 ] 2> /dev/null; then
  echo "Warning: /dev/shm is under 256 MB: images will be lost between processes (docker run --shm-size=1g)" >&2
fi
unset _root _world

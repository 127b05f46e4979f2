# Makes this venv with ROS 2 wheels what /opt/ros/DISTRO is elsewhere: `. setup.bash`, then colcon.

_prefix="${COLCON_CURRENT_PREFIX:-@PREFIX@}"

# Prepend $2 to the list of paths named $1, once.
_prepend() {
  eval "_list=\"\${$1:-}\""
  case ":$_list:" in
    *":$2:"*) ;;
    *) eval "export $1=\"$2\${_list:+:$_list}\"" ;;
  esac
  unset _list
}

for _folder in "$_prefix"/lib/python3.*/site-packages/ros_*.libs "$_prefix/lib"; do
  _prepend LD_LIBRARY_PATH "$_folder"
done
_prepend AMENT_PREFIX_PATH "$_prefix"
_prepend CMAKE_PREFIX_PATH "$_prefix"
_prepend PATH "$_prefix/bin"

# CMake's FindPython3 looks here first.
export VIRTUAL_ENV="$_prefix"
export CMAKE_TOOLCHAIN_FILE="$_prefix/share/ros_prefix/toolchain.cmake"
# The wheels would start Python a second time to set LD_LIBRARY_PATH; it is set above.
export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
export ROS_DISTRO=@DISTRO@
export ROS_VERSION=2
export ROS_PYTHON_VERSION=3

unset _folder _prefix
unset -f _prepend

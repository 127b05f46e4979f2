#!/bin/sh
# Usage: make_ros_prefix.sh VENV DISTRO: make a venv that holds the ROS 2 wheels look like /opt/ros/DISTRO.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
prefix=$(cd "$1" && pwd)
mkdir -p "$prefix/share/ros_prefix"
cp "$here"/ros_prefix/*.cmake "$prefix/share/ros_prefix/"
sed -e "s|@PREFIX@|$prefix|" -e "s|@DISTRO@|$2|" "$here/ros_prefix/setup.sh" > "$prefix/setup.sh"
cp "$here/ros_prefix/setup.bash" "$prefix/setup.bash"
# colcon's own setup files chain to local_setup.*; there is nothing below this prefix, so they are the same.
cp "$prefix/setup.sh" "$prefix/local_setup.sh"
sed 's|/setup.sh|/local_setup.sh|' "$prefix/setup.bash" > "$prefix/local_setup.bash"

"""The parts of `qwenvl bench` that need ROS: a real scene_node, fed over DDS by another process, heard by a third."""

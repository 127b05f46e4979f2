"""The ROS 2 edge: messages, parameters, nodes."""

"""The only place where topic messages are built or read; everything else speaks qwenvl_ros.types."""

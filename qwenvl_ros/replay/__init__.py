"""Recordings, videos and folders of images through the same pipeline as a camera, without ROS.

    source (bag, video or folder) -> frames with what belongs to them -> perceive -> scenes, markers, pictures

What comes out depends on what goes in alone, not on when or how fast it was done.
"""

"""Tests with a real ROS run on a domain of their own, so that no robot and no other run is heard."""

import os

# 1 to 101 are safe on Linux; child processes inherit it. A domain set by hand wins.
os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 101))
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

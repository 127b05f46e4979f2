"""The MuJoCo tabletop with exact ground truth: scenes -> render -> truth; no ROS in here."""

"""Recordings, read and written without ROS: rosbag2 (sqlite3, MCAP, compressed, split) and ROS 1 bags, through rosbags.

with Bag(path) as bag:
    for record in bag.records():        in the order of their times; a message is record.channel and its CDR bytes
        message = decoder.message(record)
    bag.damage                          where it was broken, if it was: what could be read came all the same
"""

from qwenvl_ros.bags.intact import Topic
from qwenvl_ros.bags.messages import Decoder, Undecodable, encode, typestore
from qwenvl_ros.bags.reading import Bag, is_bag
from qwenvl_ros.bags.records import BagError, Channel, Record
from qwenvl_ros.bags.writing import RecordWriter

__all__ = [
    "Bag",
    "BagError",
    "Channel",
    "Decoder",
    "Record",
    "RecordWriter",
    "Topic",
    "Undecodable",
    "encode",
    "is_bag",
    "typestore",
]

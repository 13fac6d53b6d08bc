"""The node's work without a node: recordings, folders of images and videos through the same recogniser, into a bag.

Needs no ROS: bags are read and written by `rosbags`, and where no ROS is installed `message_packages` makes the message
classes that the conversions fill.
"""

"""The ROS 2 shell around the pipeline: messages, parameters, transforms, the node, the camera simulator and the demo.

`mailbox`, `worker`, `status`, `identity` and `transforms` need no ROS; the rest needs rclpy and message packages.
"""

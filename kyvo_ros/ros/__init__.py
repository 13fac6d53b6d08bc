"""The ROS 2 shell around the pipeline: messages, parameters, transforms, the node, the camera simulator and the demo.

Without rclpy run `mailbox`, `worker`, `status`, `identity`, `transforms`, `settings`, `camera_infos`, `recognition`,
`language`, `serving`, `model_slot`, `children`, `resources` and `conversions.images`, `.cameras`, `.placing`; the rest
needs ROS.
"""

"""The ROS 2 shell around the pipeline: messages, parameters, transforms, the node, the camera simulator and the demo.

Without rclpy run `mailbox`, `worker`, `status`, `identity`, `transforms`, `settings`, `camera_infos`, `recognition`,
`graph`, `language`, `serving`, `model_slot`, `children`, `resources`, `setting_options`, `conversions.images`,
`.cameras`, `.placing`, `.transforms`, `offline`, which makes the message classes itself, and `doctor` but for its
`system`; the rest needs ROS.
"""

#!/usr/bin/env bash
# What kyvo-node.service starts: sources the workspace named by KYVO_WORKSPACE, then becomes the launch.
# KYVO_ARGUMENTS are arguments of the launch file, such as "image_topic:=/camera/image_raw".
set -e
: "${KYVO_WORKSPACE:?names the colcon workspace that holds install/setup.bash; set it in kyvo-node.env}"
source "$KYVO_WORKSPACE/install/setup.bash"
read -r -a arguments <<< "${KYVO_ARGUMENTS:-}"
exec ros2 launch kyvo_ros kyvo.launch.py "${arguments[@]}"

#!/usr/bin/env bash
# Sources the workspace of the image, then becomes the command.
set -e
source "/opt/ros/$ROS_DISTRO/setup.bash"
source /ws/install/setup.bash
exec "$@"

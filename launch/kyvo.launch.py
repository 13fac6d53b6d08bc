"""Starts kyvo_node on a camera's topics, and RViz if asked.

    ros2 launch kyvo_ros kyvo.launch.py image_topic:=/camera/image_raw camera_info_topic:=/camera/camera_info rviz:=true
    ros2 launch kyvo_ros kyvo.launch.py cameras:=front,left     # /front/image_raw, /front/camera_info, /left/...
    ros2 launch kyvo_ros kyvo.launch.py simulate:=true rviz:=true     # the demo's recording instead of a camera
    ros2 launch kyvo_ros kyvo.launch.py managed:=true autostart:=true # with ROS 2's life cycle, see docs/lifecycle.md

Arguments that are left empty keep the parameter file's value.
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from kyvo_ros.ros.settings import check_camera_names

SHARE = get_package_share_directory("kyvo_ros")

ARGUMENTS = {
    "image_topic": ("/camera/image_raw", "Topic of the images; with image_transport:=compressed without /compressed."),
    "camera_info_topic": ("/camera/camera_info", "Topic of the camera's calibration."),
    "cameras": ("", "Names of several cameras (front,left), each with <name>/image_raw and <name>/camera_info."),
    "image_transport": ("", "raw or compressed."),
    "params_file": (os.path.join(SHARE, "config", "kyvo_node.yaml"), "Parameter file of the node."),
    "model": ("", "Folder of the model; empty takes the shipped one."),
    "device": ("", "auto, cpu, cuda or cuda:N."),
    "output_frame": ("", "Frame of the output: support_plane, or a TF frame; empty is the camera's optical frame."),
    "plane_frame": ("", "TF frame with z up that holds the support plane."),
    "namespace": ("", "Namespace of the node and its topics."),
    "use_sim_time": ("", "true: take the time from /clock."),
    "managed": ("false", "Start kyvo_managed_node, the node with ROS 2's life cycle."),
    "autostart": ("", "With managed:=true: configure and activate at the start, without a lifecycle manager."),
    "log_level": ("info", "debug, info, warn, error, fatal."),
    "rviz": ("false", "Start RViz, too."),
    "rviz_frame": ("camera_optical_frame", "Fixed frame of RViz."),
    "simulate": ("false", "Play the demo's recording as the camera."),
}
#: Arguments that are parameters of the node where they are not empty.
PARAMETERS = ("image_transport", "model", "device", "output_frame", "plane_frame")
#: The same, of those that are true or false.
FLAGS = ("use_sim_time", "autostart")
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")


def logger_name(namespace):
    """The node's logger is named by its namespace, too."""
    return ".".join([*filter(None, namespace.split("/")), "kyvo_node"])


def check_arguments(params_file, cameras, log_level):
    """Raises ValueError for what launch_ros would pass over, or ROS refuse in words that do not name the argument."""
    if params_file and not os.path.isfile(params_file):
        raise ValueError(f"params_file must be a YAML file of parameters; there is no file '{params_file}'")
    if log_level.lower() not in LOG_LEVELS:
        raise ValueError(f"log_level must be one of {', '.join(LOG_LEVELS)}, got '{log_level}'")
    check_camera_names(tuple(cameras))


def start_node(context):
    """The node, with the parameters that were given as arguments over those of the file."""
    def value(name):
        return LaunchConfiguration(name).perform(context)

    def holds(name):
        if value(name).lower() not in ("true", "1", "false", "0", ""):
            raise ValueError(f"{name} must be true or false, got '{value(name)}'")
        return value(name).lower() in ("true", "1")

    simulate, managed = holds("simulate"), holds("managed")
    if value("autostart") and not managed:
        raise ValueError("autostart is a parameter of the managed node; give managed:=true, too, or leave it out")
    cameras = [name.strip() for name in value("cameras").split(",") if name.strip()]
    check_arguments(value("params_file"), cameras, value("log_level"))
    given = {name: value(name) for name in PARAMETERS if value(name)}
    given.update({name: holds(name) for name in FLAGS if value(name)})
    image, info = value("image_topic"), value("camera_info_topic")
    if simulate:
        image, info = "/camera/image", "/camera/camera_info"
        given = {"image_transport": "compressed", **given}
    remappings = [("image", image), ("image/compressed", image + "/compressed"), ("camera_info", info)]
    if cameras:
        given["cameras"] = cameras
        remappings = [(f"{name}/image{end}", f"{name}/image_raw{end}") for name in cameras
                      for end in ("", "/compressed")]
    node = Node(
        package="kyvo_ros", executable="kyvo_managed_node" if managed else "kyvo_node", name="kyvo_node",
        namespace=value("namespace"), output="screen", remappings=remappings,
        parameters=[*filter(None, [value("params_file"), given])],
        arguments=["--ros-args", "--log-level", logger_name(value("namespace")) + ":=" + value("log_level")])
    if not simulate:
        return [node]
    recording = os.path.join(SHARE, "demo", "recording")
    return [node, Node(package="kyvo_ros", executable="camera_simulator", output="screen",
                       parameters=[{"bag": recording, "loop": True}])]


def generate_launch_description():
    declared = [DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (default, text) in ARGUMENTS.items()]
    rviz = Node(
        package="rviz2", executable="rviz2", name="rviz2", namespace=LaunchConfiguration("namespace"),
        condition=IfCondition(LaunchConfiguration("rviz")),
        arguments=["-d", os.path.join(SHARE, "rviz", "kyvo.rviz"), "-f", LaunchConfiguration("rviz_frame")])
    return LaunchDescription([*declared, OpaqueFunction(function=start_node), rviz])

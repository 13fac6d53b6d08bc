"""A camera driver and kyvo_node beside it, in one namespace: an example to copy.

    ros2 launch kyvo_ros with_camera.launch.py camera:=front camera_info_url:=file:///path/front.yaml
    ros2 launch kyvo_ros with_camera.launch.py camera:=left driver:=usb_cam video_device:=/dev/video2

With camera:=front the driver publishes /front/image_raw and /front/camera_info, the node listens to these and publishes
/front/scene and the rest. Each camera gets a support-plane frame of its own, <camera>_support_plane, unless the
parameter file names another; arguments that are left empty keep the file's value. The drivers are packages of their own
(ros-<distribution>-v4l2-camera, ros-<distribution>-usb-cam), not dependencies of kyvo_ros; their parameters are taken
from their documentation, the drivers themselves have not been run with it.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from kyvo_ros.ros.setting_options import values_of_file
from kyvo_ros.ros.settings import Settings

ARGUMENTS = {
    "camera": ("front", "Name of the camera: namespace of its topics and prefix of its frames."),
    "driver": ("v4l2_camera", "Package of the driver: v4l2_camera or usb_cam."),
    "video_device": ("/dev/video0", "Device of the camera."),
    "camera_info_url": ("", "Calibration as file:// or package:// URL; empty is the driver's default."),
    "params_file": ("", "YAML file of parameters for the node, such as config/tabletop.yaml; empty for the defaults."),
    "plane_frame": ("", "TF frame whose x-y plane the objects stand on; empty for the parameters' or the model's."),
    "output_frame": ("", "As in kyvo.launch.py; plane or support_plane is the camera's own support-plane frame, empty "
                         "the parameters'."),
}
#: What the support-plane frame is called where nobody says.
SUPPORT_PLANE = Settings.support_plane_frame
#: Package -> its executable and the names it gives to the parameters of the device and of the optical frame.
DRIVERS = {
    "v4l2_camera": ("v4l2_camera_node", "video_device", "camera_frame_id"),
    "usb_cam": ("usb_cam_node_exe", "video_device", "frame_id"),
}


def node_frames(camera, output, said):
    """The names of the support-plane frame and of the output's; the latter is empty where nobody gives one.

    `output` is the argument, `said` what the parameter file says. One that means the support plane means the frame that
    is returned: under its usual name nobody would broadcast it here.
    """
    named = said.get("support_plane_frame", SUPPORT_PLANE)
    plane = f"{camera}_{SUPPORT_PLANE}" if named == SUPPORT_PLANE else named
    if output in ("plane", SUPPORT_PLANE):
        return plane, plane
    output = output or said.get("output_frame", "")
    return plane, plane if output == named else output


def start_pair(context):
    """The driver and the node, both in the camera's namespace."""
    def value(name):
        return LaunchConfiguration(name).perform(context)

    camera, driver, params_file = value("camera"), value("driver"), value("params_file")
    if driver not in DRIVERS:
        raise ValueError(f"driver must be one of {', '.join(DRIVERS)}, got '{driver}'")
    executable, device, frame = DRIVERS[driver]
    settings = {device: value("video_device"), frame: camera + "_optical_frame"}
    if value("camera_info_url"):
        settings["camera_info_url"] = value("camera_info_url")
    said = values_of_file(Path(params_file)) if params_file else {}
    plane, output = node_frames(camera, value("output_frame"), said)
    given = {"support_plane_frame": plane, "output_frame": output, "plane_frame": value("plane_frame")}
    return [
        Node(package=driver, executable=executable, name="camera", namespace=camera, output="screen",
             parameters=[settings]),
        Node(package="kyvo_ros", executable="kyvo_node", name="kyvo_node", namespace=camera, output="screen",
             parameters=[*filter(None, [params_file]), {name: text for name, text in given.items() if text}],
             remappings=[("image", "image_raw")]),
    ]


def generate_launch_description():
    declared = [DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (default, text) in ARGUMENTS.items()]
    return LaunchDescription([*declared, OpaqueFunction(function=start_pair)])

"""A camera that stands still over the fake pipeline's plane, for a node that keeps a scene graph of what it sees."""

from __future__ import annotations

import time
from typing import Any

from fake_pipeline import NOMINAL
from harness import Tester, calibration, pixels, stamp
from kyvo_msgs.msg import SceneGraph
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from tf2_msgs.msg import TFMessage

KEPT = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE)
#: Of the node; TF is the namespace's own, so that no other node hears of this camera.
ARGUMENTS = ("-p", "memory_frame:=map", "-r", "/tf:=tf", "-r", "/tf_static:=tf_static")


class Standing(Tester):
    """Hears the latched topics `scene_graph` and, in `kept_scenes`, `scene`."""

    def __enter__(self) -> Standing:
        super().__enter__()
        self.kept_scenes: list[SceneGraph] = []
        self.listen(SceneGraph, "scene_graph", KEPT)
        self.node.create_subscription(SceneGraph, "scene", self.kept_scenes.append, KEPT)
        statics = self.node.create_publisher(TFMessage, "tf_static", KEPT)
        self.send_tf(NOMINAL.plane_T_optical(), "map", "camera", 0, statics)
        return self

    def see(self, shown: int = 3, step_s: float = 0.1) -> SceneGraph:
        """The scene of an image of so many objects, which is sent again, as the calibration is, until it comes."""
        sent: list[Any] = []

        def seen() -> list[SceneGraph]:
            self.infos.publish(calibration("camera"))
            sent.append(stamp(self.send_image(pixels((shown, 0, 0)), stamp_ns=self.next_stamp(step_s))))
            time.sleep(0.05)
            return [m for m in self.heard["scene"] if m.header.stamp in sent]
        return self.wait(seen, "a scene")[-1]

    def see_graph(self, step_s: float = 0.1) -> SceneGraph:
        """The scene graph, once it has the three objects that are seen."""
        def grown() -> list[SceneGraph]:
            self.see(step_s=step_s)
            return [m for m in self.heard["scene_graph"][-1:] if len(m.objects) == 3]
        return self.wait(grown, "a graph of 3 objects")[0]

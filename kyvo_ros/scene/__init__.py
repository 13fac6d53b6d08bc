"""What a scene is: objects with attributes, poses and frames, and the relations between them (numpy only)."""

from kyvo_ros.scene.calibration import Calibration
from kyvo_ros.scene.camera import CameraView, PinholeCamera, PlaneCamera, PlaneNotVisibleError, view_from_pose
from kyvo_ros.scene.field import RecognizedField, YawPeriods
from kyvo_ros.scene.relations import DIRECTIONS, RELATION_EPSILON_UNITS, RELATIONS, Relation, relations_of
from kyvo_ros.scene.transforms import Transform
from kyvo_ros.scene.types import PLANE_FRAME, Scene, SceneError, SceneObject

__all__ = [
    "Calibration", "CameraView", "DIRECTIONS", "PLANE_FRAME", "PinholeCamera", "PlaneCamera",
    "PlaneNotVisibleError", "RELATIONS", "RELATION_EPSILON_UNITS", "RecognizedField", "Relation", "Scene", "SceneError",
    "SceneObject", "Transform", "YawPeriods", "relations_of", "view_from_pose",
]

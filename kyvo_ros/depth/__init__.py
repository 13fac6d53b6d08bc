"""What depth adds to a picture: the support plane, and where objects stand and how large they are (numpy only)."""

from kyvo_ros.depth.plane import Expected, PlaneConfig, PlaneNotFoundError, SupportPlane, find_plane, rated
from kyvo_ros.depth.points import DepthError, points_from_depth, thinned
from kyvo_ros.depth.refine import RefineConfig, RefinedScene, Refinement, refine

__all__ = [
    "DepthError", "Expected", "PlaneConfig", "PlaneNotFoundError", "RefineConfig", "RefinedScene", "Refinement",
    "SupportPlane", "find_plane", "points_from_depth", "rated", "refine", "thinned",
]

"""How good recognised scenes are, measured against ground truth (numpy and scipy; sees `scene` only)."""

from kyvo_ros.evaluation.jaccard import bootstrap_interval, jaccard_index, match_scene
from kyvo_ros.evaluation.place import match_by_place
from kyvo_ros.evaluation.report import RecognitionReport, evaluate_recognition, in_units

__all__ = [
    "RecognitionReport", "bootstrap_interval", "evaluate_recognition", "in_units", "jaccard_index", "match_by_place",
    "match_scene",
]

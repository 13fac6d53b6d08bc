"""Scenes as plain dictionaries for JSON, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kyvo_ros.scene.types import Scene, SceneError, SceneObject

_DIGITS = 6  # micrometres and microradians, which keeps files readable; of variances, whose scale is any, significant


def scene_to_dict(scene: Scene) -> dict[str, Any]:
    """JSON-ready, rounded to micrometres; what is unknown is None. Inverse of `scene_from_dict`, but for meshes."""
    objects = [_object_to_dict(o) for o in scene.objects]
    return {"frame_id": scene.frame_id, "stamp_ns": scene.stamp_ns, "objects": objects}


def scene_from_dict(record: Mapping[str, Any]) -> Scene:
    """Inverse of `scene_to_dict`, up to its rounding. Raises SceneError where an entry is missing or malformed."""
    try:
        return Scene([_object_from_dict(o) for o in record["objects"]], record["frame_id"], record.get("stamp_ns"))
    except SceneError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise SceneError(f"not the record of a scene: {error!r}") from error


def _object_to_dict(scene_object: SceneObject) -> dict[str, Any]:
    def rounded(values):
        return None if values is None else values.round(_DIGITS).tolist()
    covariance = scene_object.position_covariance_m2
    return {
        "id": scene_object.id, "label": scene_object.label, "attributes": dict(scene_object.attributes),
        "position_m": rounded(scene_object.position_m),
        "yaw_rad": None if scene_object.yaw_rad is None else round(float(scene_object.yaw_rad), _DIGITS),
        "size_m": rounded(scene_object.size_m), "confidence": round(float(scene_object.confidence), _DIGITS),
        "attribute_confidence": {k: round(float(v), _DIGITS) for k, v in scene_object.attribute_confidence.items()},
        "position_covariance_m2": None if covariance is None else [
            [float(f"{value:.{_DIGITS}g}") for value in row] for row in covariance],
        **({"depth_points": scene_object.depth_points} if scene_object.depth_points else {}),
        **({} if scene_object.shape_codes is None else {"shape_codes": scene_object.shape_codes.tolist()}),
    }


def _object_from_dict(record: Mapping[str, Any]) -> SceneObject:
    return SceneObject(
        record["attributes"], record["position_m"], record.get("yaw_rad"), record.get("size_m"), record.get("id", ""),
        record.get("confidence", 1.0), record.get("attribute_confidence", {}), record.get("position_covariance_m2"),
        record.get("depth_points", 0), record.get("shape_codes"))

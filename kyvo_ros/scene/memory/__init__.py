"""The scene graph that lasts: sightings of many frames fused into objects with stable names (numpy and scipy).

Not imported by `kyvo_ros.scene`, which installs numpy alone.
"""

from kyvo_ros.scene.memory.config import (
    MemoryConfig, MemoryConfigError, MemoryInputError, MemoryRecordError, MemoryTimeError)
from kyvo_ros.scene.memory.essential import essential_relations
from kyvo_ros.scene.memory.files import PathError, path_below
from kyvo_ros.scene.memory.graph import Fusion, SceneMemory
from kyvo_ros.scene.memory.graphml import to_graphml
from kyvo_ros.scene.memory.records import (
    load_memory, memory_to_dict, read_record, record_to_text, restore_memory, save_memory)
from kyvo_ros.scene.memory.relations import NEAR, ON, PAIR_RELATIONS, SUPPORT_PLANE_ID, NamedRelation
from kyvo_ros.scene.memory.snapshot import KnownObject, Query, Snapshot
from kyvo_ros.scene.memory.upright import upright
from kyvo_ros.scene.memory.visibility import Viewpoint, Window

__all__ = [
    "Fusion", "KnownObject", "MemoryConfig", "MemoryConfigError", "MemoryInputError", "MemoryRecordError",
    "MemoryTimeError", "NEAR", "NamedRelation", "ON", "PAIR_RELATIONS", "PathError", "Query", "SUPPORT_PLANE_ID",
    "SceneMemory", "Snapshot", "Viewpoint", "Window", "essential_relations", "load_memory", "memory_to_dict",
    "path_below", "read_record", "record_to_text", "restore_memory", "save_memory", "to_graphml", "upright",
]

"""The scene graph that lasts: sightings of many frames fused into objects with stable names (numpy and scipy).

Not imported by `kyvo_ros.scene`, which installs numpy alone.
"""

from kyvo_ros.scene.memory.config import (
    MemoryConfig, MemoryConfigError, MemoryInputError, MemoryRecordError, MemoryTimeError)
from kyvo_ros.scene.memory.graph import Fusion, SceneMemory
from kyvo_ros.scene.memory.graphml import to_graphml
from kyvo_ros.scene.memory.records import load_memory, memory_to_dict, restore_memory, save_memory
from kyvo_ros.scene.memory.relations import NEAR, ON, PAIR_RELATIONS, SUPPORT_PLANE_ID, NamedRelation
from kyvo_ros.scene.memory.snapshot import KnownObject, Query, Snapshot
from kyvo_ros.scene.memory.visibility import Viewpoint

__all__ = [
    "Fusion", "KnownObject", "MemoryConfig", "MemoryConfigError", "MemoryInputError", "MemoryRecordError",
    "MemoryTimeError", "NEAR", "NamedRelation", "ON", "PAIR_RELATIONS", "Query", "SUPPORT_PLANE_ID", "SceneMemory",
    "Snapshot", "Viewpoint", "load_memory", "memory_to_dict", "restore_memory", "save_memory", "to_graphml",
]

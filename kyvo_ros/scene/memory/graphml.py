"""The graph as GraphML, for Gephi, yEd, networkx and the like.

Nodes are the frame, the support plane and the objects; the layer of each is its `layer`. Edges are relations, and one
`in_frame` from every object to the frame. Source: graphml.graphdrawing.org, the GraphML primer.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import Any

from kyvo_ros.scene.memory.relations import SUPPORT_PLANE_ID
from kyvo_ros.scene.memory.snapshot import KnownObject, Snapshot

_NAMESPACE = "http://graphml.graphdrawing.org/xmlns"
#: Characters that XML 1.0 cannot hold.
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TYPES = {bool: "boolean", int: "long", float: "double", str: "string"}


def to_graphml(snapshot: Snapshot) -> str:
    """The document; lengths in metres, angles in radians, times in nanoseconds, in the snapshot's frame."""
    frame_node = f"frame:{snapshot.frame_id}"
    nodes: list[tuple[str, dict[str, Any]]] = [
        (frame_node, {"layer": "frame", "label": snapshot.frame_id, "viewpoint": snapshot.viewpoint,
                      "behind_rad": snapshot.behind_rad}),
        *((known.id, _object_data(known)) for known in snapshot.objects)]
    if any(r.object_id == SUPPORT_PLANE_ID for r in snapshot.relations):
        nodes.append((SUPPORT_PLANE_ID, {"layer": "plane", "label": "support plane"}))
    edges = [(known.id, "in_frame", frame_node) for known in snapshot.objects]
    edges += [(r.subject_id, r.predicate, r.object_id) for r in snapshot.relations]
    return _document(nodes, edges)


def _object_data(known: KnownObject) -> dict[str, Any]:
    item = known.object
    data: dict[str, Any] = {"layer": "object", "label": item.label, "probability": float(item.confidence),
                            "first_seen_ns": known.first_seen_ns, "last_seen_ns": known.last_seen_ns,
                            "sightings": known.sightings, "moves": known.moves}
    data |= dict(zip(("x_m", "y_m", "z_m"), item.position_m.tolist()))
    if item.size_m is not None:
        data |= dict(zip(("size_x_m", "size_y_m", "size_z_m"), item.size_m.tolist()))
    if item.yaw_rad is not None:
        data["yaw_rad"] = float(item.yaw_rad)
    return data | {f"attribute.{name}": word for name, word in item.attributes.items()}


def _document(nodes: list[tuple[str, dict[str, Any]]], edges: list[tuple[str, str, str]]) -> str:
    root = ElementTree.Element("graphml", {"xmlns": _NAMESPACE})
    keys = {name: _TYPES[type(value)] for _, data in nodes for name, value in data.items()}
    for name, kind in keys.items():
        _add(root, "key", {"id": name, "for": "node", "attr.name": name, "attr.type": kind})
    _add(root, "key", {"id": "predicate", "for": "edge", "attr.name": "predicate", "attr.type": "string"})
    graph = _add(root, "graph", {"id": "scene", "edgedefault": "directed"})
    for name, data in nodes:
        node = _add(graph, "node", {"id": name})
        for key, value in data.items():
            _add(node, "data", {"key": key}, repr(value) if isinstance(value, float) else str(value))
    for i, (source, predicate, target) in enumerate(edges):
        edge = _add(graph, "edge", {"id": f"e{i}", "source": source, "target": target})
        _add(edge, "data", {"key": "predicate"}, predicate)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add(parent: ElementTree.Element, tag: str, attributes: dict[str, str], text: str = "") -> ElementTree.Element:
    element = ElementTree.SubElement(parent, tag, {k: _UNWRITABLE.sub("\ufffd", v) for k, v in attributes.items()})
    if text:
        element.text = _UNWRITABLE.sub("\ufffd", text)
    return element

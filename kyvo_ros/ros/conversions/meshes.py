"""Shapes of objects: meshes <-> shape_msgs/Mesh, and placed objects -> kyvo_msgs/ObjectMesh and triangle markers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from geometry_msgs.msg import Point, Vector3
from kyvo_msgs.msg import ObjectMesh
from shape_msgs.msg import Mesh as MeshMsg
from shape_msgs.msg import MeshTriangle
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from kyvo_ros.ros.conversions.placing import PlacedObject
from kyvo_ros.ros.conversions.poses import pose_to_msg
from kyvo_ros.ros.conversions.prototypes import maker
from kyvo_ros.scene.mesh import Mesh

SHAPES = "shapes"
_marker, _point, _color = maker(Marker), maker(Point), maker(ColorRGBA)


def _made_once(make: Callable[[Mesh], Any]) -> Callable[[Mesh], Any]:
    """What is made of a mesh, kept as long as the mesh is: a graph is told again and again."""
    made: WeakKeyDictionary[Mesh, Any] = WeakKeyDictionary()

    def once(mesh: Mesh) -> Any:
        if mesh not in made:
            made[mesh] = make(mesh)
        return made[mesh]
    return once


def mesh_to_msg(mesh: Mesh) -> MeshMsg:
    """shape_msgs/Mesh, without colours; inverse of `mesh_from_msg`."""
    return MeshMsg(triangles=[MeshTriangle(vertex_indices=face) for face in mesh.faces.astype(np.uint32)],
                   vertices=_points(mesh.vertices))


def mesh_from_msg(message: MeshMsg, colors: Sequence[ColorRGBA] = ()) -> Mesh:
    """The Mesh of a shape_msgs/Mesh, grey where no colours come with it; inverse of `mesh_to_msg`. Raises MeshError."""
    vertices = np.array([[p.x, p.y, p.z] for p in message.vertices]).reshape(-1, 3)
    faces = np.array([t.vertex_indices for t in message.triangles], np.int64).reshape(-1, 3)
    rgb = np.array([[c.r, c.g, c.b] for c in colors]) if len(colors) else np.full(vertices.shape, 0.6)
    return Mesh(vertices, faces, np.round(255 * rgb))


def object_meshes(objects: Sequence[PlacedObject]) -> list[ObjectMesh]:
    """kyvo_msgs/ObjectMesh of all objects that have a mesh. Inverse of `meshes_of`."""
    shown = [(item.object.id, *_mesh_and_colors(item.object.mesh)) for item in objects if item.object.mesh]
    return [ObjectMesh(id=name, mesh=mesh, colors=colors) for name, mesh, colors in shown]


def meshes_of(messages: Sequence[ObjectMesh]) -> dict[str, Mesh]:
    """The meshes by their objects' ids. Inverse of `object_meshes`. Raises MeshError."""
    return {message.id: mesh_from_msg(message.mesh, message.colors) for message in messages}


def shape_markers(objects: Sequence[PlacedObject], header: Header) -> MarkerArray:
    """visualization_msgs/MarkerArray: the meshes as triangles where they stand, in place of all that were shown."""
    markers = [_marker(header=header, ns=SHAPES, action=Marker.DELETEALL)]
    for number, item in enumerate(objects):
        if item.object.mesh is not None:
            markers.append(_marker(header=header, ns=SHAPES, id=number, action=Marker.ADD, pose=pose_to_msg(item),
                                   **as_triangles(item.object.mesh)))
    return MarkerArray(markers=markers)


def as_triangles(mesh: Mesh) -> dict[str, Any]:
    """The fields of a visualization_msgs/Marker that shows a mesh at its pose."""
    points, colors = _corners(mesh)
    return {"type": Marker.TRIANGLE_LIST, "scale": Vector3(x=1.0, y=1.0, z=1.0), "color": ColorRGBA(a=1.0),
            "points": points, "colors": colors}


@_made_once
def _corners(mesh: Mesh) -> tuple[list[Point], list[ColorRGBA]]:
    corners = mesh.faces.reshape(-1)
    return _points(mesh.vertices[corners]), _colors(mesh.colors[corners])


@_made_once
def _mesh_and_colors(mesh: Mesh) -> tuple[MeshMsg, list[ColorRGBA]]:
    return mesh_to_msg(mesh), _colors(mesh.colors)


def _points(points_m: np.ndarray) -> list[Point]:
    return [_point(x=x, y=y, z=z) for x, y, z in points_m.tolist()]


def _colors(rgb: np.ndarray) -> list[ColorRGBA]:
    return [_color(r=r, g=g, b=b, a=1.0) for r, g, b in (rgb / 255.0).tolist()]

"""Mesh files to and from `Mesh`: whatever trimesh reads, with colours from vertices, faces, materials or textures.

What is broken is mended where that is sure: vertices that are not finite, faces without area, doubled faces, and faces
that turn the wrong way. Holes stay; `autoencoders.slat_encoding` closes them. In glTF files (.glb, .gltf) y is up, in a
Mesh z. Lengths are taken as metres.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import trimesh
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components

from kyvo_ros.scene import Scene
from kyvo_ros.scene.mesh import Mesh, MeshError

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 1 << 30
MAX_FACES = 4_000_000
#: A texture is carried over to vertices this close to each other, as a share of the longest side.
TEXTURE_STEP = 1 / 64
_MOST_TEXTURED_FACES = 300_000
_DEFAULT_RGB = (160, 160, 160)
_GLTF = (".glb", ".gltf")
#: Rotation from y up to z up.
_Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


def read_mesh(path: str | Path) -> Mesh:
    """One mended mesh of all that a file holds; inverse of `write_mesh`. Raises MeshError with the file and reason."""
    path = Path(path)
    if not path.is_file():
        raise MeshError(f"no mesh file at {path}")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise MeshError(f"{path} has {path.stat().st_size} bytes, more than {MAX_FILE_BYTES}; simplify it first")
    try:
        scene = trimesh.load_scene(path)
        parts = [part for part in scene.dump() if isinstance(part, trimesh.Trimesh)]
    except Exception as error:  # trimesh passes on what the parsers of a dozen formats raise
        raise MeshError(f"{path} is no mesh that trimesh reads: {type(error).__name__}: {error}") from error
    count = sum(len(part.faces) for part in parts)
    if count == 0:
        raise MeshError(f"{path} has no face that can be used; a cloud of points has to be meshed first")
    if count > MAX_FACES:
        raise MeshError(f"{path} has {count} faces, more than {MAX_FACES}; simplify it first")
    try:
        mesh = mended(*_arrays(parts))
    except MeshError as error:
        raise MeshError(f"{path}: {error}") from error
    return mesh.with_vertices(mesh.vertices @ _Z_UP.T) if path.suffix.lower() in _GLTF else mesh


def write_mesh(path: str | Path, mesh: Mesh) -> None:
    """Write in the format of the suffix (.glb, .ply, .obj, .stl, ...); .stl drops the colours. Raises MeshError."""
    path = Path(path)
    vertices = mesh.vertices @ _Z_UP if path.suffix.lower() in _GLTF else mesh.vertices
    shown = trimesh.Trimesh(vertices, mesh.faces, vertex_colors=mesh.colors, process=False)
    _export(shown, path)


def write_scene(path: str | Path, scene: Scene) -> int:
    """Write the meshes of a scene where its objects stand, each a node of its name; the number of them.

    Formats and errors as for `write_mesh`; MeshError where no object has a mesh.
    """
    path = Path(path)
    turn = np.eye(4)
    turn[:3, :3] = _Z_UP.T if path.suffix.lower() in _GLTF else np.eye(3)
    shown, count = trimesh.Scene(), 0
    for number, item in enumerate(scene.objects):
        if item.mesh is not None:
            name = f"{number}_{item.label.replace(' ', '_')}"
            part = trimesh.Trimesh(item.mesh.vertices, item.mesh.faces, vertex_colors=item.mesh.colors, process=False)
            shown.add_geometry(part, node_name=name, geom_name=name, transform=turn @ item.pose().matrix())
            count += 1
    if not count:
        raise MeshError(f"none of the {len(scene)} objects has a mesh to write to {path}")
    _export(shown, path)
    return count


def _export(shown: trimesh.Trimesh | trimesh.Scene, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        shown.export(path)
    except (ValueError, KeyError) as error:
        raise MeshError(f"cannot write {path}: {error}; use a suffix such as .glb, .ply or .obj") from error


def mended(vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray) -> Mesh:
    """A Mesh of arrays that may be broken. Raises MeshError where nothing sound is left."""
    vertices, faces = np.asarray(vertices, np.float64), np.asarray(faces, np.int64)
    with np.errstate(over="ignore"):
        finite = np.isfinite(vertices).all(axis=1) & (np.abs(vertices).max(axis=1, initial=0) < 1e15)
    known = ((faces >= 0) & (faces < len(vertices))).all(axis=1)
    faces = faces[known]
    faces = faces[finite[faces].all(axis=1)]
    vertices = np.where(finite[:, None], vertices, 0.0)
    if not len(faces):
        raise MeshError("no face has three finite corners")
    used = vertices[faces.reshape(-1)]
    step = np.ptp(used, axis=0).max() * 1e-9
    if step == 0:
        raise MeshError("all vertices are one point")
    _, first, index = np.unique(np.round((vertices - used.min(axis=0)) / step).astype(np.int64), axis=0,
                                return_index=True, return_inverse=True)
    mesh = Mesh(vertices[first], _distinct(index.reshape(-1)[faces]), colors[first])
    mesh = Mesh(mesh.vertices, mesh.faces[mesh.face_areas_m2 > step**2], mesh.colors)
    if not len(mesh.faces):
        raise MeshError("no face has an area")
    if len(mesh.faces) < len(known):
        log.info("left out %d of %d faces: broken, without area, or doubled", len(known) - len(mesh.faces), len(known))
    return Mesh(mesh.vertices, oriented(mesh.vertices, mesh.faces), mesh.colors)


def oriented(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Faces (F, 3) that agree with their neighbours and face outwards, as far as the surface tells.

    Faces that agree already are turned all together where they enclose a negative volume; where they do not, each
    connected part by itself.
    """
    pairs, same = _neighbours(faces)
    if not same.any():
        return faces[:, ::-1] if _volumes(vertices, faces).sum() < 0 else faces
    graph = coo_matrix((np.ones(len(pairs)), pairs.T), shape=(len(faces),) * 2).tocsr()
    count, part = connected_components(graph, directed=False)
    turn = _turns(part, pairs, same)
    faces = np.where(turn[:, None], faces[:, ::-1], faces)
    inward = np.bincount(part, _volumes(vertices, faces), count) < 0
    return np.where(inward[part][:, None], faces[:, ::-1], faces)


def _arrays(parts: list[trimesh.Trimesh]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, faces and colours of parts one after the other, as they are."""
    arrays = [_colored(part) for part in parts]
    offsets = np.cumsum([0, *(len(vertices) for vertices, _, _ in arrays[:-1])])
    return (np.concatenate([vertices for vertices, _, _ in arrays]),
            np.concatenate([faces + offset for (_, faces, _), offset in zip(arrays, offsets)]),
            np.concatenate([colors for _, _, colors in arrays]))


def _colored(part: trimesh.Trimesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    vertices, faces, visual = np.asarray(part.vertices), np.asarray(part.faces), part.visual
    if visual.kind in ("vertex", "face"):
        return vertices, faces, np.asarray(visual.vertex_colors)[:, :3]
    if visual.kind == "texture":
        return _textured(vertices, faces, visual)
    return vertices, faces, np.full((len(vertices), 3), _DEFAULT_RGB, np.uint8)


def _textured(vertices: np.ndarray, faces: np.ndarray, visual) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours of a texture at vertices, of which more are made between those that are far apart; the material's
    own colour where the image or its coordinates are missing.
    """
    uv, material = visual.uv, visual.material
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    if uv is None or len(uv) != len(vertices) or image is None or not np.isfinite(uv).all():
        color = np.asarray(material.main_color)[:3] if hasattr(material, "main_color") else _DEFAULT_RGB
        return vertices, faces, np.broadcast_to(np.asarray(color, np.uint8), (len(vertices), 3))
    both = np.column_stack([vertices, uv])
    longest = np.nanmax(np.ptp(vertices, axis=0)) * TEXTURE_STEP
    while 4 * len(faces) <= _MOST_TEXTURED_FACES and _longest_edge(both[:, :3], faces) > longest:
        both, faces = trimesh.remesh.subdivide(both, faces)
    colors = trimesh.visual.color.uv_to_color(both[:, 3:], image.convert("RGB"))
    return both[:, :3], faces, np.asarray(colors)[:, :3]


def _longest_edge(vertices: np.ndarray, faces: np.ndarray) -> float:
    corners = vertices[faces]
    return float(np.nanmax(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)))


def _distinct(faces: np.ndarray) -> np.ndarray:
    """Faces of three different vertices, of each three the first one."""
    sorted_corners = np.sort(faces, axis=1)
    proper = (np.diff(sorted_corners, axis=1) > 0).all(axis=1)
    _, first = np.unique(sorted_corners[proper], axis=0, return_index=True)
    return faces[proper][np.sort(first)]


def _neighbours(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (E, 2) of faces at edges that exactly two share, and whether both pass the edge the same way (wrong)."""
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    forward = edges[:, 0] < edges[:, 1]
    _, index, counts = np.unique(np.sort(edges, axis=1), axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(index.reshape(-1), kind="stable")
    start = (np.cumsum(counts) - counts)[counts == 2]
    first, second = order[start], order[start + 1]
    return np.column_stack([first // 3, second // 3]), forward[first] == forward[second]


def _turns(part: np.ndarray, pairs: np.ndarray, same: np.ndarray) -> np.ndarray:
    """(F,) whether a face has to be turned to agree with the first face of its part."""
    wrong = coo_matrix((same + 1.0, pairs.T), shape=(len(part),) * 2).tocsr()
    wrong = wrong.maximum(wrong.T)  # 1 where two neighbours agree, 2 where not
    roots = np.unique(part, return_index=True)[1]
    above = len(part)  # a node over the first face of every part, so that one search finds them all
    ends = np.concatenate([pairs, np.column_stack([np.full(len(roots), above), roots])])
    joined = coo_matrix((np.ones(len(ends)), ends.T), shape=(above + 1,) * 2).tocsr()
    before = breadth_first_order(joined, above, directed=False)[1][:above]
    before[roots] = roots
    turn = np.asarray(wrong[np.arange(len(part)), before]).reshape(-1) > 1.5
    while (before != before[before]).any():
        turn, before = turn ^ turn[before], before[before]
    return turn


def _volumes(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F,) signed volumes of the tetrahedra between faces and the middle of the vertices."""
    a, b, c = np.moveaxis((vertices - vertices.mean(axis=0))[faces], 1, 0)
    return np.einsum("nd,nd->n", a, np.cross(b, c)) / 6

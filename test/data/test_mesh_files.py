"""Mesh files: round trips, textures, and every way to be broken."""

import numpy as np
import pytest
import trimesh
from PIL import Image

from kyvo_ros.data.assets import make_asset
from kyvo_ros.data.mesh_files import mended, oriented, read_mesh, write_mesh
from kyvo_ros.scene.mesh import Mesh, MeshError


def _volume(mesh) -> float:
    a, b, c = np.moveaxis(mesh.triangles, 1, 0)
    return float(np.einsum("nd,nd->n", a, np.cross(b, c)).sum() / 6)


@pytest.fixture
def box() -> trimesh.Trimesh:
    return trimesh.creation.box((1, 2, 3))


@pytest.mark.parametrize("suffix", [".glb", ".ply", ".obj", ".stl"])
def test_files_hold_what_was_written(tmp_path, suffix):
    mesh = make_asset("duck", 0)
    write_mesh(tmp_path / f"duck{suffix}", mesh)
    again = read_mesh(tmp_path / f"duck{suffix}")
    assert np.allclose(again.bounds, mesh.bounds, atol=1e-5)
    assert _volume(again) == pytest.approx(_volume(mesh), rel=1e-3)
    assert again.is_watertight
    if suffix != ".stl":
        assert {tuple(c) for c in again.colors} == {tuple(c) for c in mesh.colors}


def test_gltf_stands_up(tmp_path):
    trimesh.creation.box((1, 5, 2)).export(tmp_path / "tall.glb")
    assert np.allclose(np.ptp(read_mesh(tmp_path / "tall.glb").bounds, axis=0), (1, 2, 5))


def test_a_texture_becomes_colours_between_the_corners(tmp_path):
    halves = np.zeros((64, 64, 3), np.uint8)
    halves[:, :32, 0], halves[:, 32:, 2] = 255, 255
    quad = trimesh.Trimesh([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], [(0, 1, 2), (0, 2, 3)], process=False)
    quad.visual = trimesh.visual.TextureVisuals(uv=[(0, 0), (1, 0), (1, 1), (0, 1)], image=Image.fromarray(halves))
    quad.export(tmp_path / "quad.glb")
    mesh = read_mesh(tmp_path / "quad.glb")
    left = mesh.colors[mesh.vertices[:, 0] < 0.45]
    right = mesh.colors[mesh.vertices[:, 0] > 0.55]
    assert len(left) > 100 and (left == (255, 0, 0)).all() and (right == (0, 0, 255)).all()


def test_a_missing_texture_leaves_the_material(tmp_path):
    (tmp_path / "a.mtl").write_text("newmtl paint\nKd 1.0 0.0 0.0\nmap_Kd nowhere.png\n")
    (tmp_path / "a.obj").write_text("mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl paint\n"
                                    "f 1/1 2/2 3/3\n")
    mesh = read_mesh(tmp_path / "a.obj")
    assert len(mesh.faces) == 1 and (mesh.colors[:, 0] > 200).all() and (mesh.colors[:, 1:] < 60).all()


@pytest.mark.parametrize("name, content, reason", [
    ("a.obj", b"", "no face that"), ("a.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\n", "no face that"),
    ("a.glb", b"not a glb file", "is no mesh that trimesh reads"), ("a.stl", b"\0" * 50, "is no mesh|no face"),
    ("a.xyzzy", b"1 2 3", "is no mesh that trimesh reads"),
    ("a.obj", b"v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "no face"),
    ("a.obj", b"v 1 0 0\nv 1 0 0\nv 1 0 0\nf 1 2 3\n", "one point|no face"),
    ("a.obj", b"v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "no face")])
def test_what_cannot_be_used_is_one_error_with_the_file(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MeshError, match=reason) as raised:
        read_mesh(path)
    assert str(path) in str(raised.value)


def test_a_missing_file_and_a_suffix_that_nothing_writes(tmp_path):
    with pytest.raises(MeshError, match="no mesh file at"):
        read_mesh(tmp_path / "nothing.glb")
    with pytest.raises(MeshError, match="use a suffix"):
        write_mesh(tmp_path / "a.what", make_asset("egg", 0))


def test_broken_faces_are_left_out(box):
    vertices = np.concatenate([box.vertices, [[np.nan, 0, 0], [1e30, 0, 0], box.vertices[0]]])
    faces = np.concatenate([box.faces, [[0, 1, 8], [0, 1, 9], [0, 0, 1], [0, 10, 1], [0, 1, 99], box.faces[0]]])
    mesh = mended(vertices, faces, np.full((len(vertices), 3), 9))
    assert mesh.is_watertight and len(mesh.faces) == 12 and _volume(mesh) == pytest.approx(6)


def test_turned_faces_are_turned_back(box):
    two = trimesh.util.concatenate([box, trimesh.creation.icosphere(3).apply_translation((5, 0, 0))])
    expected = two.volume
    flipped = np.random.default_rng(0).random(len(two.faces)) < 0.5
    faces = np.where(flipped[:, None], two.faces[:, ::-1], two.faces)
    for wrong in (faces, two.faces[:, ::-1]):
        mesh = Mesh(two.vertices, oriented(two.vertices, wrong), np.zeros((len(two.vertices), 3)))
        assert mesh.is_watertight and _volume(mesh) == pytest.approx(expected)


def test_meshes_refuse_what_does_not_fit():
    with pytest.raises(MeshError, match="colour for each of 3"):
        Mesh(np.eye(3), [[0, 1, 2]], np.zeros((2, 3)))
    with pytest.raises(MeshError, match="vertices 0 to 2, got 0 to 3"):
        Mesh(np.eye(3), [[0, 1, 3]], np.zeros((3, 3)))
    with pytest.raises(MeshError, match="finite"):
        Mesh(np.full((3, 3), np.nan), [[0, 1, 2]], np.zeros((3, 3)))

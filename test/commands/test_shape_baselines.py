"""What as many bytes as a shape's codes hold otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from kyvo_ros.autoencoders.shape_tokenizer import ShapeTokenizerConfig
from kyvo_ros.commands.shape_baselines import _compressed, code_bytes, through_draco, through_voxels
from kyvo_ros.data.assets import make_asset
from kyvo_ros.scene.mesh import Mesh


def test_codes_take_as_many_bits_as_the_codebook_needs() -> None:
    assert code_bytes(ShapeTokenizerConfig()) == 832  # 512 codes of 13 bits
    assert code_bytes(ShapeTokenizerConfig(codebook_size=8193)) == 896


def test_voxels_are_as_fine_as_the_bytes_allow() -> None:
    mesh = make_asset("box", 0)
    coarse, fine = through_voxels(mesh, 8), through_voxels(mesh, 832)  # 4^3 and 18^3 voxels
    assert len(coarse.faces) < len(fine.faces) and fine.is_watertight
    assert np.abs(fine.bounds - mesh.bounds).max() < np.ptp(mesh.bounds, axis=0).max() / 18
    thin = Mesh(mesh.vertices * (1, 1, 1e-3), mesh.faces, mesh.colors)
    assert through_voxels(thin, 832) is None


def test_draco_keeps_to_the_bytes() -> None:
    pytest.importorskip("DracoPy")
    pytest.importorskip("fast_simplification")
    mesh = make_asset("mug", 0)
    made = through_draco(mesh, 832)
    assert len(_compressed(mesh, len(made.faces))) <= 832 < len(_compressed(mesh, 2 * len(made.faces)))
    assert made.bounds == pytest.approx(mesh.bounds, abs=0.05)
    assert through_draco(mesh, 10) is None

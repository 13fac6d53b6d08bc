"""The 3D VQ-VAE and the volume renderer: inverse pairs, empty blocks, gradients, pictures."""

import numpy as np
import pytest
import torch
import trimesh

from kyvo_ros.autoencoders.shape_tokenizer import INSIDE, OUTSIDE, ShapeTokenizer, ShapeTokenizerConfig
from kyvo_ros.autoencoders.slat_encoding import encode_slat
from kyvo_ros.autoencoders.slats import to_grid
from kyvo_ros.autoencoders.volume_renderer import (
    PlacedShape, RenderSettings, render_scene, render_shapes, view_directions)
from kyvo_ros.scene.mesh import Mesh

SIZES = ShapeTokenizerConfig(resolution=32, block=4, width=16, part_width=8, layers=1, codebook_size=34, code_dim=8)


@pytest.fixture(scope="module")
def grid() -> torch.Tensor:
    ball = trimesh.creation.icosphere(3)
    colors = np.where(ball.vertices[:, :1] > 0, (255, 0, 0), (0, 0, 255))
    return torch.as_tensor(to_grid(encode_slat(Mesh(ball.vertices, ball.faces, colors), 32)))[None]


@pytest.fixture
def tokenizer() -> ShapeTokenizer:
    torch.manual_seed(0)
    return ShapeTokenizer(SIZES)


def test_blocks_are_the_grid(tokenizer, grid):
    blocks, kinds = tokenizer.split(torch.cat([grid, grid.flip(2)]))
    assert torch.equal(tokenizer.assemble(blocks, kinds), torch.cat([grid, grid.flip(2)]))
    assert kinds.shape == (2, 8, 8, 8) and kinds[0, 0, 0, 0] == OUTSIDE and kinds[0, 4, 4, 4] == INSIDE
    assert 0 < int((kinds < 0).sum()) == len(blocks) < kinds.numel()


def test_codes_of_blocks_without_a_surface_are_kept_exactly(tokenizer, grid):
    codes = tokenizer.eval().encode(grid)
    _, kinds = tokenizer.split(grid)
    assert codes.shape == (1, 512) and codes.max() < 34
    assert torch.equal(codes.reshape(kinds.shape)[kinds >= 0], kinds[kinds >= 0])
    assert (codes.reshape(kinds.shape)[kinds < 0] >= 2).all()
    made = tokenizer.decode(codes)
    assert made.shape == grid.shape and made[0, 0, 0, 0, 0] == 1 and made[0, 0, 16, 16, 16] == -1
    assert torch.equal(made, tokenizer.decode(codes))


def test_wrong_grids_and_codes_are_refused(tokenizer, grid):
    with pytest.raises(ValueError, match="expected grids"):
        tokenizer.split(grid[:, :, :16])
    with pytest.raises(ValueError, match="expected codes"):
        tokenizer.decode(torch.zeros(1, 5, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"\[0, 34\)"):
        tokenizer.decode(torch.full((1, 512), 34))
    with pytest.raises(ValueError, match="multiple of block"):
        ShapeTokenizerConfig(resolution=20)
    with pytest.raises(ValueError, match="sizes must be positive"):
        ShapeTokenizerConfig(block=0)


def test_the_codebook_has_every_code(tokenizer):
    assert tokenizer.codebook.shape == (34, 8)
    assert torch.allclose(tokenizer.codebook.norm(dim=-1), torch.ones(34))


def test_every_parameter_learns(tokenizer, grid):
    blocks, kinds = tokenizer.split(grid)
    made, quantized = tokenizer(blocks, kinds)
    ((made - blocks).abs().mean() + quantized.commitment).backward()
    assert [name for name, p in tokenizer.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_a_ball_is_a_disc_with_two_colours(grid):
    """Seen along -y with x to the right: the right half is red, the left blue, around it the background."""
    view = view_directions(torch.tensor([-np.pi / 2]), torch.tensor([0.0])).float()
    picture = render_shapes(grid, view, RenderSettings(size_px=48, samples=96))[0]
    share = 28 / 32 / np.sqrt(3)  # of the disc's diameter in the picture's width
    filled = (picture.min(0).values < 0.5).float().mean()
    assert float(filled) == pytest.approx(np.pi / 4 * share**2, rel=0.1)
    assert torch.allclose(picture[:, 24, 30], torch.tensor([1.0, 0, 0]), atol=0.1)
    assert torch.allclose(picture[:, 24, 17], torch.tensor([0.0, 0, 1]), atol=0.1)
    assert torch.allclose(picture[:, 1, 1], torch.ones(3), atol=1e-3)


def test_pictures_have_gradients(grid):
    moved = grid.clone().requires_grad_()
    view = view_directions(torch.tensor([0.3]), torch.tensor([0.5]))
    render_shapes(moved, view, RenderSettings(16, 32)).sum().backward()
    assert moved.grad[:, 0].abs().sum() > 0 and moved.grad[:, 4:7].abs().sum() > 0


def test_the_nearer_shape_of_a_scene_hides_the_other(grid):
    """Looking along +y at a small ball before a big one; a copy beside it is turned by half, so its colours swap."""
    half_turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0]))
    shapes = [PlacedShape(grid[0], torch.eye(3), torch.tensor([0.0, 3.0, 0.0]), 1.0),
              PlacedShape(grid[0], half_turn, torch.tensor([0.0, 1.5, 0.0]), 0.4)]
    x = torch.linspace(-0.7, 0.7, 57)
    origins = torch.stack([x, torch.zeros(57), torch.zeros(57)], -1)[None]
    directions = torch.tensor([0.0, 1.0, 0.0]).expand_as(origins)
    row = render_scene(shapes, origins, directions, 0.5, 4.0, RenderSettings(57, 400))[:, 0]
    red = row[0] - row[2]
    assert red[32] < -0.8 and red[24] > 0.8  # the small ball, turned
    assert red[41] > 0.8 and red[15] < -0.8  # the big ball beside it
    assert row[:, 0].min() > 0.99

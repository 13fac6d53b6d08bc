"""Training of the shape tokenizer: recipe, slats of the library, losses, and the whole path to meshes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kyvo_ros.autoencoders.shape_tokenizer import ShapeTokenizer, ShapeTokenizerConfig
from kyvo_ros.autoencoders.slat_encoding import encode_slat
from kyvo_ros.autoencoders.slats import COLOR, DISTANCE, to_grid
from kyvo_ros.cli import main
from kyvo_ros.data.assets import make_asset
from kyvo_ros.data.mesh_files import read_mesh, write_mesh
from kyvo_ros.evaluation.image_metrics import ssim
from kyvo_ros.model.folder import SHAPE_TOKENIZER, ModelFolderError, load_model, load_shape_tokenizer
from kyvo_ros.training.perceptual import PerceptualError
from kyvo_ros.training.plots import read_metrics
from kyvo_ros.training.recipe import RecipeError
from kyvo_ros.training.shape_sources import SlatSet, prepared_slats, varied
from kyvo_ros.training.shape_stage import ShapeLossSettings, ShapeStage, slat_losses, structural_similarity
from kyvo_ros.training.shapes import load_shape_recipe, train_shapes
from kyvo_ros.training.trainer import TrainingError

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
TINY = """
name: tiny-shapes
objects: 4
held_out: 2
tokenizer: {width: 32, part_width: 16, layers: 1, codebook_size: 66, code_dim: 16}
loss: {views: many, rendered: 1, picture: {size_px: 16, samples: 24}}
encoder: {steps: 12, warmup_steps: 2, batch_size: 2, learning_rate: 3.0e-3, evaluate_every: 12, log_every: 1}
codes: {steps: 3, warmup_steps: 1, batch_size: 2, learning_rate: 1.0e-3, evaluate_every: 3, log_every: 1}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with what `kyvo train shapes` leaves."""
    folder = tmp_path_factory.mktemp("shapes")
    assert main(_training(folder, TINY)) == 0
    return folder


def _training(folder: Path, recipe: str) -> list[str]:
    """Arguments that train by a recipe in FOLDER/work, to FOLDER/model."""
    (folder / "recipe.yaml").write_text(recipe)
    return ["train", "shapes", "--recipe", str(folder / "recipe.yaml"), "--work", str(folder / "work"), "--out",
            str(folder / "model"), "--workers", "1", "--threads", "1", "--device", "cpu"]


def test_the_loss_of_one_shape_falls():
    torch.manual_seed(0)
    tokenizer = ShapeTokenizer(ShapeTokenizerConfig(resolution=32, block=4, width=32, part_width=16, layers=1,
                                                    codebook_size=66, code_dim=16))
    blocks, kinds = tokenizer.split(torch.as_tensor(to_grid(encode_slat(make_asset("spoon", 0), 32)))[None])
    optimizer = torch.optim.Adam(tokenizer.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = slat_losses(tokenizer(blocks, kinds, quantise=False)[0], blocks)["distance"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_the_color_of_every_shape_is_learned_within_few_steps():
    """Of egg and spoon in many colours: what is constant over a shape must not stay at the mean of all shapes."""
    torch.manual_seed(0)
    tokenizer = ShapeTokenizer(ShapeTokenizerConfig(resolution=16, block=4, width=32, part_width=16, layers=1,
                                                    codebook_size=66, code_dim=16))
    grids = [torch.as_tensor(to_grid(encode_slat(make_asset(name, 0), 16))) for name in ("egg", "spoon")]
    optimizer, rng, errors = torch.optim.Adam(tokenizer.parameters(), lr=5e-3), np.random.default_rng(0), []
    for _ in range(100):
        blocks, kinds = tokenizer.split(torch.stack([_recolored(grid, rng) for grid in grids * 2]))
        losses = slat_losses(tokenizer(blocks, kinds, quantise=False)[0], blocks)
        optimizer.zero_grad()
        (losses["distance"] + losses["color"]).backward()
        optimizer.step()
        errors.append(losses["color"].item())
    assert np.mean(errors[-10:]) < 0.5 * np.mean(errors[:10])


def _recolored(grid: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    painted = grid.clone()
    painted[COLOR] = torch.as_tensor(rng.random(3), dtype=grid.dtype)[:, None, None, None] * (grid[DISTANCE].abs() < 1)
    return painted


def test_codes_wait_for_the_encoder(tmp_path):
    """With no time at all an encoder takes one step; the same command goes on to the end."""
    short = TINY.replace("steps: 12", "steps: 2").replace("width: 32", "resolution: 32, block: 4, width: 32")
    arguments = _training(tmp_path, short)
    assert main([*arguments, "--minutes", "0"]) == 0
    assert not (tmp_path / "work" / "shape_codes").exists() and not (tmp_path / "model").exists()
    assert main(arguments) == 0
    assert load_shape_tokenizer(tmp_path / "model")[0] == "tiny-shapes"


def test_training_starts_from_a_folder(trained, tmp_path, caplog):
    again = TINY.replace("steps: 12", "steps: 0").replace("steps: 3,", "steps: 1,")
    with caplog.at_level("WARNING"):
        assert main([*_training(tmp_path, again), "--from", str(trained / "model")]) == 0
    assert "stay new" not in caplog.text
    before, after = (load_shape_tokenizer(folder / "model")[1].state_dict() for folder in (trained, tmp_path))
    moved = {name: float((after[name] - before[name]).abs().max()) for name in before if "quantizer" not in name}
    assert max(moved.values()) < 0.02, "one step at a small rate"
    runs = json.loads((tmp_path / "model" / "training.json").read_text())["shape_runs"]
    assert [run["started_from"] for run in runs] == [None, str(trained / "model")]
    assert f"| shape_codes, started from `{trained / 'model'}` | 1 | 2 |" in (tmp_path / "model" / "README.md").read_text()
    assert main([*_training(tmp_path, again), "--from", str(tmp_path)]) == 2


def test_the_codes_are_counted(trained):
    assert len(read_metrics(trained / "work" / "shape_encoder" / "metrics.jsonl")) == 13  # 12 steps, 1 evaluation
    evaluation = read_metrics(trained / "work" / "shape_codes" / "metrics.jsonl")[-1]["evaluation"]
    assert {"volume_iou", "psnr_db", "codes_used", "perplexity"} == set(evaluation)
    assert 1 < evaluation["perplexity"] <= evaluation["codes_used"] <= 64


def test_a_mesh_becomes_tokens_and_a_mesh_again(trained, tmp_path, capsys):
    mesh = make_asset("mug", 9)
    write_mesh(tmp_path / "mug.glb", mesh.with_vertices(mesh.vertices + 5))
    tokens, again = tmp_path / "tokens.json", tmp_path / "again.glb"
    assert main(["tokenize", str(tmp_path / "mug.glb"), "--out", str(tokens), "--model", str(trained / "model")]) == 0
    record = json.loads(tokens.read_text())
    assert len(record["codes"]) == 512 and max(record["codes"]) < 66 and record["model"] == "tiny-shapes"
    assert main(["detokenize", str(tokens), "--out", str(again), "--model", str(trained / "model")]) == 0
    made = read_mesh(again)
    assert made.is_watertight and np.abs(made.bounds.mean(axis=0) - mesh.bounds.mean(axis=0) - 5).max() < 0.2
    assert "512 codes" in capsys.readouterr().out


def test_a_device_that_is_not_there_is_one_error(trained, capsys):
    assert main(["evaluate", "shapes", "--model", str(trained / "model"), "--device", "abacus"]) == 2
    assert "'abacus' cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize("change, reason", [
    ({"model": "other"}, "mean nothing to another"), ({"format": "x"}, "no codes as"),
    ({"codes": [1.5]}, "no codes as"), ({"codes": [0]}, "expected codes"), ({"codes": [999] * 512}, "must lie in"),
    ({"edge_m": -1}, "no codes as"),
    ({"codes": [0] * 512}, "encloses nothing")])
def test_tokens_that_do_not_fit_are_one_error(trained, tmp_path, capsys, change, reason):
    record = {"format": "kyvo_ros shape 1", "model": "tiny-shapes", "center_m": [0, 0, 0], "edge_m": 1,
              "codes": [2] * 512}
    (tmp_path / "t.json").write_text(json.dumps({**record, **change}))
    arguments = ["detokenize", str(tmp_path / "t.json"), "--out", str(tmp_path / "m.glb"), "--model",
                 str(trained / "model")]
    assert main(arguments) == 2
    assert reason in capsys.readouterr().err


def test_scores_of_unseen_objects(trained, tmp_path, capsys):
    arguments = ["evaluate", "shapes", "--model", str(trained / "model"), "--count", "1", "--json",
                 str(tmp_path / "scores.json"), "--sheet", str(tmp_path / "sheet.png"), "--baselines"]
    assert main(arguments) == 0
    report = json.loads((tmp_path / "scores.json").read_text())
    assert report["bytes_a_shape"] == 512 * 7 / 8 and 0.3 < report["instances"]["voxels"]["f_score_0.02"] <= 1
    assert "psnr_db" not in report["instances"]["voxels"], "voxels have no colours"
    for group in ("instances", "categories"):
        slat = report[group]["slat"]
        assert slat["f_score_0.02"] > 0.99 and slat["volume_iou"] > 0.98 and slat["psnr_db"] == 60
        assert all(report[group][v]["f_score_0.01"] <= slat["f_score_0.01"] for v in ("codes", "unquantised"))
    assert "instances"[:4] in capsys.readouterr().out and (tmp_path / "sheet.png").stat().st_size > 1000
    folder = tmp_path / "tiny-shapes"
    shutil.copytree(trained / "model", folder)
    before = (folder / "README.md").read_text()
    assert "| shape_encoder | 12 | 2 |" in before and "512 codes of 66" in before and "## Scores" not in before
    shutil.copy(tmp_path / "scores.json", folder / "evaluation.json")
    assert main(["train", "card", "--out", str(folder)]) == 0
    card = (folder / "README.md").read_text()
    assert "| f_score_0.02 | " + f"{report['instances']['codes']['f_score_0.02']:.4f} | " in card
    assert f"| psnr_db | {report['instances']['codes']['psnr_db']:.4f} | " in card and "instances, voxels" in card


def test_the_ablation_of_views_trains_each_to_its_end_and_compares_them(tmp_path, capsys):
    short = TINY.replace("steps: 12", "steps: 2").replace("width: 32", "resolution: 32, block: 4, width: 32")
    (tmp_path / "recipe.yaml").write_text(short)
    arguments = ["evaluate", "views", "--recipe", str(tmp_path / "recipe.yaml"), "--work", str(tmp_path / "work"),
                 "--count", "1", "--device", "cpu", "--workers", "1", "--json", str(tmp_path / "views.json")]
    assert main([*arguments, "--minutes", "0"]) == 1 and "the same command goes on" in capsys.readouterr().out
    assert main(arguments) == 0
    report = json.loads((tmp_path / "views.json").read_text())
    assert list(report["instances"]) == ["none", "fixed", "many"] and "inst. many" in capsys.readouterr().out
    assert all("chamfer" in scores for group in ("instances", "categories") for scores in report[group].values())
    logged = {views: read_metrics(tmp_path / "work" / views / "shape_codes" / "metrics.jsonl")[0]
              for views in ("none", "fixed", "many")}
    assert "pixels" not in logged["none"] and logged["fixed"]["pixels"] != logged["many"]["pixels"]


def test_folders_are_checked(trained, tmp_path):
    with pytest.raises(ModelFolderError, match="no model folder"):
        load_shape_tokenizer(tmp_path / "nothing")
    name, tokenizer = load_shape_tokenizer(trained / "model")
    assert name == "tiny-shapes" and tokenizer.config.codebook_size == 66
    with pytest.raises(ModelFolderError, match="holds a shape tokenizer alone"):
        load_model(trained / "model")


def test_a_damaged_folder_is_refused(trained, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(trained / "model", folder)
    (folder / SHAPE_TOKENIZER).write_bytes((folder / SHAPE_TOKENIZER).read_bytes()[:-1] + b"!")
    with pytest.raises(ModelFolderError, match="not the file that SHA256SUMS describes"):
        load_shape_tokenizer(folder)
    (folder / SHAPE_TOKENIZER).unlink()
    with pytest.raises(ModelFolderError, match=f"{SHAPE_TOKENIZER} is missing"):
        load_shape_tokenizer(folder)


def test_slats_are_made_once_in_the_resolution_asked_for(tmp_path):
    for count in (1, 2):
        slats = prepared_slats(tmp_path, "train", count, resolution=16, workers=1)
        assert len(slats) == count and slats.grid(0).shape == (8, 16, 16, 16)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    prepared_slats(tmp_path, "train", 2, resolution=16, workers=1)
    assert written == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert prepared_slats(tmp_path, "train", 2, resolution=24, workers=1).grid(1).shape == (8, 24, 24, 24)
    with pytest.raises(TrainingError, match="at least one object"):
        prepared_slats(tmp_path, "train", 0, resolution=16, workers=1)


@pytest.mark.parametrize("options, reason", [
    (["--until", "codes"], "neither --renders"), (["--renders", "."], "neither --renders"), (["--dry-run"], "stage full")])
def test_options_of_other_stages_are_refused(capsys, options, reason):
    assert main(["train", "shapes", "--device", "cpu", "--threads", "1", *options]) == 2
    assert reason in capsys.readouterr().err


def test_slats_survive_their_bytes(tmp_path):
    slats = [encode_slat(make_asset(name, 0), 32) for name in ("egg", "spoon")]
    SlatSet.of(slats).save(tmp_path / "set.npz")
    stored = SlatSet.load([tmp_path / "set.npz"] * 2)
    assert len(stored) == 4
    for index in (1, 3):
        truth, grid = to_grid(slats[1]), stored.grid(index).numpy()
        assert np.abs(grid - truth).max() < 0.01
        assert np.array_equal(np.abs(grid[DISTANCE]) < 1, np.abs(truth[DISTANCE]) < 1)


def test_variations_turn_normals_with_the_shape():
    grid = torch.as_tensor(to_grid(encode_slat(make_asset("chair", 0), 32)))
    axis = torch.arange(32) - 15.5
    seen = set()
    for seed in range(12):
        turned = varied(grid, np.random.default_rng(seed))
        assert turned.shape == grid.shape and torch.allclose(turned[0].sum((0, 1)), grid[0].sum((0, 1)))
        outward = (turned[1] * axis[:, None, None]).sum() + (turned[2] * axis[None, :, None]).sum()
        before = (grid[1] * axis[:, None, None]).sum() + (grid[2] * axis[None, :, None]).sum()
        assert torch.allclose(outward, before, rtol=1e-3)
        seen.add(tuple(turned[:, 4:28:6, 4:28:6, 4:28:6].flatten().tolist()))
    assert len(seen) > 6


def test_losses_by_hand():
    """One block of four voxels: two active ones, off by 0.1 and 0.3; of two beyond, one on the wrong side by 1.5."""
    truth, made = torch.zeros(1, 1, 8, 4), torch.zeros(1, 1, 8, 4)
    truth[..., DISTANCE, :] = torch.tensor([0.5, -0.5, 1.0, -1.0])
    made[..., DISTANCE, :] = torch.tensor([0.6, -0.2, 1.2, 0.5])
    made[..., 4:7, 0], made[..., 7, 2] = 0.3, 1.0
    losses = slat_losses(made, truth)
    assert float(losses["distance"]) == pytest.approx((0.1 + 0.3 + 1.5) / 2)
    assert float(losses["color"]) == pytest.approx(0.15) and float(losses["openness"]) == 0


def test_structural_similarity_is_that_of_the_evaluation():
    a, b = np.random.default_rng(0).random((2, 20, 24, 3))
    x, y = (torch.as_tensor(v).permute(2, 0, 1)[None] for v in (a, b))
    assert float(structural_similarity(x, y)) == pytest.approx(ssim(a, b), abs=1e-6)


def test_the_perceptual_distance_of_views_counts():
    slats = SlatSet.of([encode_slat(make_asset("egg", 0), 16)])
    tokenizer = ShapeTokenizer(ShapeTokenizerConfig(resolution=16, block=4, width=32, part_width=16, layers=1,
                                                    codebook_size=66, code_dim=16))
    settings = ShapeLossSettings(perceptual=2.0, perceptual_weights="vgg.pth", rendered=1,
                                 picture={"size_px": 16, "samples": 24})
    stage = ShapeStage(tokenizer, slats, slats, settings, 2, quantise=False, distance=OffBy())
    loss, parts = stage.loss_of(np.random.default_rng(0))
    rest = parts["distance"] + .2 * parts["normal"] + .5 * parts["color"] + .1 * parts["openness"]
    assert parts["perceptual"] > 0
    assert float(loss.detach()) == pytest.approx(rest + .5 * parts["pixels"] + 2 * parts["perceptual"], rel=1e-4)
    blind = replace(stage, settings=replace(settings, views="none"))
    assert {"pixels", "perceptual"}.isdisjoint(blind.loss_of(np.random.default_rng(0))[1])


def test_perceptual_weights_are_read_from_beside_the_recipe(trained, tmp_path):
    loss = "loss: {perceptual: 1.0, perceptual_weights: v.pth, "
    (tmp_path / "r.yaml").write_text(TINY.replace("loss: {", loss))
    with pytest.raises(PerceptualError, match=f"there is no file {tmp_path / 'v.pth'}"):
        train_shapes(load_shape_recipe(tmp_path / "r.yaml"), trained / "work", tmp_path, torch.device("cpu"))


class OffBy:
    """In place of a VGG-16: the mean error of pictures in [-1, 1]."""

    def __call__(self, one, other):
        assert min(one.min(), other.min()) >= -1 and max(one.max(), other.max()) > 0.5, "a white background is 1"
        return (one - other).abs().mean()


def test_recipes_are_read_and_refused(tmp_path):
    assert load_shape_recipe(RECIPES / "shapes" / "nano.yaml").tokenizer == ShapeTokenizerConfig()
    (tmp_path / "r.yaml").write_text(TINY.replace("views: many", "views: some"))
    with pytest.raises(RecipeError, match="views must be one of"):
        load_shape_recipe(tmp_path / "r.yaml")
    with pytest.raises(RecipeError, match="has no setting colour"):
        (tmp_path / "r.yaml").write_text(TINY + "colour: red\n")
        load_shape_recipe(tmp_path / "r.yaml")
    with pytest.raises(ValueError, match="rendered at least 1"):
        ShapeLossSettings(rendered=0)

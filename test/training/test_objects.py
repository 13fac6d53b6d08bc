"""The path of scenes of whole objects at toy size, by the command that a user types, and what its lesson writes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kyvo_ros import cli
from kyvo_ros.autoencoders.shape_tokenizer import ShapeTokenizer, ShapeTokenizerConfig
from kyvo_ros.autoencoders.slat_encoding import encode_slat
from kyvo_ros.autoencoders.slats import to_grid
from kyvo_ros.data.assets import make_asset
from kyvo_ros.data.examples import ExampleSet
from kyvo_ros.data.images import write_rgb
from kyvo_ros.data.object_folders import read_object_folder, scene_record
from kyvo_ros.data.object_scenes import ObjectSettings, objects_schema, place_asset, sample_object_scene
from kyvo_ros.evaluation.yaw_symmetry import yaw_period_rad
from kyvo_ros.model.folder import load_model, save_shape_tokenizer
from kyvo_ros.scene.mesh import Mesh
from kyvo_ros.tokens import LANGUAGE_WORDS, train_text_tokenizer
from kyvo_ros.training.code_sets import CodeSet
from kyvo_ros.training.language import LanguageStage
from kyvo_ros.training.number_labels import NumberLabels
from kyvo_ros.training.object_examples import library
from kyvo_ros.training.object_yaws import load_shape_turns, make_shape_turns
from kyvo_ros.training.recipe import Recipe, RecipeError, ShapeShares, load_recipe
from kyvo_ros.training.rendering import DrawingSettings
from kyvo_ros.training.shape_lesson import _passed
from kyvo_ros.training.shape_outlines import Outlines, ToldOutlines
from kyvo_ros.training.shape_rows import fold_rows
from kyvo_ros.training.shape_sources import mirrored
from kyvo_ros.training.trainer import RunSettings, optimizer_for
from kyvo_ros.training.workshop import Workshop

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
RECIPE = """
name: toy-objects
objects: {instances: 2, categories: [banana, box, ring], max_objects: 3, min_visible_pixels: 60}
shapes: {seen: 0.4, whole: 0.2, drawn: 0.2, batch_size: 2, wrong_codes: 0.5, outline_weight: 0.3}
yaw_weight: 1.0
shape_context: true
sketch_weight: 1.0
examples: {synthetic: 8, backgrounds: 5, held_out: 3}
canonical: {width: 32, height: 24, fx: 35.0, fy: 35.0, cx: 16.0, cy: 11.5}
tokenizer: {width: 32, height: 24, widths: [8, 8], blocks: [0, 1], codebook_size: 1024, code_dim: 8}
sizes: {dim: 32, layers: 2, heads: 2, kv_heads: 1, ffn_dim: 48}
sentence_ratio: 0.0
encoder: {steps: 2, batch_size: 2, evaluate_every: 2, log_every: 1}
codes: {steps: 2, batch_size: 2, evaluate_every: 2, log_every: 1}
pixels: {steps: 2, batch_size: 2, evaluate_every: 2, log_every: 1}
decoder: {steps: 12, batch_size: 2, evaluate_every: 12, log_every: 1}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    (folder / "toy.yaml").write_text(RECIPE)
    torch.manual_seed(0)
    tokenizer = ShapeTokenizer(ShapeTokenizerConfig(resolution=16, block=8, width=16, part_width=8, layers=1,
                                                    codebook_size=20, code_dim=8))
    save_shape_tokenizer(folder / "shapes", "toy-shapes", tokenizer)
    assert _train(folder, "all", "--shapes", str(folder / "shapes")) == 0
    return folder


@pytest.fixture(scope="module")
def shop(trained: Path) -> Workshop:
    return Workshop(trained / "toy.yaml", trained / "work", torch.device("cpu"), shapes=trained / "shapes")


def test_the_kinds_of_batches_come_in_their_shares(shop: Workshop) -> None:
    lesson = replace(shop.shape_lesson(shop.tokenizer()), shares=ShapeShares(seen=0.2, whole=0.0, drawn=0.1))
    assert [lesson._kind(share) for share in (1e-9, 0.19, 0.21, 0.3, 0.3 + 1e-9)] == [
        "shapes", "shapes", "asset_drawing", "asset_drawing", "asset_drawing"]


@pytest.fixture(scope="module")
def pictures(trained: Path) -> CodeSet:
    (path,) = (trained / "work" / "sequences").glob("synthetic_*.npz")
    return CodeSet.load(path)


def _train(folder: Path, stage: str, *more: str) -> int:
    return cli.main(["train", stage, "--recipe", str(folder / "toy.yaml"), "--work", str(folder / "work"), "--out",
                     str(folder / "model"), "--device", "cpu", "--threads", "1", "--workers", "1", *more])


def test_all_kinds_of_sequences_are_trained_and_scored(trained: Path) -> None:
    rows = [json.loads(line) for line in (trained / "work" / "decoder" / "metrics.jsonl").read_text().splitlines()]
    for kind in ("shapes", "whole_scenes", "asset_drawing", "words"):
        assert any(kind in row for row in rows), kind
    (scores,) = (row["evaluation"] for row in rows if "evaluation" in row)
    assert 0 <= scores["shape_surface_iou"] <= 1 and scores["shape_loss"] > 0 and "asset_drawing_cycle" in scores
    assert -1 <= scores["shape_likeness"] <= 1 and 0 <= scores["outline_iou"] <= 1 and 0 <= scores["color_error"] <= 1
    assert all("yaws" in row for row in rows if "words" in row)


def test_the_folder_is_whole_and_offers_only_what_was_learned(trained: Path) -> None:
    bundle = load_model(trained / "model")
    assert bundle.schema.shape.length == 8 and bundle.shape_tokenizer.config.codebook_size == 20
    assert bundle.schema.words[0].values == ("banana", "box", "ring") and bundle.tasks[0] == "I->3"
    card = (trained / "model" / "README.md").read_text()
    assert "2 to 3 of 2 instances of 3 categories" in card and "3 held-out scenes" in card and "CLEVR" not in card
    assert bundle.decoder.config.max_length >= bundle.decoder.config.cells + bundle.grammar.max_length


def test_one_shape_is_the_whole_scene_with_the_other_codes_left_out(shop: Workshop, pictures: CodeSet) -> None:
    """And the loss lies on its codes alone."""
    rng = np.random.default_rng(0)  # an untrained tokenizer gives all shapes the same code
    lesson = replace(shop.shape_lesson(shop.tokenizer()), codes=rng.integers(20, size=(18, 8)))
    row = int(np.flatnonzero(pictures.truth.count > 1)[0])
    codes, scene = pictures.codes[row].astype(np.int64), lesson.scene(pictures, row)
    whole = shop.builder.build("I->S", image_codes=codes, scene=scene)
    written = shop.schema.sorted_objects(scene)
    seen = set()
    for _ in range(20):
        ids, counts, prompt_length = lesson._one_shape(codes, scene, rng)
        assert prompt_length == whole.prompt_length and counts.sum() == 8 and counts[-8:].all()
        own = shop.grammar.vocabulary.shape_codes_of(np.array(ids)[counts]).tolist()
        (which,) = (i for i, item in enumerate(written) if item.shape_codes.tolist() == own)
        before = replace(scene, objects=tuple(written[:which + 1]))
        layout = shop.grammar.layout.encode_scene(before)[:-2]
        assert ids[prompt_length:-9] == layout
        seen.add(which)
    assert len(seen) > 1


def test_scenes_to_draw_have_as_few_objects_as_the_recipe_says(shop: Workshop, pictures: CodeSet) -> None:
    lesson, count = shop.shape_lesson(shop.tokenizer()), pictures.truth.count
    few = replace(lesson, shares=replace(lesson.shares, drawn_objects=2))
    drawn = {kind: {int(n) for seed in range(30) for n in count[few._draw(kind, pictures, np.random.default_rng(seed))]}
             for kind in ("shapes", "asset_drawing")}
    assert drawn == {"shapes": {2, 3}, "asset_drawing": {2}}
    with pytest.raises(ValueError, match="no picture shows 1 to 1 objects"):
        replace(lesson, shares=replace(lesson.shares, drawn_objects=1))._draw("asset_drawing", pictures,
                                                                              np.random.default_rng(0))
    with pytest.raises(ValueError, match="drawn_objects must be at least 1"):
        ShapeShares(drawn_objects=0)


def test_labels_of_surfaces_are_shared_by_like_codes(shop: Workshop) -> None:
    """By hand: three codes of surfaces, the second as near to the first as a label's spread, the third opposite."""
    lesson, spread = shop.shape_lesson(shop.tokenizer()), 0.5
    book = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.5, math.sqrt(0.75)], [-1.0, 0.0]])
    lesson = replace(lesson, codebook=book, shares=ShapeShares(label_spread=spread))
    first = lesson._codes.start
    logits = torch.randn(4, first + 5, generator=torch.Generator().manual_seed(0))
    truth = first + torch.tensor([2, 0, 4, 1])
    likely = torch.log_softmax(logits, dim=-1)[:, first:]
    labels = torch.tensor([[1.0, math.exp(-1), math.exp(-4)], [math.exp(-4), math.exp(-3), 1.0]])
    labels /= labels.sum(dim=1, keepdim=True)
    expected = [-(labels[0] * likely[0, 2:]).sum(), -likely[1, 0], -(labels[1] * likely[2, 2:]).sum(), -likely[3, 1]]
    assert torch.allclose(lesson._entropies(logits, truth, first), torch.stack(expected))
    hard = replace(lesson, shares=ShapeShares(label_spread=0.0))._entropies(logits, truth, first)
    assert torch.allclose(hard, -likely.gather(1, (truth - first)[:, None])[:, 0])
    assert torch.allclose(lesson._entropies(logits[1:2], truth[1:2], first), hard[1:2]), "no surface, nothing to share"


def test_some_codes_to_continue_from_are_those_of_other_shapes(shop: Workshop, pictures: CodeSet) -> None:
    lesson = shop.shape_lesson(shop.tokenizer())
    others = np.full_like(lesson.codes, 7)  # the shapes that are mixed in, told by a code
    rows, rng = lesson._draw("shapes", pictures, np.random.default_rng(0)), np.random.default_rng(1)
    text = lesson._text("shapes", pictures, rows, rng)
    before = text.ids.clone()

    def misled(share: float) -> torch.Tensor:
        return replace(lesson, codes=others, shares=replace(lesson.shares, wrong_codes=share))._misled(text.ids, rng)
    assert misled(0.0) is text.ids
    given = misled(1.0)
    assert torch.equal(text.ids, before), "what is to be said stays"
    codes = before >= lesson._codes.start
    changed = given != before
    assert not changed[~codes].any() and (given[changed] == lesson._codes.start + 7).all()
    assert 0 < changed.sum() < codes.sum()
    with pytest.raises(ValueError, match="wrong_codes"):
        ShapeShares(wrong_codes=1.5)


def test_the_score_of_surfaces_knows_any_from_none() -> None:
    """Of many codes that share what is likely, none is likelier than outside, yet a surface is."""
    logits = torch.log(torch.tensor([[0.4, 0.1, 0.25, 0.25], [0.6, 0.0, 0.2, 0.2], [0.1, 0.5, 0.2, 0.2]]))
    assert _passed(logits).tolist() == [True, False, False]


def test_rows_of_shape_codes_share_while_they_learn_and_fold_into_the_same_model(shop: Workshop) -> None:
    model = shop.new_language_model(shop.tokenizer())
    decoder, rng = model.decoder.eval(), torch.Generator().manual_seed(0)
    ids = torch.randint(decoder.embedding.shape_ids.start, decoder.config.vocabulary.size, (1, 8), generator=rng)
    before = decoder(ids)
    for table in (decoder.embedding.learned, decoder.head):
        (rows,) = table.parametrizations.weight
        assert torch.equal(table.weight, table.parametrizations.weight.original), "at first nothing is shared"
        torch.nn.init.normal_(rows.projection.weight, generator=rng)
    shared = decoder(ids)
    assert not torch.allclose(shared, before)
    optimizer = optimizer_for(model, RunSettings(steps=1))
    free = {id(p) for group in optimizer.param_groups if group["weight_decay"] == 0 for p in group["params"]}
    assert id(decoder.embedding.learned.parametrizations.weight.original) in free, "tables do not decay"
    fold_rows(decoder)
    assert type(decoder.head) is torch.nn.Linear and torch.allclose(decoder(ids), shared, atol=1e-5)
    text = decoder.embedding.shape_ids.start - 1
    fresh = shop.new_language_model(shop.tokenizer()).decoder
    assert torch.equal(decoder.head.weight[:text + 1], fresh.head.weight[:text + 1]), "all else stays"
    fold_rows(decoder)


def test_codes_of_another_shape_tokenizer_are_not_mixed_in(trained: Path, tmp_path: Path, capsys) -> None:
    torch.manual_seed(1)
    other = ShapeTokenizer(ShapeTokenizerConfig(resolution=16, block=8, width=16, part_width=8, layers=1,
                                                codebook_size=20, code_dim=8))
    save_shape_tokenizer(tmp_path / "other", "other", other)
    for stage in ("decoder", "export"):
        assert _train(trained, stage, "--shapes", str(tmp_path / "other")) == 2
        assert "has learned the codes of another shape tokenizer" in capsys.readouterr().err
    assert _train(trained, "export", "--shapes", str(trained / "shapes")) == 0


def test_codes_to_draw_given_shapes_weigh_as_those_of_other_drawings(shop: Workshop, pictures: CodeSet) -> None:
    lesson = shop.shape_lesson(shop.tokenizer())
    row = int(np.flatnonzero(pictures.truth.count > 1)[0])
    rows, rng = np.array([row]), np.random.default_rng(0)
    text = lesson._text("asset_drawing", pictures, rows, rng)
    decoder = shop.new_language_model(shop.tokenizer()).decoder.eval()
    weighted = replace(lesson, drawing=replace(lesson.drawing, settings=DrawingSettings(object_weight=50.0)))
    with torch.no_grad():
        logits, truth = lesson._predicted(decoder, pictures, rows, text)
        entropies = torch.nn.functional.cross_entropy(logits, truth, reduction="none")
        near = torch.as_tensor(weighted.drawing.weights(pictures, rows)[0])
        loss = weighted._drawing_loss(decoder, pictures, rows, text, rng)
        spoilt = replace(weighted, drawing=replace(weighted.drawing, settings=DrawingSettings(1.0, 50.0)))
        assert float(loss) == pytest.approx(float((entropies * near).mean()), rel=1e-5)
        assert near.max() > 20 * near.min()
        assert float(spoilt._drawing_loss(decoder, pictures, rows, text, rng)) != pytest.approx(float(loss), rel=1e-6)


def test_mirrored_examples_name_the_mirrored_shapes(shop: Workshop, pictures: CodeSet) -> None:
    half = len(pictures) // 2
    truth, mirrored = pictures.truth[:half], pictures.truth[half:]
    there = truth.shape >= 0
    assert there.any() and np.array_equal(truth.shape[there] ^ 1, mirrored.shape[there])
    assert np.array_equal(truth.size, mirrored.size, equal_nan=True)
    codes = shop.shape_lesson(shop.tokenizer()).codes
    assert codes.shape == (2 * len(library(shop.recipe.objects)), 8) == (18, 8)


@pytest.mark.parametrize("category", ["cactus", "mug", "chair"])
def test_the_mirror_image_of_an_object_is_its_mirrored_shape_turned(category: str) -> None:
    """A picture, its labels and the codes that these name are mirrored in three places."""
    item = place_asset(category, 1, 0.8, -0.3, 0.6, 1.5)
    row = ExampleSet(np.zeros((1, 2, 2, 3), np.uint8), np.array([1]), np.zeros((1, 1, 1), int),
                     item.position_m.astype(np.float32)[None, None], np.array([[0.6]], np.float32),
                     np.ones((1, 3), np.float32)).mirrored()
    flipped = item.mesh.vertices * (1.0, -1.0, 1.0)
    seen = replace(item, position_m=row.position[0, 0], yaw_rad=float(row.yaw_rad[0, 0]), mesh=item.mesh.with_vertices(flipped))
    assert np.allclose(seen.placed_mesh().vertices, item.placed_mesh().vertices * (-1.0, 1.0, 1.0), atol=1e-5)
    mesh = Mesh(flipped, item.mesh.faces[:, ::-1], item.mesh.colors)
    grid, other = (torch.as_tensor(to_grid(encode_slat(one, 32))) for one in (item.mesh, mesh))
    assert float((mirrored(grid) - other).abs().mean()) < 0.002, "but for voxels that are just within reach of the surface"
    front_to_back = mirrored(grid.transpose(1, 2)).transpose(1, 2)
    assert float((front_to_back[0] - other[0]).abs().mean()) > 0.02


def test_old_files_of_examples_have_no_sizes_and_shapes(tmp_path) -> None:
    examples = ExampleSet(np.zeros((1, 2, 2, 3), np.uint8), np.array([1]), np.zeros((1, 3, 1), int),
                          np.zeros((1, 3, 3), np.float32), np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32))
    np.savez(tmp_path / "old.npz", **{k: v for k, v in vars(examples).items() if k not in ("size", "shape")})
    loaded = ExampleSet.load(tmp_path / "old.npz")
    assert (loaded.shape == -1).all() and np.isnan(loaded.size).all()
    assert loaded.scene(0, {"a": "b"}).objects[0].size_m is None


def test_recipes_say_what_does_not_fit(trained: Path, tmp_path, capsys) -> None:
    recipe = load_recipe(RECIPES / "objects-nano.yaml")
    assert recipe.objects == ObjectSettings() and recipe.shapes.total == pytest.approx(0.4)
    for change, reason in (("sentence_ratio: 0.1", "set sentence_ratio: 0"), ("rendering_ratio: 0.5", "at most 1"),
                           ("answer_ratio: 0.1", "answer_ratio: 0, not")):
        (tmp_path / "toy.yaml").write_text(RECIPE.replace("sentence_ratio: 0.0", f"{change}\n" if "sent" in change else
                                                          f"sentence_ratio: 0.0\n{change}"))
        with pytest.raises(RecipeError, match=reason):
            load_recipe(tmp_path / "toy.yaml")
    with pytest.raises(ValueError, match="in \\[0, 1\\] together"):
        ShapeShares(seen=0.7, whole=0.4)
    (tmp_path / "toy.yaml").write_text(RECIPE)
    assert _train(tmp_path, "examples") == 2 and "needs --shapes" in capsys.readouterr().err
    assert _train(tmp_path, "examples", "--shapes", "nowhere") == 2 and "is no model folder" in capsys.readouterr().err


def _render(folder: Path, recipe: Recipe, split: str, count: int = 3, **changes: object) -> None:
    """Pictures of scenes as another renderer would leave them; `changes` of the recipe's scenes."""
    lens, nominal, rng = recipe.canonical.intrinsics(), recipe.canonical.nominal_plane(), np.random.default_rng(4)
    records = []
    for number in range(count):
        made = sample_object_scene(rng, lens, nominal, replace(recipe.objects, **changes), split)
        records.append(scene_record(made, lens, number, f"{number}.png"))
        write_rgb(folder / "images" / f"{number}.png", made.image)
    (folder / "scenes.json").write_text(json.dumps({"scenes": records}))


def test_pictures_of_another_renderer_are_mixed_in(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text(RECIPE + "render_ratio: 1.0\n")
    for name in ("renders", "more"):
        _render(tmp_path / name, load_recipe(tmp_path / "toy.yaml"), "train")
    options = ("--shapes", str(trained / "shapes"), "--renders", str(tmp_path / "renders"), str(tmp_path / "more"))
    assert _train(tmp_path, "all", *options) == 0
    shop = Workshop(tmp_path / "toy.yaml", tmp_path / "work", torch.device("cpu"), shapes=trained / "shapes")
    synthetic, renders, held_out = shop.examples
    assert len(renders) == 6 and len(held_out) == 3
    first = read_object_folder(tmp_path / "renders")[0].load()
    assert np.array_equal(renders.images[0], first.image)
    assert [library(shop.recipe.objects)[name // 2] for name in renders.shape[0] if name >= 0] == list(first.assets)
    assert load_model(tmp_path / "model").tasks[0] == "I->3"


@pytest.mark.parametrize("split, changes, reason", [
    ("instances", {}, "which is not among the 2 instances of each category that this recipe trains on"),
    ("train", {"instances": 40}, "render the split train of its categories"),
    ("train", {"distance_factor": (3.0, 3.0), "min_visible_pixels": 0.0}, "this recipe reads up to 3 from about"),
    ("train", {"min_objects": 5, "max_objects": 5, "min_visible_pixels": 0.0}, "shows 5 objects from")])
def test_pictures_that_a_recipe_cannot_learn_are_named(trained: Path, tmp_path: Path, capsys, split: str,
                                                      changes: dict, reason: str) -> None:
    (tmp_path / "toy.yaml").write_text(RECIPE)
    _render(tmp_path / "renders", load_recipe(tmp_path / "toy.yaml"), split, **changes)
    options = ("--shapes", str(trained / "shapes"), "--renders", str(tmp_path / "renders"))
    assert _train(tmp_path, "examples", *options) == 2
    said = capsys.readouterr().err
    assert reason in said and str(tmp_path / "renders" / "images") in said
    (tmp_path / "empty").mkdir()
    assert _train(tmp_path, "examples", *options[:3], str(tmp_path / "empty")) == 2
    assert "holds no pictures of objects" in capsys.readouterr().err


def test_every_category_is_one_token_of_the_small_vocabulary() -> None:
    schema = objects_schema()
    words = train_text_tokenizer([], [*schema.vocabulary_words(), *LANGUAGE_WORDS])
    assert words.size <= 1024 and len(schema.vocabulary_words()) == 50


def test_turns_are_those_of_the_meshes(tmp_path: Path) -> None:
    objects, path = ObjectSettings(instances=3, categories=("mug", "bowl", "hammer")), tmp_path / "turns.npz"
    make_shape_turns(objects, path, 1)
    turns, assets = load_shape_turns(path), library(objects)
    assert len(turns) == 2 * len(assets) and np.array_equal(turns[::2], turns[1::2]), "mirror images turn alike"
    for (category, index), own in zip(assets, turns[::2]):
        period = yaw_period_rad(make_asset(category, index))
        assert own == (0.0 if period is None else round(2 * math.pi / period))
    assert {own for (category, _), own in zip(assets, turns[::2]) if category == "mug"} == {1.0}
    path.write_bytes(b"is there")
    make_shape_turns(objects, path, 1)
    assert path.read_bytes() == b"is there"


def test_yaws_that_look_alike_are_labels_alike(shop: Workshop, pictures: CodeSet) -> None:
    """By how often the shape that the example names looks the same in a turn."""
    tokenizer = shop.tokenizer()
    lesson = shop.shape_lesson(tokenizer)
    labels = NumberLabels(shop.grammar.vocabulary.numbers, shop.schema, 1.0)
    stage = LanguageStage(
        shop.new_language_model(tokenizer), shop.grammar.layout, shop.builder, pictures, None, pictures, [], labels,
        shop.recipe.canonical, shop.device, batch_size=2, shapes=lesson)
    rows = np.flatnonzero(pictures.truth.count > 1)[:3]
    names = lesson.names(pictures, rows)
    targets = torch.as_tensor(pictures.targets[rows].astype(np.int64))
    turns = stage._yaw_turns(targets, names)
    marked = ~turns.isnan()
    before = targets[:, :-1][marked[:, 1:]]
    assert (before == lesson.grammar.vocabulary.structure_id("[POSE]")).all() and not marked[:, 0].any()
    assert turns[marked].tolist() == lesson.turns[names].tolist()


def test_scores_of_yaws_are_those_of_what_is_said(shop: Workshop, pictures: CodeSet) -> None:
    """Of objects that look the same after half a turn, all of which are said to have the yaw 0."""
    tokenizer = shop.tokenizer()
    labels = NumberLabels(shop.grammar.vocabulary.numbers, shop.schema, 1.0)
    stage = LanguageStage(
        shop.new_language_model(tokenizer), shop.grammar.layout, shop.builder, pictures, None, pictures, [], labels,
        shop.recipe.canonical, shop.device, batch_size=2, dense_weight=1.0, shapes=shop.shape_lesson(tokenizer))
    scores = stage._yaw_scores(stage._read_layouts())
    assert {name for name in scores if name.startswith("dense_")} == {"dense_yaw_1", "dense_yaw_2"}
    assert scores and all(-1 <= score <= 1 for score in scores.values())
    numbers = torch.as_tensor(shop.grammar.vocabulary.numbers.values(), dtype=torch.float32)
    for true, cosine in ((0.0, 1.0), (math.pi / 4, 0.0), (math.pi / 2, -1.0), (math.pi, 1.0)):
        told = replace(stage, held_out=replace(pictures, values=np.where(np.isnan(pictures.values), np.nan, true)))
        told.model.decoder.logits = lambda hidden, among: (-(numbers.abs() * 100)).expand(len(hidden), -1)
        assert told._yaw_scores(told._read_layouts())["yaw_2"] == pytest.approx(cosine, abs=1e-3)


def test_outlines_by_hand() -> None:
    """Cubes of 2^3 blocks: one with a surface in two of them, one with none."""
    book = torch.nn.functional.normalize(torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1], [-1, 0]]), dim=1)
    codes = np.array([[0, 2, 1, 0, 0, 4, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1], [3, 3, 3, 3, 3, 3, 3, 3]])
    paint = torch.tensor([[9.0, 9, 9], [9, 9, 9], [1, 0, 0.5], [0.4, 0.4, 0.4], [0, 0.5, 0.5]])  # of the first two: none
    outlines = Outlines.of(codes, book, paint)
    assert outlines.passed.tolist() == [[0, 1, 0, 0, 0, 1, 0, 0], [0] * 8, [1] * 8]
    assert torch.equal(outlines.shown, outlines.passed), "each part of the cube is a block"
    assert outlines.looks.shape == (3, 8, 2) and not outlines.looks[0, 0].any()
    apart = (outlines.looks[0, 1] - outlines.looks[0, 5]).norm()
    assert apart == pytest.approx(math.sqrt(2) * float((outlines.looks[0, 1] - outlines.looks[2, 0]).norm()), rel=1e-4)
    names = torch.tensor([0, 1, 2, 0])
    assert torch.allclose(outlines.colors, torch.tensor([[0.5, 0.25, 0.5], [0, 0, 0], [0.4, 0.4, 0.4]]))
    sure = ToldOutlines(40 * (outlines.passed[names] - 0.5), outlines.looks[names], outlines.colors[names])
    assert float(outlines.loss(sure, names)) < 1e-6 and outlines.overlap(sure, names) == (12, 12)
    assert not outlines.color_errors(sure, names).any()
    blind = ToldOutlines(torch.zeros(4, 8), torch.zeros(4, 8, 2), sure.colors + torch.tensor([0.1, 0.0, -0.2]))
    assert float(outlines.loss(blind, names)) == pytest.approx(8 * math.log(2) + 30 * 0.05 + float(
        (outlines.looks[names].square().sum(-1) * outlines.shown[names]).sum() / 12), rel=1e-5)
    assert outlines.overlap(replace(blind, blocks=blind.blocks + 1), names) == (12, 32)
    assert outlines.color_errors(blind, names).tolist() == pytest.approx([0.1] * 4)
    with pytest.raises(ValueError, match="a cube of an even number of blocks"):
        Outlines.of(np.zeros((2, 27), np.int64), book, paint)


def test_outlines_are_those_of_the_objects_in_the_order_of_writing(shop: Workshop, pictures: CodeSet) -> None:
    tokenizer = shop.tokenizer()
    lesson, model = shop.shape_lesson(tokenizer), shop.new_language_model(tokenizer)
    rows = np.flatnonzero(pictures.truth.count > 1)[:2]
    names = lesson.names(pictures, rows).tolist()
    written = [item.shape_codes for row in rows for item in lesson.grammar.schema.sorted_objects(
        lesson.scene(pictures, row))]
    assert [lesson.codes[name].tolist() for name in names] == [codes.tolist() for codes in written]
    prompt = torch.from_numpy(np.stack([lesson.builder.prompt(
        "I->3", image_codes=pictures.codes[row].astype(np.int64)).token_ids for row in rows]))
    ids = torch.cat([prompt, torch.as_tensor(pictures.targets[rows].astype(np.int64))], dim=1)
    model.hidden(ids[:, :-1], torch.as_tensor(pictures.cells[rows]), prompt.shape[1] - 1)
    told = model.outlines(ids)
    assert told.blocks.shape == (len(names), 8) and not told.blocks.any(), "a new head says nothing"
    loss = lesson.outlines.loss(told, torch.tensor(names))
    loss.backward()
    assert model.outline_head.blocks.weight.grad.any()
    assert model.decoder.embedding.learned.parametrizations.weight.original.grad is None or not (
        model.decoder.embedding.learned.parametrizations.weight.original.grad.any()), "and does no damage"

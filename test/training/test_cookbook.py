"""The cookbook: rows from files, short runs that are passed over once they are done, and the report beside the paper."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import yaml
from tiny_model import tiny_bundle, tiny_shape_bundle

from kyvo_ros import cli
from kyvo_ros.autoencoders.canonical import CanonicalCamera
from kyvo_ros.autoencoders.image_tokenizer import ImageTokenizer, ImageTokenizerConfig
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.folder import ModelBundle, load_model, save_model
from kyvo_ros.training.cookbook.kitchen import RESULT, Kitchen, _name
from kyvo_ros.training.cookbook.rows import COMMON, chosen_rows, load_experiments
from kyvo_ros.training.cookbook.scores import SCORE_NAMES
from kyvo_ros.tokens import Vocabulary
from kyvo_ros.training.recipe import RecipeError
from kyvo_ros.training.starting import start_without_numbers
from kyvo_ros.training.trainer import TrainingError

SHIPPED = Path(__file__).resolve().parents[2] / "recipes" / "cookbook"
TINY = {"examples": {"synthetic": 16, "other_cameras": 0.0, "backgrounds": 5, "questions": 8, "held_out": 4},
        "max_objects": 4,
        "decoder": {"steps": 1, "batch_size": 2, "log_every": 1}}
RUN = ("steps/0.5", "order/scene-first", "methods/lora", "methods/full")


def test_the_shipped_rows_load_and_each_has_its_name() -> None:
    experiments = load_experiments(SHIPPED)
    assert {e.name for e in experiments} == {"steps", "embeddings", "drawing", "order", "methods", "sizes"}
    rows = chosen_rows(experiments, [])
    assert len({row.path for row in rows}) == len(rows)
    assert all(set(row.paper) <= set(SCORE_NAMES) for row in rows)
    assert [row.path for row in chosen_rows(experiments, ["order", "steps/0.5"])] == [
        "order/image-first", "order/scene-first", "steps/0.5"]
    assert {row.name: row.recipe.numbers.step for row in chosen_rows(experiments, ["steps"])} == {
        "0.005": 0.005, "0.05": 0.05, "0.5": 0.5}


@pytest.mark.parametrize("text,message", [
    ("title: a\ntext: b\nsource: c\nscores: [beauty]\nrows: []\n", "scores must be of"),
    ("title: a\ntext: b\nsource: c\nscores: [drawing]\nrows: [{name: x}]\n", "is scored on drawing and does not train it"),
    ("title: a\ntext: b\nsource: c\nscores: [recognition]\nrows: [{name: x, start: warm}]\n", "start must be one of"),
    ("title: a\ntext: b\nsource: c\nscores: [recognition]\nrows: [{name: x, blocks: 0}]\n", "blocks must be at least 1, got 0"),
    ("title: a\ntext: b\nsource: c\nscores: [recognition]\nrows: [{name: x, start: base, blocks: 1}]\n",
     "takes some blocks of the body, and starts from 'base'"),
    ("title: a\ntext: b\nsource: c\nscores: [recognition]\nrows: [{name: x, changes: {max_objects: 2}}]\n", "all rows share"),
    ("title: a\ntext: b\nsource: c\nscores: [recognition]\nrows: [{name: x, changes: {numbers: {step: 0.3}}}]\n",
     "must divide the range"),
])
def test_wrong_entries_are_named(tmp_path: Path, text: str, message: str) -> None:
    shutil.copy(SHIPPED / COMMON, tmp_path)
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(RecipeError, match=message):
        load_experiments(tmp_path)


def test_models_of_whole_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="which the ray caster does not draw"):
        Kitchen(tiny_shape_bundle(), load_experiments(SHIPPED)[0].rows[0].recipe, tmp_path, torch.device("cpu"))


def test_a_row_that_is_not_there_is_named() -> None:
    with pytest.raises(RecipeError, match="the cookbook has no soups; it has drawing/raster"):
        chosen_rows(load_experiments(SHIPPED), ["soups"])


def _bundle() -> ModelBundle:
    """The tiny model with images of a size that the ray caster draws."""
    tiny = tiny_bundle()
    tokenizer = ImageTokenizer(ImageTokenizerConfig(32, 24, widths=(8, 16), blocks=(0, 1), code_dim=8)).eval()
    decoder = Decoder(replace(tiny.decoder.config, image_grid=tokenizer.grid), tokenizer.codebook).eval()
    return replace(tiny, image_tokenizer=tokenizer, decoder=decoder,
                   canonical=CanonicalCamera(32, 24, 35.0, 35.0, 16.0, 11.5))


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, the shipped rows over a tiny common recipe, and images that are already there."""
    folder = tmp_path_factory.mktemp("kitchen")
    save_model(folder / "model", _bundle())
    shutil.copytree(SHIPPED, folder / "recipes")
    common = {**yaml.safe_load((SHIPPED / COMMON).read_text()), **TINY}
    (folder / "recipes" / COMMON).write_text(yaml.safe_dump(common))
    return folder


def _cook(folder: Path, *more: str) -> int:
    return cli.main(["cookbook", "--recipes", str(folder / "recipes"), "--work", str(folder / "work"), "--model",
                     str(folder / "model"), "--device", "cpu", "--workers", "1", "--minutes", "0.0001", *more])


def _kitchen(folder: Path) -> Kitchen:
    common = load_experiments(folder / "recipes")[0].rows[0].recipe
    return Kitchen(load_model(folder / "model"), common, folder / "work", torch.device("cpu"))


@pytest.fixture(scope="module")
def cooked(kitchen: Path) -> Path:
    """After one run of RUN, LoRA's library missing; images are made in this process, which spares a start of torch."""
    place = _kitchen(kitchen)
    place.maker.synthetic(0).save(place.work / "examples" / "synthetic_0000.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "peft", None)
        assert _cook(kitchen, "--only", *RUN) == 1, "LoRA cannot run, the others can"
    return kitchen


def test_rows_are_scored_on_what_they_train(cooked: Path) -> None:
    place, rows = _kitchen(cooked), chosen_rows(load_experiments(cooked / "recipes"), RUN)
    results = {row.path: place.result(row) for row in rows}
    assert results["methods/lora"] is None
    scores = {path: set(result["scores"]) for path, result in results.items() if result}
    assert scores["steps/0.5"] == {"jaccard", "jaccard_0.05", "jaccard_0.25"}
    assert scores["order/scene-first"] == {"answers"}
    assert scores["methods/full"] == scores["steps/0.5"] | {"drawing_loss", "ssim", "l2", "seen"}
    assert all(result["steps"] == 2 and result["sequences"] == 4 for result in results.values() if result)


def test_what_has_run_is_passed_over_and_the_report_says_it_beside_the_paper(cooked: Path, capsys) -> None:
    place = _kitchen(cooked)
    (row,) = chosen_rows(load_experiments(cooked / "recipes"), ["steps/0.5"])
    before = (place.folder(row) / RESULT).stat().st_mtime_ns
    assert _cook(cooked, "--only", "steps/0.5", "--out", str(cooked / "report")) == 0
    assert (place.folder(row) / RESULT).stat().st_mtime_ns == before
    report = (cooked / "report" / "README.md").read_text()
    line = next(line for line in report.splitlines() if line.startswith("| 0.5 |"))
    assert "0.2352" in line and f"{place.result(row)['scores']['jaccard']:.4f}" in line and "--only steps/0.5" in line
    assert "| 0.005 | - | - | - | 0.5707 | - | - | - |" in report and "3 of 25 rows have run" in report
    assert (cooked / "report" / "steps.png").exists() and not (cooked / "report" / "sizes.png").exists()
    assert _cook(cooked, "--report") == 0 and (cooked / "work" / "report" / "README.md").exists()
    assert "row 1 of" not in capsys.readouterr().out.split("wrote")[-2]


def test_a_body_is_the_model_folder_without_its_numbers() -> None:
    before = tiny_bundle().decoder
    vocabulary = Vocabulary.small(number_step=0.5)
    body = Decoder(replace(before.config, vocabulary=vocabulary, layers=1, number_head=True), before.embedding.codebook)
    drawn = {name: value.clone() for name, value in body.state_dict().items()}
    start_without_numbers(body, before)
    state, old, new = before.state_dict(), before.config.vocabulary.range("numbers"), vocabulary.range("numbers")
    for name in ("head.weight", "embedding.learned.weight"):
        after = body.state_dict()[name]
        assert torch.equal(after[new.start:new.stop], drawn[name][new.start:new.stop])
        assert torch.equal(after[:new.start], state[name][:old.start])
        assert torch.equal(after[new.stop:], state[name][old.stop:])
    assert torch.equal(body.number_head, drawn["number_head"])
    assert torch.equal(body.embedding.number_scale, drawn["embedding.number_scale"])
    assert torch.equal(body.blocks[0].qkv.weight, before.blocks[0].qkv.weight)
    assert torch.equal(body.embedding.ground_projection.weight, before.embedding.ground_projection.weight)


def test_rows_have_the_numbers_the_blocks_and_the_order_that_they_name(kitchen: Path) -> None:
    place, experiments = _kitchen(kitchen), load_experiments(kitchen / "recipes")

    def decoder(path: str) -> Decoder:
        (row,) = chosen_rows(experiments, [path])
        return place._stage(row, place._with_model(row.recipe)).model.decoder

    theirs = place.bundle.decoder
    assert decoder("steps/0.5").config.vocabulary.numbers.step == 0.5
    assert decoder("embeddings/learned-100").config.number_embedding == "learned"
    assert decoder("drawing/raster").config.image_order == "raster" != theirs.config.image_order
    assert not torch.equal(decoder("methods/scratch").blocks[0].qkv.weight, theirs.blocks[0].qkv.weight)
    assert torch.equal(decoder("methods/full").head.weight, theirs.head.weight)
    assert len(decoder("sizes/2-blocks").blocks) == 2
    with pytest.raises(TrainingError, match="sizes/4-blocks takes 4 blocks of a decoder of 2"):
        decoder("sizes/4-blocks")


def test_settings_that_the_package_gets_rename_no_row() -> None:
    @dataclass(frozen=True)
    class Before:
        inner: CanonicalCamera
        steps: int = 3

    @dataclass(frozen=True)
    class After:
        inner: CanonicalCamera
        steps: int = 3
        news: tuple[int, ...] = (1,)

    camera = CanonicalCamera(32, 24, 35.0, 35.0, 16.0, 11.5)
    assert _name([Before(camera), 1]) == _name([After(camera), 1])
    assert _name([Before(camera)]) != _name([Before(replace(camera, fx=36.0))]) != _name([Before(camera, 4)])


def test_an_interrupted_row_goes_on_with_its_plan(cooked: Path) -> None:
    place = _kitchen(cooked)
    (row,) = chosen_rows(load_experiments(cooked / "recipes"), ["steps/0.5"])
    result = place.result(row)
    (place.folder(row) / RESULT).unlink()
    (place.folder(row) / "plan.json").write_text(json.dumps({"steps": 1, "decay_steps": 3}))
    assert place.run(row, 0.0001)["steps"] == 4, "from the checkpoint at step 2"
    assert result["steps"] == 2

"""The whole training path at toy size, by the command that a user types: examples to a model that recognises."""

import json
import shutil
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_model import tiny_bundle, tiny_shape_bundle

from kyvo_ros import cli
from kyvo_ros.autoencoders.image_tokenizer import ImageTokenizer
from kyvo_ros.model.folder import load_model, save_calibration
from kyvo_ros.pipeline import KyvoPipeline
from kyvo_ros.scene import Calibration
from kyvo_ros.tokens import CLEVR_SCHEMA, Vocabulary
from kyvo_ros.tokens.text import LANGUAGE_WORDS, TextTokenizer, train_text_tokenizer
from kyvo_ros.training.exporting import learned_tasks
from kyvo_ros.training.preparation import held_out_names
from kyvo_ros.training.recipe import load_recipe
from kyvo_ros.training.stages import train_decoder
from kyvo_ros.training.starting import knows_codes, longer_tables, resized_grid, seen_together, state_for
from kyvo_ros.training.workshop import Workshop

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = """
name: toy
examples: {synthetic: 12, backgrounds: 10, questions: 12, instructions: 8, render_views: 2, held_out: 2, turn_deg: 1.0}
canonical: {width: 32, height: 24, fx: 35.0, fy: 35.0, cx: 16.0, cy: 11.5}
tokenizer: {width: 32, height: 24, widths: [8, 8], blocks: [0, 1], codebook_size: 1024, code_dim: 8}
sizes: {dim: 32, layers: 2, heads: 2, kv_heads: 1, ffn_dim: 48}
render_ratio: 0.5
rendering_ratio: 0.4
answer_ratio: 0.2
modality_order: scene_first
image_order: alternating
first_codes: {count: 2, weight: 3.0}
drawing: {wrong_codes: 0.5, object_weight: 2.0}
object_context: true
picture_terms: {adversarial: 0.5, adversarial_from: 2, discriminator_channels: 4, discriminator_halvings: 2}
encoder: {steps: 4, batch_size: 4, evaluate_every: 4, checkpoint_every: 2, log_every: 1}
codes: {steps: 3, decay_steps: 2, batch_size: 4, evaluate_every: 5, checkpoint_every: 2, log_every: 1}
pixels: {steps: 3, batch_size: 4, evaluate_every: 3, checkpoint_every: 2, log_every: 1}
decoder: {steps: 4, decay_steps: 2, batch_size: 4, evaluate_every: 6, checkpoint_every: 2, log_every: 1}
"""


@pytest.fixture(scope="module")
def renders(tmp_path_factory) -> Path:
    """A CLEVR-format folder of six flat pictures."""
    folder = tmp_path_factory.mktemp("renders")
    (folder / "images").mkdir()
    scenes = []
    rng = np.random.default_rng(0)
    world_to_camera = [[0.640024, 0.768355, 0.0, 0.0], [0.358368, -0.298513, -0.884569, 0.0],
                       [-0.679663, 0.566146, -0.466409, 11.267452], [0.0, 0.0, 0.0, 1.0]]
    for index in range(6):
        name = f"CLEVR_train_{index:06d}.png"
        cv2.imwrite(str(folder / "images" / name), rng.integers(0, 256, (240, 320, 3), dtype=np.uint8))
        item = {"shape": "cube", "size": "large", "color": "red", "material": "metal", "rotation": 30.0 * index,
                "3d_coords": [0.3 * index - 1, 0.5, 0.49497], "pixel_coords": [160.0, 120.0, 11.0]}
        scenes.append({"image_filename": name, "image_index": index, "split": "train", "objects": [item],
                       "camera": {"width": 320, "height": 240, "fx": 350.0, "fy": 350.0, "cx": 160.0, "cy": 120.0,
                                  "world_to_camera": world_to_camera}})
    (folder / "scenes.json").write_text(json.dumps({"scenes": scenes}))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, renders) -> Path:
    folder = tmp_path_factory.mktemp("training")
    (folder / "toy.yaml").write_text(RECIPE)
    assert _train(folder, "all", "--renders", str(renders), "--workers", "1") == 0
    return folder


def _train(folder: Path, stage: str, *more: str) -> int:
    return cli.main(["train", stage, "--recipe", str(folder / "toy.yaml"), "--work", str(folder / "work"),
                     "--out", str(folder / "model"), "--device", "cpu", "--threads", "1", *more])


def test_every_stage_leaves_its_curve_and_the_model_its_card(trained):
    for stage in ("encoder", "codes", "pixels", "decoder"):
        assert (trained / "work" / stage / "curve.png").exists()
        rows = [json.loads(line) for line in (trained / "work" / stage / "metrics.jsonl").read_text().splitlines()]
        assert any("evaluation" in row for row in rows)
    card = (trained / "model" / "README.md").read_text()
    assert "22 synthetic, 8 views of renders, 2 held-out renders" in card and "| decoder | 6 | 4 | 24 |" in card


def test_a_discriminator_joins_the_pixels_at_its_step(trained):
    rows = [json.loads(line) for line in (trained / "work" / "pixels" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "judged" in row] == [3]


def test_the_model_recognises_only_valid_scenes(trained):
    pipeline = KyvoPipeline.from_pretrained(trained / "model", device="cpu")
    scene = pipeline.recognize(np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8))
    for item in scene.objects:
        assert set(item.attributes) == {"size", "color", "material", "shape"} and 0 <= item.confidence <= 1


def test_drawing_is_trained_and_scored_and_its_order_kept(trained):
    rows = [json.loads(line) for line in (trained / "work" / "decoder" / "metrics.jsonl").read_text().splitlines()]
    assert any("drawing" in row for row in rows) and any("words" in row for row in rows)
    (scores,) = (row["evaluation"] for row in rows if "evaluation" in row)
    assert scores["drawing_loss"] > 0 and 0 <= scores["drawing_codes"] <= 1 and 0 <= scores["drawing_cycle"] <= 1
    assert 0 <= scores["answers_scene_first"] <= 1, "questions with the scene before the image are scored, too"
    config = json.loads((trained / "model" / "config.json").read_text())
    assert config["decoder"]["image_order"] == "alternating" and "3->I" not in config["tasks"], "six steps teach nothing"


def test_all_stages_end_where_they_are_told_to(trained, tmp_path):
    (tmp_path / "toy.yaml").write_text(RECIPE)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "examples").symlink_to(trained / "work" / "examples")
    assert _train(tmp_path, "all", "--until", "encoder") == 0
    assert (tmp_path / "work" / "encoder" / "checkpoint.pt").exists() and not (tmp_path / "work" / "codes").exists()


def test_a_stage_waits_for_the_end_of_those_before(trained, tmp_path, capsys, caplog):
    (tmp_path / "toy.yaml").write_text(RECIPE)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "examples").symlink_to(trained / "work" / "examples")
    caplog.set_level("INFO")
    assert _train(tmp_path, "all", "--minutes", "0") == 0
    assert "stage encoder is not at its end yet; the same command goes on" in caplog.text
    assert not (tmp_path / "work" / "codes").exists()
    assert _train(tmp_path, "codes") == 2
    assert "stage encoder has 3 steps before its end; run it to its end before codes" in capsys.readouterr().err


def test_sequences_are_made_anew_in_another_language(trained):
    def key(**changes) -> str:
        shop = Workshop(trained / "toy.yaml", trained / "work", torch.device("cpu"))
        shop.recipe = replace(shop.recipe, **changes)
        return shop.language_key
    assert key() == key()
    assert key(max_objects=3) != key() and key(numbers=replace(load_recipe(trained / "toy.yaml").numbers, step=0.1)) != key()
    assert len(list((trained / "work" / "sequences").glob(f"sentences_train_{key()}.npz"))) == 1


def test_a_schema_of_small_things_is_trained_in_its_units(trained):
    shop = Workshop(trained / "toy.yaml", trained / "work", torch.device("cpu"))
    shop.recipe = replace(shop.recipe, schema=replace(CLEVR_SCHEMA, metres_per_unit=0.1, max_objects=4))
    assert shop.schema.metres_per_unit == 1.0 and shop.schema.max_objects == 4
    assert shop.schema.extents_m({"size": "large", "shape": "sphere"}) == pytest.approx((1.4,) * 3)


def test_a_model_offers_only_what_it_has_learned(tmp_path):
    rows = [{"step": 1, "evaluation": {"programs_questions": 0.9, "programs_instructions": 0.9}},
            {"step": 2, "evaluation": {"programs_questions": 0.5, "programs_instructions": 0.49, "programs_clevr": 0.1}}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert learned_tasks(tmp_path / "metrics.jsonl") == ("Q->P",)
    rows.append({"step": 3, "evaluation": {"programs_instructions": 0.6, "drawing_cycle": 0.2}})
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert learned_tasks(tmp_path / "metrics.jsonl") == ("T->E", "3->I")
    rows.append({"step": 4, "evaluation": {"answers_scene_first": 0.5, "answers_image_first": 0.4}})
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert learned_tasks(tmp_path / "metrics.jsonl") == ("3+I+Q->A",)
    assert learned_tasks(tmp_path / "none.jsonl") == ()


def test_finished_stages_are_passed_over(trained):
    before = (trained / "work" / "decoder" / "metrics.jsonl").read_text()
    assert _train(trained, "decoder") == 0
    assert (trained / "work" / "decoder" / "metrics.jsonl").read_text() == before


def test_training_starts_again_from_a_model_folder(trained, tmp_path):
    code = cli.main(["train", "decoder", "--recipe", str(trained / "toy.yaml"), "--work", str(tmp_path / "work"), "--from",
                     str(trained / "model"), "--device", "cpu", "--threads", "1"])
    assert code == 2  # no examples in the new work folder
    (tmp_path / "work").mkdir(exist_ok=True)
    (tmp_path / "work" / "examples").symlink_to(trained / "work" / "examples")
    code = cli.main(["train", "decoder", "--recipe", str(trained / "toy.yaml"), "--work", str(tmp_path / "work"), "--from",
                     str(trained / "model"), "--device", "cpu", "--threads", "1"])
    assert code == 0 and (tmp_path / "work" / "decoder" / "checkpoint.pt").exists()


def test_what_was_started_from_a_model_goes_on_with_its_words(trained, tmp_path, capsys):
    """Also without --from: other ids for the same words would spoil what has been learned."""
    bundle, path = load_model(trained / "model"), tmp_path / "work" / "tokenizer.json"
    theirs = train_text_tokenizer(["what is the colour of the thing"] * 50, bundle.schema.vocabulary_words())
    assert not theirs.same_as(bundle.text_tokenizer)
    (tmp_path / "toy.yaml").write_text(RECIPE)
    (tmp_path / "work").mkdir()
    for name in ("examples", "codes"):
        (tmp_path / "work" / name).symlink_to(trained / "work" / name)
    assert _train(tmp_path, "decoder", "--from", str(trained / "model")) == 0
    assert TextTokenizer.load(path).same_as(bundle.text_tokenizer.with_words(LANGUAGE_WORDS))
    kept = path.read_bytes()
    assert _train(tmp_path, "decoder") == 0 and path.read_bytes() == kept
    theirs.save(path)
    assert _train(tmp_path, "decoder", "--from", str(trained / "model")) == 2
    assert "was trained with other words" in capsys.readouterr().err


def test_a_decoder_starts_with_other_image_codes_by_what_does_not_hang_on_them(trained):
    bundle = load_model(trained / "model")
    before = bundle.decoder.state_dict()
    same = state_for(bundle.decoder, bundle.image_tokenizer)
    assert all(torch.equal(same[name], value) for name, value in before.items() if name != "embedding.image_positions")
    assert torch.allclose(same["embedding.image_positions"], before["embedding.image_positions"], atol=1e-6)
    finer = ImageTokenizer(replace(bundle.image_tokenizer.config, width=64, height=48))
    other = state_for(bundle.decoder, finer)
    ids = bundle.decoder.embedding.image_ids
    rows = other["embedding.learned.weight"]
    assert not rows[ids.start:ids.stop].any() and torch.equal(rows[:ids.start], before["embedding.learned.weight"][:ids.start])
    assert "embedding.code_projection.weight" not in other and torch.equal(other["embedding.codebook"], finer.codebook)
    assert other["embedding.image_positions"].shape == (12 * 16, 32)


def test_codes_of_another_order_are_translated_to_the_same_decoder(trained):
    """By hand: the same codes in another order, each of which stands for one old code, and one that is never seen."""
    bundle = load_model(trained / "model")
    tokenizer, decoder, count = bundle.image_tokenizer, bundle.decoder, bundle.image_tokenizer.config.codebook_size
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    before = torch.arange(count).repeat(3).view(3, count)
    codes = torch.argsort(order)[before]  # the new code k is the old code order[k]
    together = seen_together(codes, before, count)
    assert together.sum() == 3 * count and together[0, order[0]] == 3
    together[0] = 0.0
    other = deepcopy(tokenizer)
    other.quantizer.codebook = tokenizer.codebook[order]
    assert knows_codes(decoder, tokenizer) and not knows_codes(decoder, other)
    translated = deepcopy(decoder)
    translated.load_state_dict(state_for(decoder, other, together), strict=False)
    ids = decoder.embedding.image_ids
    wanted, made = (one.embedding.table()[ids.start:ids.stop] for one in (decoder, translated))
    assert torch.allclose(made[1:], wanted[order][1:], atol=1e-5)
    rows, theirs = (one.head.weight[ids.start:ids.stop] for one in (translated, decoder))
    assert torch.equal(rows[1:], theirs[order][1:])
    assert not translated.embedding.learned.weight[ids.start].any() and made[0].any(), "what its vector alone says"
    assert torch.equal(translated.embedding.table()[:ids.start], decoder.embedding.table()[:ids.start])


def test_a_model_with_shapes_starts_with_all_rows_of_one_without() -> None:
    before, model = tiny_bundle(), tiny_shape_bundle().decoder
    size, state, own = before.vocabulary.size, before.decoder.state_dict(), model.state_dict()
    assert model.config.vocabulary.size == size + 20
    longer = longer_tables(model, before.vocabulary, state)
    for name in ("embedding.learned.weight", "head.weight"):
        assert torch.equal(longer[name][:size], state[name]) and torch.equal(longer[name][size:], own[name][size:])
    other = Vocabulary.small(number_step=0.5)
    assert longer_tables(model, other, state) is state, "other ids"


def test_a_grid_is_resized_place_by_place():
    across = torch.arange(8.0).repeat(6).unsqueeze(1)  # 6 rows of 8 columns that hold their number
    finer = resized_grid(across, (6, 8), (12, 16)).reshape(12, 16)
    assert torch.allclose(finer[5, 1:-1], (torch.arange(1, 15) + 0.5) / 2 - 0.5)
    assert torch.equal(finer[0], finer[11])


#: What goes on from the toy model: the encoder and the pixels are kept, the codes frozen, answers left out.
FURTHER = "\n".join(line for line in RECIPE.splitlines() if line.split(":")[0] not in (
    "encoder", "codes", "pixels", "decoder", "answer_ratio", "picture_terms")) + """
freeze_codebook: true
head_steps: 2
encoder: {steps: 0}
codes: {steps: 2, batch_size: 4, average: 0.9, log_every: 1}
pixels: {steps: 0}
decoder: {steps: 2, batch_size: 4, average: 0.9, log_every: 1}
"""


@pytest.fixture()
def begun(trained, tmp_path) -> Path:
    """A folder in which the toy model can go on: its images and sequences are there, and its recipe."""
    return _begun(trained, tmp_path)


def _begun(trained: Path, folder: Path, recipe: str = FURTHER) -> Path:
    (folder / "toy.yaml").write_text(recipe)
    (folder / "work").mkdir()
    for name in ("examples", "sequences"):
        (folder / "work" / name).symlink_to(trained / "work" / name)
    return folder


@pytest.fixture(scope="module")
def headless(trained, tmp_path_factory) -> Path:
    """The toy model as one from before its heads were kept, which offers tasks that it has not learned."""
    folder = tmp_path_factory.mktemp("headless") / "model"
    shutil.copytree(trained / "model", folder)
    (folder / "training_heads.safetensors").unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tasks": ["I->3", "Q->P", "3->I", "3+I+Q->A"]}))
    assert cli.main(["checksums", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def further(trained, headless, tmp_path_factory) -> Path:
    """The folder of a model that one command has made of another."""
    folder = _begun(trained, tmp_path_factory.mktemp("further"))
    assert _train(folder, "all", "--from", str(headless)) == 0
    return folder


def _tensors(folder: Path, file: str) -> dict[str, torch.Tensor]:
    return load_file(folder / f"{file}.safetensors")


def test_one_command_goes_on_from_a_model_to_the_next(headless, further):
    before, after = (_tensors(folder, "image_tokenizer") for folder in (headless, further / "model"))
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert "quantizer.codebook" in same, "frozen"
    assert {name for name in before if name.startswith("decoder.")} <= same, "kept"
    assert "encoder.layers.0.weight" not in same, "trained"
    own, old = load_model(further / "model").decoder, load_model(headless).decoder
    assert own.config.max_length == old.config.max_length, "room for answers, which the recipe leaves out"
    change = (own.head.weight - old.head.weight).abs().max()
    assert 0 < change < 0.05, "a few warm steps"
    assert not (further / "work" / "encoder").exists() and not (further / "work" / "pixels").exists()
    card = (further / "model" / "README.md").read_text()
    assert f"toy.yaml --from {headless} --renders" in card and "(kept as it is there: encoder, pixels)" in card
    assert "| codes/head | 2 | 4 |" in card and "`training_heads.safetensors` (of use" in card


def test_what_was_interrupted_ends_as_what_was_not(trained, headless, further, begun, caplog):
    """Every command stops after a step, of the new heads as of the stages behind them."""
    caplog.set_level("INFO")
    for command in range(1, 10):
        assert _train(begun, "all", "--from", str(headless), "--minutes", "0") == 0
        if (begun / "model").exists():
            break
    assert command >= 5 and "stage codes is not at its end yet" in caplog.text
    for file in ("image_tokenizer", "decoder", "training_heads"):
        whole, parts = _tensors(further / "model", file), _tensors(begun / "model", file)
        assert set(whole) == set(parts) and all(torch.equal(whole[name], parts[name]) for name in whole), file


def test_heads_of_training_lie_beside_the_weights_and_are_taken_from_there(trained, further, begun):
    for folder in (trained, further):
        assert "training_heads.safetensors" in (folder / "model" / "SHA256SUMS").read_text()
    shop = Workshop(begun / "toy.yaml", begun / "work", torch.device("cpu"), source=trained / "model")
    learned = shop.new_dense_model().head.state_dict()
    checkpoint = torch.load(trained / "work" / "codes" / "checkpoint.pt", weights_only=True)["model"]
    for name, value in learned.items():
        assert torch.equal(value, checkpoint[f"head.{name}"].half().float() if value.ndim > 1 else checkpoint[f"head.{name}"])
    model = shop.new_language_model(shop.tokenizer())
    checkpoint = torch.load(trained / "work" / "decoder" / "checkpoint.pt", weights_only=True)["model"]
    kept = checkpoint["dense_head.layers.0.weight"]
    assert torch.equal(model.dense_head.state_dict()["layers.0.weight"], kept.half().float())
    assert shop.learn_head("codes", shop.new_dense_model().head, "image", None), "a head that is known learns nothing alone"
    assert not (begun / "work" / "codes").exists()


def test_pictures_alone_are_trained_and_all_else_is_kept(headless, begun):
    stages = {"codes": "{steps: 0}", "pixels": "{steps: 1, batch_size: 4}", "decoder": "{steps: 0}"}
    text = "\n".join(f"{name}: {stages[name]}" if (name := line.split(":")[0]) in stages else line
                     for line in FURTHER.splitlines())
    (begun / "toy.yaml").write_text(text)
    calibration = Calibration(place_temperature=2.0)
    source = shutil.copytree(headless, begun / "source")
    save_calibration(source, calibration)
    assert _train(begun, "all", "--from", str(source)) == 0
    for file in ("image_tokenizer", "decoder"):
        before, after = (_tensors(folder, file) for folder in (source, begun / "model"))
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert bool(changed) == (file == "image_tokenizer") and all(name.startswith("decoder.") for name in changed)
    made = load_model(begun / "model")
    assert made.tasks == ("I->3", "Q->P", "3->I", "3+I+Q->A") and made.calibration == calibration
    assert not (begun / "model" / "training_heads.safetensors").exists(), "nobody has trained any"


def test_pictures_that_are_kept_are_the_models_whatever_the_codes_came_from(trained, begun):
    (begun / "work" / "codes").symlink_to(trained / "work" / "codes")  # from before the pictures were learned
    shop = Workshop(begun / "toy.yaml", begun / "work", torch.device("cpu"), source=trained / "model")
    own, model = shop.tokenizer().decoder.state_dict(), load_model(trained / "model").image_tokenizer.decoder.state_dict()
    assert all(torch.equal(own[name], model[name]) for name in model)


def test_what_a_recipe_leaves_out_is_scored_where_the_source_offers_it(headless, begun, monkeypatch):
    (begun / "toy.yaml").write_text(FURTHER.replace("rendering_ratio: 0.4", "rendering_ratio: 0.0\nsentence_ratio: 0.0"))
    shop, stages = Workshop(begun / "toy.yaml", begun / "work", torch.device("cpu"), source=headless), []
    monkeypatch.setattr(Workshop, "train", lambda shop, name, settings, stage, model, prepare: stages.append(stage))
    train_decoder(shop)
    (stage,) = stages
    assert stage.drawing is not None and set(stage.held_out_sentences) == {"questions", "instructions"}
    assert stage.answers.score == "answers_scene_first" and stage.answers.questions is None
    shop = Workshop(begun / "toy.yaml", begun / "work", torch.device("cpu"), source=headless)
    shop.recipe = replace(shop.recipe, max_objects=4)
    assert not shop.offered("Q->P"), "of other scenes"
    _the_head_learns_alone(stage, stage.model.dense_head, stage.model.decoder)


def test_a_new_head_and_a_frozen_codebook_leave_the_rest_as_it_is(headless, begun):
    shop = Workshop(begun / "toy.yaml", begun / "work", torch.device("cpu"), source=headless)
    stage = shop.dense_stage(shop.recipe.codes, quantise=True)
    tokenizer = stage.model.train().tokenizer
    _the_head_learns_alone(stage, stage.model.head, tokenizer)
    for frozen in (True, False):
        codebook = tokenizer.codebook.clone()
        stage.model.train()
        loss, _ = replace(stage, frozen=frozen).loss_of(np.random.default_rng(0))
        loss.backward()
        assert torch.equal(tokenizer.codebook, codebook) == frozen
    assert tokenizer.encoder.layers[0].weight.grad.abs().max() > 0


def _the_head_learns_alone(stage, head: torch.nn.Module, rest: torch.nn.Module) -> None:
    before = {name: value.clone() for name, value in rest.state_dict().items()}
    loss, _ = stage.head_loss(np.random.default_rng(0))
    loss.backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in head.parameters())
    assert all(parameter.grad is None for parameter in rest.parameters())
    assert all(torch.equal(value, before[name]) for name, value in rest.state_dict().items())


@pytest.mark.parametrize("changes,message", [
    ({"encoder: {steps: 0}": "encoder: {steps: 1}", "codes: {steps: 2": "codes: {steps: 0"}, "encoder has steps and stage codes has none"),
    ({"freeze_codebook: true": ""}, "stage pixels has no steps, and stage codes changes the codes"),
    ({"widths: [8, 8]": "widths: [8, 4]"}, "keep the image tokenizer of --from"),
    ({"decoder: {steps: 2": "decoder: {steps: 0", "layers: 2": "layers: 3"}, "has other sizes or another schema"),
])
def test_stages_that_are_kept_must_fit_those_that_are_trained(headless, begun, capsys, changes, message):
    text = FURTHER
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (begun / "toy.yaml").write_text(text)
    assert _train(begun, "examples", "--from", str(headless)) == 2
    assert message in capsys.readouterr().err


def test_a_codebook_is_frozen_only_where_there_is_one(begun, trained, capsys):
    (begun / "work" / "encoder").symlink_to(trained / "work" / "encoder")
    assert _train(begun, "codes") == 2
    assert "freeze_codebook keeps the codes of a model" in capsys.readouterr().err


def test_an_encoder_that_has_gone_on_meets_the_codes_that_were_there(begun, headless):
    (begun / "toy.yaml").write_text(FURTHER.replace("encoder: {steps: 0}", "encoder: {steps: 1, batch_size: 4}"))
    assert _train(begun, "all", "--until", "codes", "--from", str(headless)) == 0
    codebook = torch.load(begun / "work" / "codes" / "checkpoint.pt", weights_only=True)["model"]["tokenizer.quantizer.codebook"]
    assert torch.equal(codebook, load_model(headless).image_tokenizer.codebook)
    assert (begun / "work" / "encoder" / "head").exists() and not (begun / "work" / "codes" / "head").exists()


@pytest.mark.parametrize("stage,message", [("codes", "run `kyvo train encoder` before"), ("encoder", "run `kyvo train examples` first")])
def test_a_stage_out_of_turn_says_what_is_missing(trained, tmp_path, capsys, stage, message):
    work = tmp_path / "work"
    if stage == "codes":
        work.mkdir()
        (work / "examples").symlink_to(trained / "work" / "examples")
    code = cli.main(["train", stage, "--recipe", str(trained / "toy.yaml"), "--work", str(work), "--device", "cpu"])
    assert code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("options,message", [
    (["--renders", "nowhere"], "--renders nowhere is no folder"),
    (["--from", "nowhere"], "--from nowhere is no model folder"),
    (["--recipe", "nowhere.yaml"], "there is no recipe at nowhere.yaml"),
    (["--device", "abacus"], "device 'abacus' cannot be used"),
])
def test_wrong_options_are_named(capsys, options, message):
    assert cli.main(["train", "examples", *options]) == 2
    assert message in capsys.readouterr().err


def test_the_command_runs_uninstalled_without_trimesh_or_ros():
    program = ("import sys\nfor name in ('trimesh', 'rclpy', 'kyvo_msgs', 'vision_msgs'): sys.modules[name] = None\n"
               "from kyvo_ros import cli\nsys.exit(cli.main(['train', 'encoder', '--recipe', 'nowhere.yaml']))")
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "there is no recipe" in done.stderr


@pytest.mark.parametrize("held_out", [0, 2, 6])
def test_as_many_renders_are_held_out_as_the_recipe_says(renders, tmp_path, held_out):
    recipe = tmp_path / "toy.yaml"
    recipe.write_text(RECIPE.replace("held_out: 2", f"held_out: {held_out}"))
    shop = Workshop(recipe, tmp_path, torch.device("cpu"), (renders,))
    assert held_out_names(shop, renders) == [f"CLEVR_train_{i:06d}.png" for i in range(6 - held_out, 6)]

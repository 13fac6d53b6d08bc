"""`kyvo convert --vqgan`: a published checkpoint with its image tokenizer becomes a model that sees, or one that draws,
and goes back to its files.
"""

from __future__ import annotations

import collections
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from published_files import HEADS, published_tensors
from taming_reference import CODES, TamingReference
from tiny_model import text_tokenizer

from kyvo_ros.cli import main
from kyvo_ros.autoencoders.image_tokenizer import tensor_to_images
from kyvo_ros.model.checkpoint import read_codebook, read_vqgan
from kyvo_ros.model.direct_answers import answer_words
from kyvo_ros.model.folder import load_model, replace_decoder, save_model
from kyvo_ros.model.generation import generate
from kyvo_ros.model.published import CODEBOOK
from kyvo_ros.model.published_sight import WORLD_YAW_RAD
from kyvo_ros.model.tasks import UntrainedTaskError
from kyvo_ros.pipeline import KyvoPipeline
from kyvo_ros.scene import PLANE_FRAME, PlaneCamera, Scene, SceneObject, Transform
from kyvo_ros.tokens import GrammarError
from kyvo_ros.tokens.image_orders import written_order
from kyvo_ros.tokens.published_schemas import CAMERA_FRAME, WORLD_FRAME
from kyvo_ros.tokens.published_sequences import PublishedSequences

BALL = SceneObject({"size": "large", "color": "red", "material": "metal", "shape": "sphere"}, [0.5, 1.0, 0.7])


@pytest.fixture
def files(tmp_path: Path) -> TamingReference:
    """meta_model_9.pt, last.ckpt, project.yaml and tokenizer.json of one model."""
    reference = TamingReference()
    tensors = published_tensors()
    tensors[CODEBOOK] = reference.tensors["quantize.embedding.weight"].bfloat16()
    torch.save(tensors, tmp_path / "meta_model_9.pt")
    reference.write(tmp_path)
    text_tokenizer().save(tmp_path / "tokenizer.json")
    return reference


def convert(folder: Path, *options: str) -> int:
    return main(["convert", "--from-published", str(folder / "meta_model_9.pt"), "--heads", str(HEADS),
                 "--vqgan", str(folder / "last.ckpt"), "--vqgan-config", str(folder / "project.yaml"),
                 "--tokenizer", str(folder), "--out", str(folder / "model"), *options])


@torch.no_grad()
def test_a_converted_model_sees(files: TamingReference, tmp_path: Path) -> None:
    assert convert(tmp_path) == 0
    bundle = load_model(tmp_path / "model")
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    codes = bundle.image_tokenizer.encode(images)
    vectors = files.tensors["quantize.embedding.weight"][codes]
    assert torch.allclose(bundle.image_tokenizer.decode(codes), files.decode(vectors.permute(0, 3, 1, 2)), atol=1e-4)
    assert bundle.decoder.config.causal_prompt and not bundle.programs
    pipeline = KyvoPipeline(bundle, device="cpu")
    images = [np.random.default_rng(seed).integers(0, 256, (240, 320, 3), dtype=np.uint8) for seed in range(3)]
    scenes = pipeline.recognize_batch(images)
    assert {scene.frame_id for scene in scenes} == {PLANE_FRAME}
    assert all(o.attributes["shape"] in ("cube", "sphere", "cylinder") for scene in scenes for o in scene.objects)
    with pytest.raises(UntrainedTaskError, match="3->I"):
        pipeline.render(Scene((BALL,)))


@torch.no_grad()
def test_a_converted_model_draws_what_its_own_words_say(files: TamingReference, tmp_path: Path) -> None:
    """The scene reaches it in CLEVR's world, and its codes, which it writes from the middle outwards, their cells."""
    assert convert(tmp_path, "--tasks", "3->I") == 0
    assert json.loads((tmp_path / "model" / "config.json").read_text())["tasks"] == ["3->I"]
    bundle = load_model(tmp_path / "model")
    scene = Scene((BALL,)).transformed(Transform.from_yaw(WORLD_YAW_RAD), WORLD_FRAME)
    builder = bundle.builder
    prompt = torch.from_numpy(builder.prompt("3->I", scene=scene).token_ids[None])
    (written,) = generate(bundle.decoder, prompt, grammar=builder.image_grammar)
    codes = np.empty(256, np.int64)
    codes[written_order("alternating", (16, 16))] = bundle.vocabulary.image_codes_of(np.array(written.token_ids[1:-1]))
    expected = tensor_to_images(bundle.image_tokenizer.decode(torch.from_numpy(codes).view(1, 16, 16)))[0]
    pipeline = KyvoPipeline(bundle, device="cpu")
    picture = pipeline.render(Scene((BALL,)), PlaneCamera(5.0, 0.6))
    assert picture.shape == (32, 32, 3) and np.abs(picture.astype(int) - expected).max() <= 1
    with pytest.raises(GrammarError, match="expected a scene in frame clevr_world, got map"):
        pipeline.render(Scene((BALL,), "map"))
    with pytest.raises(UntrainedTaskError, match="I->3"):
        pipeline.recognize(np.zeros((240, 320, 3), np.uint8))


def test_it_draws_in_the_order_of_the_published_sequences(files: TamingReference, tmp_path: Path) -> None:
    assert convert(tmp_path, "--tasks", "3->I") == 0
    bundle, codes = load_model(tmp_path / "model"), np.arange(256) % CODES
    ours = bundle.builder.build("3->I", scene=Scene((BALL,), WORLD_FRAME), image_codes=codes)
    published = PublishedSequences(bundle.vocabulary, reorder=True).build(
        "3->I", scene=np.array(bundle.grammar.encode_scene(Scene((BALL,), WORLD_FRAME))), image_codes=codes)
    assert ours.token_ids.tolist() == published.token_ids.tolist()


def test_boxes_before_a_camera_are_drawn(files: TamingReference, tmp_path: Path) -> None:
    tensors = published_tensors("objectron")
    tensors[CODEBOOK] = files.tensors["quantize.embedding.weight"].bfloat16()
    torch.save(tensors, tmp_path / "meta_model_9.pt")
    assert convert(tmp_path, "--layout", "objectron", "--names", "cube", "--tasks", "3->I") == 0
    bundle = load_model(tmp_path / "model")
    said = []
    pipeline = KyvoPipeline(bundle, device="cpu")
    write = pipeline._images.write
    pipeline._images.write = lambda scenes, *rest: said.extend(scenes) or write(scenes, *rest)
    box = SceneObject({"category": "cube"}, [0.0, 0.0, 0.0], size_m=[0.3, 0.1, 0.2])
    pipeline.render(Scene((box,)), PlaneCamera(2.0, 0.6))
    assert said[0].frame_id == CAMERA_FRAME and said[0].objects[0].position_m == pytest.approx([0, 0, 2.0], abs=1e-9)
    assert said[0].objects[0].size_m.tolist() == [0.1, 0.2, 0.3]


def test_a_converted_model_answers_what_it_sees(files: TamingReference, tmp_path: Path) -> None:
    assert convert(tmp_path, "--tasks", "I->3", "I+3+Q->A") == 0
    pipeline = KyvoPipeline(load_model(tmp_path / "model"), device="cpu")
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    pipeline.check_asked(image=True, scene=False)
    answer = pipeline.answer("How many things are there?", pipeline.recognize(image), image=image)
    assert answer.program is None and answer.text in answer_words(pipeline.schema)


@pytest.mark.parametrize(("options", "order"), [
    (["--tasks", "I->3", "I+3+Q->A"], "raster"),
    ([], "raster"), (["--tasks", "3->I"], "alternating"), (["--tasks", "3->I", "--image-order", "raster"], "raster"),
    (["--tasks", "I->3", "3->I"], "raster")])
def test_the_order_of_what_is_drawn(
        files: TamingReference, tmp_path: Path, options: list[str], order: str) -> None:
    assert convert(tmp_path, *options) == 0
    assert json.loads((tmp_path / "model" / "config.json").read_text())["decoder"]["image_order"] == order


def test_a_trained_decoder_brings_its_tasks_and_its_order(files: TamingReference, tmp_path: Path) -> None:
    assert convert(tmp_path) == 0
    weights = load_model(tmp_path / "model", dtype="bfloat16").decoder.state_dict()
    replace_decoder(tmp_path / "model", tmp_path / "drawing", weights, ("3->I",), "alternating")
    replace_decoder(tmp_path / "model", tmp_path / "seeing", weights)
    before, drawing, seeing = (load_model(tmp_path / name) for name in ("model", "drawing", "seeing"))
    assert drawing.tasks == ("3->I",) and seeing.tasks == ("I->3",)
    assert drawing.decoder.config == replace(before.decoder.config, image_order="alternating")
    assert seeing.decoder.config == before.decoder.config


def test_the_way_back_is_bit_exact(files: TamingReference, tmp_path: Path) -> None:
    assert convert(tmp_path) == 0
    assert main(["convert", "--to-published", str(tmp_path / "model"), "--out", str(tmp_path / "back.pt")]) == 0
    before, after = (torch.load(tmp_path / name) for name in ("meta_model_9.pt", "back.pt"))
    assert before.keys() == after.keys() and all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_the_image_tokenizer_goes_back_bit_by_bit(files: TamingReference, tmp_path: Path) -> None:
    codebook, vqgan = tmp_path / "back" / "codebook.npy", tmp_path / "back" / "vqgan.ckpt"
    assert convert(tmp_path) == 0
    assert main(["convert", "--to-published", str(tmp_path / "model"), "--out", str(tmp_path / "back.pt"),
                 "--codebook-out", str(codebook), "--vqgan-out", str(vqgan)]) == 0
    expected = files.tensors["quantize.embedding.weight"]
    assert np.load(codebook).dtype == np.float32 and torch.equal(read_codebook(codebook), expected)
    written = torch.load(vqgan, weights_only=True)["state_dict"]
    assert written.keys() == files.tensors.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in files.tensors.items())
    again = tmp_path / "again"
    assert convert(tmp_path, "--vqgan", str(vqgan), "--codebook", str(codebook), "--out", str(again)) == 0
    files_of = [(tmp_path / "model" / name, again / name) for name in ("image_tokenizer.safetensors",
                                                                       "decoder.safetensors")]
    assert all(one.read_bytes() == other.read_bytes() for one, other in files_of)


def test_it_can_be_saved_as_any_other_model(files: TamingReference, tmp_path: Path) -> None:
    assert convert(tmp_path) == 0
    bundle = load_model(tmp_path / "model")
    save_model(tmp_path / "again", bundle)
    again = load_model(tmp_path / "again")
    assert again.image_tokenizer.config == bundle.image_tokenizer.config and again.schema == bundle.schema
    assert torch.allclose(again.image_tokenizer.codebook, bundle.image_tokenizer.codebook, atol=1e-3)


@pytest.mark.parametrize(("options", "message"), [
    (["--tokenizer", "absent"], "there is no absent/tokenizer.json"),
    (["--vqgan", "absent.ckpt"], "there is no checkpoint absent.ckpt"),
    (["--names", "ghost"], "expected 'ghost' to be a single text token"),
    (["--layout", "objectron"], "the scenes of Objectron need the names of its categories"),
])
def test_what_is_missing_is_named(
        files: TamingReference, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    code = convert(tmp_path, *options)
    assert code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(("options", "message"), [
    (["--to-published", ".", "--vqgan", "last.ckpt"], "--vqgan belongs to --from-published"),
    (["--from-published", "x.pt", "--codebook-out", "c.npy"], "--vqgan-out belong to --to-published"),
    (["--from-published", "x.pt", "--tasks", "3->I"], "give its image tokenizer too (--vqgan, --vqgan-config)"),
    (["--from-published", "x.pt", "--vqgan", "v", "--vqgan-config", "y", "--image-order", "alternating"],
     "a model that sees them reordered is not supported"),
])
def test_options_that_do_not_belong_together(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str) -> None:
    assert main(["convert", *options, "--out", str(tmp_path / "x")]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_a_checkpoint_that_holds_code_is_not_run(
        files: TamingReference, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files.write(tmp_path, callbacks={collections.UserDict: {"best": 1}})  # Lightning keys callbacks by their class
    assert convert(tmp_path) == 2
    error = capsys.readouterr().err
    assert "holds more than tensors" in error and "d.get('state_dict', d)" in error and "pytorch-lightning" in error
    command = error.split('python -c "')[1].split('"')[0]
    exec(command)  # what the message says to do
    reread = read_vqgan(tmp_path / "last.tensors.pt", tmp_path / "project.yaml")
    assert torch.equal(reread.codebook, files.tensors["quantize.embedding.weight"])


def test_the_image_tokenizer_of_another_model(
        files: TamingReference, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TamingReference(seed=1).write(tmp_path)
    assert convert(tmp_path) == 2
    assert f"{CODES} of {CODES} codes in the image tokenizer are not those" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()

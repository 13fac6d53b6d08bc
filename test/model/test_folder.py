"""Model folders: what is saved comes back, and every fault is named."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kyvo_ros.autoencoders.canonical import CanonicalCamera
from kyvo_ros.autoencoders.image_tokenizer import ImageTokenizer, ImageTokenizerConfig
from kyvo_ros.model.config import DecoderConfig
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.folder import ModelBundle, ModelFolderError, load_model, save_calibration, save_model
from kyvo_ros.scene import Calibration
from kyvo_ros.tokens import CLEVR_SCHEMA, TextTokenizer, Vocabulary, train_text_tokenizer

FILES = ("config.json", "decoder.safetensors", "image_tokenizer.safetensors", "tokenizer.json")
TENSOR = "blocks.0.qkv.weight"


@pytest.fixture(scope="module")
def bundle(text_tokenizer: TextTokenizer) -> ModelBundle:
    torch.manual_seed(0)
    image_tokenizer = ImageTokenizer(ImageTokenizerConfig(24, 16, (4, 4, 8), (0, 1, 1), 1024, 8)).eval()
    config = DecoderConfig(Vocabulary.small(), dim=32, layers=2, heads=4, kv_heads=2, ffn_dim=48, max_length=200,
                           code_dim=8, image_grid=(2, 3))
    return ModelBundle(
        name="tiny", vocabulary=config.vocabulary, schema=replace(CLEVR_SCHEMA, metres_per_unit=0.5),
        text_tokenizer=text_tokenizer, decoder=Decoder(config, image_tokenizer.codebook).eval(),
        image_tokenizer=image_tokenizer, canonical=CanonicalCamera(24, 16, 26.0, 26.0, 12.0, 7.5))


@pytest.fixture(scope="module")
def saved(bundle: ModelBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "deep" / "tiny"
    save_model(folder, bundle)
    return folder


@pytest.fixture()
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy to break, whose manifest would tell of it first."""
    return shutil.copytree(saved, tmp_path / "tiny", ignore=shutil.ignore_patterns("SHA256SUMS"))


def change_config(folder: Path, change: Callable[[dict], object]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def change_tensors(path: Path, change: Callable[[dict], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_a_folder_gives_back_the_model(bundle: ModelBundle, saved: Path) -> None:
    loaded = load_model(saved)
    for name in ("name", "vocabulary", "schema", "canonical"):
        assert getattr(loaded, name) == getattr(bundle, name)
    assert loaded.decoder.config == bundle.decoder.config
    assert loaded.image_tokenizer.config == bundle.image_tokenizer.config
    assert loaded.text_tokenizer.encode(" large red cube") == bundle.text_tokenizer.encode(" large red cube")
    assert loaded.builder.image_grid == (2, 3) and loaded.grammar.max_length == bundle.grammar.max_length
    assert not loaded.decoder.training and not loaded.image_tokenizer.training
    for module, original in ((loaded.decoder, bundle.decoder), (loaded.image_tokenizer, bundle.image_tokenizer)):
        expected = original.state_dict()
        for name, tensor in module.state_dict().items():
            rounded = expected[name].half().float() if expected[name].ndim > 1 else expected[name]
            assert torch.equal(tensor, rounded), name
    ids = torch.arange(12).unsqueeze(0)
    with torch.no_grad():
        assert torch.allclose(loaded.decoder(ids), bundle.decoder(ids), atol=1e-2)


def test_a_second_round_changes_nothing(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("a card")
    save_model(tmp_path, load_model(saved))
    assert (tmp_path / "README.md").read_text() == "a card"
    for file in saved.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_calibration_comes_back_and_leaves_the_rest(folder: Path, saved: Path) -> None:
    calibration = Calibration({"color": 0.7, "shape": 1.2}, 1.5, (0.5, 2.0))
    save_calibration(folder, calibration)
    assert load_model(folder).calibration == calibration
    before, after = (json.loads((place / "config.json").read_text()) for place in (saved, folder))
    assert before.pop("calibration") == Calibration().to_dict() and after.pop("calibration") == calibration.to_dict()
    assert before == after and {p.name for p in folder.iterdir()} == set(FILES)
    save_model(folder, load_model(folder))
    assert load_model(folder).calibration == calibration


def test_a_folder_from_before_calibrations(folder: Path) -> None:
    change_config(folder, lambda c: c.pop("calibration"))
    assert load_model(folder).calibration == Calibration()


def test_a_calibration_that_cannot_be_written_loses_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / "config.json").read_bytes()

    def full_disk(handle: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space left"):
        save_calibration(folder, Calibration())
    assert (folder / "config.json").read_bytes() == before and {p.name for p in folder.iterdir()} == set(FILES)


def test_matrices_in_bytes_take_half_the_room_and_come_back_to_a_step_of_their_row(
        bundle: ModelBundle, saved: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "small", bundle, "int8")
    small, large = ((folder / "decoder.safetensors").stat().st_size for folder in (tmp_path / "small", saved))
    assert small < 0.6 * large
    loaded = load_model(tmp_path / "small")
    for module, original in ((loaded.decoder, bundle.decoder), (loaded.image_tokenizer, bundle.image_tokenizer)):
        expected = original.state_dict()
        for name, tensor in module.state_dict().items():
            if tensor.ndim < 2:
                assert torch.equal(tensor, expected[name]), name
                continue
            error, step = (tensor - expected[name]).flatten(1).abs().amax(1), expected[name].flatten(1).abs().amax(1) / 127
            assert (error <= 0.501 * step + 1e-9).all(), name
    with pytest.raises(ValueError, match="storage must be one of .*got 'int4'"):
        save_model(tmp_path / "other", bundle, "int4")
    assert not (tmp_path / "other").exists()


def test_bytes_without_their_scales_are_no_weights(bundle: ModelBundle, tmp_path: Path) -> None:
    save_model(tmp_path / "small", bundle, "int8")
    (tmp_path / "small" / "SHA256SUMS").unlink()
    change_tensors(tmp_path / "small" / "decoder.safetensors", lambda tensors: tensors.pop(f"{TENSOR}:scale"))
    with pytest.raises(ModelFolderError, match=rf"{TENSOR} has whole numbers .* no {TENSOR}:scale"):
        load_model(tmp_path / "small")


def test_matrices_are_stored_in_half_precision_and_the_codebook_once(saved: Path) -> None:
    decoder = load_file(saved / "decoder.safetensors")
    assert {t.dtype for t in decoder.values() if t.ndim > 1} == {torch.float16}
    assert {t.dtype for t in decoder.values() if t.ndim < 2} == {torch.float32}
    assert "embedding.codebook" not in decoder
    assert "quantizer.codebook" in load_file(saved / "image_tokenizer.safetensors")


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"there is no model folder .*absent; train a model with `kyvo train`"):
        load_model(tmp_path / "absent")


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(ModelFolderError, match=rf"{file} is missing; a model folder holds"):
        load_model(folder)


@pytest.mark.parametrize(("file", "message"), [
    ("config.json", "config.json is broken JSON"),
    ("decoder.safetensors", "decoder.safetensors is not a whole safetensors file"),
    ("image_tokenizer.safetensors", "image_tokenizer.safetensors is not a whole safetensors file"),
    ("tokenizer.json", "is not a tokenizer.json"),
])
def test_a_file_cut_short(folder: Path, file: str, message: str) -> None:
    (folder / file).write_bytes((folder / file).read_bytes()[:-100])
    with pytest.raises(ModelFolderError, match=message):
        load_model(folder)


def test_weights_that_were_never_fetched(folder: Path) -> None:
    (folder / "decoder.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ModelFolderError, match="decoder.safetensors is not a whole safetensors file"):
        load_model(folder)


@pytest.mark.parametrize(("change", "message"), [
    (lambda c: c.update(format_version=2), "format_version 2, this package reads 1"),
    (lambda c: c.pop("format_version"), "format_version None"),
    (lambda c: c.pop("schema"), "lacks the section 'schema'"),
    (lambda c: c["decoder"].pop("dim"), "section 'decoder' .* is broken: TypeError.*dim"),
    (lambda c: c["decoder"].update(depth=3), "section 'decoder' .* is broken: TypeError.*depth"),
    (lambda c: c["decoder"].update(heads=5), "section 'decoder' .* is broken: ValueError: dim 32 is not a multiple"),
    (lambda c: c["decoder"].pop("vocabulary"), "section 'decoder' .* is broken: KeyError: 'vocabulary'"),
    (lambda c: c.update(decoder=[1]), "section 'decoder' .* is broken"),
    (lambda c: c["image_tokenizer"].update(width=25), "section 'image_tokenizer' .* is broken"),
    (lambda c: c["canonical"].update(width=0), "section 'canonical' .* is broken"),
    (lambda c: c["canonical"].update(width=32), "makes 32x16 images, the image tokenizer reads 24x16"),
    (lambda c: c["decoder"].update(image_grid=[3, 2]), r"makes \(2, 3\) codes, the decoder reads \(3, 2\)"),
    (lambda c: c.update(calibration={"place_temperature": 0}), "section 'calibration' .* is broken: ValueError: place"),
    (lambda c: c.update(calibration={"warmth": 1.0}), "section 'calibration' .* is broken: TypeError.*warmth"),
    (lambda c: c.update(calibration=[1.0]), "section 'calibration' .* is broken"),
    (lambda c: c.update(calibration={"attribute_temperatures": {"taste": 2.0}}), r"the schema lacks: \['taste'\]"),
    (lambda c: c["decoder"].update(code_dim=9), "decoder and image tokenizer do not fit: codebook must be"),
])
def test_a_configuration_that_is_wrong(folder: Path, change: Callable[[dict], object], message: str) -> None:
    change_config(folder, change)
    with pytest.raises(ModelFolderError, match=message):
        load_model(folder)


def test_a_configuration_that_is_no_object(folder: Path) -> None:
    (folder / "config.json").write_text("[]")
    with pytest.raises(ModelFolderError, match="must hold a JSON object, got a list"):
        load_model(folder)


@pytest.mark.parametrize(("change", "message"), [
    (lambda t: t.pop(TENSOR), rf"{TENSOR} is missing"),
    (lambda t: t.update(extra=torch.zeros(1)), "extra is unknown"),
    (lambda t: t.update({TENSOR: torch.zeros(3, 4)}), rf"{TENSOR} has shape \(3, 4\), expected \(64, 32\)"),
    (lambda t: t[TENSOR].fill_(float("nan")), rf"{TENSOR} is not finite"),
    (lambda t: t.clear(), "norm.weight is missing"),
])
def test_a_tensor_that_does_not_fit(folder: Path, change: Callable[[dict], object], message: str) -> None:
    change_tensors(folder / "decoder.safetensors", change)
    whole = rf"decoder.safetensors does not fit config.json: .*{message}.*copy or train"
    with pytest.raises(ModelFolderError, match=whole):
        load_model(folder)


def test_all_tensors_that_do_not_fit_are_named_at_once(folder: Path) -> None:
    change_config(folder, lambda c: c["decoder"].update(layers=3, ffn_dim=50))
    message = r"blocks.2.qkv.weight is missing.*blocks.1.down.weight has shape \(32, 48\)"
    with pytest.raises(ModelFolderError, match=message):
        load_model(folder)


def test_words_that_the_text_tokenizer_lacks(folder: Path) -> None:
    train_text_tokenizer([], ["only", "these"]).save(folder / "tokenizer.json")
    message = "tokenizer.json and the schema in config.json do not fit: expected 'large'"
    with pytest.raises(ModelFolderError, match=message):
        load_model(folder)


def test_diverged_weights_are_not_saved(saved: Path, tmp_path: Path) -> None:
    loaded = load_model(saved)
    with torch.no_grad():
        loaded.decoder.head.weight[0, 0] = 1e6
    with pytest.raises(ModelFolderError, match=r"head.weight of decoder.safetensors is not finite in torch.float16"):
        save_model(tmp_path / "new", loaded)
    assert not (tmp_path / "new").exists()


def test_parts_of_different_models_make_no_bundle(bundle: ModelBundle) -> None:
    with pytest.raises(ModelFolderError, match="vocabulary is not the decoder's"):
        replace_part(bundle, vocabulary=Vocabulary.paper())
    with pytest.raises(ModelFolderError, match="another codebook"):
        replace_part(bundle, image_tokenizer=ImageTokenizer(bundle.image_tokenizer.config))


def replace_part(bundle: ModelBundle, **part) -> ModelBundle:
    names = ("name", "vocabulary", "schema", "text_tokenizer", "decoder", "image_tokenizer", "canonical")
    return ModelBundle(**{**{name: getattr(bundle, name) for name in names}, **part})


@pytest.mark.cuda
def test_loading_to_a_gpu(saved: Path) -> None:
    loaded = load_model(saved, device="cuda")
    assert loaded.decoder.head.weight.is_cuda and loaded.image_tokenizer.codebook.is_cuda

"""The manifest of a model folder: a file that was damaged, swapped or added is named before it is read."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_model import tiny_bundle

from kyvo_ros.cli import main
from kyvo_ros.model.checksums import MANIFEST, verify_checksums
from kyvo_ros.model.files import LISTED_FILES, TRAINING_HEADS, read_training_heads
from kyvo_ros.model.folder import FILES, ModelFolderError, load_decoder, load_model, save_calibration, save_model
from kyvo_ros.scene import Calibration

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path / "tiny", tiny_bundle())
    return tmp_path / "tiny"


def _append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def test_what_is_saved_passes_and_sha256sum_agrees(folder: Path) -> None:
    assert {line.split()[1] for line in (folder / MANIFEST).read_text().splitlines()} == set(FILES)
    assert load_model(folder).name == "tiny"
    done = subprocess.run(["sha256sum", "-c", MANIFEST], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("load", [load_model, load_decoder])
def test_a_file_that_was_changed_is_named(folder: Path, name: str, load: Callable) -> None:
    _append(folder / name)  # JSON and the tokenizer would still be read
    with pytest.raises(ModelFolderError, match=f"{name} is not the file that SHA256SUMS describes"):
        load(folder)


def test_a_file_that_the_manifest_does_not_know_is_not_read(folder: Path) -> None:
    path = folder / MANIFEST
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "decoder" not in line))
    with pytest.raises(ModelFolderError, match="does not list decoder.safetensors"):
        load_model(folder)


@pytest.mark.parametrize("text", ["nonsense", "00  config.json", "z" * 64 + "  config.json"])
def test_a_broken_manifest_is_named(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text + "\n")
    with pytest.raises(ModelFolderError, match="SHA256SUMS is broken at"):
        load_model(folder)


def test_missing_files_keep_their_own_words_and_folders_without_a_manifest_load(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    assert load_model(folder).name == "tiny" and not verify_checksums(folder, FILES)
    save_model(folder, tiny_bundle())
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelFolderError, match="tokenizer.json is missing"):
        load_model(folder)


def test_heads_of_training_are_listed_and_no_matter_of_running(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert read_training_heads(folder) == {}
    heads = torch.nn.ModuleDict({"image": torch.nn.Linear(3, 2)})
    save_model(folder, tiny_bundle(), heads=heads)
    found = read_training_heads(folder)
    assert torch.equal(found["image.weight"], heads["image"].weight.half()) and set(found) == {"image.weight", "image.bias"}
    assert set(LISTED_FILES) - set(FILES) == {TRAINING_HEADS, "shape_tokenizer.safetensors"}
    assert TRAINING_HEADS in (folder / MANIFEST).read_text()
    _append(folder / TRAINING_HEADS)
    assert load_model(folder).name == "tiny", "not read"
    with pytest.raises(ModelFolderError, match="training_heads.safetensors is not the file that SHA256SUMS describes"):
        read_training_heads(folder)
    assert main(["checksums", str(folder)]) == 0 and TRAINING_HEADS in capsys.readouterr().out
    save_model(folder, tiny_bundle())
    assert not (folder / TRAINING_HEADS).exists() and TRAINING_HEADS not in (folder / MANIFEST).read_text(), "of another"


def test_a_calibration_renews_its_own_line_only(folder: Path) -> None:
    save_calibration(folder, Calibration(attribute_temperatures={"color": 2.0}))
    assert load_model(folder).calibration.attribute_temperatures == {"color": 2.0}
    _append(folder / "tokenizer.json")
    with pytest.raises(ModelFolderError, match="tokenizer.json is not the file"):
        save_calibration(folder, Calibration())


def test_the_manifest_can_be_written_anew(folder: Path, capsys: pytest.CaptureFixture) -> None:
    _append(folder / "config.json")
    assert main(["checksums", str(folder)]) == 0
    assert "config.json" in capsys.readouterr().out and load_model(folder).name == "tiny"
    assert main(["checksums", str(folder / "nowhere")]) == 2
    assert "no model folder" in capsys.readouterr().err


def test_the_shipped_model_is_the_one_of_its_manifest() -> None:
    folder = ROOT / "models" / "clevr-nano"
    assert verify_checksums(folder, FILES), f"kyvo checksums {folder.relative_to(ROOT)}"

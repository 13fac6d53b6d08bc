"""Shapes by a model without sense: valid, the same however computed, and what parallel rows do and do not see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_model import tiny_shape_bundle

from kyvo_ros.model.config import DecoderConfig
from kyvo_ros.model.decoder import Decoder, SequenceError
from kyvo_ros.model.files import SHAPE_TOKENIZER
from kyvo_ros.model.folder import ModelBundle, ModelFolderError, load_model, save_model
from kyvo_ros.model.generation import choose_shape, generate, streams_of
from kyvo_ros.model.inference import CachedDecoder
from kyvo_ros.model.shapes import SHAPE_TEMPERATURE, ShapeWriter, write_shapes
from kyvo_ros.model.tasks import UntrainedTaskError
from kyvo_ros.tokens import Vocabulary


@pytest.fixture(scope="module", params=[(), (True,), (False, True), (True, True)],
                ids=["codes alone", "with their object", "layouts with it", "both with it"])
def bundle(request) -> ModelBundle:
    """A model that sees several objects in the image below, in either order."""
    for seed in range(100):
        found = tiny_shape_bundle(seed, *request.param)
        if all(len(scene) > 1 for scene in map(scene_of(found), ("parallel", "sequence"))):
            return found
    raise AssertionError("no random decoder writes several objects")


@pytest.fixture(scope="module")
def cells(bundle: ModelBundle) -> np.ndarray:
    return bundle.canonical.cells(None, bundle.builder.image_grid)


def writer_of(bundle: ModelBundle) -> ShapeWriter:
    return ShapeWriter(CachedDecoder(bundle.decoder), bundle.builder, bundle.grammar, bundle.tasks,
                       bundle.shape_tokenizer)


def image_codes() -> np.ndarray:
    return np.random.default_rng(3).integers(1024, size=(5, 8))


def scene_of(bundle: ModelBundle):
    def see(order: str, **options):
        cells = bundle.canonical.cells(None, bundle.builder.image_grid)
        written = writer_of(bundle).write(image_codes(), cells, order, **options)
        assert len(written.token_ids) == len(written.distributions)
        return bundle.grammar.decode_scene(written.token_ids, written.distributions)
    return see


def prompt_of(bundle: ModelBundle) -> torch.Tensor:
    return torch.from_numpy(bundle.builder.prompt("I->S", image_codes=image_codes()).token_ids)[None]


def test_the_first_object_is_the_same_in_either_order(bundle: ModelBundle) -> None:
    """It depends on the same tokens; those that follow see earlier codes in sequence order alone."""
    see = scene_of(bundle)
    parallel, sequence = see("parallel"), see("sequence")
    first, same = parallel.objects[0], sequence.objects[0]
    assert np.array_equal(first.shape_codes, same.shape_codes) and first.attributes == same.attributes
    assert first.position_m == pytest.approx(same.position_m, abs=1e-4)
    assert all(len(item.shape_codes) == 8 for item in (*parallel.objects, *sequence.objects))


def test_a_scene_of_one_object_is_the_same_in_either_order(bundle: ModelBundle) -> None:
    alone = replace(bundle, schema=replace(bundle.schema, max_objects=1))
    (one,), (other,) = (scene_of(alone)(order).objects for order in ("parallel", "sequence"))
    assert np.array_equal(one.shape_codes, other.shape_codes)
    assert one.confidence == pytest.approx(other.confidence, abs=1e-4)


@pytest.fixture(params=[1, 2, 3])
def threads(request) -> Iterator[int]:
    """So many of torch's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_rows_are_as_whole_forward_passes_over_the_layout_before_them(bundle: ModelBundle, cells: np.ndarray,
                                                                      threads: int) -> None:
    """Object after object by the plainest decoding, each behind the layout of those before it; groups of rows share the
    threads.
    """
    prompt, grammar = prompt_of(bundle), bundle.grammar
    ground = torch.from_numpy(cells)[None]
    (layout,) = generate(bundle.decoder, prompt, grammar=grammar.layout, cells=ground, prefix_length=42)
    rows = write_shapes(CachedDecoder(bundle.decoder), prompt, layout.token_ids, grammar, cells=ground,
                        prefix_length=42)
    assert torch.get_num_threads() == threads
    codes, marker = bundle.vocabulary.range("shape"), bundle.vocabulary.structure_id("[SHAPE]")
    ends = grammar.object_ends(layout.token_ids)
    assert rows.shape == (len(ends), 8) and len(ends) > 1
    for end, row, stream in zip(ends, rows, streams_of(0, range(len(ends)))):
        ids = torch.cat([prompt, torch.tensor([[*layout.token_ids[:end], marker]])], dim=1)
        for _ in range(8):
            with torch.no_grad():
                logits = bundle.decoder(ids, cells=ground, prefix_length=42)[0, -1, codes.start:codes.stop]
            chosen = choose_shape(logits.numpy(), SHAPE_TEMPERATURE, None, stream)
            ids = torch.cat([ids, torch.tensor([[chosen + codes.start]])], dim=1)
        assert (ids[0, -8:] - codes.start).tolist() == row.tolist()


def test_sampling_follows_its_seed(bundle: ModelBundle) -> None:
    def codes(**options) -> list[int]:
        return [c for item in scene_of(bundle)("parallel", **options).objects for c in item.shape_codes]
    assert codes() == codes(seed=0) == codes(seed=1), "the likeliest"
    assert codes(shape_temperature=1.0) == codes(shape_temperature=1.0, seed=0) != codes(shape_temperature=1.0, seed=1)
    assert codes(temperature=1.0, seed=1) == codes(temperature=1.0, seed=1) != codes(temperature=1.0, seed=2)


def test_surfaces_come_as_often_as_their_codes_together_say() -> None:
    """Each of them is less likely than outside, all of them are not."""
    shares = np.array([0.3, 0.1, *[0.06] * 10])
    logits, stream = np.log(shares) + 7.0, np.random.default_rng(0)
    many = np.array([choose_shape(logits, 1.0, None, stream) for _ in range(2000)])
    assert (many == 0).mean() == pytest.approx(0.3, abs=0.05) and (many == 1).mean() == pytest.approx(0.1, abs=0.03)
    assert set(many) == set(range(12))
    assert {choose_shape(logits, 0.0, None, stream) for _ in range(20)} == {2}, "a surface is likelier than none"
    assert {choose_shape(logits, 1e-3, None, stream) for _ in range(20)} <= set(range(2, 12)), "colder, so it is surer"
    assert {choose_shape(np.array([9.0, 8.0, 8.0]), 0.0, None, stream)} == {0}
    assert {choose_shape(np.array([-50.0, 9.0, -50.0]), 1.0, None, stream) for _ in range(20)} == {1}


def test_the_place_of_a_code_matters_and_starts_again_with_each_shape(bundle: ModelBundle) -> None:
    embedding, first = bundle.decoder.embedding, bundle.vocabulary.range("shape").start
    with torch.no_grad():
        vectors = embedding(torch.full((1, 17), first))[0]
    assert torch.equal(vectors[:8], vectors[8:16]) and torch.equal(vectors[16], vectors[0])
    assert len(torch.unique(vectors[:8], dim=0)) == 8


def test_what_cannot_be_written_is_named(bundle: ModelBundle, cells: np.ndarray) -> None:
    decoder = CachedDecoder(bundle.decoder)
    with pytest.raises(UntrainedTaskError, match="not trained for task I->S, the shapes of objects"):
        untrained = ShapeWriter(decoder, bundle.builder, bundle.grammar, ("I->3",), bundle.shape_tokenizer)
        untrained.write(image_codes(), cells)
    with pytest.raises(ValueError, match="order must be one of"):
        writer_of(bundle).write(image_codes(), cells, "backwards")
    layout = [bundle.vocabulary.structure_id("[OBJECT-END]")] * 120
    with pytest.raises(SequenceError, match="more than max_length 160"):
        write_shapes(decoder, prompt_of(bundle), layout, bundle.grammar)
    assert write_shapes(decoder, prompt_of(bundle), [], bundle.grammar).shape == (0, 8)
    with pytest.raises(ValueError, match="vocabulary without shape codes"):
        DecoderConfig(**{**vars(bundle.decoder.config), "vocabulary": Vocabulary.small()})


def test_the_folder_holds_the_shape_tokenizer(bundle: ModelBundle, tmp_path) -> None:
    save_model(tmp_path, bundle)
    loaded = load_model(tmp_path)
    grids = loaded.shape_tokenizer.decode(torch.arange(8)[None])
    assert torch.allclose(grids, bundle.shape_tokenizer.decode(torch.arange(8)[None]), atol=0.02)
    assert loaded.schema == bundle.schema and loaded.decoder.config.shape_length == 8
    assert SHAPE_TOKENIZER in (tmp_path / "SHA256SUMS").read_text()
    (tmp_path / SHAPE_TOKENIZER).write_bytes(b"other")
    with pytest.raises(ModelFolderError, match="not the file that SHA256SUMS describes"):
        load_model(tmp_path)


def test_parts_of_different_models_do_not_fit(bundle: ModelBundle) -> None:
    with pytest.raises(ModelFolderError, match="if, and only if, its schema has shapes"):
        replace(bundle, shape_tokenizer=None)
    other = replace(bundle.decoder.config, shape_length=4)
    with pytest.raises(ModelFolderError, match="the decoder of 4; they belong"):
        replace(bundle, decoder=Decoder(other, bundle.image_tokenizer.codebook))

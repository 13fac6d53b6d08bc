"""The unified embedding: what each modality carries, and where image tokens lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tiny_model import tiny_shape_bundle

from kyvo_ros.model.config import DecoderConfig
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.embedding import INIT_STD, WAVELENGTHS, UnifiedEmbedding, plane_features, sincos_features
from kyvo_ros.tokens import Vocabulary

VOCABULARY = Vocabulary.small()
IMAGE, NUMBERS = VOCABULARY.range("image"), VOCABULARY.range("numbers")


@pytest.fixture(scope="module")
def embedding(decoder: Decoder) -> UnifiedEmbedding:
    return decoder.embedding


def image_rows(embedding: UnifiedEmbedding, images: int = 1) -> torch.Tensor:
    """(1, S) a word, then images that repeat one code, each followed by a word."""
    row = [3]
    for _ in range(images):
        row += [IMAGE.start + 7] * embedding.config.cells + [4]
    return torch.tensor([row])


def test_features_span_their_wavelengths() -> None:
    values = torch.tensor([0.0, WAVELENGTHS[0], WAVELENGTHS[1]])
    features = sincos_features(values, 16)
    assert features.shape == (3, 16)
    assert torch.allclose(features[0], torch.cat((torch.zeros(8), torch.ones(8))))
    assert torch.allclose(features[1, [0, 8]], torch.tensor([0.0, 1.0]), atol=1e-4)  # a whole turn of the first
    assert torch.allclose(features[2, [7, 15]], torch.tensor([0.0, 1.0]), atol=1e-4)  # and of the last


def test_neighbouring_numbers_are_close_and_all_are_told_apart() -> None:
    features = sincos_features(torch.as_tensor(VOCABULARY.numbers.values()), 32)
    distances = torch.cdist(features, features).fill_diagonal_(99.0)
    assert distances.min() > 0.1
    steps = distances.argmin(1) - torch.arange(len(features))
    assert set(steps.abs().tolist()) == {1}


def test_a_number_carries_the_features_of_the_cell_where_it_points(embedding: UnifiedEmbedding) -> None:
    value = VOCABULARY.numbers.values()[50]
    point = torch.tensor([value, value], dtype=torch.float32)
    assert torch.allclose(embedding.number_features[50], plane_features(point, embedding.config.dim), atol=1e-6)


def test_table_sums_what_is_known_of_an_id(embedding: UnifiedEmbedding) -> None:
    table, learned = embedding.table(), embedding.learned.weight
    number, code = NUMBERS.start + 5, IMAGE.start + 9
    assert torch.allclose(table[number], learned[number] + embedding.number_scale * embedding.number_features[5])
    assert torch.allclose(table[code], learned[code] + embedding.code_projection(embedding.codebook[9]), atol=1e-6)
    for plain in (0, VOCABULARY.text_size - 1, VOCABULARY.structure_id("[PAD]"), NUMBERS.stop):
        assert torch.equal(table[plain], learned[plain])


@pytest.mark.parametrize("kind", ["learned", "fixed"])
def test_numbers_may_be_embedded_by_one_part_alone(make_decoder: Callable[..., Decoder], kind: str) -> None:
    embedding = make_decoder(number_embedding=kind, number_head=False).embedding
    numbers = embedding.table()[NUMBERS.start:NUMBERS.stop]
    learned = embedding.learned.weight[NUMBERS.start:NUMBERS.stop]
    if kind == "learned":
        assert torch.equal(numbers, learned) and embedding.number_scale is None
    else:
        assert torch.equal(numbers, embedding.number_scale * embedding.number_features)


def test_image_tokens_carry_their_place_and_a_second_image_starts_again(embedding: UnifiedEmbedding) -> None:
    cells, ids = embedding.config.cells, image_rows(embedding, images=2)
    x = embedding(ids)[0]
    first, second = x[1:1 + cells], x[2 + cells:2 + 2 * cells]
    assert torch.equal(first, second)
    expected = embedding.table()[IMAGE.start + 7] + embedding.image_positions
    assert torch.allclose(first, expected, atol=1e-6)
    assert torch.equal(x[0], embedding.table()[3])


def test_ground_points_reach_their_own_cell_of_their_own_row(embedding: UnifiedEmbedding) -> None:
    count = embedding.config.cells
    ids = image_rows(embedding).repeat(2, 1)
    cells = torch.zeros(2, count, 2)
    moved = cells.clone()
    moved[1, 2] = torch.tensor([1.0, -2.0])
    difference = (embedding(ids, moved) - embedding(ids, cells)).abs().amax(-1)
    assert difference[1, 1 + 2] > 0.1
    difference[1, 1 + 2] = 0.0
    assert not difference.any()
    assert not torch.allclose(embedding(ids, cells), embedding(ids))


def test_without_ground_positions_cells_change_nothing(make_decoder: Callable[..., Decoder]) -> None:
    embedding = make_decoder(ground_positions=False).embedding
    ids = image_rows(embedding)
    assert torch.equal(embedding(ids, torch.ones(1, embedding.config.cells, 2)), embedding(ids))


def test_parts_start_at_one_scale(decoder: Decoder) -> None:
    config = decoder.config
    embedding = UnifiedEmbedding(config, 30.0 * torch.randn(len(IMAGE), config.code_dim))
    assert not embedding.learned.weight[IMAGE.start:].any()

    def size(x: torch.Tensor) -> float:
        return x.square().mean().sqrt().item()

    ground = embedding.places(4 * torch.randn(8, config.cells, 2)) - embedding.image_positions
    parts = {"words": embedding.learned.weight[:100], "codes": embedding.table()[IMAGE.start:],
             "numbers": embedding.number_scale * embedding.number_features, "places": embedding.image_positions,
             "ground": ground}
    for name, part in parts.items():
        assert 0.5 * INIT_STD < size(part) < 2.0 * INIT_STD, name


def test_every_part_but_the_codebook_learns(decoder: Decoder, cells: torch.Tensor) -> None:
    embedding = UnifiedEmbedding(decoder.config, torch.randn(len(IMAGE), decoder.config.code_dim))
    ids = torch.cat((image_rows(embedding), torch.tensor([[NUMBERS.start]])), dim=1)
    embedding(ids, cells[:1]).square().sum().backward()
    for name, parameter in embedding.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
    assert not embedding.codebook.requires_grad
    assert "codebook" in embedding.state_dict()


def test_wrong_shapes_are_named(embedding: UnifiedEmbedding) -> None:
    ids = image_rows(embedding)
    with pytest.raises(ValueError, match=r"cells must be \(B, 6, 2\), got \(1, 5, 2\)"):
        embedding(ids, torch.zeros(1, 5, 2))
    with pytest.raises(ValueError, match=r"cells must be \(2, 6, 2\) as the token ids have 2 rows, got \(3, 6, 2\)"):
        embedding(ids.repeat(2, 1), torch.zeros(3, 6, 2))
    with pytest.raises(ValueError, match=r"codebook must be \(1024, 8\).*got \(1024, 9\)"):
        UnifiedEmbedding(embedding.config, torch.zeros(1024, 9))


def test_the_paper_vocabulary_with_shape_codes_embeds() -> None:
    """Ids behind the image range exist there; a thin body keeps the table small."""
    config = DecoderConfig(Vocabulary.paper(), dim=4, layers=1, heads=1, kv_heads=1, ffn_dim=4, max_length=8,
                           code_dim=2, image_grid=(1, 2))
    embedding = UnifiedEmbedding(config, torch.randn(1024, 2))
    assert embedding(torch.tensor([[0, Vocabulary.paper().size - 1]])).shape == (1, 2, 4)


def written_row(embedding: UnifiedEmbedding) -> tuple[torch.Tensor, int]:
    """(1, S) an image in the prompt, the separator, an image in the target; and where [IMAGE-START] of it stands."""
    named, image = VOCABULARY.structure_id, [IMAGE.start + 7] * embedding.config.cells
    row = [3, named("[IMAGE-START]"), *image, named("[OUTPUT-SEP]"), named("[IMAGE-START]"), *image, 4]
    return torch.tensor([row]), 3 + len(image)


def test_a_written_token_carries_its_own_place_and_the_ground_of_the_next_cell(
        make_decoder: Callable[..., Decoder]) -> None:
    embedding = make_decoder(image_order="spiral").embedding
    order = embedding.order.tolist()
    assert order != sorted(order)
    ids, start = written_row(embedding)
    cells = 4 * torch.randn(1, embedding.config.cells, 2)
    found = embedding(ids, cells)[0] - embedding.table()[ids[0]]
    ground = (embedding.places(cells) - embedding.image_positions)[0]
    assert torch.allclose(found[start], ground[order[0]], atol=1e-5)
    for n, cell in enumerate(order[:-1]):
        assert torch.allclose(found[start + 1 + n], embedding.image_positions[cell] + ground[order[n + 1]], atol=1e-5)
    assert torch.allclose(found[start + len(order)], embedding.image_positions[order[-1]], atol=1e-5)
    assert torch.allclose(found[2:2 + len(order)], embedding.places(cells)[0], atol=1e-5), "prompts are read in raster"
    assert not found[[0, 1, start - 1, -1]].any()


def test_a_target_s_image_starts_at_its_first_cell_without_an_image_in_the_prompt(embedding: UnifiedEmbedding) -> None:
    ids, start = written_row(embedding)
    bare = torch.cat((ids[:, :1], ids[:, start - 1:]), dim=1)  # as in 3->I
    assert torch.equal(embedding(bare)[0, 1:], embedding(ids)[0, start - 1:])


def _object(x: float, y: float, yaw: bool, word: int = 3) -> list[int]:
    """[OBJECT-START] .. [OBJECT-END] with the words 7 and `word`, the location x y 0.5, and perhaps a yaw."""
    named, number = VOCABULARY.structure_id, lambda value: int(VOCABULARY.number_ids([value])[0])
    turn = [named("[POSE]"), number(0.4)] if yaw else []
    return [named("[OBJECT-START]"), named("[SIZE]"), 7, named("[COLOR]"), word, named("[LOCATION]"), number(x),
            number(y), number(0.5), *turn, named("[OBJECT-END]")]


def test_the_tokens_of_a_prompt_s_object_carry_where_it_stands_and_its_words(
        make_decoder: Callable[..., Decoder]) -> None:
    embedding = make_decoder(object_context=True).embedding
    named = VOCABULARY.structure_id
    objects = [[(1.0, -2.0, True, 3), (0.5, 0.0, False, 4)], [(-3.0, 4.0, False, 5), (2.0, 2.0, True, 3)]]
    scenes = [[token for item in row for token in _object(*item)] for row in objects]
    ids = torch.tensor([[named("[BOS]"), named("[SCENE-START]"), *scene, named("[SCENE-END]"), named("[OUTPUT-SEP]"),
                         *scene] for scene in scenes])  # the second time as a target
    found = embedding(ids) - embedding.table()[ids]
    for row, items in enumerate(objects):
        at = 2
        for x, y, yaw, word in items:
            count = len(_object(x, y, yaw, word))
            place = embedding.ground_projection(plane_features(torch.tensor([x, y]), embedding.config.dim))
            expected = place + embedding.table()[[7, word]].sum(dim=0)
            assert torch.allclose(found[row, at:at + count], expected.expand(count, -1), atol=1e-5)
            at += count
        assert not found[row, :2].any() and not found[row, at:].any()
    cell = torch.tensor([[[1.0, -2.0]]]).expand(1, embedding.config.cells, 2)
    shown = (embedding.places(cell) - embedding.image_positions)[0, 0] + embedding.table()[[7, 3]].sum(dim=0)
    assert torch.allclose(found[0, 2], shown, atol=1e-5), "as a cell that shows this point"
    assert make_decoder().embedding(ids).shape == found.shape  # by default they carry nothing of it
    plain = make_decoder().embedding
    assert not (plain(ids) - plain.table()[ids]).any()


def test_the_codes_of_a_written_shape_carry_where_their_object_stands_and_its_words() -> None:
    embedding = tiny_shape_bundle(shape_context=True).decoder.embedding
    vocabulary, shape = embedding.config.vocabulary, embedding.shape_ids
    named, number = vocabulary.structure_id, lambda value: int(vocabulary.number_ids([value])[0])

    def written(word: int, x: float, y: float, code: int) -> list[int]:
        return [named("[OBJECT-START]"), named("[TYPE]"), word, named("[LOCATION]"), number(x), number(y), number(0.5),
                named("[SHAPE]"), *[shape.start + code] * 8, named("[OBJECT-END]")]
    objects = [(3, 1.0, -2.0, 5), (4, 0.5, 0.0, 6)]
    ids = torch.tensor([[named("[BOS]"), named("[OUTPUT-SEP]"), named("[SCENE-START]"),
                         *(token for item in objects for token in written(*item)), named("[SCENE-END]")]])
    with torch.no_grad():
        table = embedding.table()
        found = embedding(ids)[0] - table[ids[0]]
        at = 3
        for word, x, y, _ in objects:
            own = embedding.ground_projection(plane_features(torch.tensor([x, y]), embedding.config.dim)) + table[word]
            assert not found[at:at + 7].any(), "what comes before the shape"
            assert torch.allclose(found[at + 7], own, atol=1e-5), "the marker"
            assert torch.allclose(found[at + 8:at + 16], own + embedding.shape_positions, atol=1e-5)
            assert torch.allclose(embedding.object_context(ids[0, at:at + 7].tolist(), table), own, atol=1e-5)
            assert not found[at + 16].any(), "[OBJECT-END]"
            at += 17
        plain = tiny_shape_bundle().decoder.embedding
        assert torch.allclose((plain(ids) - plain.table()[ids])[0, 11:19], plain.shape_positions, atol=1e-5)
    with pytest.raises(ValueError, match="set shape_length"):
        replace(tiny_shape_bundle().decoder.config, shape_context=True, shape_length=0)


@pytest.mark.parametrize("prompts_too", [False, True])
def test_what_is_written_of_an_object_carries_where_it_stands_and_the_words_before(
        make_decoder: Callable[..., Decoder], prompts_too: bool) -> None:
    embedding = make_decoder(written_context=True, object_context=prompts_too).embedding
    named, items = VOCABULARY.structure_id, [(1.0, -2.0, True, 3), (0.5, 0.0, False, 4)]
    late = [named("[MATERIAL]"), 9]  # behind the yaw, which does not know it
    scene = [token for item in items for own in [_object(*item)] for token in [*own[:-1], *late, own[-1]]]
    ids = torch.tensor([[named("[BOS]"), *scene, named("[OUTPUT-SEP]"), named("[SCENE-START]"), *scene,
                         named("[SCENE-END]")]])
    table = embedding.table()
    found = (embedding(ids) - table[ids])[0]
    at = len(scene) + 3
    assert bool(found[:at].any()) is prompts_too
    for x, y, yaw, word in items:
        count = len(_object(x, y, yaw, word)) + 2
        place = embedding.ground_projection(plane_features(torch.tensor([x, y]), embedding.config.dim))
        expected = place + table[[7, word]].sum(dim=0)
        assert not found[at:at + 7].any(), "up to its x"
        assert torch.allclose(found[at + 7:at + count], expected.expand(count - 7, -1), atol=1e-5)
        assert torch.allclose(embedding.object_context(ids[0, at:at + 8].tolist(), table), expected, atol=1e-5)
        at += count
    assert not found[at:].any()
    with pytest.raises(ValueError, match="ground_positions of cells"):
        make_decoder(written_context=True, ground_positions=False)


def test_prompts_without_whole_objects_carry_no_places(make_decoder: Callable[..., Decoder]) -> None:
    embedding = make_decoder(object_context=True, written_context=True).embedding
    named = VOCABULARY.structure_id
    for row in ([3, 4, 5], [named("[LOCATION]"), NUMBERS.start, NUMBERS.start + 1], [named("[OBJECT-END]"), 3, 4]):
        ids = torch.tensor([row])
        found = embedding(ids) - embedding.table()[ids]
        assert found.isfinite().all() and not found[:, 1:].any()
    cut = torch.tensor([_object(1.0, 2.0, False)[:6]])  # ends behind [LOCATION]
    assert embedding(cut).isfinite().all()
    with pytest.raises(ValueError, match="ground_positions of cells"):
        make_decoder(object_context=True, ground_positions=False)

"""The unified embedding: one stream of vectors for words, numbers, structure, image codes and shape codes.

Every id has a learned row. Numbers add fixed sin-cos features of their value; image codes add a projection of their
codebook vector, their place in the image, and the sin-cos features of the point of the support plane that their cell
shows. Numbers and cells go through the same features, so that attention can find the cell that a coordinate names.
Where an image is written, behind [OUTPUT-SEP], a token carries its own place in the image, where later ones will look
for it, and the ground point of the cell that comes next, for which the model must find what to draw. For that, the
tokens of an object in a prompt may carry the point where it stands, as cells carry theirs, and what all its words say
(`DecoderConfig.object_context`). The codes of a shape that is written may carry the same (`shape_context`): they have
to find in the image what they tell the form of, and the codes before them say so much that it is not learned from them.
So may what is written of an object from its location on (`written_context`), with the words before that.
Source: Kyvo (arXiv 2506.08002, section 3.2); ground positions are ours. The published code embeds with less
(`DecoderConfig.published_embedding`): numbers carry the sin-cos features of their index, image codes their projection.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kyvo_ros.model.config import DecoderConfig
from kyvo_ros.tokens.image_orders import written_order

#: Shortest and longest wavelength of the sin-cos features, in units of the scene: four steps of the grid to a scene.
WAVELENGTHS = (0.2, 20.0)
#: Standard deviation of every embedding at the start, so that no part drowns another.
INIT_STD = 0.02


def sincos_features(values: Tensor, count: int) -> Tensor:
    """(...,) values in scene units -> (..., count) sines, then cosines, over geometric wavelengths; count is even."""
    half = count // 2
    wavelengths = torch.logspace(*(math.log10(w) for w in WAVELENGTHS), half, device=values.device)
    phase = values.float().unsqueeze(-1) * (2 * math.pi / wavelengths)
    return torch.cat((phase.sin(), phase.cos()), dim=-1)


def plane_features(points: Tensor, count: int) -> Tensor:
    """(..., 2) points (x, y) of the support plane -> (..., count): the features of x, then of y; count % 4 == 0."""
    return sincos_features(points, count // 2).flatten(-2)


def index_features(count: int, dim: int) -> Tensor:
    """(count, dim) sin-cos features of 0 .. count - 1 as the published code has them: sines and cosines alternate."""
    frequencies = 10000.0 ** (-torch.arange(0, dim, 2, device="cpu").double() / dim)
    phase = torch.outer(torch.arange(count, device="cpu").double(), frequencies)
    return torch.stack((phase.sin(), phase.cos()), dim=-1).flatten(-2).float()


class UnifiedEmbedding(nn.Module):
    """Token ids, and the ground points of image cells, to vectors.

    `codebook` (K, code_dim) is kept as a buffer: it belongs to the image tokenizer and is not trained here.
    """

    def __init__(self, config: DecoderConfig, codebook: Tensor) -> None:
        super().__init__()
        self.config = config
        vocabulary, dim = config.vocabulary, config.dim
        self.image_ids, numbers = vocabulary.range("image"), vocabulary.range("numbers")
        self.shape_ids = vocabulary.range("shape")
        self._numbers = range(numbers.start, numbers.stop + config.numbers_overhang)
        if tuple(codebook.shape) != (len(self.image_ids), config.code_dim):
            raise ValueError(f"codebook must be ({len(self.image_ids)}, {config.code_dim}) as in the configuration, "
                             f"got {tuple(codebook.shape)}")
        self.register_buffer("codebook", codebook.detach().float().clone())
        ours = not config.published_embedding
        if ours:
            self.separator, self.image_start = map(vocabulary.structure_id, ("[OUTPUT-SEP]", "[IMAGE-START]"))
            order = torch.from_numpy(written_order(config.image_order, config.image_grid))
            self.register_buffer("order", order, persistent=False)
        if config.tells_objects:
            values = torch.from_numpy(vocabulary.numbers.values()).float()
            self._number_values = values  # no buffer, which would take the decoder's own precision
            self.object_marks = tuple(map(vocabulary.structure_id, ("[OBJECT-START]", "[OBJECT-END]", "[LOCATION]")))
            self.shape_mark = vocabulary.structure_id("[SHAPE]")
        # The published checkpoints hold their features, rounded to bfloat16; ours follow from the vocabulary.
        self.register_buffer("number_features", self._number_features(),
                             persistent=not ours and config.number_embedding != "learned")
        self.learned = nn.Embedding(vocabulary.size, dim)
        scaled = ours and config.number_embedding != "learned"
        self.number_scale = nn.Parameter(torch.empty(())) if scaled else None
        self.code_projection = nn.Linear(config.code_dim, dim, bias=False)
        self.image_positions = nn.Parameter(torch.empty(config.cells, dim)) if ours else None
        self.shape_positions = nn.Parameter(torch.empty(config.shape_length, dim)) if config.shape_length else None
        self.ground_projection = nn.Linear(dim, dim, bias=False) if config.ground_positions else None
        self._initialise()

    def _number_features(self) -> Tensor:
        """(numbers, D): what is fixed about the numbers, on the CPU."""
        if self.config.published_embedding:
            return index_features(len(self._numbers), self.config.dim)
        values = torch.from_numpy(self.config.vocabulary.numbers.values()).float()
        return plane_features(torch.stack((values, values), dim=-1), self.config.dim)

    def _initialise(self) -> None:
        """Every part at root mean square INIT_STD; the learned rows of image codes at zero."""
        unit = math.sqrt(2.0) * INIT_STD  # sines and cosines have a mean square of one half
        nn.init.normal_(self.learned.weight, std=INIT_STD)
        nn.init.zeros_(self.learned.weight[self.image_ids.start:self.image_ids.stop])
        if self.number_scale is not None:
            nn.init.constant_(self.number_scale, unit)
        length = self.codebook.norm(dim=-1).mean().clamp_min(1e-6).item()
        nn.init.normal_(self.code_projection.weight, std=INIT_STD / length)
        if self.image_positions is not None:
            nn.init.normal_(self.image_positions, std=INIT_STD)
        if self.shape_positions is not None:
            nn.init.normal_(self.shape_positions, std=INIT_STD)
        if self.ground_projection is not None:
            nn.init.normal_(self.ground_projection.weight, std=unit / math.sqrt(self.config.dim))

    def table(self) -> Tensor:
        """(V, D): every id's vector, without the place of image tokens."""
        rows, numbers, image = self.learned.weight, self._numbers, self.image_ids
        codes = self.code_projection(self.codebook)
        if not self.config.published_embedding:
            codes = codes + rows[image.start:image.stop]
        return torch.cat((rows[:numbers.start], self._number_rows(rows[numbers.start:numbers.stop]),
                          rows[numbers.stop:image.start], codes, rows[image.stop:]))

    def _number_rows(self, learned: Tensor) -> Tensor:
        """(numbers, D): the vectors of numbers, of their learned rows and their features."""
        if self.config.number_embedding == "learned":
            return learned
        features = self.number_features if self.number_scale is None else self.number_scale * self.number_features
        return features if self.config.number_embedding == "fixed" else learned + features

    def places(self, cells: Tensor | None) -> Tensor:
        """(1 or B, h*w, D): what an image token of a prompt carries for its place; `cells` as in `forward`."""
        return self.place_table(cells)[:, :self.config.cells]

    def place_table(self, cells: Tensor | None) -> Tensor:
        """(1 or B, 2 * h*w + 2 + L, D): what the image tokens of a prompt carry for their places, cell by cell; then
        [IMAGE-START] and the image tokens of a target, in the order of writing; then zeros, for every other token; then
        the codes of a shape.
        """
        read = self.image_positions.unsqueeze(0)
        written = F.pad(read[:, self.order], (0, 0, 1, 0))
        ground = self._ground(cells)
        if ground is not None:
            read, written = read + ground, written + F.pad(ground[:, self.order], (0, 0, 0, 1))
        table = F.pad(torch.cat((read, written), dim=1), (0, 0, 0, 1))
        if self.shape_positions is None:
            return table
        return torch.cat((table, self.shape_positions.expand(len(table), -1, -1)), dim=1)

    @property
    def nowhere(self) -> int:
        """The entry of `place_table` of tokens that stand in no image and no shape; those of shapes follow."""
        return 2 * self.config.cells + 1

    def _ground(self, cells: Tensor | None) -> Tensor | None:
        """(B, h*w, D): what says where the cells lie on the plane; None where that is not known or not embedded."""
        if self.ground_projection is None or cells is None:
            return None
        if cells.ndim != 3 or tuple(cells.shape[1:]) != (self.config.cells, 2):
            raise ValueError(f"cells must be (B, {self.config.cells}, 2), got {tuple(cells.shape)}")
        return self.ground_projection(plane_features(cells, self.config.dim).to(self.image_positions.dtype))

    def forward(self, token_ids: Tensor, cells: Tensor | None = None, table: Tensor | None = None) -> Tensor:
        """(B, S) ids and (B, h*w, 2) ground points (x, y) of the cells in scene units -> (B, S, D).

        The n-th image token of a row belongs to cell n modulo h*w, in raster order, so that a second image starts
        again; behind [OUTPUT-SEP] to the cell that is written n-th in the configuration's order. Without `cells` (the
        camera is unknown) image tokens carry their place in the image alone. The n-th code of a shape belongs to place
        n modulo its length.
        `table`: an earlier result of `table()`, to save the sum where the weights stand still.
        """
        vectors = self._look_up(token_ids, self.table() if table is None else table)
        if self.image_positions is None:
            return vectors
        placed = vectors + self._placed(token_ids, cells)
        return placed + self._context(token_ids, vectors) if self.config.tells_objects else placed

    def _look_up(self, token_ids: Tensor, table: Tensor) -> Tensor:
        """(B, S) ids -> (B, S, D) rows of the table."""
        if not self.config.unknown_ids_are_zero:
            return F.embedding(token_ids, table)
        known = (token_ids >= 0) & (token_ids < len(table))
        return F.embedding(token_ids.where(known, 0), table) * known.unsqueeze(-1)

    def _placed(self, token_ids: Tensor, cells: Tensor | None) -> Tensor:
        """(B, S, D): the places of image and shape tokens, zero for every other token."""
        table = self.place_table(cells)
        if table.shape[0] not in (1, len(token_ids)):
            raise ValueError(f"cells must be {(len(token_ids), self.config.cells, 2)} as the token ids have "
                             f"{len(token_ids)} rows, got {tuple(cells.shape)}")
        count = self.config.cells
        image = (token_ids >= self.image_ids.start) & (token_ids < self.image_ids.stop)
        written = self._written(token_ids)
        number = (image.cumsum(dim=1) - 1) % count
        elsewhere = torch.where(written & (token_ids == self.image_start), count, self.nowhere)
        place = torch.where(image, number + (count + 1) * written, elsewhere)
        if self.shape_positions is not None:
            shape = token_ids >= self.shape_ids.start  # the last range
            place = torch.where(shape, self.nowhere + 1 + (shape.cumsum(dim=1) - 1) % len(self.shape_positions), place)
        if table.shape[0] > 1:
            place = place + table.shape[1] * torch.arange(len(place), device=place.device).unsqueeze(1)
        return F.embedding(place, table.flatten(0, 1))

    def object_context(self, object_ids: Sequence[int], table: Tensor) -> Tensor:
        """(D,): where an object stands and what its words say, of its ids, which hold [LOCATION] and two numbers; `table`
        as in `forward`.
        """
        at = object_ids.index(self.object_marks[2])
        point = self._number(torch.tensor(object_ids[at + 1:at + 3], device=table.device))
        words = [token for token in object_ids if token < self.config.vocabulary.text_size]
        return self._standing(point) + table[words].sum(dim=0)

    def _standing(self, points: Tensor) -> Tensor:
        """(..., 2) points (x, y) -> (..., D), as cells carry theirs."""
        ground = self.ground_projection
        return ground(plane_features(points, self.config.dim).to(ground.weight.dtype))

    def _context(self, token_ids: Tensor, vectors: Tensor) -> Tensor:
        """(B, S, D): where the object of each token stands and the sum of its words' vectors, of `vectors` (B, S, D);
        zero for tokens that do not carry it.
        """
        start, end, location = (token_ids == mark for mark in self.object_marks)
        begun = start.cumsum(dim=1)
        inside = (begun > end.cumsum(dim=1)) | (end & (begun > 0))
        count = int(begun.max())
        own = torch.where(inside, begun - 1, count)  # the object of each token, the last entry for none
        x, y = (self._number(token_ids.roll(-ahead, dims=1)) for ahead in (1, 2))
        points = x.new_zeros(len(token_ids), count + 1, 2)
        said = torch.where(location & inside, own, count).unsqueeze(-1).expand(-1, -1, 2)
        points.scatter_(1, said, torch.stack((x, y), dim=-1))
        places = F.pad(self._standing(points[:, :count]), (0, 0, 0, 1)).to(vectors.dtype)
        each, words = own.unsqueeze(-1).expand_as(vectors), inside & (token_ids < self.config.vocabulary.text_size)
        whole = self._carries_context(token_ids)
        context = self._of_objects(places.scatter_add(1, each, vectors * words.unsqueeze(-1)), own.where(whole, count))
        if not self.config.written_context:
            return context
        order = torch.arange(token_ids.shape[1], device=token_ids.device)
        last_start, last_location = (order.where(mark, -1).cummax(dim=1).values for mark in (start, location))
        placed = last_location > last_start
        early = places.scatter_add(1, each, vectors * (words & ~placed).unsqueeze(-1))
        carries = self._written(token_ids) & placed & (order >= last_location + 2) & ~whole  # with its y or behind it
        return context + self._of_objects(early, own.where(carries, count))

    def _of_objects(self, table: Tensor, which: Tensor) -> Tensor:
        """(B, S, D): the entries `which` (B, S) of a table (B, N, D)."""
        return table.gather(1, which.unsqueeze(-1).expand(-1, -1, table.shape[-1]))

    def _written(self, token_ids: Tensor) -> Tensor:
        """(B, S) bool: tokens from [OUTPUT-SEP] on."""
        return (token_ids == self.separator).cumsum(dim=1) > 0

    def _carries_context(self, token_ids: Tensor) -> Tensor:
        """(B, S) bool: tokens that carry their object's context, if they stand in one."""
        carries = torch.zeros_like(token_ids, dtype=torch.bool)
        if self.config.object_context:
            carries |= ~self._written(token_ids)
        if self.config.shape_context:
            carries |= (token_ids >= self.shape_ids.start) | (token_ids == self.shape_mark)
        return carries

    def _number(self, token_ids: Tensor) -> Tensor:
        """The value of each number token; of others, any."""
        values = self._number_values.to(token_ids.device)
        return values[(token_ids - self._numbers.start).clamp(0, len(values) - 1)]

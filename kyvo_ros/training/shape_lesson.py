"""Training the decoder on whole objects: to see shapes (I->S), in parallel rows and in sequence order, and to draw
given ones (S->I).

Of the thousands of codes of surfaces many are alike, and which of them a tokenizer has chosen is nearly chance. So the
label of a block is shared by the codes like the true one (`ShapeShares.label_spread`), as that of a number is by its
neighbours.

A row of the parallel order is a sequence of its own: the image, the layout up to an object, and that object's codes, on
which alone the loss lies. It costs a sixth of a whole scene of six, so that most batches are such. What `model.shapes`
generates and what is trained here is the same text, but for the codes to continue from that are replaced
(`ShapeShares.wrong_codes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kyvo_ros.autoencoders.shape_tokenizer import INSIDE
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.scene import Scene
from kyvo_ros.tokens.scene_grammar import SceneGrammar
from kyvo_ros.tokens.sequences import SequenceBuilder
from kyvo_ros.training.code_sets import CodeSet
from kyvo_ros.training.dense_head import word_values
from kyvo_ros.training.recipe import ShapeShares
from kyvo_ros.training.rendering import CYCLED, DrawingLesson, cycle_scores
from kyvo_ros.training.shape_outlines import Outlines

#: Held-out images whose shapes are predicted for the score.
_SCORED = 64


@dataclass(frozen=True, eq=False)
class _Text:
    """Sequences of one prompt length, padded on the right."""

    ids: Tensor  # (B, S)
    worth: Tensor  # (B, S) bool, where a loss lies
    prompt_length: int
    among: range  # the ids that may stand there


@dataclass(frozen=True, eq=False)
class ShapeLesson:
    """Batches of sequences with codes of shapes, their loss, and the scores on what is held out."""

    builder: SequenceBuilder
    grammar: SceneGrammar  # of scenes with codes
    codes: np.ndarray  # (2 K, L) by the names of shapes in the examples
    turns: np.ndarray  # (2 K,) how often each looks the same in a whole turn; see `object_yaws`
    codebook: Tensor  # (C, D) unit vectors of the codes
    shares: ShapeShares
    drawing: DrawingLesson  # how the codes of a picture weigh, and which are replaced
    device: torch.device
    outlines: Outlines | None = None  # of the shapes, where they are learned

    def loss_of(self, decoder: Decoder, pictures: CodeSet, share: float, rng: np.random.Generator
                ) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch of the kind at `share`, from 0 to the sum of the shares."""
        kind = self._kind(share)
        rows = self._draw(kind, pictures, rng)
        text = self._text(kind, pictures, rows, rng)
        if kind == "asset_drawing":
            loss = self._drawing_loss(decoder, pictures, rows, text, rng)
        else:
            given = self._misled(text.ids, rng) if kind == "shapes" else text.ids
            logits, truth = self._predicted(decoder, pictures, rows, text, given)
            loss = self._entropies(logits, truth, self._codes.start - text.among.start).mean()
        return loss, {kind: float(loss.detach())}

    @torch.no_grad()
    def scores(self, decoder: Decoder, pictures: CodeSet) -> dict[str, float]:
        """Of one object of each held-out image, each code after the true ones before it: mean cross entropy with the
        true code alone, how well the blocks that a surface passes are found (intersection over union), and how like the
        true one the likeliest code of a surface is there (mean cosine); where drawing is trained, what is found in
        drawings of given shapes.
        """
        rng = np.random.default_rng(0)
        rows = np.flatnonzero(pictures.truth.count > 0)[:_SCORED]
        entropies, common, either, likeness = [], 0, 0, []
        for start in range(0, len(rows), self.shares.batch_size):
            part = rows[start:start + self.shares.batch_size]
            text = self._text("shapes", pictures, part, rng)
            logits, truth = self._predicted(decoder, pictures, part, text)
            entropies.append(F.cross_entropy(logits, truth, reduction="none"))
            found, there = _passed(logits), truth > INSIDE
            common, either = common + int((found & there).sum()), either + int((found | there).sum())
            likeliest = logits[there, INSIDE + 1:].argmax(-1) + INSIDE + 1
            likeness.append((self.codebook[likeliest] * self.codebook[truth[there]]).sum(-1))
        if not entropies:
            return {}
        alike = torch.cat(likeness)
        scores = {"shape_loss": float(torch.cat(entropies).mean()), "shape_surface_iou": common / max(either, 1),
                  "shape_likeness": float(alike.mean()) if len(alike) else 0.0}
        if self.shares.drawn:
            drawn = rows[:CYCLED]
            scenes = [self.scene(pictures, row) for row in drawn]
            scores |= cycle_scores(decoder, self.drawing.tokenizer, self.builder, self.grammar.layout, scenes,
                                   pictures.cells[drawn], "S->I", "asset_")
        return scores

    def names(self, pictures: CodeSet, rows: np.ndarray) -> Tensor:
        """(N,) names of the shapes of all objects of some rows, in the order in which they are written."""
        names: list[int] = []
        for row in rows:
            objects = pictures.truth.scene(row, word_values(self.grammar.schema)).objects
            numbered = {id(item): int(name) for item, name in zip(objects, pictures.truth.shape[row])}
            names += [numbered[id(item)] for item in self.grammar.schema.sorted_objects(Scene(objects))]
        return torch.tensor(names, dtype=torch.int64)

    def scene(self, pictures: CodeSet, row: int) -> Scene:
        """A picture's scene, with codes."""
        scene, names = pictures.truth.scene(row, word_values(self.grammar.schema)), pictures.truth.shape[row]
        return replace(scene, objects=tuple(
            replace(item, shape_codes=self.codes[name]) for item, name in zip(scene.objects, names)))

    @property
    def _codes(self) -> range:
        """The ids of codes of shapes."""
        return self.grammar.vocabulary.range("shape")

    def _entropies(self, logits: Tensor, truth: Tensor, first: int = 0) -> Tensor:
        """(N,) cross entropies of logits (N, A) with the labels of true ones (N,); the first code of shapes is `first`."""
        own = F.cross_entropy(logits, truth, reduction="none")
        surface = truth > first + INSIDE
        if not self.shares.label_spread or not surface.any():
            return own
        codes, alike = truth[surface] - first, self.codebook[INSIDE + 1:]
        labels = torch.softmax(self.codebook[codes] @ alike.T / self.shares.label_spread, dim=-1)
        likely = F.log_softmax(logits[surface], dim=-1)[:, first + INSIDE + 1:]
        return own.masked_scatter(surface, -(labels * likely).sum(-1))

    def _misled(self, ids: Tensor, rng: np.random.Generator) -> Tensor:
        """(B, S) sequences as training reads them: of every row a share of the codes is that of another shape.

        The codes before a code tell most of it. With all of them true in training, a decoder learns to continue shapes
        long before it looks at the image.
        """
        if not self.shares.wrong_codes:
            return ids
        shares = rng.uniform(0.0, self.shares.wrong_codes, (len(ids), 1))
        others = self.codes[rng.integers(len(self.codes), size=len(ids))] + self._codes.start
        given = ids.cpu().numpy().copy()
        codes = given >= self._codes.start  # the last range; as many in every row
        wrong = rng.random(others.shape) < shares
        given[codes] = np.where(wrong, others, given[codes].reshape(others.shape)).ravel()
        return torch.from_numpy(given).to(self.device)

    def _kind(self, share: float) -> str:
        shares = {"shapes": self.shares.seen, "whole_scenes": self.shares.whole, "asset_drawing": self.shares.drawn}
        kinds = [name for name, width in shares.items() if width]
        ends = np.cumsum([shares[name] for name in kinds[:-1]])
        return kinds[int(np.searchsorted(ends, share))]

    def _draw(self, kind: str, pictures: CodeSet, rng: np.random.Generator) -> np.ndarray:
        """Rows with objects, as many in each. Raises ValueError where none has so few as the recipe says."""
        count = pictures.truth.count
        most = self.shares.drawn_objects if kind == "asset_drawing" else None
        fit = (count > 0) if most is None else (count > 0) & (count <= most)
        if not fit.any():
            raise ValueError("no picture shows objects" if most is None else f"no picture shows 1 to {most} objects")
        like = count[rng.choice(np.flatnonzero(fit))]
        return rng.choice(np.flatnonzero(count == like), size=self.shares.batch_size)

    def _text(self, kind: str, pictures: CodeSet, rows: np.ndarray, rng: np.random.Generator) -> _Text:
        write = {"shapes": self._one_shape, "whole_scenes": self._whole_scene, "asset_drawing": self._drawing}[kind]
        made = [write(pictures.codes[row].astype(np.int64), self.scene(pictures, row), rng) for row in rows]
        longest = max(len(ids) for ids, _, _ in made)
        ids = np.full((len(made), longest), self.grammar.vocabulary.structure_id("[PAD]"))
        worth = np.zeros((len(made), longest), bool)
        for i, (own, counts, _) in enumerate(made):
            ids[i, :len(own)], worth[i, :len(own)] = own, counts
        vocabulary = self.grammar.vocabulary
        among = {"shapes": self._codes, "whole_scenes": range(vocabulary.size), "asset_drawing": vocabulary.range("image")}
        return _Text(torch.as_tensor(ids).to(self.device), torch.as_tensor(worth).to(self.device), made[0][2], among[kind])

    def _one_shape(self, image_codes: np.ndarray, scene: Scene, rng: np.random.Generator
                   ) -> tuple[Sequence[int], np.ndarray, int]:
        """Ids, where a loss lies, and the prompt's length: the layout up to one object, then its codes."""
        prompt = self.builder.prompt("I->S", image_codes=image_codes)
        layout, which = self.grammar.layout.encode_scene(scene), int(rng.integers(len(scene)))
        shown, vocabulary = self.grammar.schema.sorted_objects(scene)[which], self.grammar.vocabulary
        ids = [*prompt.token_ids.tolist(), *layout[:self.grammar.object_ends(layout)[which]],
               vocabulary.structure_id(self.grammar.schema.shape.marker), *vocabulary.shape_ids(shown.shape_codes).tolist()]
        counts = np.arange(len(ids)) >= len(ids) - self.grammar.schema.shape.length
        return ids, counts, prompt.prompt_length

    def _whole_scene(self, image_codes: np.ndarray, scene: Scene, rng: np.random.Generator
                     ) -> tuple[Sequence[int], np.ndarray, int]:
        sequence = self.builder.build("I->S", image_codes=image_codes, scene=scene)
        return sequence.token_ids.tolist(), sequence.loss_mask, sequence.prompt_length

    def _drawing(self, image_codes: np.ndarray, scene: Scene, rng: np.random.Generator
                 ) -> tuple[Sequence[int], np.ndarray, int]:
        sequence = self.builder.build("S->I", image_codes=image_codes, scene=scene)
        return sequence.token_ids.tolist(), sequence.loss_mask, sequence.prompt_length

    def _drawing_loss(self, decoder: Decoder, pictures: CodeSet, rows: np.ndarray, text: _Text,
                      rng: np.random.Generator) -> Tensor:
        """As of 3->I: some codes to continue from are replaced, and codes weigh by where they stand."""
        given = self.drawing.misled(text.ids.cpu(), rng).to(self.device)
        logits, truth = self._predicted(decoder, pictures, rows, text, given)
        entropies = F.cross_entropy(logits, truth, reduction="none").view(len(rows), -1)
        return self.drawing.weighted(entropies, pictures, rows)

    def _predicted(self, decoder: Decoder, pictures: CodeSet, rows: np.ndarray, text: _Text,
                   given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(N, A) logits of the ids that may stand where a loss lies, row after row, and (N,) the true ones, counted from
        the first of them; `given` (B, S) is read in place of the text's ids.
        """
        start, read = text.prompt_length - 1, text.ids if given is None else given
        cells = torch.as_tensor(pictures.cells[rows]).to(self.device)
        hidden = decoder.hidden(read[:, :-1], cells=cells, prefix_length=start, start=start)
        worth = text.worth[:, start + 1:]
        return decoder.logits(hidden[worth], text.among), text.ids[:, start + 1:][worth] - text.among.start


def _passed(logits: Tensor) -> Tensor:
    """(N,) of blocks with logits of all codes (N, C): whether a surface, whichever, passes likelier than none."""
    likely = torch.softmax(logits, dim=-1)
    return likely[:, INSIDE + 1:].sum(-1) > likely[:, :INSIDE + 1].amax(dim=-1)

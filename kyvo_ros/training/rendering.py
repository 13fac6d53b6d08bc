"""Training the decoder to draw (3->I): the scenes of a `CodeSet` are its prompts, the codes of the images its targets.

The first codes decide what the rest of a picture continues, so their loss weighs more (Kyvo, arXiv 2506.08002, section
4). Images without objects are left out: they show an empty plane or anything else, and the scene does not say which.
The codes before a code tell most of it, but where an object begins: with all of them true in training, a decoder learns
to continue pictures long before it looks at the scene. Some of them are therefore replaced by others, and codes where
objects stand weigh more (`DrawingSettings`; both are ours).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kyvo_ros.autoencoders.canonical import CanonicalCamera
from kyvo_ros.autoencoders.image_tokenizer import ImageTokenizer
from kyvo_ros.evaluation.jaccard import jaccard_index
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.generation import generate
from kyvo_ros.model.inference import CachedDecoder
from kyvo_ros.model.rendering import TASK, ImageWriter
from kyvo_ros.scene import Scene
from kyvo_ros.tokens.scene_grammar import SceneGrammar
from kyvo_ros.tokens.sequences import SequenceBuilder
from kyvo_ros.tokens.vocabulary import Vocabulary
from kyvo_ros.training.code_sets import CodeSet
from kyvo_ros.training.dense_head import dense_targets

#: Held-out renders whose scene is drawn and recognised again, and the distance that counts as right, metres.
CYCLED, CYCLE_TAU_M = 32, 0.25
#: Held-out images whose codes are predicted at a time.
_A_TIME = 32
#: Tokens of the target of an empty scene: its brackets and [EOS].
_EMPTY_SCENE = 3


def shows_objects(pictures: CodeSet) -> bool:
    """Whether any picture does."""
    return bool((pictures.length > _EMPTY_SCENE).any())


@dataclass(frozen=True)
class FirstCodes:
    """How much more the first codes of a picture count than the others."""

    count: int = 5  # codes
    weight: float = 10.0  # of each, where the others weigh 1

    def __post_init__(self) -> None:
        if self.count < 0 or not self.weight > 0:
            raise ValueError(f"first codes need a count of at least 0 and a positive weight, got {self}")

    def weights(self, codes: int) -> np.ndarray:
        """(codes,) float32 with a mean of 1."""
        weights = np.where(np.arange(codes) < self.count, self.weight, 1.0)
        return (weights / weights.mean()).astype(np.float32)


@dataclass(frozen=True)
class DrawingSettings:
    """What makes a decoder look at the scene while it learns to draw."""

    wrong_codes: float = 0.0  # a row's share of codes to continue from that are replaced is drawn from 0 to this
    object_weight: float = 1.0  # of the loss on codes of cells round objects' centres, where the others weigh 1

    def __post_init__(self) -> None:
        if not 0.0 <= self.wrong_codes <= 1.0 or not self.object_weight > 0:
            raise ValueError(f"drawing needs wrong_codes in [0, 1] and a positive object_weight, got {self}")


@dataclass(frozen=True)
class DrawingLesson:
    """Sequences of 3->I from pictures with scenes, and what a decoder makes of them."""

    builder: SequenceBuilder
    tokenizer: ImageTokenizer  # for inference, see `folded`
    vocabulary: Vocabulary
    first_codes: FirstCodes
    settings: DrawingSettings
    canonical: CanonicalCamera
    device: torch.device

    def draw(self, pictures: CodeSet, size: int, rng: np.random.Generator) -> np.ndarray:
        """Rows (size,) whose scenes have one length, so that they share a prefix; uniform in the long run over all that
        show objects. Raises ValueError where none does.
        """
        if not shows_objects(pictures):
            raise ValueError("expected pictures of scenes with objects, got none")
        shown = np.flatnonzero(pictures.length > _EMPTY_SCENE)
        like = pictures.length[rng.choice(shown)]
        return rng.choice(np.flatnonzero(pictures.length == like), size=size)

    def loss(self, decoder: Decoder, pictures: CodeSet, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Mean cross entropy of the codes of some rows, weighted; the rows' scenes have one length. `rng` picks the
        codes to continue from that are replaced.
        """
        ids, start = self._sequences(pictures, rows)
        entropies, _ = self._predicted(decoder, ids, start, pictures.cells[rows], self.misled(ids, rng))
        return self.weighted(entropies, pictures, rows)

    def weighted(self, entropies: Tensor, pictures: CodeSet, rows: np.ndarray) -> Tensor:
        """The mean of cross entropies (B, h*w) of codes in the order of writing, by their `weights`."""
        return (entropies * torch.as_tensor(self.weights(pictures, rows), device=entropies.device)).mean()

    def misled(self, ids: Tensor, rng: np.random.Generator) -> Tensor:
        """(B, S) sequences as training reads them: of every row a share of the picture's codes is replaced by any."""
        return self.spoilt(ids, rng.uniform(0.0, self.settings.wrong_codes, (len(ids), 1)), rng)

    def weights(self, pictures: CodeSet, rows: np.ndarray) -> np.ndarray:
        """(B, h*w) float32, of the loss on each code, in the order of writing; their mean is 1."""
        weights = np.tile(self.first_codes.weights(pictures.codes.shape[1]), (len(rows), 1))
        if self.settings.object_weight != 1.0:
            weights[self._near_objects(pictures, rows)] *= self.settings.object_weight
        return weights / weights.mean()

    def spoilt(self, ids: Tensor, shares: np.ndarray, rng: np.random.Generator) -> Tensor:
        """(B, S) sequences -> the same with those shares (B, 1) of the picture's codes replaced by any."""
        image = self.vocabulary.range("image")
        others = rng.integers(image.start, image.stop, tuple(ids.shape))
        wrong = (rng.random(tuple(ids.shape)) < shares) & ((ids >= image.start) & (ids < image.stop)).numpy()
        return torch.where(torch.from_numpy(wrong), torch.from_numpy(others), ids)

    def _near_objects(self, pictures: CodeSet, rows: np.ndarray) -> np.ndarray:
        """(B, h*w) bool in the order of writing: the cell holds an object's centre or is next to one that does."""
        near = dense_targets(pictures.truth[rows], self.canonical, self.builder.image_grid).weight
        return near.reshape(len(rows), -1)[:, self.builder.image_grammar.order] > 0

    @torch.no_grad()
    def held_out_scores(self, decoder: Decoder, pictures: CodeSet) -> dict[str, float]:
        """Mean cross entropy of a code and the share of codes that are the likeliest, each after the true ones before
        it, and what the scene tells (see `_told`); nothing where no picture shows objects.
        """
        entropies, right, told = [], [], []
        for rows in self._like_rows(pictures):
            ids, start = self._sequences(pictures, rows)
            entropy, hit = self._predicted(decoder, ids, start, pictures.cells[rows])
            entropies.append(entropy.mean(dim=1))
            right.append(hit.float().mean(dim=1))
            told += self._told(decoder, ids, start, pictures, rows)
        if not entropies:
            return {}
        return {"drawing_loss": float(torch.cat(entropies).mean()), "drawing_codes": float(torch.cat(right).mean()),
                **({"drawing_told": float(torch.stack(told).mean())} if told else {})}

    def _told(self, decoder: Decoder, ids: Tensor, start: int, pictures: CodeSet, rows: np.ndarray) -> list[Tensor]:
        """By how much the cross entropy of codes near objects is lower with a picture's own scene than with that of
        another picture, where all codes before them are wrong; () for each of the rows, none where there is but one.
        `ids` and `start` are the rows' sequences.
        """
        if len(rows) < 2:
            return []
        given = self.spoilt(ids, np.ones((len(ids), 1)), np.random.default_rng(0))
        other = torch.cat((given[:, :start].roll(1, dims=0), given[:, start:]), dim=1)
        own, others = (self._predicted(decoder, ids, start, pictures.cells[rows], read)[0] for read in (given, other))
        near = torch.as_tensor(self._near_objects(pictures, rows), device=own.device)
        return [gain[mask].mean() for gain, mask in zip(others - own, near) if mask.any()]

    def _like_rows(self, pictures: CodeSet) -> list[np.ndarray]:
        """All rows that show objects, in batches of one length."""
        lengths = [length for length in np.unique(pictures.length) if length > _EMPTY_SCENE]
        groups = [np.flatnonzero(pictures.length == length) for length in lengths]
        return [group[i:i + _A_TIME] for group in groups for i in range(0, len(group), _A_TIME)]

    def _predicted(self, decoder: Decoder, ids: Tensor, start: int, cells: np.ndarray, given: Tensor | None = None
                   ) -> tuple[Tensor, Tensor]:
        """(B, h*w) cross entropies, among all image codes, of the codes of sequences `ids` (B, S) whose prompts have
        `start` tokens, in the order of writing, and whether each is the likeliest one. `given` (B, S) is read in place of
        `ids`.
        """
        ids, given = ids.to(self.device), (ids if given is None else given).to(self.device)
        hidden = decoder.hidden(given[:, :-2], cells=torch.as_tensor(cells).to(self.device), prefix_length=start - 1,
                                start=start)
        image = self.vocabulary.range("image")
        logits, codes = decoder.logits(hidden, image), ids[:, start + 1:-1] - image.start  # behind [IMAGE-START], each code
        entropies = F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none")
        return entropies.view(len(ids), -1), logits.argmax(-1) == codes

    def _sequences(self, pictures: CodeSet, rows: np.ndarray) -> tuple[Tensor, int]:
        """(B, S) ids up to and with [IMAGE-END], and the tokens of the prompt; the rows' scenes have one length."""
        scene = pictures.targets[rows, :pictures.length[rows[0]] - 1].astype(np.int64)  # without [EOS]
        empty = self.builder.prompt(TASK, scene=Scene()).token_ids
        before, behind = empty[:1], empty[-1:]  # what stands round the scene
        images = np.stack([self.builder.image_grammar.encode_image(codes) for codes in pictures.codes[rows]])
        parts = [np.tile(before, (len(rows), 1)), scene, np.tile(behind, (len(rows), 1)), images]
        return torch.as_tensor(np.concatenate(parts, axis=1)), scene.shape[1] + 2


@torch.no_grad()
def cycle_scores(decoder: Decoder, tokenizer: ImageTokenizer, builder: SequenceBuilder, grammar: SceneGrammar,
                 scenes: Sequence[Scene], cells: np.ndarray, task: str = TASK, prefix: str = "") -> dict[str, float]:
    """Mean Jaccard index at CYCLE_TAU_M between scenes and what the decoder recognises in its drawings of them.

    `cells` (B, h*w, 2) are the ground points of each. `drawing_cycle` looks at the pixels of the drawings, as a user
    does; `drawing_cycle_codes` at the codes as they were written, which leaves out what the image decoder loses.
    `task` is 3->I or S->I; names of the scores begin with `prefix`.
    """
    cached = CachedDecoder(decoder)
    codes = ImageWriter(cached, builder, (task,)).write(scenes, cells, task=task)
    seen_codes = tokenizer.encode(tokenizer.decode(torch.from_numpy(codes).to(cached.device))).cpu().numpy()

    def jaccard(images: np.ndarray) -> float:
        seen = recognised_codes(cached, builder, grammar, images, cells)
        return float(np.mean([jaccard_index(s, scene, CYCLE_TAU_M) for s, scene in zip(seen, scenes)]))

    return {f"{prefix}drawing_cycle": jaccard(seen_codes), f"{prefix}drawing_cycle_codes": jaccard(codes)}


def recognised_codes(cached: CachedDecoder, builder: SequenceBuilder, grammar: SceneGrammar, codes: np.ndarray,
                     cells: np.ndarray) -> list[Scene]:
    """What a decoder recognises in pictures by their codes (B, h, w) and the ground points (B, h*w, 2) of the cells."""
    prompts = [builder.prompt("I->3", image_codes=image) for image in codes]
    ids = torch.from_numpy(np.stack([prompt.token_ids for prompt in prompts])).to(cached.device)
    written = generate(cached, ids, cells=torch.from_numpy(cells).to(cached.device), grammar=grammar,
                       prefix_length=prompts[0].prefix_length)
    return [grammar.decode_scene(w.token_ids, w.distributions) for w in written]

"""What a row of the cookbook has learned, on scenes of the ray caster that were held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from kyvo_ros.autoencoders.image_tokenizer import ImageCodec, tensor_to_images
from kyvo_ros.evaluation.drawings import PictureScores
from kyvo_ros.evaluation.jaccard import jaccard_index
from kyvo_ros.model.folder import ModelBundle
from kyvo_ros.model.inference import CachedDecoder
from kyvo_ros.model.rendering import TASK, ImageWriter
from kyvo_ros.scene import Scene
from kyvo_ros.training.language import LanguageStage
from kyvo_ros.training.rendering import CYCLED, recognised_codes

#: Distances over whose Jaccard indices the paper takes the mean (appendix C.1), scene units.
PAPER_TAUS = (0.05, 0.1, 0.15, 0.2, 0.25)

#: The name of a score, its words, its digits, and whether more is better.
SCORE_NAMES = {
    "jaccard": ("Jaccard, mean over tau 0.05 to 0.25", 4, True),
    "jaccard_0.05": ("Jaccard, tau 0.05", 3, True),
    "jaccard_0.25": ("Jaccard, tau 0.25", 3, True),
    "drawing_loss": ("cross entropy of a code", 3, False),
    "ssim": ("SSIM", 4, True),
    "l2": ("L2", 4, False),
    "seen": ("Jaccard of what the model folder sees in the drawings, tau 0.25", 3, True),
    "answers": ("answers right", 4, True),
    "rank": ("mean rank", 2, False),
}
_SEEN_TAU_M = 0.25


@dataclass(frozen=True, eq=False)
class Judge:
    """Scores a trained decoder."""

    stage: LanguageStage  # with a plain decoder
    tokenizer: ImageCodec
    images: np.ndarray  # (N, h, w, 3) uint8, of the held-out scenes
    reader: ModelBundle  # the model that looks at drawings

    @torch.no_grad()
    def scores(self, kinds: Sequence[str]) -> dict[str, float]:
        """By the names of SCORE_NAMES, for kinds of `cookbook.rows.SCORES`."""
        found = {}
        for kind in kinds:
            found |= {"recognition": self._recognition, "drawing": self._drawing, "answers": self._answers}[kind]()
        return {name: round(value, 5) for name, value in found.items()}

    def _recognition(self) -> dict[str, float]:
        """Places are the numbers that were written, as in the paper, not expectations over their neighbours."""
        pairs = list(zip(self.stage.recognised(sub_grid=False), self.stage.held_out_scenes))
        by_tau = {tau: float(np.mean([jaccard_index(a, b, tau) for a, b in pairs])) for tau in PAPER_TAUS}
        return {"jaccard": float(np.mean(list(by_tau.values()))), "jaccard_0.05": by_tau[0.05],
                "jaccard_0.25": by_tau[0.25]}

    def _drawing(self) -> dict[str, float]:
        """Likeness to the true images, and what the model folder recognises in the drawings of some scenes."""
        decoder, held_out = self.stage.model.decoder, self.stage.held_out
        shown = [i for i, scene in enumerate(self.stage.held_out_scenes) if len(scene)][:CYCLED]
        asked, cells = [self.stage.held_out_scenes[i] for i in shown], held_out.cells[shown]
        codes = ImageWriter(CachedDecoder(decoder), self.stage.builder, (TASK,)).write(asked, cells)
        drawn = self.tokenizer.decode(torch.from_numpy(codes).to(self.stage.device))
        seen_codes = self.tokenizer.encode(drawn).cpu().numpy()
        seen = self._seen(seen_codes, cells)
        scores = PictureScores.of(asked, seen, list(tensor_to_images(drawn)), list(self.images[shown])).to_dict()
        loss = self.stage.drawing.held_out_scores(decoder, held_out)["drawing_loss"]
        return {"drawing_loss": loss, "ssim": scores["ssim"], "l2": scores["l2"],
                "seen": scores["cycle_jaccard"][f"{_SEEN_TAU_M:g}"]}

    def _seen(self, codes: np.ndarray, cells: np.ndarray) -> list[Scene]:
        reader = CachedDecoder(self.reader.decoder.to(self.stage.device))
        return recognised_codes(reader, self.reader.builder, self.reader.grammar, codes, cells)

    def _answers(self) -> dict[str, float]:
        return {"answers": self.stage.answers.held_out_score(self.stage.model.decoder)}

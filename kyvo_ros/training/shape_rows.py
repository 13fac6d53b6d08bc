"""What the rows of shape codes share while a decoder trains: a projection of their codebook vectors.

Eight thousand codes are too many to learn one by one, yet their vectors lie close to each other in a few dimensions.
While training, the row that embeds a code and the row that scores it are each the code's own row plus a learned
projection of its codebook vector, so that whatever is learned of a code is learned of those like it. A model folder holds
the sums: `fold_rows` puts them in place of the rows, and the model that is read knows nothing of the projection.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kyvo_ros.model.decoder import Decoder

#: A step of the optimizer moves all entries of the projection at once, and their effects on a row add up: about so many.
_TOGETHER = 8.0


class SharedRows(nn.Module):
    """A table (V, D) with a projection of `codebook` (K, C) added to the K rows from `start` on; at first nothing."""

    def __init__(self, codebook: Tensor, start: int, dim: int) -> None:
        super().__init__()
        self.start = start
        self._codebook = codebook.detach().float()  # no buffer, of which checkpoints would hold two copies
        self.projection = nn.Linear(codebook.shape[1], dim, bias=False)
        nn.init.zeros_(self.projection.weight)

    def forward(self, table: Tensor) -> Tensor:
        shared = self.projection(self._codebook) / _TOGETHER
        return table + F.pad(shared, (0, 0, self.start, len(table) - self.start - len(shared)))


def share_rows(decoder: Decoder, codebook: Tensor) -> None:
    """Have a decoder's rows of shape codes share what their vectors in `codebook` (K, C) have in common."""
    for table in _tables(decoder):
        device = table.weight.device
        rows = SharedRows(codebook.to(device), decoder.embedding.shape_ids.start, decoder.config.dim).to(device)
        parametrize.register_parametrization(table, "weight", rows)


def fold_rows(decoder: Decoder) -> None:
    """Undo `share_rows`; the decoder computes the same."""
    for table in _tables(decoder):
        if parametrize.is_parametrized(table):
            parametrize.remove_parametrizations(table, "weight")


def _tables(decoder: Decoder) -> tuple[nn.Module, nn.Module]:
    return decoder.embedding.learned, decoder.head

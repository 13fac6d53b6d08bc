"""In which dtype a decoder runs: the one place that decides, for the pipeline, the command line and the node.

`auto` takes float32 for a small model, on any device: its memory is no matter, and on a CPU the compiled step is there
for float32 alone. A large one runs in the dtype that its folder stores: widening brings nothing back of what was
rounded, and Llama-3.2-1B takes 3 GB in bfloat16 and 6 in float32. The image tokenizer stays float32 in any case, so
that the codes of an image do not depend on the choice.
"""

from __future__ import annotations

import torch
from torch import nn

#: What a user may ask for.
DTYPES = ("auto", "float32", "bfloat16", "float16")
#: Parameters above which a decoder counts as large. In float32, and laid out a second time, so many take 0.8 GB.
LARGE = 100_000_000


class DtypeError(ValueError):
    """A dtype was asked for that decoders do not run in."""


def choose_dtype(name: str, stored: torch.dtype, parameters: int) -> torch.dtype:
    """The dtype of a decoder with so many parameters, whose matrices are stored in another one. Raises DtypeError."""
    if name not in DTYPES:
        raise DtypeError(f"dtype must be one of {', '.join(DTYPES)}, got {name!r}")
    if name != "auto":
        return getattr(torch, name)
    return stored if parameters > LARGE else torch.float32


def is_large(decoder: nn.Module) -> bool:
    """Whether a decoder's weights are better used where they lie than laid out a second time."""
    return sum(p.numel() for p in decoder.parameters()) > LARGE

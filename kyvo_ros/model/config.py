"""Sizes of the decoder.

Knows the numbers that decide the shapes of the weights and nothing about how they are trained or sampled.
Source: the Llama architecture as in Kyvo (arXiv 2506.08002, section 3.2), scaled down; `ScaledRope` is Llama 3.1's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kyvo_ros.tokens.image_orders import written_order
from kyvo_ros.tokens.vocabulary import Vocabulary

#: How numbers are embedded: learned rows, fixed sin-cos features, or the sum of the two.
NUMBER_EMBEDDINGS = ("both", "learned", "fixed")


@dataclass(frozen=True)
class ScaledRope:
    """The slowed rotary frequencies of Llama 3.1 and 3.2, for contexts longer than those of the pre-training.

    Wavelengths (in tokens) under original_length / high_freq_factor stay, those over original_length / low_freq_factor
    grow by `factor`, the ones between grow smoothly.
    """

    theta: float = 500000.0  # base of the frequencies
    factor: float = 32.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_length: int = 8192  # tokens of the pre-training's context

    def __post_init__(self) -> None:
        if not self.theta > 0 or not self.factor >= 1 or self.original_length < 1:
            raise ValueError(f"scaled RoPE needs a positive theta, a factor of at least 1 and an original_length, "
                             f"got {self}")
        if not 0 < self.low_freq_factor < self.high_freq_factor:
            raise ValueError(f"low_freq_factor must lie between 0 and high_freq_factor, got {self}")


@dataclass(frozen=True)
class DecoderConfig:
    """What a decoder is: its vocabulary, its body, and the image tokens it can read."""

    vocabulary: Vocabulary  # the ids it reads and writes
    dim: int  # width of the residual stream
    layers: int  # number of transformer blocks
    heads: int  # query heads
    kv_heads: int  # key/value heads, each shared by heads / kv_heads query heads
    ffn_dim: int  # inner width of the SwiGLU feed-forward
    max_length: int  # longest sequence, prompt and target together
    code_dim: int  # length of a codebook vector of the image tokenizer
    image_grid: tuple[int, int]  # rows and columns of image tokens
    rope_theta: float | ScaledRope = 10000.0  # base of the rotary frequencies, or frequencies slowed as in Llama 3.2
    norm_eps: float = 1e-5  # added to the mean square in RMSNorm
    ground_positions: bool = True  # image tokens also carry where their cell lies on the support plane
    number_head: bool = True  # the head's rows of numbers also hold a projection of their sin-cos features
    number_embedding: str = "both"  # one of NUMBER_EMBEDDINGS
    image_order: str = "raster"  # in which images are written, one of `tokens.image_orders.ORDERS`
    object_context: bool = False  # tokens of a prompt's objects also carry where their object stands, and its words
    shape_context: bool = False  # codes of an object's shape carry the same of their object, wherever they stand
    written_context: bool = False  # and so do tokens of a written object from the y of its location on
    shape_length: int = 0  # codes of an object's shape, each of which carries its place in it; 0: it knows none
    # Faithful to the published code of Kyvo, for its checkpoints (see `published`):
    published_embedding: bool = False  # numbers: features of their index, unscaled; image codes: their projection alone
    numbers_overhang: int = 0  # ids behind the numbers that are embedded as numbers too
    causal_prompt: bool = False  # tokens of a prompt attend to what came before alone, not to each other both ways
    unknown_ids_are_zero: bool = False  # ids outside the vocabulary are read as zero vectors instead of refused

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_grid", tuple(self.image_grid))
        for name in ("dim", "layers", "heads", "kv_heads", "ffn_dim", "max_length", "code_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if len(self.image_grid) != 2 or min(self.image_grid) < 1:
            raise ValueError(f"image_grid must be two positive numbers (rows, columns), got {self.image_grid}")
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not a multiple of heads {self.heads}")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}")
        if self.dim % 4 or self.head_dim % 2:
            raise ValueError(f"dim must be a multiple of 4 and of 2 * heads, got dim {self.dim}, heads {self.heads}")
        if isinstance(self.rope_theta, Mapping):
            object.__setattr__(self, "rope_theta", ScaledRope(**self.rope_theta))
        if not (isinstance(self.rope_theta, ScaledRope) or self.rope_theta > 0) or not self.norm_eps > 0:
            raise ValueError(f"rope_theta and norm_eps must be positive, got {self.rope_theta}, {self.norm_eps}")
        if self.shape_length < 0 or (self.shape_length > 0 and not self.vocabulary.shape_codes):
            raise ValueError(f"shape_length must not be negative, and 0 for a vocabulary without shape codes, got "
                             f"{self.shape_length}")
        written_order(self.image_order, self.image_grid)  # raises ImageOrderError
        self._check_embedding()

    def _check_embedding(self) -> None:
        if self.number_embedding not in NUMBER_EMBEDDINGS:
            raise ValueError(f"number_embedding must be one of {NUMBER_EMBEDDINGS}, got {self.number_embedding!r}")
        if self.tells_objects and not self.ground_positions:
            raise ValueError("object_context, shape_context and written_context need the ground_positions of cells, by "
                             "which they find objects")
        if self.shape_context and not self.shape_length:
            raise ValueError("shape_context needs codes of shapes; set shape_length")
        if self.published_embedding and (self.ground_positions or self.number_head or self.shape_length):
            raise ValueError("published_embedding knows neither ground_positions nor number_head nor shape_length; "
                             "switch them off")
        structure = len(self.vocabulary.structure)
        if not 0 <= self.numbers_overhang <= (structure if self.published_embedding else 0):
            raise ValueError("numbers_overhang must be 0, or with published_embedding at most the number of structure "
                             f"tokens, got {self.numbers_overhang}")

    @property
    def tells_objects(self) -> bool:
        """Whether any tokens carry something of the object that they belong to."""
        return self.object_context or self.shape_context or self.written_context

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.dim // self.heads

    @property
    def cells(self) -> int:
        """Image tokens per image."""
        return self.image_grid[0] * self.image_grid[1]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, for JSON; the vocabulary as its own dictionary."""
        own = {name: value for name, value in asdict(self).items() if name != "vocabulary"}
        return {"vocabulary": self.vocabulary.to_dict(), **own, "image_grid": list(self.image_grid)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DecoderConfig:
        """Inverse of `to_dict`. TypeError names a missing or unknown field, ValueError a bad value."""
        return cls(**{**values, "vocabulary": Vocabulary.from_dict(values["vocabulary"])})

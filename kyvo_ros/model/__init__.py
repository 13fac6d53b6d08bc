"""The decoder: its configuration, the unified embedding, the Llama body, generation, and model folders (torch)."""

from kyvo_ros.model.config import DecoderConfig
from kyvo_ros.model.decoder import Decoder, SequenceError
from kyvo_ros.model.embedding import UnifiedEmbedding, plane_features, sincos_features
from kyvo_ros.model.generation import Generation, generate
from kyvo_ros.model.inference import CachedDecoder

__all__ = [
    "CachedDecoder", "Decoder", "DecoderConfig", "Generation", "SequenceError", "UnifiedEmbedding", "generate",
    "plane_features", "sincos_features",
]

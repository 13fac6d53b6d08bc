"""The decoder: its configuration, the unified embedding, the Llama body, generation, and model folders (torch)."""

from kyvo_ros.model.config import DecoderConfig
from kyvo_ros.model.decoder import Decoder, SequenceError
from kyvo_ros.model.embedding import UnifiedEmbedding, plane_features, sincos_features
from kyvo_ros.model.folder import ModelBundle, ModelFolderError, load_model, save_model
from kyvo_ros.model.generation import Generation, generate
from kyvo_ros.model.inference import CachedDecoder

__all__ = [
    "CachedDecoder", "Decoder", "DecoderConfig", "Generation", "ModelBundle", "ModelFolderError", "SequenceError",
    "UnifiedEmbedding", "generate", "load_model", "plane_features", "save_model", "sincos_features",
]

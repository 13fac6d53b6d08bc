"""Random checkpoints in the published format, small enough for tests, and `transformers`' Llama on their tensors."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

DIM, HEADS, KV_HEADS, FFN_DIM, LAYERS, CODES, CODE_DIM = 16, 4, 2, 24, 2, 20, 6
TEXT = 128256
#: Numbers that the published model counts, and its further added tokens.
SIZES = {"clevr": (1201, 14), "objectron": (104, 12)}


def published_tensors(layout: str = "clevr", number_embedding: str = "both", seed: int = 0) -> dict[str, Tensor]:
    """A checkpoint by name, in the published order and dtype."""
    numbers, added = SIZES[layout]
    kv_dim = DIM // HEADS * KV_HEADS
    embedding = {"token_embedding": (TEXT, DIM), "added_embedding": (added, DIM), "numbers_embedding": (numbers, DIM),
                 "static_sin_cos_embedding": (numbers, DIM), "vqgan_codebook": (CODES, CODE_DIM),
                 "vqgan_embed_proj": (DIM, CODE_DIM)}
    if number_embedding != "both":
        del embedding["static_sin_cos_embedding"]
    if number_embedding == "learned":
        del embedding["numbers_embedding"]
        embedding["added_embedding"] = (numbers + added, DIM)
    shapes = {f"tok_embeddings.{name}.weight": shape for name, shape in embedding.items()}
    for i in range(LAYERS):
        layer = {"attention.wq": (DIM, DIM), "attention.wk": (kv_dim, DIM), "attention.wv": (kv_dim, DIM),
                 "attention.wo": (DIM, DIM), "feed_forward.w1": (FFN_DIM, DIM), "feed_forward.w2": (DIM, FFN_DIM),
                 "feed_forward.w3": (FFN_DIM, DIM), "attention_norm": (DIM,), "ffn_norm": (DIM,)}
        shapes |= {f"layers.{i}.{name}.weight": shape for name, shape in layer.items()}
    shapes |= {"norm.weight": (DIM,), "output.weight": (TEXT + numbers + added + CODES, DIM)}
    generator = torch.Generator().manual_seed(seed)
    return {name: (0.5 * torch.randn(shape, generator=generator)).bfloat16() for name, shape in shapes.items()}


def embedded(tensors: dict[str, Tensor], ids: list[int]) -> Tensor:
    """(S, D) float32: what the published model makes of ids, one by one, by the description of its embedding."""
    parts = {name.split(".")[1]: tensor.float() for name, tensor in tensors.items() if name.startswith("tok_")}
    codes = parts["vqgan_codebook"] @ parts["vqgan_embed_proj"].T
    numbers = parts.get("numbers_embedding", parts["added_embedding"][:0])
    if "static_sin_cos_embedding" in parts:
        numbers = numbers + parts["static_sin_cos_embedding"]
    table = torch.cat((parts["token_embedding"], numbers, parts["added_embedding"], codes))
    return torch.stack([table[i] if 0 <= i < len(table) else torch.zeros(DIM) for i in ids])


def llama(tensors: dict[str, Tensor]) -> LlamaForCausalLM:
    """The body and the head, in float32; Llama's own embedding is not used."""
    config = LlamaConfig(
        vocab_size=len(tensors["output.weight"]), hidden_size=DIM, intermediate_size=FFN_DIM, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, max_position_embeddings=131072, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0,
                         "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
        tie_word_embeddings=False, bos_token_id=None, eos_token_id=None, pad_token_id=None)
    names = {"attention.wq": "self_attn.q_proj", "attention.wk": "self_attn.k_proj", "attention.wv": "self_attn.v_proj",
             "attention.wo": "self_attn.o_proj", "feed_forward.w1": "mlp.gate_proj", "feed_forward.w2": "mlp.down_proj",
             "feed_forward.w3": "mlp.up_proj", "attention_norm": "input_layernorm",
             "ffn_norm": "post_attention_layernorm"}
    state = {"model.embed_tokens.weight": tensors["output.weight"], "model.norm.weight": tensors["norm.weight"],
             "lm_head.weight": tensors["output.weight"]}
    for name, tensor in tensors.items():
        if name.startswith("layers."):
            _, layer, part = name.removesuffix(".weight").split(".", 2)
            if part in ("attention.wq", "attention.wk"):  # Meta turns neighbours, transformers the two halves of a head
                tensor = tensor.unflatten(0, (-1, DIM // HEADS // 2, 2)).transpose(1, 2).flatten(0, 2)
            state[f"model.layers.{layer}.{names[part]}.weight"] = tensor
    model = LlamaForCausalLM(config).eval()
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return model

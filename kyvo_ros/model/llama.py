"""A decoder's weights in `transformers`' Llama, for the parity test and the benchmark.

The two agree on sequences without a bidirectional prefix (`prefix_length=0`). Places of image tokens are no property of
an id: give `inputs_embeds` from the decoder's own embedding where a prompt holds an image.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from kyvo_ros.model.config import DecoderConfig, ScaledRope
from kyvo_ros.model.decoder import Decoder


def llama_config(config: DecoderConfig) -> LlamaConfig:
    """The same sizes in `transformers`' words; generation ends only where it is told to."""
    return LlamaConfig(
        vocab_size=config.vocabulary.size, hidden_size=config.dim, intermediate_size=config.ffn_dim,
        num_hidden_layers=config.layers, num_attention_heads=config.heads, num_key_value_heads=config.kv_heads,
        max_position_embeddings=config.max_length, rms_norm_eps=config.norm_eps,
        rope_parameters=_rope(config.rope_theta), tie_word_embeddings=False, bos_token_id=None, eos_token_id=None,
        pad_token_id=None)


def _rope(theta: float | ScaledRope) -> dict[str, str | float]:
    if not isinstance(theta, ScaledRope):
        return {"rope_type": "default", "rope_theta": theta}
    return {"rope_type": "llama3", "rope_theta": theta.theta, "factor": theta.factor,
            "low_freq_factor": theta.low_freq_factor, "high_freq_factor": theta.high_freq_factor,
            "original_max_position_embeddings": theta.original_length}


@torch.no_grad()
def to_llama(decoder: Decoder) -> LlamaForCausalLM:
    """The same weights as a LlamaForCausalLM in evaluation mode, on the CPU, float32."""
    config = decoder.config
    state = {"model.embed_tokens.weight": decoder.embedding.table(), "model.norm.weight": decoder.norm.weight,
             "lm_head.weight": decoder.head_table()}
    for index, block in enumerate(decoder.blocks):
        kv_dim = config.kv_heads * config.head_dim
        query, key, value = block.qkv.weight.split((config.dim, kv_dim, kv_dim))
        gate, up = block.gate_up.weight.chunk(2)
        layer = {
            "input_layernorm": block.attention_norm.weight, "post_attention_layernorm": block.ffn_norm.weight,
            "self_attn.q_proj": _halves(query, config.head_dim), "self_attn.k_proj": _halves(key, config.head_dim),
            "self_attn.v_proj": value, "self_attn.o_proj": block.out.weight,
            "mlp.gate_proj": gate, "mlp.up_proj": up, "mlp.down_proj": block.down.weight}
        state |= {f"model.layers.{index}.{name}.weight": weight for name, weight in layer.items()}
    llama = LlamaForCausalLM(llama_config(config)).eval()
    llama.load_state_dict({name: weight.float().cpu() for name, weight in state.items()})
    return llama


def _halves(weight: Tensor, head_dim: int) -> Tensor:
    """(heads * head_dim, D) with the real parts of each head's rotary pairs first, then the imaginary ones."""
    return weight.unflatten(0, (-1, head_dim // 2, 2)).transpose(1, 2).flatten(0, 2)

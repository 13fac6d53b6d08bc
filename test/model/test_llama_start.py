"""Fresh decoders from Llama's weights, in both formats, on tiny random ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from kyvo_ros.model.config import NUMBER_EMBEDDINGS, ScaledRope
from kyvo_ros.model.decoder import Decoder
from kyvo_ros.model.embedding import index_features
from kyvo_ros.model.llama_start import llama_start
from kyvo_ros.model.published import PublishedCheckpointError, config_of, published_weights

TEXT, DIM, HEADS = 128256, 16, 4
CODEBOOK = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
ROPE = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192}
META = {"self_attn.q_proj": "attention.wq", "self_attn.k_proj": "attention.wk", "self_attn.v_proj": "attention.wv",
        "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1", "mlp.up_proj": "feed_forward.w3",
        "mlp.down_proj": "feed_forward.w2", "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm"}


def random_llama(tied: bool) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=TEXT, hidden_size=DIM, intermediate_size=24, num_hidden_layers=2, num_attention_heads=HEADS,
        num_key_value_heads=2, max_position_embeddings=131072, rms_norm_eps=1e-5, rope_parameters=ROPE,
        tie_word_embeddings=tied, bos_token_id=None, eos_token_id=None, pad_token_id=None)
    llama = LlamaForCausalLM(config).eval()
    for parameter in llama.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return llama


def save_as_meta(llama: LlamaForCausalLM, folder: Path) -> None:
    """Meta's names and order of rows, with the params.json of Llama-3.2-1B at these sizes."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in llama.state_dict().items():
        if name.startswith("model.layers."):
            parts = name.removesuffix(".weight").split(".", 3)
            if parts[3] in ("self_attn.q_proj", "self_attn.k_proj"):
                tensor = tensor.view(-1, 2, DIM // HEADS // 2, DIM).transpose(1, 2).reshape(-1, DIM)
            tensors[f"layers.{parts[2]}.{META[parts[3]]}.weight"] = tensor
    tensors |= {"tok_embeddings.weight": llama.model.embed_tokens.weight.data, "rope.freqs": torch.zeros(2),
                "norm.weight": llama.model.norm.weight.data, "output.weight": llama.lm_head.weight.data}
    folder.mkdir()
    torch.save(tensors, folder / "consolidated.00.pth")
    params = {"dim": DIM, "n_layers": 2, "n_heads": HEADS, "n_kv_heads": 2, "vocab_size": TEXT, "multiple_of": 4,
              "ffn_dim_multiplier": 1.5, "norm_eps": 1e-5, "rope_theta": 500000.0, "use_scaled_rope": True}
    (folder / "params.json").write_text(json.dumps(params))


def decoder_of(config, weights: dict[str, Tensor]) -> Decoder:
    decoder = Decoder(config, CODEBOOK).eval()
    decoder.load_state_dict(weights)
    return decoder


@pytest.mark.parametrize("tied", [True, False])
def test_text_reads_as_in_llama_from_either_format(tmp_path: Path, tied: bool) -> None:
    llama = random_llama(tied)
    llama.save_pretrained(tmp_path / "hugging_face")
    save_as_meta(llama, tmp_path / "meta")
    ids = torch.randint(0, TEXT, (1, 12), generator=torch.Generator().manual_seed(1))
    config, weights = llama_start(tmp_path / "hugging_face", "objectron", CODEBOOK)
    assert config.rope_theta == ScaledRope() and config.numbers_overhang == 1
    with torch.no_grad():
        logits = decoder_of(config, weights)(ids)
        assert torch.allclose(logits[..., :TEXT], llama(ids).logits, atol=1e-4)
        assert logits[..., TEXT:].std() < 0.3 * logits[..., :TEXT].std()  # new tokens start unlikely and alike
    same_config, same = llama_start(tmp_path / "meta", "objectron", CODEBOOK)
    assert same_config == config and same.keys() == weights.keys()
    assert all(torch.equal(same[name], tensor) for name, tensor in weights.items())
    assert torch.equal(weights["embedding.learned.weight"][:TEXT], llama.model.embed_tokens.weight)


def test_files_in_parts_older_words_and_the_dtype_of_the_weights(tmp_path: Path) -> None:
    llama = random_llama(tied=True)
    llama.bfloat16().save_pretrained(tmp_path)
    expected = llama_start(tmp_path, "clevr", CODEBOOK)[1]
    assert {tensor.dtype for tensor in expected.values()} == {torch.bfloat16}
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    for number, names in enumerate((sorted(tensors)[:5], sorted(tensors)[5:])):
        save_file({name: tensors[name] for name in names}, tmp_path / f"model-{number}.safetensors")
    config = json.loads((tmp_path / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found_config, found = llama_start(tmp_path, "clevr", CODEBOOK)
    assert found_config.rope_theta == ScaledRope()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_the_seed_draws_the_new_rows(tmp_path: Path) -> None:
    random_llama(tied=True).save_pretrained(tmp_path)
    state = torch.random.get_rng_state()
    one, same, other = (llama_start(tmp_path, "clevr", CODEBOOK, seed=seed)[1]["head.weight"] for seed in (1, 1, 2))
    assert torch.equal(one, same) and torch.equal(one[:TEXT], other[:TEXT])
    assert not torch.equal(one[TEXT:], other[TEXT:])
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("kind", NUMBER_EMBEDDINGS)
def test_every_published_number_embedding_can_be_started_with(tmp_path: Path, kind: str) -> None:
    random_llama(tied=True).save_pretrained(tmp_path)
    config, weights = llama_start(tmp_path, "clevr", CODEBOOK, number_embedding=kind)
    ids = torch.tensor([[TEXT, TEXT + 1200]])
    numbers = decoder_of(config, weights).embedding(ids)[0]
    features, learned = index_features(1201, DIM)[[0, -1]], weights["embedding.learned.weight"][[TEXT, TEXT + 1200]]
    expected = {"both": learned + features, "learned": learned, "fixed": features}[kind]
    assert torch.allclose(numbers, expected, atol=1e-5)
    assert config_of(published_weights(weights, config), "clevr", heads=HEADS).number_embedding == kind


@pytest.fixture
def hugging_face(tmp_path: Path) -> Path:
    random_llama(tied=True).save_pretrained(tmp_path)
    return tmp_path


def change_config(folder: Path, **values) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def change_tensors(folder: Path, change: Callable[[dict], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(("damage", "message"), [
    (lambda f: change_config(f, num_hidden_layers=3), "layers.2.attention.wq.weight is missing"),
    (lambda f: change_config(f, intermediate_size=20), r"layers.0.feed_forward.w1.weight has shape \(24, 16\)"),
    (lambda f: change_config(f, num_attention_heads=3), "makes no decoder: dim 16 is not a multiple of heads 3"),
    (lambda f: change_config(f, rope_parameters={"rope_type": "yarn"}), "rope_type default or llama3, got 'yarn'"),
    (lambda f: change_tensors(f, lambda t: t.pop("model.norm.weight")), "norm.weight is missing"),
    (lambda f: change_tensors(f, lambda t: t.update(extra=torch.zeros(1))), "extra is unknown"),
    (lambda f: change_tensors(f, lambda t: t.update({"model.embed_tokens.weight": torch.zeros(32000, DIM)})),
     r"tok_embeddings.weight has shape \(32000, 16\), expected \(128256, 16\)"),
    (lambda f: change_tensors(f, lambda t: t.pop("model.embed_tokens.weight")), "tok_embeddings.weight is missing"),
    (lambda f: (f / "model.safetensors").unlink(), r"holds no \*.safetensors"),
    (lambda f: (f / "model.safetensors").write_bytes(b"0"), "not a whole safetensors file"),
    (lambda f: (f / "config.json").write_text("{"), "config.json is broken JSON"),
    (lambda f: (f / "config.json").write_text("{}"), "config.json or the weights beside it lack 'rope_theta'"),
    (lambda f: (f / "config.json").unlink(), "neither config.json .* nor params.json"),
])
def test_folders_that_do_not_fit(hugging_face: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(hugging_face)
    with pytest.raises(PublishedCheckpointError, match=message):
        llama_start(hugging_face, "clevr", CODEBOOK)


def test_another_layout_is_named(hugging_face: Path) -> None:
    with pytest.raises(PublishedCheckpointError, match="layout must be one of"):
        llama_start(hugging_face, "kitti", CODEBOOK)

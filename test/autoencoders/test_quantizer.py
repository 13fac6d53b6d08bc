"""The vector quantiser: nearest codes, warm start, revival of dead codes, straight-through gradients."""

import pytest
import torch
import torch.nn.functional as F

from kyvo_ros.autoencoders.quantizer import VectorQuantizer, perplexity


@pytest.fixture
def quantizer() -> VectorQuantizer:
    torch.manual_seed(0)
    return VectorQuantizer(codes=8, dim=4, dead_after=3)


def test_codebook_vectors_encode_to_themselves(quantizer):
    codes = torch.arange(8)
    assert torch.equal(quantizer.encode(quantizer.decode(codes)), codes)
    assert torch.equal(quantizer.encode(5 * quantizer.decode(codes)), codes)  # length does not matter


def test_gradient_passes_straight_through(quantizer):
    x = torch.randn(5, 4, requires_grad=True)
    result = quantizer.eval()(x)
    result.vectors.sum().backward()
    straight = x.grad.clone()
    x.grad = None
    F.normalize(x, dim=-1).sum().backward()
    assert torch.allclose(straight, x.grad, atol=1e-6)
    assert torch.allclose(result.vectors, quantizer.decode(result.codes), atol=1e-6)


def test_fit_finds_clusters_and_refuses_too_few_vectors(quantizer):
    centres = F.normalize(torch.randn(8, 4), dim=-1)
    vectors = (centres.repeat(50, 1) + 0.01 * torch.randn(400, 4))
    quantizer.fit(vectors, rounds=30)
    error = (F.normalize(vectors, dim=-1) - quantizer.decode(quantizer.encode(vectors))).norm(dim=-1)
    assert error.median() < 0.1
    with pytest.raises(ValueError, match="at least 8 vectors"):
        quantizer.fit(vectors[:7])


def test_dead_codes_come_back_to_life(quantizer):
    one = F.normalize(torch.randn(1, 4), dim=-1)
    quantizer.codebook[1:] = -one  # nobody will ever choose these
    quantizer.codebook[0] = one
    quantizer.train()
    for _ in range(5):
        quantizer(one + 0.2 * torch.randn(64, 4))
    assert ((quantizer.codebook @ one.T) > 0).all()


def test_evaluation_changes_no_code(quantizer):
    before = quantizer.codebook.clone()
    quantizer.eval()(torch.randn(64, 4))
    assert torch.equal(before, quantizer.codebook)


def test_perplexity_counts_codes_in_use():
    assert perplexity(torch.tensor([0, 1, 2, 3]), 16) == pytest.approx(4)
    assert perplexity(torch.tensor([5, 5, 5]), 16) == pytest.approx(1)


def test_a_loaded_codebook_is_not_mixed_with_the_one_before(quantizer):
    torch.manual_seed(1)
    other = VectorQuantizer(codes=8, dim=4)
    other.load_state_dict(quantizer.state_dict())
    other.train()(quantizer.codebook.clone())  # each code sees itself alone
    assert torch.allclose(other.codebook, quantizer.codebook, atol=1e-6)

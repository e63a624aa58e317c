"""The Gumbel quantiser against transformers' on the same weights and noise, and against slow loops."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from transformers import Wav2Vec2Config
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2GumbelVectorQuantizer

from auricle.encoders.parts.quantisers.gumbel import GumbelLayerConfig, GumbelQuantiser, gumbel_noise
from auricle.errors import ConfigError


def pair(groups: int = 2, entries: int = 5, width: int = 12, out: int = 6) -> tuple[GumbelQuantiser, torch.nn.Module]:
    ours = GumbelQuantiser(width, groups, entries, out, generator=torch.Generator().manual_seed(3))
    config = Wav2Vec2Config(
        conv_dim=(width,),
        conv_kernel=(3,),
        conv_stride=(2,),
        num_codevector_groups=groups,
        num_codevectors_per_group=entries,
        codevector_dim=out,
    )
    theirs = Wav2Vec2GumbelVectorQuantizer(config)
    with torch.no_grad():
        theirs.weight_proj.load_state_dict(ours.logits.state_dict())
        theirs.codevectors.copy_(ours.codebook.reshape(1, groups * entries, out // groups))
    return ours, theirs


@pytest.mark.parametrize("masked", [False, True])
def test_training_equals_transformers_on_the_same_noise(masked: bool) -> None:
    ours, theirs = pair()
    x = torch.randn(3, 7, 12, generator=torch.Generator().manual_seed(0), requires_grad=True)
    valid = torch.rand(3, 7, generator=torch.Generator().manual_seed(1)) < 0.6 if masked else None
    theirs.temperature = 0.7
    torch.manual_seed(11)
    expected, perplexity = theirs(x, valid)
    torch.manual_seed(11)
    # What torch's gumbel_softmax draws, in its layout.
    noise = -torch.empty(3 * 7 * 2, 5).exponential_().log()
    got = ours(x, 0.7, noise.view(3, 7, 2, 5), valid)
    torch.testing.assert_close(got.x, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(got.perplexity.sum(), perplexity, rtol=1e-6, atol=0)
    weight = torch.randn(got.x.shape, generator=torch.Generator().manual_seed(2))
    ours_grad = torch.autograd.grad(
        (got.x * weight).sum() - got.perplexity.sum(), [x, ours.logits.weight, ours.codebook]
    )
    their_grad = torch.autograd.grad(
        (expected * weight).sum() - perplexity, [x, theirs.weight_proj.weight, theirs.codevectors]
    )
    for a, b in zip(ours_grad, their_grad, strict=True):
        torch.testing.assert_close(a.flatten(), b.flatten(), rtol=1e-5, atol=1e-6)


def test_evaluation_equals_transformers() -> None:
    ours, theirs = pair()
    ours.eval(), theirs.eval()
    x = torch.randn(3, 7, 12, generator=torch.Generator().manual_seed(0))
    expected, perplexity = theirs(x)
    got = ours(x, 1.0)
    torch.testing.assert_close(got.x, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(got.code_perplexity.sum(), perplexity, rtol=1e-5, atol=0)


@torch.no_grad()
def test_all_against_a_slow_loop() -> None:
    """Groups that share a codebook, two layers to the logits, some tokens padding."""
    B, N, G, V = 2, 5, 2, 4
    quantiser = GumbelQuantiser(6, G, V, 8, shared=True, depth=2).double().eval()
    assert quantiser.codebook.shape == (1, V, 4)
    x = torch.randn(B, N, 6, generator=torch.Generator().manual_seed(0)).double()
    valid = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]).bool()
    got = quantiser(x, 1.0, valid=valid)
    hidden, last = quantiser.hidden[0], quantiser.logits
    soft, hard = [[0.0] * V for _ in range(G)], [[0.0] * V for _ in range(G)]
    for b in range(B):
        for n in range(N):
            inner = [sum(w * v for w, v in zip(row, x[b, n], strict=True)) for row in hidden.weight]
            inner = [float(v + c) for v, c in zip(inner, hidden.bias, strict=True)]
            inner = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in inner]
            scores = [
                float(last.bias[k]) + sum(float(last.weight[k, i]) * v for i, v in enumerate(inner))
                for k in range(G * V)
            ]
            for g in range(G):
                mine = scores[g * V : (g + 1) * V]
                best = mine.index(max(mine))
                assert int(got.codes[b, n, g]) == best
                torch.testing.assert_close(got.x[b, n, g * 4 : (g + 1) * 4], quantiser.codebook[0, best])
                if valid[b, n]:
                    total = sum(math.exp(v) for v in mine)
                    hard[g][best] += 1 / 7
                    for v in range(V):
                        soft[g][v] += math.exp(mine[v]) / total / 7
    torch.testing.assert_close(got.probabilities, torch.tensor(soft).double(), rtol=1e-6, atol=1e-7)
    for g in range(G):
        assert float(got.perplexity[g]) == pytest.approx(math.exp(-sum(p * math.log(p) for p in soft[g])), rel=1e-6)
        entropy = -sum(p * math.log(p) for p in hard[g] if p)
        assert float(got.code_perplexity[g]) == pytest.approx(math.exp(entropy), rel=1e-6)
    assert float(got.count) == 7


def test_noise_chooses_as_often_as_the_softmax_says() -> None:
    quantiser = GumbelQuantiser(3, 1, 4, 2).eval()
    x = torch.randn(1, 1, 3, generator=torch.Generator().manual_seed(4)).expand(1, 20000, 3)
    with torch.no_grad():
        quantiser.logits.weight.mul_(0.7)
        expected = torch.softmax(quantiser.score(x)[0, 0, 0], 0)
        noise = gumbel_noise(torch.rand(1, 20000, 1, 4, generator=torch.Generator().manual_seed(5)))
        codes = quantiser(x, 1.0, noise).codes
    torch.testing.assert_close(torch.bincount(codes.flatten(), minlength=4) / 20000, expected, rtol=0, atol=0.012)


def test_gumbel_noise_is_finite_at_both_ends() -> None:
    ends = torch.tensor([0.0, 0.5, 1 - 2**-24])
    assert gumbel_noise(ends).isfinite().all()
    assert float(gumbel_noise(ends)[1]) == pytest.approx(-math.log(math.log(2)))


def test_values_are_exact_entries_and_the_gradient_is_the_softmax_s() -> None:
    quantiser = GumbelQuantiser(4, 1, 3, 2).double()
    x = torch.randn(1, 2, 4, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    got = quantiser(x, 0.5)
    torch.testing.assert_close(got.x, quantiser.look_up(got.codes))
    got.x.sum().backward()
    again = x.detach().clone().requires_grad_()
    soft = torch.softmax(quantiser.score(again) / 0.5, -1)
    torch.einsum("bngv,gvd->", soft, quantiser.codebook.detach()).backward()
    torch.testing.assert_close(x.grad, again.grad)


def test_autocast_changes_nothing() -> None:
    quantiser = GumbelQuantiser(16, 2, 32, 8)
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    plain = quantiser(x, 1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = quantiser(x, 1.0)
    assert torch.equal(plain.x, rounded.x)


def test_a_layer_samples_in_training_only_and_remembers_its_use() -> None:
    layer = GumbelLayerConfig(groups=2, entries=16, temperature=2.0).build(8)
    x = torch.randn(2, 40, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    first = layer(x).codes
    assert not torch.equal(first, layer(x).codes)
    torch.manual_seed(0)
    assert torch.equal(first, layer(x).codes)
    assert layer.last_perplexity is not None
    assert layer.last_perplexity.shape == (2,)
    copy.deepcopy(layer)  # moving averages copy encoders
    layer.eval()
    assert torch.equal(layer(x).codes, layer(x, noise=torch.randn(2, 40, 2, 16)).codes)


def test_sizes_and_shapes_are_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of the groups"):
        GumbelQuantiser(4, 3, 5, 8)
    with pytest.raises(ConfigError, match="at least 1"):
        GumbelQuantiser(4, 1, 0, 8)
    quantiser = GumbelQuantiser(4, 1, 5, 8)
    with pytest.raises(ConfigError, match="temperature"):
        quantiser(torch.zeros(1, 2, 4), 0.0)
    with pytest.raises(ConfigError, match="noise of shape"):
        quantiser(torch.zeros(1, 2, 4), 1.0, torch.zeros(1, 2, 5))
    with pytest.raises(ConfigError, match="temperature"):
        GumbelLayerConfig(temperature=0.0)
    with pytest.raises(ConfigError, match="unknown start"):
        GumbelQuantiser(4, 1, 5, 8, start="uniform")  # type: ignore[arg-type]

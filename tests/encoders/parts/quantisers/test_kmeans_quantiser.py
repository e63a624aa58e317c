"""The k-means layer: nearest entries, straight-through, a codebook that follows; inside an encoder."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from auricle.audio.batch import Features
from auricle.encoders.contract import EncoderConfig
from auricle.encoders.parts.quantisers.kmeans import KMeansLayerConfig
from auricle.encoders.parts.waveform_stem import WaveformStemConfig
from auricle.encoders.waveform_recurrent import WaveformConvolutionConfig
from auricle.errors import ConfigError

STEM = WaveformStemConfig(layers=((8, 4, 2), (8, 4, 2)), norm="layer", bias=True)


@pytest.mark.parametrize("shared", [True, False])
def test_it_chooses_the_nearest_entry(shared: bool) -> None:
    layer = KMeansLayerConfig(groups=2, entries=5, shared=shared, commitment=0.25).build(8).double()
    torch.nn.init.normal_(layer.codebook)
    x = torch.randn(2, 7, 8, dtype=torch.float64)
    out, z = layer(x), layer.features(x)
    valid = torch.ones(2, 7).bool()
    valid[1, 3:] = False
    weighed, follow = layer(x, valid), []
    for clip in range(2):
        for place in range(7):
            for group in range(2):
                book = layer.codebook[0 if shared else group]
                best = (book - z[clip, place, group]).square().sum(-1).argmin()
                assert out.codes[clip, place, group] == best
                assert torch.equal(out.x[clip, place, group * 4 : group * 4 + 4], book[best])
                if valid[clip, place]:
                    follow.append(1.25 * F.mse_loss(book[best], z[clip, place, group]))
    torch.testing.assert_close(weighed.penalty, torch.stack(follow).mean())
    assert float(weighed.count) == 10
    assert torch.allclose(out.probabilities.sum(1), torch.ones(2, dtype=torch.float64))


def test_features_are_standardised_by_group() -> None:
    z = KMeansLayerConfig(groups=2, entries=4).build(8).features(torch.randn(3, 5, 8) * 7)
    torch.testing.assert_close(z.mean(-1), torch.zeros(3, 5, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.var(-1, unbiased=False), torch.ones(3, 5, 2), atol=1e-3, rtol=0)


def test_gradient_passes_straight_through() -> None:
    layer = KMeansLayerConfig(groups=2, entries=4).build(8).double()
    x = torch.randn(1, 3, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(1, 3, 8, dtype=torch.float64)
    (through,) = torch.autograd.grad((layer(x).x * weight).sum(), x)
    (plain,) = torch.autograd.grad((layer.features(x).flatten(-2) * weight).sum(), x)
    torch.testing.assert_close(through, plain)


def test_entries_become_the_means_of_what_chooses_them() -> None:
    layer = KMeansLayerConfig(groups=1, entries=6, commitment=0.0).build(4)
    x = torch.randn(1, 60, 4, generator=torch.Generator().manual_seed(0))
    z = layer.features(x).detach()[0, :, 0]
    optimiser = torch.optim.Adam([layer.codebook], lr=0.03)
    before = float(layer(x).penalty.detach())
    for _ in range(300):
        optimiser.zero_grad()
        layer(x).penalty.backward()
        optimiser.step()
    after = layer(x)
    assert float(after.penalty.detach()) < 0.5 * before
    codes = after.codes[0, :, 0]
    for code in codes.unique():
        torch.testing.assert_close(layer.codebook[0, code], z[codes == code].mean(0), atol=0.03, rtol=0)


def test_inside_an_encoder() -> None:
    config = WaveformConvolutionConfig(stem=STEM, width=8, kernels=(2,), quantiser=KMeansLayerConfig(2, 6))
    assert EncoderConfig.from_json(config.to_json()) == config
    encoder = config.build()
    features = Features(torch.randn(2, 60), torch.tensor([60, 40]), 16000.0)
    tokens = encoder.tokenize(features)
    out, (quantised,) = encoder.contextualize_quantised(tokens)
    assert torch.equal(encoder.codes(tokens), quantised.codes)
    assert out.x.shape == tokens.x.shape
    again = config.build(torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), again.parameters(), strict=True))
    assert torch.equal(encoder.eval()(features).x, out.x)


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="3 groups for 8 channels"):
        KMeansLayerConfig(groups=3).build(8)
    with pytest.raises(ConfigError, match="entries is 0"):
        KMeansLayerConfig(entries=0)

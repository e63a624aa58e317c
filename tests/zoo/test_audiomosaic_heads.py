from __future__ import annotations

import pytest
import torch

from auricle.audio.batch import Features
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import ConfigError
from auricle.zoo.families.audiomosaic_heads import AttentiveSum, AudioMosaicHead, Classifier, LayerProbe, WeightedSum

SMALL = SpectrogramTransformerConfig(width=24, depth=2, heads=2, mels=32, frames=128, drop_path=0.0)


def features(lengths: tuple[int, int] = (128, 128), frames: int = 128) -> Features:
    x = torch.randn(2, frames, 32, generator=torch.Generator().manual_seed(0))
    length = torch.tensor(lengths)
    return Features(
        x.masked_fill(torch.arange(frames)[None, :, None] >= length[:, None, None], 0.5), length, 100.0, 0.5
    )


@pytest.mark.parametrize("kind", [Classifier, WeightedSum, AttentiveSum])
def test_every_parameter_gets_a_gradient_and_padding_is_ignored(kind: type[AudioMosaicHead]) -> None:
    head = kind(SMALL.build(), 5).eval()
    torch.nn.init.normal_(head.head.weight)
    head(features()).square().sum().backward()
    assert [n for n, p in head.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    both = head(features((128, 40)))
    alone = head(Features(features((128, 40)).x[1:, :40], torch.tensor([40]), 100.0, 0.5))
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-4)


def test_training_drops_and_needs_noise() -> None:
    head = Classifier(SMALL.build(), 5, drop=(0.25, 0.5)).train()
    with pytest.raises(ConfigError, match="no mask noise"):
        head(features())
    tokens = head.encoder.tokenize(features())
    noise = head.draw(tokens.grid, 2, torch.Generator().manual_seed(0))
    assert head.keep(tokens, noise).x.shape == (2, 6, 24)
    assert head(features(), noise).shape == (2, 5)
    assert Classifier(SMALL.build(), 5, drop=(0.0, 0.0)).train()(features()).shape == (2, 5)


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="layer 3, expected 1 to 2"):
        LayerProbe(SMALL.build(), 5, layer=3)
    with pytest.raises(ConfigError, match="divisor of the width"):
        AttentiveSum(SMALL.build(), 5, heads=5)
    with pytest.raises(ConfigError, match="fc_norm"):
        Classifier(SMALL.replace(final="norm").build(), 5)
    with pytest.raises(ConfigError, match="without attn_key"):
        AttentiveSum(SMALL.build(), 5).load_official({k: torch.ones(1) for k in ("attn_query",)})

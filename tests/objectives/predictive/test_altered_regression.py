from __future__ import annotations

import numpy as np
import pytest
import torch

from auricle.audio.batch import Features
from auricle.config import Config
from auricle.encoders.contract import Encoder
from auricle.encoders.resnet import ResNetConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.errors import ConfigError
from auricle.objectives.contract import View
from auricle.objectives.masks.corruption import (
    ChannelBandConfig,
    CorruptionChainConfig,
    CorruptionConfig,
    DiceSpansConfig,
    MagnitudeNoiseConfig,
)
from auricle.objectives.predictive.altered_regression import AlteredRegressionConfig, clip_means, interpolated
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPrediction, MaskedPredictionConfig

FRAMES = SpectrogramTransformerConfig(
    width=24, depth=1, heads=2, patch=(1, 32), mels=32, frames=80, drop_path=0.0, cls=False, pooling="mean",
    final="norm",
)  # fmt: skip
PATCHES = FRAMES.replace(patch=(16, 16))


def made(
    encoder: Encoder, corruption: CorruptionConfig | None, term: AlteredRegressionConfig | None = None
) -> MaskedPrediction:
    return MaskedPredictionConfig(
        mask=None, hide="none", corruption=corruption, decoder=NoDecoderConfig(),
        terms=(term or AlteredRegressionConfig(),),
    ).build(encoder).double()  # fmt: skip


def view(lengths: tuple[int, ...] = (80, 80, 80)) -> View:
    torch.manual_seed(0)
    count = torch.tensor(lengths)
    x = torch.randn(len(lengths), 80, 32, dtype=torch.float64)
    return View(Features(x * (torch.arange(80) < count[:, None])[..., None], count, 100.0), torch.arange(len(lengths)))


@pytest.mark.parametrize("config", [FRAMES, PATCHES])
@pytest.mark.parametrize("corruption", [DiceSpansConfig(), ChannelBandConfig(), CorruptionChainConfig()])
@pytest.mark.parametrize("measure", ["l1", "l2"])
def test_loss_lies_on_altered_elements_only(
    config: SpectrogramTransformerConfig, corruption: CorruptionConfig, measure: str
) -> None:
    encoder, shown = config.build().double(), view((80, 41, 64))
    objective = made(encoder, corruption, AlteredRegressionConfig(measure=measure))  # type: ignore[arg-type]
    loss = objective(encoder, [shown], torch.Generator().manual_seed(5))
    corrupted = corruption.apply(shown.features, torch.Generator().manual_seed(5))
    out = encoder(corrupted.features)
    prediction = objective.terms[0].head(out.x)  # type: ignore[union-attr, operator]
    time, freq = config.patch
    total, count = 0.0, 0
    for b, t, f in corrupted.altered.nonzero().tolist():
        token = (t // time) * (32 // freq) + f // freq
        guess = prediction[b, token, (t % time) * freq + f % freq]
        error = float(guess.detach() - shown.features.x[b, t, f])
        total += abs(error) if measure == "l1" else error**2
        count += 1
    assert float(loss.total.detach()) == pytest.approx(total / count, rel=1e-9)


def test_a_span_that_no_patch_loses_the_half_of_is_learned_from() -> None:
    # 7 frames of 16: by whole tokens nothing would count as hidden.
    encoder = PATCHES.build().double()
    loss = made(encoder, DiceSpansConfig(share=0.08))(encoder, [view()], torch.Generator().manual_seed(0))
    assert float(loss.watch["hidden_share"]) == 0.0
    loss.total.backward()
    assert float(loss.total.detach()) > 0.5
    named = dict(encoder.named_parameters())
    assert [n for n, p in named.items() if p.grad is None or not bool(p.grad.any())] == []


def test_lines_between_unaltered_frames_are_those_of_numpy() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 20, 4, dtype=torch.float64)
    altered = torch.rand(3, 20, 4) < 0.4
    lengths = torch.tensor([20, 13, 17])
    altered &= (torch.arange(20) < lengths[:, None])[..., None]
    altered[2, :17, 1] = True
    found = interpolated(x, altered, lengths)
    means = clip_means(x, altered, lengths)
    for b in range(3):
        n = int(lengths[b])
        for f in range(4):
            shown = (~altered[b, :n, f]).nonzero().flatten().numpy()
            if len(shown) == 0:
                assert float(found[b, :n, f].abs().max()) == 0.0
                assert float(means[b, 0, f]) == 0.0
                continue
            expected = np.interp(np.arange(n), shown, x[b, shown, f].numpy())
            np.testing.assert_allclose(found[b, :n, f].numpy(), expected, atol=1e-12)
            assert float(means[b, 7, f]) == pytest.approx(float(x[b, shown, f].mean()))


def test_baselines_are_those_of_their_definitions() -> None:
    encoder, shown = FRAMES.build().double(), view()
    corruption = DiceSpansConfig(share=0.3)
    loss = made(encoder, corruption)(encoder, [shown], torch.Generator().manual_seed(5))
    altered = corruption.apply(shown.features, torch.Generator().manual_seed(5)).altered
    x = shown.features.x
    lines = interpolated(x, altered, shown.features.lengths)
    assert float(loss.watch["reconstruction/interpolation"]) == pytest.approx(float((lines - x).abs()[altered].mean()))
    means = torch.stack([x[b][~altered[b]].view(-1, 32).mean(0) for b in range(3)])[:, None].expand_as(x)
    assert float(loss.watch["reconstruction/clip_mean"]) == pytest.approx(float((means - x).abs()[altered].mean()))
    errors = []
    for b, t, f in altered.nonzero().tolist():
        others = [x[c, t, f] for c in range(3) if c != b and altered[c, t, f]]
        guess = torch.stack(others).mean() if others else x[altered].mean()
        errors.append(float((guess - x[b, t, f]).abs()))
    assert float(loss.watch["reconstruction/position"]) == pytest.approx(sum(errors) / len(errors))
    assert all(bool(torch.isfinite(value)) for value in loss.watch.values())


def test_shuffled_targets_are_another_clips() -> None:
    encoder, shown = FRAMES.build().double(), view()
    objective = made(encoder, CorruptionChainConfig())
    own = objective(encoder, [shown], torch.Generator().manual_seed(1)).total
    objective.shuffled = True
    other = objective(encoder, [shown], torch.Generator().manual_seed(1)).total
    assert float((own - other).abs()) > 1e-4


def test_the_target_is_clean_while_the_encoder_hears_the_corrupted_clip() -> None:
    encoder, shown = FRAMES.build().double(), view()
    seen = []
    encoder.patch_proj.register_forward_hook(lambda module, args, out: seen.append(args[0].detach()))
    made(encoder, MagnitudeNoiseConfig(probability=1.0))(encoder, [shown], torch.Generator().manual_seed(1))
    assert float((seen[0] - shown.features.x).std()) == pytest.approx(0.2, rel=0.05)


def test_misfits() -> None:
    encoder = FRAMES.build().double()
    with pytest.raises(ConfigError, match="there is no corruption"):
        made(encoder, None)(encoder, [view()], torch.Generator())
    with pytest.raises(ConfigError, match="measure"):
        AlteredRegressionConfig(measure="l3")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="reads samples"):
        made(WaveformTransformerConfig.size("tiny").build(), DiceSpansConfig())
    config = AlteredRegressionConfig(measure="l2", weight=2.0)
    assert Config.from_json(config.to_json()) == config


def test_an_encoder_of_convolutions_with_a_finer_grid_before_them() -> None:
    encoder = ResNetConfig(channels=4, mels=64).build()
    objective = MaskedPredictionConfig(
        mask=None,
        hide="none",
        corruption=DiceSpansConfig(),
        decoder=NoDecoderConfig(),
        terms=(AlteredRegressionConfig(),),
    ).build(encoder)
    x = torch.randn(4, 128, 64)
    shown = View(Features(x, torch.full((4,), 128), 100.0), torch.arange(4))
    loss = objective(encoder.train(), [shown], torch.Generator().manual_seed(0))
    loss.total.backward()
    assert bool(torch.isfinite(loss.total))
    assert [n for n, p in encoder.named_parameters() if p.grad is None] == []

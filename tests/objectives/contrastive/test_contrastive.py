from __future__ import annotations

import math

import pytest
import torch

from auricle.audio.batch import Features
from auricle.config import Config
from auricle.encoders.audio_ntt import AudioNTTConfig
from auricle.encoders.contract import Ability
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import ConfigError, NeedError
from auricle.objectives.contract import View
from auricle.objectives.contrastive.pair_losses import BarlowConfig, InBatchConfig, NTXentConfig, PairLossConfig
from auricle.objectives.contrastive.two_views import Contrastive, ContrastiveConfig
from auricle.objectives.masks.structured import MaskConfig

SMALL = SpectrogramTransformerConfig(width=24, depth=2, heads=2, mels=32, frames=64, drop_path=0.0)


def views(clips: int, count: int = 2) -> list[View]:
    generator = torch.Generator().manual_seed(1)
    return [
        View(
            Features(torch.randn(clips, 64, 32, generator=generator), torch.full((clips,), 64), 100.0),
            torch.arange(clips),
        )
        for _ in range(count)
    ]


def test_dropped_tokens_never_enter_the_blocks() -> None:
    encoder = SMALL.build()
    objective = ContrastiveConfig().build(encoder)
    seen: list[tuple[int, ...]] = []
    encoder.blocks[0].register_forward_hook(lambda module, args, out: seen.append(tuple(args[0].shape)))
    objective(encoder, views(5), torch.Generator())
    # 4 x 2 grid: one of 4 columns kept (2 tokens), one of 2 rows kept (4 tokens); the class token stays.
    assert seen == [(5, 3, 24), (5, 5, 24)]


@pytest.mark.parametrize("mode", ["tf", "tt", "ff", "unstructured", "none"])
@pytest.mark.parametrize("grid", ["true", "released"])
def test_every_mode_trains(mode: str, grid: str) -> None:
    encoder = SMALL.build()
    objective = ContrastiveConfig(mask=MaskConfig(mode=mode, grid=grid, time=0.5)).build(encoder)
    loss = objective(encoder, views(6), torch.Generator().manual_seed(0))
    loss.total.backward()
    assert math.isfinite(float(loss.total.detach()))
    without = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []
    assert [n for n, p in objective.named_parameters() if p.grad is None] == ["projector.4.bias"]
    assert not objective.projector[4].bias.requires_grad
    assert float(objective.projector[4].bias.abs().sum()) == 0


def test_initial_loss_is_near_chance() -> None:
    encoder = SMALL.build()
    loss = ContrastiveConfig(mask=MaskConfig(mode="none")).build(encoder)(encoder, views(32), torch.Generator())
    assert abs(float(loss.total.detach()) - math.log(63)) < 1.5
    assert 0 <= float(loss.watch["accuracy"]) < 0.3
    assert set(loss.watch) == {"accuracy", "chance", "alignment", "uniformity", "std_z", "rank_z", "rank_f"}


def test_same_generator_same_loss() -> None:
    encoder = SMALL.build()
    objective = ContrastiveConfig().build(encoder)
    one = objective(encoder, views(5), torch.Generator().manual_seed(3)).total
    two = objective(encoder, views(5), torch.Generator().manual_seed(3)).total
    other = objective(encoder, views(5), torch.Generator().manual_seed(4)).total
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_an_encoder_that_cannot_drop_is_refused() -> None:
    encoder = SMALL.build()
    encoder.abilities = frozenset({Ability.CLS})
    with pytest.raises(NeedError, match=r"Contrastive needs DROP.*SpectrogramTransformer does not offer"):
        ContrastiveConfig().build(encoder)


def test_one_view_is_refused() -> None:
    encoder = SMALL.build()
    with pytest.raises(ConfigError, match="found 1 views, expected 2"):
        ContrastiveConfig().build(encoder)(encoder, views(4, count=1), torch.Generator())


def test_settings_travel_as_json() -> None:
    config = ContrastiveConfig(loss=NTXentConfig(temperature=0.2), mask=MaskConfig(mode="ff", freq=0.3))
    assert Config.from_json(config.to_json()) == config
    with pytest.raises(ConfigError, match="temperature"):
        NTXentConfig(temperature=0.0)


def test_projector_weights_come_from_the_generator() -> None:
    encoder = SMALL.build()
    one, two = (
        Contrastive(ContrastiveConfig(), encoder, torch.Generator().manual_seed(s)).projector[0].weight for s in (1, 2)
    )
    assert not torch.equal(one, two)
    assert float(one.detach().std()) == pytest.approx(0.02, rel=0.05)


NTT = AudioNTTConfig(width=16, mels=32, channels=4, dropout=0.0)
LOSSES = [NTXentConfig(), InBatchConfig(), InBatchConfig("cosine", symmetric=True), BarlowConfig()]


@pytest.mark.parametrize("loss", LOSSES)
def test_without_masks_any_encoder_serves(loss: PairLossConfig) -> None:
    encoder = NTT.build()
    assert Ability.DROP not in encoder.abilities
    objective = ContrastiveConfig(loss=loss, mask=MaskConfig(mode="none")).build(encoder)
    assert objective.needs == frozenset()
    made = objective(encoder, views(6), torch.Generator())
    made.total.backward()
    assert set(made.parts) == {objective.loss.name}
    assert all(torch.isfinite(value) for value in made.watch.values())
    parameters = [*encoder.parameters(), *objective.parameters()]
    assert all(p.grad is not None and bool(p.grad.any()) for p in parameters if p.requires_grad)


def test_joint_statistics_are_those_of_one_forward_over_both_views() -> None:
    """As COLA's code concatenates anchors and positives before its encoder."""
    config = ContrastiveConfig(mask=MaskConfig(mode="none"), norm_scope="joint")
    encoder, twin = NTT.build().double().train(), NTT.build().double().train()
    objective = config.build(encoder).double()
    one, two = (View(Features(v.features.x.double(), v.features.lengths, 100.0), v.clip) for v in views(6))
    f = twin.pool(twin(Features(torch.cat([one.features.x, two.features.x]), torch.full((12,), 64), 100.0)))
    z = objective.projector(f)
    found = objective(encoder, [one, two], torch.Generator()).total
    torch.testing.assert_close(found, objective.loss(z[:6], z[6:], slice(0, 6)).loss, rtol=1e-10, atol=0)
    apart = config.replace(norm_scope="view").build(twin).double()
    assert abs(float((apart(twin, [one, two], torch.Generator()).total - found).detach())) > 1e-6
    longer = View(Features(torch.zeros(6, 80, 32).double(), torch.full((6,), 80), 100.0), one.clip)
    with pytest.raises(ConfigError, match=r"set objective\.norm_scope to view"):
        objective(encoder, [one, longer], torch.Generator())
    with pytest.raises(ConfigError, match=r"objective\.mask\.mode to none"):
        ContrastiveConfig(norm_scope="joint")


def test_masks_need_an_encoder_that_drops() -> None:
    with pytest.raises(NeedError, match="needs DROP") as caught:
        ContrastiveConfig().build(NTT.build())
    assert caught.value.needs == ("DROP",)


def test_shuffled_partners_are_another_clips() -> None:
    encoder = NTT.build().double()
    objective = ContrastiveConfig(mask=MaskConfig(mode="none")).build(encoder).double()
    data = [View(Features(view.features.x.double(), view.features.lengths, 100.0), view.clip) for view in views(6)]
    rolled = View(Features(data[1].features.x.roll(1, 0), data[1].features.lengths, 100.0), data[1].clip)
    expected = objective(encoder, [data[0], rolled], torch.Generator()).total
    assert not torch.isclose(objective(encoder, data, torch.Generator()).total, expected)
    objective.shuffled = True
    torch.testing.assert_close(objective(encoder, data, torch.Generator()).total, expected, rtol=1e-10, atol=0)


def test_one_clip_is_refused() -> None:
    encoder = NTT.build()
    objective = ContrastiveConfig(mask=MaskConfig(mode="none")).build(encoder)
    with pytest.raises(ConfigError, match=r"batch of 1 clip.*loader\.batch"):
        objective(encoder, views(1), torch.Generator())

"""Terms on what the view itself hid: shares of tokens against fine sampling, and against what was really altered."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from auricle.audio.batch import Audio
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.ops.wave_masking import HopMaskConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.audio.views import PlainViewsConfig
from auricle.encoders.conformer import ConformerConfig
from auricle.errors import ConfigError
from auricle.objectives.contract import View
from auricle.objectives.masks.hidden_stretches import HiddenStretchesConfig, masked_shares
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.terms import CodeConfig, chosen_tokens
from auricle.objectives.targets.projections import RandomProjectionTargetConfig

FRONT = LogMelConfig(mels=32)
ENCODER = ConformerConfig(width=16, depth=1, heads=2, channels=4, mels=32, dropout=0.0)
OBJECTIVE = MaskedPredictionConfig(
    mask=None, hide="none", views=2, decoder=NoDecoderConfig(),
    terms=(HiddenStretchesConfig(CodeConfig(RandomProjectionTargetConfig(codes=32))),),
)  # fmt: skip


def audio(clips: int = 4, seconds: float = 3.2) -> Audio:
    noise = np.random.default_rng(0).standard_normal((clips, int(16000 * seconds))).astype(np.float32)
    return Audio.stack([0.1 * row for row in noise], 16000)


def views(plan: ViewPlanConfig, count: int = 2) -> list[View]:
    made = plan.build(FRONT.build())(audio(), count, torch.Generator().manual_seed(1))
    return [View(v.features, torch.arange(4), v.certificate, v.reference) for v in made]


@pytest.mark.parametrize(("hop", "rate"), [(0.4, 25.0), (0.15, 25.0), (0.03, 12.5), (0.4, 6.25)])
def test_shares_equal_fine_sampling(hop: float, rate: float) -> None:
    steps = 20
    hidden = torch.rand(3, round(steps / rate / hop) + 1, generator=torch.Generator().manual_seed(0)) < 0.5
    found = masked_shares(hidden, torch.full((3,), hop), steps, rate)
    fine = 400
    for clip in range(3):
        for step in range(steps):
            times = (step + (np.arange(fine) + 0.5) / fine) / rate
            hops = (times / np.float32(hop)).astype(int)
            expected = np.pad(hidden[clip].numpy(), (0, 50))[hops].mean()
            assert abs(float(found[clip, step]) - expected) < 6e-3


def test_clips_that_were_left_whole_have_no_hidden_token() -> None:
    hidden = torch.zeros(2, 4, dtype=torch.bool)
    hidden[0, 1] = True
    found = masked_shares(hidden, torch.tensor([0.4, torch.nan]), 40, 25.0)
    assert (found[0] > 0.5).nonzero().flatten().tolist() == list(range(10, 20))
    assert float(found[1].sum()) == 0


def test_the_tokens_predicted_are_those_whose_frames_were_replaced() -> None:
    shown = views(ViewPlanConfig(wave=(HopMaskConfig(sigma=0.5),), clean=(1,)))
    encoder = ENCODER.build()
    objective = OBJECTIVE.build(encoder)
    seen = {}
    inner = objective.terms[0].term
    inner.register_forward_pre_hook(lambda module, args: seen.update(masked_batch=args[0]))
    loss = objective(encoder, shown, torch.Generator().manual_seed(0))
    loss.total.backward()
    chosen = chosen_tokens("predicted", seen["masked_batch"])
    # Noise of five times the deviation is louder in every band.
    louder = (shown[0].features.x - shown[1].features.x).mean(2) > 1.5
    tokens = louder[:, : chosen.shape[1] * 4]
    tokens = torch.nn.functional.pad(tokens, (0, chosen.shape[1] * 4 - tokens.shape[1])).unflatten(1, (-1, 4))
    agreement = ((tokens.float().mean(2) >= 0.5) == chosen).float().mean()
    assert agreement > 0.95
    assert 0.3 < float(loss.watch["codes/hidden_share"]) < 0.9
    assert float(loss.watch["codes/hidden_share"]) == pytest.approx(float(chosen.float().mean()))


def test_targets_come_from_the_clean_view() -> None:
    encoder = ENCODER.build()
    objective = OBJECTIVE.build(encoder)
    masked = views(ViewPlanConfig(wave=(HopMaskConfig(),), clean=(1,)))
    plain = views(ViewPlanConfig())
    masked_batches = [
        objective.look(encoder, shown, torch.Generator().manual_seed(0), list(objective.terms))
        for shown in (masked, plain)
    ]
    one, two = (objective.terms[0].term.target(masked_batch) for masked_batch in masked_batches)
    assert torch.equal(one, two)
    assert not torch.equal(masked[0].features.x, plain[0].features.x)


def test_a_view_that_tells_nothing_is_refused() -> None:
    encoder = ENCODER.build()
    made = PlainViewsConfig().build(FRONT.build())(audio(), 2, torch.Generator())
    shown = [View(v.features, torch.arange(4), v.certificate, v.reference) for v in made]
    with pytest.raises(ConfigError, match="HopMaskConfig"):
        OBJECTIVE.build(encoder)(encoder, shown, torch.Generator())


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_shares_out_of_range_are_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="share"):
        HiddenStretchesConfig(share=share)

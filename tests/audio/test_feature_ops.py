from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from audio_clips import seeded
from torch.nn import functional as F

from auricle.audio.batch import Features
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.ops.feature_mixing import LogMixupExp, LogMixupExpConfig, PartialMaxMixConfig, log_mixup_exp
from auricle.audio.ops.feature_op import FeatureOpConfig
from auricle.audio.ops.feature_ops import (
    FeatureNoiseConfig,
    FeatureRollConfig,
    LinearFaderConfig,
    ResizeCropConfig,
    faded,
    resized,
)
from auricle.config import Config
from auricle.errors import ConfigError

FRONT = LogMelConfig(mels=64, low=60.0, high=7800.0, n_fft=1024, window=1024, hop=160, mean=-5.0, std=4.0).build()
PAD = 1.25
ALL = [
    LogMixupExpConfig(),
    ResizeCropConfig(),
    ResizeCropConfig(canvas=(1.0, 1.0), time_scale=(1.0, 1.0)),
    LinearFaderConfig(),
    FeatureNoiseConfig(sigma=(0.1, 0.2)),
    FeatureRollConfig(),
    PartialMaxMixConfig(),
]


def ragged(*frames: int, bands: int = 64, seed: int = 3) -> Features:
    x = torch.randn(len(frames), max(frames), bands, generator=seeded(seed))
    lengths = torch.tensor(frames)
    x = torch.where((torch.arange(max(frames)) < lengths[:, None])[..., None], x, PAD)
    return Features(x, lengths, 100.0, PAD)


def whole(x: torch.Tensor) -> Features:
    return Features(x, torch.full((len(x),), x.shape[1]), 100.0, PAD)


@pytest.mark.parametrize("config", ALL, ids=lambda c: type(c).__name__)
def test_what_every_operator_guarantees(config: FeatureOpConfig):
    assert Config.from_json(config.to_json()) == config
    features = ragged(96, 50, 70, 5)
    before = features.x.clone()
    outs = []
    for seed in (1, 1, 2):
        op = config.build(FRONT)
        op(ragged(96, 96, seed=9), seeded())
        op.finish()
        outs.append(op(features, seeded(seed)))
    (made, certified), (again, _), (other, _) = outs
    assert torch.equal(features.x, before)
    assert made.x.shape == features.x.shape
    assert made.lengths.equal(features.lengths)
    assert (made.pad, made.rate) == (PAD, 100.0)
    assert made.x.isfinite().all()
    assert torch.equal(made.x, again.x)
    assert not torch.equal(made.x, other.x)
    assert all(len(value) == 4 and value.device.type == "cpu" for value in certified.values())
    for x, n in zip(made.x, (96, 50, 70, 5), strict=True):
        assert (x[n:] == PAD).all()
    assert not torch.equal(made.x[0], features.x[0])


def test_only_what_moves_time_says_so():
    assert [c.moves_time for c in ALL] == [False, True, False, False, False, True, False]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LogMixupExpConfig(ratio=0.0), "ratio"),
        (lambda: LogMixupExpConfig(entries=0), "entries"),
        (lambda: ResizeCropConfig(canvas=(0.5, 1.0)), "canvas"),
        (lambda: ResizeCropConfig(time_scale=(1.5, 0.6)), "time_scale"),
        (lambda: LinearFaderConfig(gain=0.0), "gain"),
        (lambda: FeatureNoiseConfig(sigma=(-1.0, 0.0)), "sigma"),
        (lambda: PartialMaxMixConfig(protected=2, fraction=0.5), "protected is 2 spans of 0.5"),
    ],
)
def test_settings_out_of_range_are_refused(make, words: str):
    with pytest.raises(ConfigError, match=words):
        make()


# Golden values of BYOL-A's published code


def test_log_mixup_exp_has_the_golden_values():
    torch.manual_seed(0)
    a, b = torch.randn(1, 64, 96), torch.randn(1, 64, 96)
    mixed = log_mixup_exp(a, b, 0.2)
    assert mixed.sum().item() == pytest.approx(868.48151, abs=2e-3)
    assert mixed.flatten()[:3].tolist() == pytest.approx([-0.3157404, -0.3372449, 0.0483807], abs=2.1e-6)
    exact = (0.8 * a.double().exp() + 0.2 * b.double().exp() + torch.finfo(torch.float32).eps).log()
    assert (mixed - exact).abs().max().item() < 5e-7
    log_add = torch.logaddexp(a + math.log(0.8), b + math.log(0.2))
    assert (mixed - log_add).abs().max().item() < 2.5e-6


def test_resize_crop_has_the_golden_value():
    torch.manual_seed(0)
    x = torch.randn(1, 64, 96).transpose(1, 2)
    top, left, height, width = 0, 12, 64, 119
    canvas_left = (144 - 96) // 2
    y = resized(x, torch.tensor([left - canvas_left]), torch.tensor([width]), torch.tensor([96]), 1)
    y = resized(y, torch.tensor([top]), torch.tensor([height]), torch.tensor([64]), 2)
    assert y.sum().item() == pytest.approx(-77.352043, abs=2e-3)


def test_fader_has_the_golden_values():
    head, tail = 0.0976270, 0.4303787
    x = torch.randn(1, 96, 64, generator=seeded())
    made = faded(whole(x), torch.tensor([head]), torch.tensor([tail]))
    np.testing.assert_allclose(made[0], x[0].numpy() + np.linspace(head, tail, 96)[:, None], atol=1e-6)


def test_mixup_bank_has_the_golden_second_output():
    share = 0.2 * np.random.RandomState(0).rand(2)[1]
    op = LogMixupExpConfig(ratio=0.2).build(FRONT)
    first, certified = op(whole(torch.zeros(1, 4, 64)), seeded())
    assert (first.x == 0).all()
    assert certified["mix_ratio"].tolist() == [0]
    op.finish()
    second, certified = op(whole(torch.ones(1, 4, 64)), seeded())
    drawn = float(certified["mix_ratio"])
    assert second.x[0, 0, 0].item() == pytest.approx(math.log((1 - drawn) * math.e + drawn), abs=1e-6)
    assert log_mixup_exp(torch.ones(1), torch.zeros(1), float(share)).item() == pytest.approx(0.9052307, abs=1e-6)


# Resize crop


def test_resize_crop_equals_a_bicubic_resize_of_the_box():
    features = ragged(96, 96, 40, 7)
    op = ResizeCropConfig().build(FRONT)
    for seed in range(3):
        made, box = op(features, seeded(seed))
        for i, frames in enumerate(features.lengths.tolist()):
            wide = int(1.5 * frames)
            canvas = torch.zeros(64, wide)
            left = (wide - frames) // 2
            canvas[:, left : left + frames] = features.x[i, :frames].T
            h, w = int(box["crop_bands"][i]), int(box["crop_frames"][i])
            top, start = int(box["crop_band"][i]), int(box["crop_frame"][i])
            cut = canvas[None, None, top : top + h, start : start + w]
            assert cut.shape[2:] == (h, w)
            expected = F.interpolate(cut, (64, frames), mode="bicubic", align_corners=True)[0, 0].T
            torch.testing.assert_close(made.x[i, :frames], expected, atol=2e-4, rtol=1e-4)


def test_boxes_follow_the_published_distribution():
    n = 20000
    box = ResizeCropConfig().build(FRONT).draw(torch.full((n,), 96), torch.full((n,), 64), seeded())
    height, width = box["crop_bands"], box["crop_frames"]
    assert (int(height.min()), int(height.max())) == (38, 64)
    assert (int(width.min()), int(width.max())) == (57, 143)
    assert (height == 64).double().mean().item() == pytest.approx(0.5 / 0.9, abs=0.01)
    assert (box["crop_band"] + height <= 64).all()
    assert (box["crop_frame"] + width <= 144).all()
    narrow = width == 60
    place = box["crop_frame"][narrow]
    assert (int(place.min()), int(place.max())) == (0, 84)


def test_frequency_only_resize_keeps_frames_in_place():
    features = ragged(96, 50)
    made, box = ResizeCropConfig(canvas=(1.0, 1.0), time_scale=(1.0, 1.0)).build(FRONT)(features, seeded())
    assert box["crop_frames"].tolist() == [96, 50]
    assert box["crop_frame"].tolist() == [0, 0]
    impulse = features.x.clone()
    impulse[0, 30] += 5
    moved, _ = ResizeCropConfig(canvas=(1.0, 1.0), time_scale=(1.0, 1.0)).build(FRONT)(
        Features(impulse, features.lengths, 100.0, PAD), seeded()
    )
    assert (moved.x - made.x).abs().amax((0, 2)).nonzero()[:, 0].tolist() == [30]


# The other operators


def test_fader_noise_and_roll_do_what_they_certify():
    features = ragged(96, 40)
    made, certified = LinearFaderConfig().build(FRONT)(features, seeded())
    for i, n in enumerate((96, 40)):
        line = np.linspace(float(certified["head"][i]), float(certified["tail"][i]), n)
        np.testing.assert_allclose((made.x - features.x)[i, :n, 0], line, atol=2e-6)
    drawn = LinearFaderConfig().build(FRONT)(whole(torch.zeros(3000, 2, 1)), seeded())[1]
    for values in drawn.values():
        assert scipy.stats.kstest(values.numpy(), "uniform", (-1, 2)).pvalue > 1e-3
    made, certified = FeatureNoiseConfig(sigma=(0.1, 0.2)).build(FRONT)(features, seeded())
    noise = (made.x - features.x)[0]
    assert noise.std().item() == pytest.approx(float(certified["feature_noise"][0]), rel=0.05)
    made, certified = FeatureRollConfig().build(FRONT)(features, seeded())
    for i, n in enumerate((96, 40)):
        expected = np.roll(features.x[i, :n].numpy(), int(certified["roll_frames"][i]), 0)
        np.testing.assert_array_equal(made.x[i, :n], expected)


# The bank


def bank(entries: int) -> LogMixupExp:
    return LogMixupExpConfig(entries=entries).build(FRONT)


def batches(count: int, rows: int) -> list[Features]:
    """Every clip holds one value of its own."""
    values = torch.arange(count * rows).float().reshape(count, rows, 1, 1) / 10
    return [whole(v.expand(-1, 3, 64).clone()) for v in values]


def test_bank_is_first_in_first_out_and_never_holds_the_current_batch():
    op = bank(6)
    for step, features in enumerate(batches(5, 4)):
        held = set(op.bank[: int(op.filled)].amin((1, 2)).mul(10).round().int().tolist()) if step else set()
        newest = range(4 * step)[-6:]
        assert held == set(newest)
        for view in range(2):
            made, certified = op(features, seeded(2 * step + view))
            if step == 0:
                assert torch.equal(made.x, features.x)
                continue
            for x, y, share in zip(features.x[:, 0, 0], made.x[:, 0, 0], certified["mix_ratio"], strict=True):
                other = math.log((math.exp(float(y)) - (1 - float(share)) * math.exp(float(x))) / float(share))
                assert min(abs(other - v / 10) for v in newest) < 0.02
        op.finish()


def test_bank_travels_in_a_checkpoint():
    op, resumed = bank(6), bank(6)
    passed = batches(4, 4)
    for features in passed[:2]:
        op(features, seeded())
        op.finish()
    resumed.load_state_dict(op.state_dict())
    for features in passed[2:]:
        a, b = op(features, seeded(5))[0], resumed(features, seeded(5))[0]
        assert torch.equal(a.x, b.x)
        op.finish()
        resumed.finish()
    assert torch.equal(op.bank, resumed.bank)
    fresh = bank(6)
    op.load_state_dict(fresh.state_dict())
    assert op.bank.shape == (0, 0, 64)
    with pytest.raises(RuntimeError, match="bank"):
        bank(7).load_state_dict(resumed.state_dict())


def test_bank_is_read_only_in_eval_and_larger_batches_keep_its_newest():
    op = bank(3)
    (features,) = batches(1, 8)
    op(features, seeded())
    op.finish()
    assert op.bank[:, 0, 0].mul(10).round().tolist() == [5, 6, 7]
    op.eval()
    op(whole(torch.full((2, 3, 64), 9.0)), seeded())
    op.finish()
    assert op.bank[:, 0, 0].mul(10).round().tolist() == [5, 6, 7]


def test_bank_refuses_another_clip_length():
    op = bank(3)
    op(whole(torch.zeros(2, 3, 64)), seeded())
    op.finish()
    with pytest.raises(ConfigError, match=r"3 frames and met clips of 5"):
        op(whole(torch.zeros(2, 5, 64)), seeded())


# Partial maximum


def test_maximum_is_taken_outside_the_protected_stretches():
    features = ragged(1024, 1024, 1024, 300)
    made, certified = PartialMaxMixConfig().build(FRONT)(features, seeded())
    assert certified["partner"].tolist() == [3, 0, 1, 2]
    mixed = certified["mixed"]
    for i, n in enumerate(features.lengths.tolist()):
        partner = int(certified["partner"][i])
        both = min(n, int(features.lengths[partner]))
        for t in range(n):
            own, other = features.x[i, t], features.x[partner, t]
            expected = torch.maximum(own, other) if mixed[i, t] else own
            assert torch.equal(made.x[i, t], expected)
        assert not mixed[i, both:].any()
    for row in (1, 2):
        spans = np.diff(np.flatnonzero(np.diff(np.r_[1, mixed[row].int().numpy(), 1])))[::2]
        assert spans.sum() == 480


def test_protected_stretches_lie_anywhere():
    op = PartialMaxMixConfig(protected=1, fraction=0.5).build(FRONT)
    mixed = op.draw(torch.full((4000,), 10), 10, seeded())
    assert ((~mixed).sum(1) == 5).all()
    first = (~mixed).int().argmax(1)
    counts = torch.bincount(first)
    assert len(counts) == 6
    assert scipy.stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_a_lone_clip_is_not_mixed():
    features = ragged(50)
    made, certified = PartialMaxMixConfig().build(FRONT)(features, seeded())
    assert torch.equal(made.x, features.x)
    assert certified["partner"].tolist() == [-1]
    assert not certified["mixed"].any()

"""PASE's workers: targets against slow computations, pairs that are what they say, odd rates, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.frame_spectrum import FrameSpectrumConfig
from auricle.audio.frontends.prosody import ProsodyConfig
from auricle.audio.frontends.waveform import WaveformConfig
from auricle.audio.ops.crop import CropConfig
from auricle.audio.ops.wave_ops import WaveNoiseConfig, WaveRollConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.encoders.contract import Encoder, Grid
from auricle.encoders.pase import PaseConfig
from auricle.errors import ConfigError
from auricle.objectives.contract import Preparation, View
from auricle.objectives.targets.frame_signals import FrameSignal, Standardiser, derivative
from auricle.objectives.workers.pairs import PairWorkerConfig, of_another_clip
from auricle.objectives.workers.regression import FrameWorkerConfig, WaveWorkerConfig, balanced_strides
from auricle.objectives.workers.workers import Frames, WorkerBatch, WorkersConfig

FRONTEND = WaveformConfig().build()
BLOCKS = tuple((8, kernel, stride) for _, kernel, stride in PaseConfig().blocks)
ALL = (
    WaveWorkerConfig(channels=(8, 4, 4), kernel=None, hidden=4),
    FrameWorkerConfig("mfcc", FrameSpectrumConfig(bands="mel", n_fft=512, cepstra=20), hidden=16),
    FrameWorkerConfig("prosody", ProsodyConfig(), deltas=2, context=1, hidden=16),
    PairWorkerConfig("lim", "local", hidden=16),
    PairWorkerConfig("gim", "global", hidden=16),
    PairWorkerConfig("spc", "sequence", hidden=16),
)


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def waves(clips: int = 4, samples: int = 16000) -> Audio:
    return Audio(0.1 * torch.randn(clips, samples, generator=random()), torch.full((clips,), samples), 16000)


def small() -> Encoder:
    return PaseConfig(filters=4, filter_taps=31, blocks=BLOCKS, width=8).build()


def views(audio: Audio, plan: ViewPlanConfig | None = None) -> list[View]:
    plan = plan or ViewPlanConfig(crop=CropConfig(seconds=0.6, each=True))
    made = plan.build(FRONTEND)(audio, 2, random(1))
    return [View(v.features, torch.arange(len(audio)), v.certificate, v.reference) for v in made]


def preparation(audio: Audio) -> Preparation:
    def shown(clips: int) -> Iterator[View]:
        yield View(FRONTEND(audio), torch.arange(len(audio)), {}, audio)

    return Preparation(shown, len(audio), None, random(), lambda text: None)


def test_targets_are_standardised_and_every_worker_learns() -> None:
    encoder, audio = small(), waves()
    objective = WorkersConfig(workers=ALL).build(encoder)
    assert objective.prepares
    objective.prepare(encoder, preparation(audio))
    loss = objective(encoder, views(audio), random(2))
    loss.total.backward()
    for module in (encoder, objective):
        assert [n for n, p in module.named_parameters() if p.requires_grad and not bool(p.grad.any())] == []
    torch.testing.assert_close(loss.total.detach(), torch.stack(list(loss.parts.values())).sum())
    assert set(loss.parts) == {"wave", "mfcc", "prosody", "lim", "gim", "spc"}
    # Who predicts the corpus's mean has an error of about one.
    assert float(loss.watch["mfcc/constant"]) == pytest.approx(1, abs=0.2)
    assert float(loss.watch["lim/pair_chance"]) == 0.5
    assert all(np.isfinite(float(value)) for value in loss.watch.values())


def test_a_frame_target_is_the_standardised_feature_with_slopes_and_neighbours() -> None:
    audio = waves(2, 8000)
    frontend = ProsodyConfig().build()
    signal = FrameSignal(frontend, 1, 1, "it")
    signal.fit(audio)
    signal.standardise.finish()
    made = signal(View(FRONTEND(audio), torch.arange(2), {}, audio))
    raw = frontend(audio).x
    slopes = torch.zeros_like(raw)
    for t in range(raw.shape[1]):
        at = [raw[:, min(max(t + k, 0), raw.shape[1] - 1)] for k in (-2, -1, 0, 1, 2)]
        slopes[:, t] = (2 * (at[4] - at[0]) + at[3] - at[1]) / 10
    torch.testing.assert_close(derivative(raw), slopes, atol=1e-5, rtol=1e-5)
    values = torch.cat([raw, slopes], 2)
    mean, std = values.flatten(0, 1).mean(0), values.flatten(0, 1).std(0, correction=0)
    expected = (values - mean) / torch.where(std > 1e-6, std, 1.0)
    assert made.shape == (2, 50, signal.size) == (2, 50, 24)
    torch.testing.assert_close(made[:, 7], torch.cat([expected[:, t] for t in (6, 7, 8)], 1), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(made[:, 0, :8], expected[:, 0], atol=1e-3, rtol=1e-3)


def test_targets_come_from_the_clean_waveform() -> None:
    encoder, audio = small(), waves()
    crop = CropConfig(seconds=0.6, each=True)
    objective = WorkersConfig(workers=ALL[1:2]).build(encoder)
    clean = views(audio, ViewPlanConfig(crop=crop))
    noisy = views(audio, ViewPlanConfig(crop=crop, wave=(WaveNoiseConfig(choices_db=(0.0,)),)))
    assert not torch.equal(clean[0].features.x, noisy[0].features.x)
    worker = objective.workers[0]
    torch.testing.assert_close(worker.signal(clean[0]), worker.signal(noisy[0]))
    moved = views(audio, ViewPlanConfig(crop=crop, wave=(WaveRollConfig(),)))
    with pytest.raises(ConfigError, match="worker 'mfcc' is taken from the clean waveform"):
        objective(encoder, moved, random())


def batch(clips: int = 5, steps: int = 60, shuffled: bool = False) -> WorkerBatch:
    """Time steps that say which clip and which step they are."""
    clip = torch.arange(clips).view(-1, 1, 1).expand(-1, steps, 1)
    step = torch.arange(steps).view(1, -1, 1).expand(clips, -1, 1)
    frames = Frames(torch.cat([clip, step], 2).double(), torch.ones(clips, steps, dtype=torch.bool))
    return WorkerBatch(None, frames, frames, Grid(steps, 1, 100.0), random(4), shuffled)  # type: ignore[arg-type]


def test_pairs_are_what_they_say() -> None:
    encoder = small()
    clips = torch.arange(5.0, dtype=torch.float64)
    for task in ("local", "global"):
        worker = PairWorkerConfig("x", task).build(encoder, 2, random()).double()
        make = {"local": worker._local, "global": worker._global}[task]
        anchor, right, wrong = (x[..., 0].reshape(5, -1) for x in make(batch()))
        assert bool((anchor == clips[:, None]).all())
        assert bool((right == clips[:, None]).all())
        assert bool((wrong != clips[:, None]).all())
        _, right, _ = (x[..., 0].reshape(5, -1) for x in make(batch(shuffled=True)))
        assert bool((right != clips[:, None]).all())
    worker = PairWorkerConfig("spc", "sequence", context=0.05, gap=0.15).build(encoder, 2, random()).double()
    anchor, after, before = worker._sequence(batch())
    step, ahead, behind = anchor[..., 1], after.unflatten(2, (5, 2))[..., 1], before.unflatten(2, (5, 2))[..., 1]
    for k in range(5):
        assert bool((ahead[..., k] == step + 16 + k).all())
        assert bool((behind[..., k] == step - 20 + k).all())
    # A margin of 8 steps at either end.
    assert int(behind.min()) >= 8
    assert int(ahead.max()) < 60 - 8
    assert len(step.unique()) == 4


def test_another_clip_is_any_but_the_own() -> None:
    found = torch.stack([of_another_clip(torch.arange(4), random(seed)) for seed in range(200)])
    for clip in range(4):
        counts = torch.bincount(found[:, clip], minlength=4)
        assert int(counts[clip]) == 0
        assert int(counts.sum() - counts.max()) > 80


def test_padding_takes_no_part() -> None:
    encoder = small().eval()
    short = replace(waves(), lengths=torch.tensor([16000, 16000, 16000, 9600]))
    short = Audio(short.wave * (torch.arange(16000) < short.lengths[:, None]), short.lengths, 16000)
    objective = WorkersConfig(workers=ALL[1:3]).build(encoder)
    both = [View(FRONTEND(short), torch.arange(4), {}, short)] * 2
    whole = objective(encoder, both, random())
    alone = Audio(short.wave[3:, :9600], short.lengths[3:], 16000)
    own = objective(encoder, [View(FRONTEND(alone), torch.arange(1), {}, alone)] * 2, random())
    others = objective(encoder, [view[:3] for view in both], random())
    for name in whole.parts:
        mixed = (others.parts[name] * 300 + own.parts[name] * 60) / 360
        torch.testing.assert_close(whole.parts[name], mixed, rtol=1e-4, atol=1e-5)


def test_wave_worker_as_released() -> None:
    """512, 256 and 128 channels, strides 4, 4 and 10, kernels of 30, then 64 units: every sample of every step."""
    encoder = small()
    worker = WaveWorkerConfig(strides=(4, 4, 10)).built_class()(
        WaveWorkerConfig(strides=(4, 4, 10)), encoder, 8, random()
    )
    convs = [layer for layer in worker.layers if not isinstance(layer, torch.nn.PReLU)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0]) for c in convs] == [
        (8, 512, 30, 4), (512, 256, 30, 4), (256, 128, 30, 10), (128, 64, 1, 1), (64, 1, 1, 1),
    ]  # fmt: skip
    assert worker.layers(torch.zeros(2, 8, 7)).shape == (2, 1, 7 * 160)
    odd = WaveWorkerConfig(channels=(2, 2, 2)).built_class()(WaveWorkerConfig(channels=(2, 2, 2)), encoder, 8, random())
    assert odd.layers(torch.zeros(2, 8, 7)).shape == (2, 1, 7 * 160)
    with pytest.raises(ConfigError, match=r"make 80 samples.*one every 160; set its strides to None"):
        WorkersConfig(workers=(WaveWorkerConfig(strides=(2, 4, 10)),)).build(encoder)


def test_wave_workers_of_earlier_runs() -> None:
    """Two channels, kernels of about twice the stride, and the last of three convolutions makes the samples."""
    old = {"kind": "WaveWorkerConfig", "name": "wave", "channels": [64, 32], "weight": 1.0}
    config = WaveWorkerConfig.from_json(old)
    assert WaveWorkerConfig.from_json(config.to_json()) == config
    worker = config.built_class()(config, small(), 8, random())
    assert {name: tuple(value.shape) for name, value in worker.layers.state_dict().items()} == {
        "0.weight": (8, 64, 16), "0.bias": (64,), "1.weight": (1,), "2.weight": (64, 32, 11), "2.bias": (32,),
        "3.weight": (1,), "4.weight": (32, 1, 8), "4.bias": (1,),
    }  # fmt: skip
    assert worker.layers(torch.zeros(2, 8, 7)).shape == (2, 1, 7 * 160)
    with pytest.raises(ConfigError, match=r"of 4 channels; set the last of its channels to 1, or its hidden width"):
        WaveWorkerConfig(channels=(8, 8, 4), hidden=None)


def test_factors_of_hops() -> None:
    assert balanced_strides(160) == (8, 5, 4)
    assert balanced_strides(1) == (1, 1, 1)
    for hop in (7, 320, 441, 2560, 5120):
        assert int(np.prod(balanced_strides(hop))) == hop


def test_what_is_refused() -> None:
    encoder = small()
    with pytest.raises(ConfigError, match="at least one"):
        WorkersConfig()
    with pytest.raises(ConfigError, match="expected different names"):
        WorkersConfig(workers=(ALL[1], ALL[1])).build(encoder)
    with pytest.raises(ConfigError, match=r"comes at 80 frames per second.*choose a rate that is a multiple"):
        WorkersConfig(workers=(FrameWorkerConfig("lps", FrameSpectrumConfig(hop=200)),)).build(encoder)
    spc = WorkersConfig(workers=ALL[5:]).build(encoder)
    tiny = Audio(waves().wave[:, :4800], torch.full((4,), 4800), 16000)
    with pytest.raises(ConfigError, match="needs 57 time steps"):
        spc(encoder, [View(FRONTEND(tiny), torch.arange(4), {}, tiny)] * 2, random())
    lim = WorkersConfig(workers=ALL[3:4]).build(encoder)
    with pytest.raises(ConfigError, match="batch of 1 clip"):
        lim(encoder, [view[:1] for view in views(waves())], random())
    with pytest.raises(ConfigError, match="no frames to measure"):
        Standardiser(3).finish()
    with pytest.raises(ConfigError, match=r"task is 'globl'.*did you mean 'global'"):
        PairWorkerConfig(task="globl")  # type: ignore[arg-type]


def test_features_of_another_length_are_refused() -> None:
    objective = WorkersConfig(workers=ALL[1:2]).build(small())
    one, two = views(waves())
    cut = View(Features(two.features.x[:, :8000], two.features.lengths - 1600, 16000.0), two.clip, {}, two.reference)
    with pytest.raises(ConfigError, match="views of one length"):
        objective(small(), [one, cut], random())

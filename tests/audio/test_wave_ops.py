from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
import scipy.stats
import torch
from audio_clips import RATE, always, ragged, rms, seeded

from auricle.audio.batch import Audio
from auricle.audio.ops.wave_filters import BandDropConfig, EchoConfig, NarrowbandConfig, PassFilterConfig, ReverbConfig
from auricle.audio.ops.wave_masking import ChopsConfig, HopMaskConfig, WaveTimeMaskConfig
from auricle.audio.ops.wave_mixing import OverlapConfig, UtteranceMixConfig
from auricle.audio.ops.wave_op import WaveOpConfig
from auricle.audio.ops.wave_ops import (
    ClippingConfig,
    PitchShiftConfig,
    PolarityConfig,
    TimeStretchConfig,
    WaveFadeConfig,
    WaveGainConfig,
    WaveNoiseConfig,
    WaveRollConfig,
)
from auricle.config import Config
from auricle.errors import ConfigError

ALL = [
    WaveNoiseConfig(),
    WaveNoiseConfig(choices_db=(0.0, 5.0, 10.0)),
    WaveNoiseConfig(sigma=(0.001, 0.001)),
    WaveGainConfig(),
    WaveGainConfig(beta=10.0),
    PolarityConfig(),
    ClippingConfig(),
    WaveFadeConfig(),
    WaveFadeConfig(shape="cosine"),
    WaveRollConfig(),
    PitchShiftConfig(),
    TimeStretchConfig(),
    PassFilterConfig(),
    BandDropConfig(),
    NarrowbandConfig(),
    ReverbConfig(),
    EchoConfig(),
    WaveTimeMaskConfig(),
    ChopsConfig(),
    HopMaskConfig(),
    OverlapConfig(),
    UtteranceMixConfig(),
]


# All operators


@pytest.mark.parametrize("config", ALL, ids=lambda c: type(c).__name__)
def test_what_every_operator_guarantees(config: WaveOpConfig):
    assert Config.from_json(config.to_json()) == config
    audio = ragged(9000, 5000, 7000, 40)
    before = audio.wave.clone()
    made, certified = always(config).build()(audio, seeded(1))
    again, same = always(config).build()(audio, seeded(1))
    other, _ = always(config).build()(audio, seeded(2))
    assert torch.equal(audio.wave, before)
    assert made.wave.shape == audio.wave.shape
    assert made.wave.dtype == torch.float32
    assert made.lengths.equal(audio.lengths)
    assert made.wave.isfinite().all()
    assert torch.equal(made.wave, again.wave)
    assert certified.keys() == same.keys()
    assert all(len(value) == 4 and value.device.type == "cpu" for value in certified.values())
    for wave, length in zip(made.wave, audio.lengths.tolist(), strict=True):
        assert (wave[length:] == 0).all()
    assert not torch.equal(made.wave, audio.wave)
    if not isinstance(config, PolarityConfig | NarrowbandConfig):
        assert not torch.equal(made.wave, other.wave)
    silence, _ = always(config).build()(Audio(torch.zeros(2, 4000), torch.tensor([4000, 1]), RATE), seeded())
    assert silence.wave.isfinite().all()


@pytest.mark.parametrize("config", ALL, ids=lambda c: type(c).__name__)
def test_clips_not_chosen_are_untouched_and_said_to_be(config: WaveOpConfig):
    audio = ragged(*[3000] * 40)
    made, certified = config.replace(p=0.5).build()(audio, seeded(1))
    changed = (made.wave != audio.wave).any(1)
    assert 8 < int(changed.sum()) < 32 or isinstance(config, HopMaskConfig)
    for value in certified.values():
        flat = value.reshape(40, -1)[~changed]
        if value.dtype == torch.bool:
            assert not flat.any()
        elif value.is_floating_point():
            assert flat.isnan().all() or isinstance(config, WaveFadeConfig | ChopsConfig | HopMaskConfig)
        else:
            assert (flat == -1).all() or isinstance(config, WaveRollConfig)
    off, _ = config.replace(p=0.0).build()(audio, seeded(1))
    assert torch.equal(off.wave, audio.wave)


def test_only_rolls_and_stretches_move_time():
    moving = {type(c).__name__ for c in ALL if c.build().moves_time}
    assert moving == {"WaveRollConfig", "TimeStretchConfig"}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: WaveNoiseConfig(p=1.5), "p is 1.5; expected a number of at least 0 and of at most 1"),
        (lambda: WaveNoiseConfig(snr_db=(5.0, 1.0)), "lowest, highest"),
        (lambda: WaveNoiseConfig(choices_db=(5.0,), sigma=(0.1, 0.1)), "one of them"),
        (lambda: WaveGainConfig(beta=-1.0), "beta"),
        (lambda: ClippingConfig(factors=()), "factors"),
        (lambda: WaveFadeConfig(shape="square"), "shape"),  # type: ignore[arg-type]
        (lambda: PassFilterConfig(low_pass_hz=None, high_pass_hz=None), "neither"),
        (lambda: PassFilterConfig(order=0), "order"),
        (lambda: BandDropConfig(octaves=(0.0, 1.0)), "octaves"),
        (lambda: NarrowbandConfig(to_hz=1), "to_hz"),
        (lambda: ReverbConfig(rt60=(0.0, 1.0)), "rt60"),
        (lambda: EchoConfig(level=0.0), "level"),
        (lambda: ChopsConfig(most=0), "most"),
        (lambda: HopMaskConfig(hidden=1.0), "hidden"),
        (lambda: OverlapConfig(choices_db=()), "choices_db"),
        (lambda: UtteranceMixConfig(longest=0.0), "longest"),
    ],
)
def test_settings_out_of_range_are_refused(make, words: str):
    with pytest.raises(ConfigError, match=words):
        make()


def test_published_probabilities_of_pase_plus():
    chain = [ReverbConfig(), OverlapConfig(), ClippingConfig(), ChopsConfig(), NarrowbandConfig(), BandDropConfig()]
    assert [op.p for op in chain] == [0.5, 0.1, 0.2, 0.2, 0.25, 0.35]
    assert OverlapConfig().choices_db == (5.0, 7.5, 10.0)
    assert ClippingConfig().factors == (0.1, 0.3, 0.5)


# Each against its own definition


def test_noise_has_the_certified_level():
    audio = ragged(16000, 8000)
    made, certified = WaveNoiseConfig().build()(audio, seeded())
    for i, n in enumerate(audio.lengths.tolist()):
        noise = made.wave[i, :n] - audio.wave[i, :n]
        found = 20 * math.log10(rms(audio.wave[i, :n]) / rms(noise))
        assert found == pytest.approx(float(certified["snr_db"][i]), abs=0.3)
        assert scipy.stats.kurtosis(noise.numpy()) == pytest.approx(0, abs=0.2)
    made, certified = WaveNoiseConfig(sigma=(0.001, 0.001)).build()(audio, seeded())
    assert rms(made.wave[0] - audio.wave[0]) == pytest.approx(0.001, rel=0.03)
    drawn = WaveNoiseConfig(choices_db=(0.0, 5.0, 10.0)).build()(ragged(*[10] * 300), seeded())[1]["snr_db"]
    assert set(drawn.tolist()) == {0.0, 5.0, 10.0}


def test_gains_follow_their_distributions():
    audio = ragged(*[10] * 4000)
    made, certified = WaveGainConfig(beta=10.0).build()(audio, seeded())
    assert scipy.stats.kstest(certified["gain"].double().numpy() - 0.5, "beta", (10, 10)).pvalue > 1e-3
    torch.testing.assert_close(made.wave, audio.wave * certified["gain"][:, None])
    _, certified = WaveGainConfig(db=(-6.0, 6.0)).build()(audio, seeded())
    assert scipy.stats.kstest(20 * np.log10(certified["gain"].numpy()), "uniform", (-6, 12)).pvalue > 1e-3


def test_polarity_and_clipping():
    audio = ragged(500, 300)
    made, _ = always(PolarityConfig()).build()(audio, seeded())
    assert torch.equal(made.wave, -audio.wave)
    made, certified = always(ClippingConfig()).build()(audio, seeded())
    for before, after, factor in zip(audio.wave, made.wave, certified["clip_factor"].tolist(), strict=True):
        peak = float(before.abs().max())
        np.testing.assert_allclose(after, np.clip(before, -factor * peak, factor * peak), rtol=1e-6)


def test_fades_are_ramps():
    audio = Audio(
        torch.ones(2, 1000) * (torch.arange(1000) < torch.tensor([[1000], [400]])), torch.tensor([1000, 400]), RATE
    )
    made, _ = WaveFadeConfig(fade_in=(0.25, 0.25), fade_out=(0.5, 0.5)).build()(audio, seeded())
    for wave, n in zip(made.wave, (1000, 400), strict=True):
        place = np.arange(n)
        expected = np.minimum(1, (place + 1) / (n / 4)) * np.minimum(1, (n - place) / (n / 2))
        np.testing.assert_allclose(wave[:n], expected, atol=1e-6)


def test_roll_is_circular_over_the_valid_samples():
    audio = ragged(1000, 700)
    made, certified = WaveRollConfig().build()(audio, seeded())
    for i, n in enumerate((1000, 700)):
        shift = int(certified["roll"][i])
        assert 0 < shift < n
        np.testing.assert_array_equal(made.wave[i, :n], np.roll(audio.wave[i, :n].numpy(), shift))


def test_pitch_and_speed_move_a_tone_as_certified():
    time = torch.arange(RATE) / RATE
    audio = Audio(torch.sin(2 * math.pi * 440 * time)[None].repeat(2, 1), torch.tensor([RATE, RATE]), RATE)

    def peak(wave: torch.Tensor) -> float:
        spectrum = np.abs(np.fft.rfft(wave[4000:12000].numpy() * np.hanning(8000), 2**17))
        return float(np.argmax(spectrum) * RATE / 2**17)

    made, certified = PitchShiftConfig().build()(audio, seeded())
    for wave, semitones in zip(made.wave, certified["semitones"].tolist(), strict=True):
        assert peak(wave) == pytest.approx(440 * 2 ** (semitones / 12), rel=0.005)
    made, certified = TimeStretchConfig(speed=(1.25, 1.25)).build()(audio, seeded())
    assert peak(made.wave[0]) == pytest.approx(440, rel=0.005)
    assert rms(made.wave[0, :12000]) > 0.6
    assert rms(made.wave[0, 13500:]) < 0.05

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
import scipy.stats
import torch

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

RATE = 16000
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


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ragged(*samples: int, seed: int = 5) -> Audio:
    generator = seeded(seed)
    return Audio.stack([0.1 * torch.randn(n, generator=generator) for n in samples], RATE)


def always(config: WaveOpConfig) -> WaveOpConfig:
    return config.replace(p=1.0)


def rms(x: torch.Tensor) -> float:
    return float(x.double().square().mean().sqrt())


# All operators


@pytest.mark.parametrize("config", ALL, ids=lambda c: type(c).__name__)
def test_what_every_operator_promises(config: WaveOpConfig):
    assert Config.from_json(config.to_json()) == config
    audio = ragged(9000, 5000, 7000, 40)
    before = audio.wave.clone()
    made, told = always(config).build()(audio, seeded(1))
    again, same = always(config).build()(audio, seeded(1))
    other, _ = always(config).build()(audio, seeded(2))
    assert torch.equal(audio.wave, before)
    assert made.wave.shape == audio.wave.shape
    assert made.wave.dtype == torch.float32
    assert made.lengths.equal(audio.lengths)
    assert made.wave.isfinite().all()
    assert torch.equal(made.wave, again.wave)
    assert told.keys() == same.keys()
    assert all(len(value) == 4 and value.device.type == "cpu" for value in told.values())
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
    made, told = config.replace(p=0.5).build()(audio, seeded(1))
    changed = (made.wave != audio.wave).any(1)
    assert 8 < int(changed.sum()) < 32 or isinstance(config, HopMaskConfig)
    for value in told.values():
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
    made, told = WaveNoiseConfig().build()(audio, seeded())
    for i, n in enumerate(audio.lengths.tolist()):
        noise = made.wave[i, :n] - audio.wave[i, :n]
        found = 20 * math.log10(rms(audio.wave[i, :n]) / rms(noise))
        assert found == pytest.approx(float(told["snr_db"][i]), abs=0.3)
        assert scipy.stats.kurtosis(noise.numpy()) == pytest.approx(0, abs=0.2)
    made, told = WaveNoiseConfig(sigma=(0.001, 0.001)).build()(audio, seeded())
    assert rms(made.wave[0] - audio.wave[0]) == pytest.approx(0.001, rel=0.03)
    drawn = WaveNoiseConfig(choices_db=(0.0, 5.0, 10.0)).build()(ragged(*[10] * 300), seeded())[1]["snr_db"]
    assert set(drawn.tolist()) == {0.0, 5.0, 10.0}


def test_gains_follow_their_distributions():
    audio = ragged(*[10] * 4000)
    made, told = WaveGainConfig(beta=10.0).build()(audio, seeded())
    assert scipy.stats.kstest(told["gain"].double().numpy() - 0.5, "beta", (10, 10)).pvalue > 1e-3
    torch.testing.assert_close(made.wave, audio.wave * told["gain"][:, None])
    _, told = WaveGainConfig(db=(-6.0, 6.0)).build()(audio, seeded())
    assert scipy.stats.kstest(20 * np.log10(told["gain"].numpy()), "uniform", (-6, 12)).pvalue > 1e-3


def test_polarity_and_clipping():
    audio = ragged(500, 300)
    made, _ = always(PolarityConfig()).build()(audio, seeded())
    assert torch.equal(made.wave, -audio.wave)
    made, told = always(ClippingConfig()).build()(audio, seeded())
    for before, after, factor in zip(audio.wave, made.wave, told["clip_factor"].tolist(), strict=True):
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
    made, told = WaveRollConfig().build()(audio, seeded())
    for i, n in enumerate((1000, 700)):
        shift = int(told["roll"][i])
        assert 0 < shift < n
        np.testing.assert_array_equal(made.wave[i, :n], np.roll(audio.wave[i, :n].numpy(), shift))


def test_pitch_and_speed_move_a_tone_as_certified():
    time = torch.arange(RATE) / RATE
    audio = Audio(torch.sin(2 * math.pi * 440 * time)[None].repeat(2, 1), torch.tensor([RATE, RATE]), RATE)

    def peak(wave: torch.Tensor) -> float:
        spectrum = np.abs(np.fft.rfft(wave[4000:12000].numpy() * np.hanning(8000), 2**17))
        return float(np.argmax(spectrum) * RATE / 2**17)

    made, told = PitchShiftConfig().build()(audio, seeded())
    for wave, semitones in zip(made.wave, told["semitones"].tolist(), strict=True):
        assert peak(wave) == pytest.approx(440 * 2 ** (semitones / 12), rel=0.005)
    made, told = TimeStretchConfig(speed=(1.25, 1.25)).build()(audio, seeded())
    assert peak(made.wave[0]) == pytest.approx(440, rel=0.005)
    assert rms(made.wave[0, :12000]) > 0.6
    assert rms(made.wave[0, 13500:]) < 0.05


def test_pass_filters_are_scipys_butterworth():
    audio = ragged(8000, 8000, 8000, 8000)
    made, told = PassFilterConfig(p=1.0, order=3).build()(audio, seeded(3))
    low = told["low_pass_hz"]
    assert 0 < int(low.isnan().sum()) < 4
    for before, after, a, b in zip(audio.wave, made.wave, low.tolist(), told["high_pass_hz"].tolist(), strict=True):
        edge, btype = (b, "high") if math.isnan(a) else (a, "low")
        sos = scipy.signal.butter(3, edge, btype, fs=RATE, output="sos")
        np.testing.assert_allclose(after, scipy.signal.sosfilt(sos, before.double().numpy()), atol=2e-6)


def test_band_drop_is_scipys_band_stop():
    audio = ragged(8000, 8000)
    made, told = always(BandDropConfig(centre_hz=(500.0, 4000.0))).build()(audio, seeded())
    for i in range(2):
        edges = [float(told["band_low_hz"][i]), float(told["band_high_hz"][i])]
        sos = scipy.signal.butter(4, edges, "bandstop", fs=RATE, output="sos")
        np.testing.assert_allclose(made.wave[i], scipy.signal.sosfilt(sos, audio.wave[i].double().numpy()), atol=2e-6)


def test_narrowband_keeps_the_lower_half_only():
    audio = ragged(16000)
    made, _ = always(NarrowbandConfig()).build()(audio, seeded())
    before, after = (torch.fft.rfft(x.wave[0] * torch.hann_window(16000)).abs() for x in (audio, made))
    assert (after[100:3500] / before[100:3500]).median() == pytest.approx(1, abs=0.02)
    assert rms(after[4500:]) < 0.005 * rms(before[4500:])
    with pytest.raises(ConfigError, match="8000 Hz"):
        always(NarrowbandConfig()).build()(Audio(audio.wave, audio.lengths, 8000), seeded())


def test_reverb_decays_by_sixty_decibels_in_its_time():
    click = torch.zeros(1, RATE)
    click[0, 0] = 1.0
    config = ReverbConfig(p=1.0, rt60=(0.5, 0.5), direct_db=(3.0, 3.0), delay=0.01)
    made, _ = config.build()(Audio(click, torch.tensor([RATE]), RATE), seeded())
    wave = made.wave[0].double().numpy()
    assert (wave**2).sum() == pytest.approx(1, rel=1e-4)
    assert (wave[1:160] == 0).all() or np.abs(wave[1:160]).max() < 1e-6
    assert 10 * np.log10(wave[0] ** 2 / (wave[1:] ** 2).sum()) == pytest.approx(3.0, abs=0.05)
    remaining = 10 * np.log10(np.cumsum(wave[::-1] ** 2)[::-1])
    fit = np.polyfit(np.arange(400, 4000) / RATE, remaining[400:4000], 1)
    assert -60 / fit[0] == pytest.approx(0.5, rel=0.1)


def test_reverb_is_a_convolution_for_each_clip():
    audio = ragged(*[2000] * 18)
    click = torch.zeros(18, 2000)
    click[:, 0] = 1.0
    wet, _ = always(ReverbConfig()).build()(audio, seeded(4))
    room, _ = always(ReverbConfig()).build()(Audio(click, audio.lengths, RATE), seeded(4))
    for i in (0, 17):
        expected = np.convolve(audio.wave[i].double().numpy(), room.wave[i].double().numpy())[:2000]
        expected *= rms(audio.wave[i]) / np.sqrt(np.mean(expected**2))
        np.testing.assert_allclose(wet.wave[i], expected, atol=1e-5)


def test_echo_is_the_clip_again():
    audio = ragged(16000)
    made, told = always(EchoConfig()).build()(audio, seeded())
    late = round(float(told["delay"][0]) * RATE)
    before = audio.wave[0].double().numpy()
    expected = before.copy()
    expected[late:] += 0.5 * before[:-late]
    np.testing.assert_allclose(made.wave[0], expected / 1.5, atol=1e-6)


def test_masks_silence_exactly_what_they_certify():
    audio = ragged(16000, 9000)
    made, told = WaveTimeMaskConfig(fraction=(0.1, 0.2)).build()(audio, seeded())
    for i, n in enumerate((16000, 9000)):
        first, length = (round(float(told[k][i]) * RATE) for k in ("mask_start", "mask_seconds"))
        expected = audio.wave[i].clone()
        expected[first : first + length] = 0
        assert abs(int((made.wave[i] != expected).sum())) <= 2
        assert 0.09 * n < length < 0.21 * n
    made, told = always(ChopsConfig()).build()(audio, seeded())
    expected = audio.wave[0].clone()
    for start, seconds in zip(told["chop_start"][0].tolist(), told["chop_seconds"][0].tolist(), strict=True):
        expected[round(start * RATE) : round(start * RATE) + round(seconds * RATE)] = 0
    assert torch.equal(made.wave[0], expected)
    assert 1 <= int((told["chop_seconds"][0] > 0).sum()) <= 5


def test_hop_mask_hides_whole_hops():
    audio = ragged(*[16000 * 4] * 50, 9000)
    made, told = HopMaskConfig().build()(audio, seeded())
    hidden = told["hidden"]
    assert hidden.shape == (51, 10)
    assert told["hop_seconds"].tolist() == pytest.approx([0.4] * 51)
    assert hidden[:50].double().mean().item() == pytest.approx(0.6, abs=0.07)
    assert not hidden[50, 2:].any()
    changed = (made.wave != audio.wave).reshape(51, 10, 6400)
    assert torch.equal(changed[:50].all(2), hidden[:50])
    assert torch.equal(changed.any(2), hidden)
    noise = made.wave.reshape(51, 10, 6400)[:50][hidden[:50]]
    assert rms(noise) == pytest.approx(0.1, rel=0.02)


# Mixing


def test_overlap_adds_another_clip_at_its_ratio():
    audio = ragged(8000, 8000, 8000, 5000)
    made, told = always(OverlapConfig()).build()(audio, seeded())
    for i, n in enumerate(audio.lengths.tolist()):
        partner = int(told["partner"][i])
        assert partner != i
        added = made.wave[i, :n] - audio.wave[i, :n]
        found = 20 * math.log10(rms(audio.wave[i, :n]) / rms(added))
        assert found == pytest.approx(float(told["overlap_db"][i]), abs=0.01)
        source = audio.wave[partner, : int(audio.lengths[partner])].double().numpy()
        around = np.concatenate([source] * (2 + n // len(source)))
        likeness = scipy.signal.correlate(around, added.double().numpy(), "valid")
        place = int(np.argmax(likeness))
        piece = around[place : place + n]
        assert np.corrcoef(piece, added.double().numpy())[0, 1] > 0.9999


def test_mixing_follows_its_draws_and_spares_at_least_half():
    audio = ragged(*[4000] * 400)
    made, told = UtteranceMixConfig(noise_share=0.3).build()(audio, seeded())
    chosen = ~told["mix_db"].isnan()
    assert chosen.double().mean().item() == pytest.approx(0.2, abs=0.06)
    noise = told["noise"]
    assert noise[chosen].double().mean().item() == pytest.approx(0.3, abs=0.15)
    assert ((told["partner"] >= 0) == (chosen & ~noise)).all()
    for i in chosen.nonzero()[:, 0].tolist():
        first, length = (round(float(told[k][i]) * RATE) for k in ("mix_start", "mix_seconds"))
        added = made.wave[i] - audio.wave[i]
        assert length <= 2000
        assert first + length <= 4001
        assert (added[:first] == 0).all()
        assert (added[first + length :] == 0).all()
        if length > 100:
            found = 20 * math.log10(rms(audio.wave[i]) / rms(added[first : first + length]))
            assert found == pytest.approx(float(told["mix_db"][i]), abs=0.05)


def test_partners_are_clean_even_if_they_are_mixed_themselves():
    # Two clips, both mixed with each other: sequential mixing in place would put a clip into itself.
    audio = ragged(4000, 4000)
    made, told = UtteranceMixConfig(p=1.0, noise_share=0.0, longest=0.5).build()(audio, seeded(2))
    assert told["partner"].tolist() == [1, 0]
    for i, other in ((0, 1), (1, 0)):
        added = (made.wave[i] - audio.wave[i]).double().numpy()
        first, length = (round(float(told[k][i]) * RATE) for k in ("mix_start", "mix_seconds"))
        piece = added[first : first + length]
        around = np.concatenate([audio.wave[other].double().numpy()] * 2)
        place = int(np.argmax(scipy.signal.correlate(around, piece, "valid")))
        assert np.corrcoef(around[place : place + length], piece)[0, 1] > 0.99999


def test_a_lone_clip_has_no_partner():
    audio = ragged(4000)
    for config in (OverlapConfig(), UtteranceMixConfig(noise_share=0.0)):
        made, told = always(config).build()(audio, seeded())
        assert torch.equal(made.wave, audio.wave)
        assert told["partner"].tolist() == [-1]

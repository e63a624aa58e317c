from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import soundfile
import soxr
import torch
from audio_clips import RATE, ragged, seeded

from auricle.audio.augment.config import Augment, AugmentConfig, draw
from auricle.audio.augment.spectral import SpectralChain
from auricle.audio.augment.waveform import WaveformChain
from auricle.audio.batch import Audio
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.frontends.spectral import SpectralFrontEnd
from auricle.audio.frontends.waveform import WaveformConfig
from auricle.config import Config
from auricle.errors import ConfigError

METHODS = ("spectral", "waveform")
FRONT_ENDS = {"kaldi": KaldiFbankConfig(), "log-mel": LogMelConfig(mean=-5.0, std=4.0)}


@pytest.fixture(params=FRONT_ENDS)
def front(request: pytest.FixtureRequest) -> SpectralFrontEnd:
    return FRONT_ENDS[request.param].build()


def build(front: SpectralFrontEnd, method: str = "spectral", **changes: object) -> Augment:
    return AugmentConfig(method=method, **changes).build(front)


# Settings


def test_defaults_are_the_published_ones():
    config = AugmentConfig()
    probabilities = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name.endswith("_p")}
    assert probabilities == {
        "polarity_p": 0.5,
        "stretch_p": 0.7,
        "noise_p": 0.5,
        "level_p": 0.3,
        "high_pass_p": 0.3,
        "band_stop_p": 0.5,
        "pitch_p": 0.6,
    }


@pytest.mark.parametrize("config", [AugmentConfig(), AugmentConfig.off()])
def test_settings_survive_json(config: AugmentConfig):
    assert Config.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "cepstral"}, "spectral"),
        ({"noise_p": 1.5}, "noise_p"),
        ({"gain_beta": -1.0}, "gain_beta"),
        ({"stretch": (1.3, 0.7)}, "stretch"),
        ({"stretch": (0.0, 1.3)}, "stretch"),
        ({"band_stop_fraction": (0.5, 2.0)}, "band_stop_fraction"),
        ({"high_pass_db_per_octave": (10, 24)}, "multiples of 6"),
        ({"high_pass_hz": (0.0, 100.0)}, "high_pass_hz"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, object], words: str):
    with pytest.raises(ConfigError, match=words):
        AugmentConfig(**changes)


def test_a_front_end_without_spectra_is_refused():
    with pytest.raises(ConfigError, match=r"found Waveform"):
        AugmentConfig().build(WaveformConfig().build())  # type: ignore[arg-type]


def test_wrong_rate_views_and_generator_are_refused():
    augment = build(KaldiFbankConfig().build())
    audio = ragged(8000)
    with pytest.raises(ConfigError, match="8000"):
        augment(Audio(audio.wave, audio.lengths, 8000), 2, seeded())
    with pytest.raises(ConfigError, match="views"):
        augment(audio, 0, seeded())


# Draws


def test_draws_follow_the_published_distributions():
    front = KaldiFbankConfig().build()
    n = 4000
    audio = Audio(torch.zeros(n, 100), torch.full((n,), 100), RATE)
    (view, other), noise = draw(AugmentConfig(), audio, 2, front, seeded())
    assert noise.wave.shape == (1, 400)
    got = {k: v.double() for k, v in view.certificate().items()}
    for name, probability in {
        "rate": 0.7,
        "snr_db": 0.5,
        "level_db": 0.3,
        "high_pass_hz": 0.3,
        "band_stop_low_hz": 0.5,
        "semitones": 0.6,
    }.items():
        assert (~got[name].isnan()).double().mean().item() == pytest.approx(probability, abs=0.03)
    assert (got["polarity"] == -1).double().mean().item() == pytest.approx(0.5, abs=0.03)
    for name, low, high in (("rate", 0.7, 1.3), ("snr_db", 5, 40), ("level_db", -12, 12), ("semitones", -4, 4)):
        drawn = got[name][~got[name].isnan()].numpy()
        assert scipy.stats.kstest(drawn, "uniform", (low, high - low)).pvalue > 1e-3
    assert scipy.stats.kstest(got["gain"].numpy() - 0.5, "beta", (10, 10)).pvalue > 1e-3
    mel = 2595 * np.log10(1 + np.array([20.0, 2400.0]) / 700)
    cut = got["high_pass_hz"][~got["high_pass_hz"].isnan()].numpy()
    assert scipy.stats.kstest(2595 * np.log10(1 + cut / 700), "uniform", (mel[0], mel[1] - mel[0])).pvalue > 1e-3
    centre = (got["band_stop_low_hz"] + got["band_stop_high_hz"]) / 2
    width = (got["band_stop_high_hz"] - got["band_stop_low_hz"]) / centre
    unclipped = got["band_stop_high_hz"] < 7900
    assert 0.499 < width[unclipped].min() < width[unclipped].max() < 1.991
    assert got["band_stop_high_hz"][~centre.isnan()].max() < RATE / 2
    for name in ("high_pass_db_per_octave", "band_stop_db_per_octave"):
        assert set(got[name][~got[name].isnan()].tolist()) == {12.0, 18.0, 24.0}
        assert got[name].isnan().equal(got[name.replace("db_per_octave", "hz").replace("stop_", "stop_low_")].isnan())
    assert set(got["roll"].tolist()) == set(range(100))
    assert not torch.equal(view.roll, other.roll)


def test_one_transform_does_not_move_the_draws_of_another():
    front = KaldiFbankConfig().build()
    audio = ragged(16000, 8000)
    (full,), _ = draw(AugmentConfig(), audio, 1, front, seeded())
    generator = seeded()
    (some,), _ = draw(AugmentConfig(noise_p=0.0, stretch=(0.9, 1.1)), audio, 1, front, generator)
    for name in ("roll", "gain", "semitones", "high_pass_hz", "band_stop_low_hz"):
        torch.testing.assert_close(getattr(full, name), getattr(some, name), equal_nan=True)
    again = seeded()
    draw(AugmentConfig(), audio, 1, front, again)
    assert torch.equal(generator.get_state(), again.get_state())


# Both implementations


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_numbers(method: str, front: SpectralFrontEnd):
    audio, augment = ragged(9000, 12345, 300), build(front, method)
    first, second = augment(audio, 2, seeded(3)), augment(audio, 2, seeded(3))
    for (a, certificate, _), (b, same, _) in zip(first, second, strict=True):
        assert torch.equal(a.x, b.x)
        assert all(torch.equal(certificate[k].nan_to_num(7), same[k].nan_to_num(7)) for k in certificate)
    assert not torch.equal(first[0][0].x, first[1][0].x)
    assert not torch.equal(first[0][0].x, augment(audio, 2, seeded(4))[0][0].x)


def test_both_methods_certify_the_same_draws(front: SpectralFrontEnd):
    audio = ragged(9000, 12345)
    views = [build(front, method)(audio, 2, seeded()) for method in METHODS]
    for (_, a, _), (_, b, _) in zip(*views, strict=True):
        assert a.keys() == b.keys()
        assert all(v.shape == (2,) for v in a.values())
        assert all(torch.equal(a[k].nan_to_num(7), b[k].nan_to_num(7)) for k in a)


@pytest.mark.parametrize("method", METHODS)
def test_switched_off_the_views_are_the_features(method: str, front: SpectralFrontEnd):
    audio = ragged(16000, 5001, 12)
    expected = front(audio)
    for features, certificate, _ in AugmentConfig.off().replace(method=method).build(front)(audio, 3, seeded()):
        torch.testing.assert_close(features.x, expected.x, atol=2e-5, rtol=1e-5)
        assert features.lengths.equal(expected.lengths)
        assert features.pad == pytest.approx(expected.pad)
        assert features.rate == expected.rate
        assert all(v.isnan().all() for k, v in certificate.items() if k != "polarity")


@pytest.mark.parametrize("method", METHODS)
def test_padding_stays_padding_and_nothing_leaks_between_clips(method: str, front: SpectralFrontEnd):
    audio = ragged(16000, 7000, 1000, 30, 1)
    chain = (SpectralChain if method == "spectral" else WaveformChain)(front)
    draws, noise = draw(AugmentConfig(), audio, 2, front, seeded(1))
    together = chain(audio, draws, noise)
    for i, samples in enumerate(audio.lengths.tolist()):
        alone = chain(audio[i : i + 1], [view[i : i + 1] for view in draws], noise)
        trimmed = Audio(audio.wave[i : i + 1, :samples], audio.lengths[i : i + 1], RATE)
        cut = chain(trimmed, [view[i : i + 1] for view in draws], noise)
        for batch, one, shorter in zip(together, alone, cut, strict=True):
            frames = front.frames(samples)
            assert batch.lengths[i] == frames
            assert (batch.x[i, frames:] == batch.pad).all()
            assert batch.pad == pytest.approx(front(trimmed).pad)
            torch.testing.assert_close(batch.x[i, :frames], one.x[0, :frames], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(batch.x[i, :frames], shorter.x[0, :frames], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_all_is_finite_for_silence_and_single_samples(method: str, front: SpectralFrontEnd):
    audio = Audio.stack([np.zeros(8000, np.float32), np.ones(1, np.float32), np.ones(8000, np.float32)], RATE)
    everything = AugmentConfig(
        method=method, stretch_p=1, noise_p=1, level_p=1, high_pass_p=1, band_stop_p=1, pitch_p=1
    ).build(front)
    for seed in range(3):
        assert all(features.x.isfinite().all() for features, _, _ in everything(audio, 2, seeded(seed)))


def test_no_gradient_and_float32_whatever_comes():
    wave = ragged(8000)
    audio = Audio(wave.wave.double().requires_grad_(), wave.lengths, RATE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = build(KaldiFbankConfig().build())(audio, 1, seeded())[0].features
    assert features.x.dtype == torch.float32
    assert not features.x.requires_grad


@pytest.mark.parametrize("method", METHODS)
def test_the_clip_is_the_reference_where_it_kept_its_time(method: str):
    audio = ragged(9000, 5000)
    still = build(KaldiFbankConfig().build(), method, roll=False, stretch_p=0.0)
    for view in still(audio, 2, seeded()):
        assert view.reference is not None
        assert torch.equal(view.reference.wave, audio.wave)
    for changes in ({"stretch_p": 0.0}, {"roll": False, "stretch_p": 0.5}):
        moved = build(KaldiFbankConfig().build(), method, **changes)
        assert all(view.reference is None for view in moved(audio, 2, seeded()))


# Closeness on real clips: per-transform bounds, a little looser than what benchmarks/augmentation_closeness.py finds.


def real_clips(folder: Path) -> list[np.ndarray]:
    clips = []
    for path in sorted((folder / "esc10" / "clips").rglob("*.*"))[::40][:8]:
        wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
        clips.append(soxr.resample(wave.mean(1), rate, RATE)[: 3 * RATE].astype(np.float32))
    return [clip for clip in clips if np.sqrt(np.mean(clip**2)) > 1e-3]


@pytest.mark.real
@pytest.mark.parametrize(
    ("changes", "correlation", "mean", "std"),
    [
        ({"gain_beta": 10.0}, 0.9999, 1e-3, 0.01),
        ({"roll": True}, 0.95, 0.05, 0.9),
        ({"stretch_p": 1.0}, 0.92, 0.35, 1.4),
        ({"noise_p": 1.0}, 0.97, 0.1, 0.6),
        ({"level_p": 1.0}, 0.9999, 1e-3, 0.01),
        ({"high_pass_p": 1.0}, 0.98, 0.1, 0.6),
        ({"band_stop_p": 1.0}, 0.98, 0.1, 0.7),
        ({"pitch_p": 1.0}, 0.92, 0.35, 1.4),
    ],
)
def test_spectral_is_close_to_waveform(
    shared_audio: Path, changes: dict[str, object], correlation: float, mean: float, std: float
):
    clips = real_clips(shared_audio)
    assert len(clips) >= 5
    front = KaldiFbankConfig(mean=0.0, std=1.0, divisor=1.0).build()
    audio = Audio.stack(clips, RATE)
    draws, noise = draw(AugmentConfig.off().replace(**changes), audio, 1, front, seeded())
    a, b = (chain(audio, draws, noise)[0] for chain in (SpectralChain(front), WaveformChain(front)))
    found, differences = [], []
    for x, y, frames in zip(a.x, b.x, a.lengths.tolist(), strict=True):
        seen = (x[:frames] > -15.9) | (y[:frames] > -15.9)
        x, y = x[:frames][seen], y[:frames][seen]
        found.append(float(torch.corrcoef(torch.stack([x, y]))[0, 1]))
        differences.append(x - y)
    difference = torch.cat(differences)
    assert np.mean(found) > correlation
    assert math.fabs(float(difference.mean())) < mean
    assert difference.std() < std

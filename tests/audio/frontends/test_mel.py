"""Mel filters against librosa, and front ends on real recordings against the libraries of the field."""

from __future__ import annotations

from pathlib import Path

import kaldi_native_fbank as knf
import librosa
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from auricle.audio.batch import Audio
from auricle.audio.decode import decode
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.frontends.mel import MelBank, hz_to_mel, mel_filters, mel_to_hz
from auricle.errors import ConfigError

SCALES = st.sampled_from(["htk", "slaney"])


@given(
    bands=st.integers(1, 128), n_fft=st.sampled_from([64, 400, 512, 1024]), rate=st.integers(2000, 96000),
    low=st.floats(0, 0.9), span=st.floats(0.05, 1), scale=SCALES, area=st.booleans(),
)  # fmt: skip
@settings(max_examples=25)
@pytest.mark.filterwarnings("ignore:Empty filters detected")
def test_filters_are_librosas(
    bands: int, n_fft: int, rate: int, low: float, span: float, scale: str, area: bool
) -> None:
    low_hz = low * rate / 2
    high_hz = low_hz + span * (rate / 2 - low_hz)
    assume(high_hz - low_hz > 1)
    found = mel_filters(
        bands=bands, n_fft=n_fft, rate=rate, low=low_hz, high=high_hz, scale=scale, area_norm=area  # type: ignore[arg-type]
    )  # fmt: skip
    expected = librosa.filters.mel(
        sr=rate, n_fft=n_fft, n_mels=bands, fmin=low_hz, fmax=high_hz, htk=scale == "htk",
        norm="slaney" if area else None, dtype=np.float64,
    )  # fmt: skip
    np.testing.assert_allclose(found, expected.T, atol=1e-9, rtol=1e-7)


@given(hz=st.lists(st.floats(0, 100_000), min_size=1, max_size=20), scale=SCALES)
def test_mels_are_librosas_and_come_back(hz: list[float], scale: str) -> None:
    values = np.array(hz)
    mels = hz_to_mel(values, scale)  # type: ignore[arg-type]
    np.testing.assert_allclose(mels, librosa.hz_to_mel(values, htk=scale == "htk"), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(mel_to_hz(mels, scale), values, rtol=1e-9, atol=1e-9)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bands": 0}, "0 mel bands; at least one is needed"),
        ({"high": 8001.0}, r"mel bands from 0 to 8001 Hz do not fit audio of 16000 Hz; need 0 <= low < high <= 8000"),
        ({"low": 8000.0}, "need 0 <= low < high"),
        ({"low": -1.0}, "need 0 <= low < high"),
    ],
)
def test_filters_that_do_not_fit_the_rate_are_refused(changes: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        mel_filters(**{"bands": 40, "n_fft": 512, "rate": 16000, "low": 0.0, "high": 8000.0, "scale": "htk", **changes})


@pytest.mark.parametrize("bands", [1, 31, 32, 33, 128])
def test_the_product_in_groups_is_the_whole_product(bands: int) -> None:
    filters = mel_filters(bands=bands, n_fft=512, rate=16000, low=20.0, high=7600.0, scale="slaney")
    bank = MelBank(filters)
    power = torch.rand(11, 257, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    out = torch.full((11, bands), torch.nan, dtype=torch.float64)
    bank.into(power, out)
    np.testing.assert_allclose(out.numpy(), power.numpy() @ filters, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(bank(power).numpy(), power.numpy() @ filters, rtol=1e-12, atol=1e-14)


def test_a_band_narrower_than_the_bins_stays_empty() -> None:
    filters = np.zeros((9, 40))
    filters[3, 0] = 1.0
    out = torch.full((2, 40), torch.nan)
    MelBank(filters).into(torch.ones(2, 9), out)
    assert out[:, 0].tolist() == [1.0, 1.0]
    assert not out[:, 1:].any()


def real_clips(shared_audio: Path) -> list[np.ndarray]:
    """One recording of each corpus: a voice, a bird, a drum ... of different levels, rates and lengths."""
    folders = sorted(p / "clips" for p in shared_audio.iterdir() if (p / "clips").is_dir())
    return [decode(sorted(folder.iterdir())[0], seconds=3.0) for folder in folders]


@pytest.mark.real
def test_log_mel_of_real_recordings_is_librosas(shared_audio: Path) -> None:
    config = LogMelConfig(mels=64, floor=1e-6, floor_mode="add")
    front = config.build()
    for wave in real_clips(shared_audio):
        found = front.raw(Audio.stack([wave], 16000)).x[0].numpy()
        power = librosa.feature.melspectrogram(
            y=wave.astype(np.float64), sr=16000, n_fft=front.n_fft, hop_length=front.hop_samples,
            win_length=front.window_samples, center=True, pad_mode="reflect", power=2.0, n_mels=64,
            fmin=config.low, fmax=config.high, htk=config.scale == "htk", norm="slaney" if config.area_norm else None,
        )  # fmt: skip
        expected = np.log(power.T + 1e-6)
        # The edges are framed differently; every frame that lies inside the clip is the same one.
        edge = front.n_fft // front.hop_samples + 1
        count = min(len(found), len(expected)) - edge
        np.testing.assert_allclose(found[edge:count], expected[edge:count], atol=2e-3, rtol=1e-3)


@pytest.mark.real
def test_kaldi_energies_of_real_recordings_are_kaldis(shared_audio: Path) -> None:
    front = KaldiFbankConfig(mels=80, window="povey", remove_clip_mean=False, mean=0.0, std=1.0, divisor=1.0).build()
    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = 80
    for wave in real_clips(shared_audio):
        fbank = knf.OnlineFbank(options)
        fbank.accept_waveform(16000, wave.tolist())
        fbank.input_finished()
        expected = np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])
        found = front.raw(Audio.stack([wave], 16000)).x[0].numpy()
        assert found.shape == expected.shape
        # Digital silence is at the floor, where a rounding error is large.
        loud = expected > -10.0
        np.testing.assert_allclose(found[loud], expected[loud], atol=5e-3)
        assert (found[~loud] < -9.9).all()

from __future__ import annotations

import kaldi_native_fbank as knf
import librosa
import numpy as np
import pytest
import torch

from auricle.audio.batch import Audio
from auricle.audio.frontends.mfcc import MfccConfig, slopes
from auricle.errors import ConfigError


def noise(samples: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    time = np.arange(samples) / 16000
    return (0.3 * np.sin(2 * np.pi * (200 + 900 * time) * time) + 0.05 * generator.standard_normal(samples)).astype(
        np.float32
    )


def kaldi_mfcc(wave: np.ndarray) -> np.ndarray:
    options = knf.MfccOptions()
    options.frame_opts.dither = 0
    options.use_energy = False
    mfcc = knf.OnlineMfcc(options)
    mfcc.accept_waveform(16000, wave.tolist())
    mfcc.input_finished()
    return np.stack([mfcc.get_frame(i) for i in range(mfcc.num_frames_ready)])


@pytest.mark.parametrize("samples", [400, 16000, 37_921])
def test_coefficients_equal_kaldis(samples: int) -> None:
    wave = noise(samples)
    expected = kaldi_mfcc(wave)
    found = MfccConfig().build()(Audio.stack([wave], 16000))
    assert found.rate == 100.0
    assert found.x.shape == (1, len(expected), 39)
    assert int(found.lengths[0]) == len(expected) == MfccConfig().build().frames(samples)
    np.testing.assert_allclose(found.x[0, :, :13].numpy(), expected, atol=2e-3, rtol=1e-4)


def test_differences_equal_librosas() -> None:
    x = MfccConfig().build()(Audio.stack([noise(16000)], 16000)).x[0].T.numpy()
    for order in (1, 2):
        before, found = x[13 * (order - 1) : 13 * order], x[13 * order : 13 * (order + 1)]
        np.testing.assert_allclose(
            found, librosa.feature.delta(before, width=5, order=1, mode="nearest"), atol=1e-4, rtol=1e-4
        )


def test_a_padded_clip_has_the_values_it_has_alone() -> None:
    short, long = noise(9_000, 1), noise(16_000, 2)
    frontend = MfccConfig().build()
    together, alone = frontend(Audio.stack([short, long], 16000)), frontend(Audio.stack([short], 16000))
    count = int(alone.lengths[0])
    assert together.lengths.tolist() == [count, 98]
    torch.testing.assert_close(together.x[0, :count], alone.x[0])
    assert not together.x[0, count:].any()


def test_a_straight_line_has_its_slope() -> None:
    line = 3.0 * torch.arange(9.0)[None, :, None]
    found = slopes(line, torch.tensor([9]), 2)
    torch.testing.assert_close(found[0, 2:-2, 0], torch.full((5,), 3.0))


def test_settings_out_of_range() -> None:
    with pytest.raises(ConfigError, match="coefficients is 24; expected at most 23"):
        MfccConfig(coefficients=24)
    with pytest.raises(ConfigError, match="reach is 0"):
        MfccConfig(reach=0)
    with pytest.raises(ConfigError, match="8000 Hz met a front end of 16000"):
        MfccConfig().build()(Audio.stack([noise(8000)], 8000))


def test_round_trip() -> None:
    config = MfccConfig(differences=1)
    assert MfccConfig.from_json(config.to_json()) == config
    assert config.build().width == 26
    assert config.with_statistics(1.0, 2.0) is config

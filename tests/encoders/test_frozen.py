from __future__ import annotations

import numpy as np
import pytest
import soxr
import torch

from auricle.audio.batch import Audio
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.encoders.frozen import FrozenEncoder, weights_fingerprint
from auricle.encoders.log_mel_statistics import LogMelStatisticsConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import AudioError, ConfigError

SMALL = SpectrogramTransformerConfig(width=24, depth=2, heads=2, mels=32, frames=64)


@pytest.fixture(scope="module")
def frozen() -> FrozenEncoder:
    return FrozenEncoder(KaldiFbankConfig(mels=32).build(), SMALL.build(), name="small")


def noise(seconds: float, seed: int = 0, rate: int = 16000) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(int(seconds * rate))).astype(np.float32)


def test_it_is_frozen(frozen: FrozenEncoder) -> None:
    assert not frozen.encoder.training
    assert not any(p.requires_grad for p in frozen.encoder.parameters())
    tokens, pooled = frozen.encode(Audio.stack([noise(0.5)], 16000))
    assert not tokens.x.requires_grad
    assert pooled.shape == (1, 24)
    assert (frozen.rate, frozen.width, frozen.pooled_width, frozen.depth) == (16000, 24, 24, 2)


def test_long_clips_are_windowed(frozen: FrozenEncoder) -> None:
    """Each window's tokens are those of the window by itself; vectors are weighted by valid tokens."""
    waves = [noise(1.5, 1), noise(0.4, 2), noise(0.72, 3)]
    audio = Audio.stack(waves, 16000)
    tokens, pooled = frozen.encode(audio, layers=(1, 2))
    features = frozen.frontend(audio)
    frames = features.x.shape[1]
    assert frames > 128
    assert tokens.grid.time == -(-frames // 16)
    assert tokens.grid.rate == 6.25
    assert tokens.valid is not None
    assert tokens.layers is not None
    torch.testing.assert_close(tokens.layers[1].block, tokens.x)
    for b, wave in enumerate(waves):
        alone = frozen.frontend(Audio.stack([wave], 16000))
        count = int(alone.lengths[0])
        vectors, weights, start = [], [], 0
        while start < count:
            part = alone.x[:, start : min(start + 64, count)]
            window = type(alone)(part, torch.tensor([part.shape[1]]), 100.0, alone.pad)
            with torch.no_grad():
                own = frozen.encoder(window)
                vectors.append(frozen.encoder.pool(own)[0])
            place = slice(start // 16 * 2, start // 16 * 2 + own.x.shape[1])
            torch.testing.assert_close(tokens.x[b, place], own.x[0], atol=1e-4, rtol=1e-4)
            assert tokens.valid[b, place].all()
            weights.append(own.x.shape[1])
            start += 64
        assert int(tokens.valid[b].sum()) == sum(weights)
        expected = sum(v * w for v, w in zip(vectors, weights, strict=True)) / sum(weights)
        torch.testing.assert_close(pooled[b], expected, atol=1e-4, rtol=1e-4)


def test_embed_shapes_and_batches(frozen: FrozenEncoder) -> None:
    clips = [noise(0.5, s) for s in range(3)]
    one = frozen.embed(clips[0], 16000)
    assert one.shape == (24,)
    assert one.dtype == np.float32
    many = frozen.embed(np.stack(clips), 16000, batch=2)
    assert many.shape == (3, 24)
    np.testing.assert_allclose(many[0], one, atol=1e-5)
    ragged = frozen.embed([clips[0], noise(0.2)], 16000)
    np.testing.assert_allclose(ragged[0], one, atol=1e-5)
    stereo = np.stack([clips[0] * 1.5, clips[0] * 0.5])[None]
    np.testing.assert_allclose(frozen.embed(stereo, 16000)[0], one, atol=1e-4)
    np.testing.assert_allclose(frozen.embed(torch.from_numpy(clips[0]), 16000), one)


def test_embed_integers_and_other_rates(frozen: FrozenEncoder) -> None:
    wave = noise(1)
    one = frozen.embed(wave, 16000)
    integers = np.round(wave * 32768).astype(np.int16)
    np.testing.assert_allclose(frozen.embed(integers, 16000), one, atol=0.02)
    fine = soxr.resample(wave, 16000, 44100, quality="VHQ")
    close, far = frozen.embed(fine, 44100), frozen.embed(fine, 16000)
    assert np.abs(close - one).mean() < 0.2 * np.abs(far - one).mean()


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (np.zeros(0, np.float32), "at least one sample"),
        (np.array([0.0, np.nan], np.float32), "not finite"),
        (np.zeros((16000, 2), np.float32), "samples, channels"),
        ([], "no clips"),
        (np.zeros((1, 1, 1, 5), np.float32), "expected"),
    ],
)
def test_embed_refuses(frozen: FrozenEncoder, wave: object, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        frozen.embed(wave, 16000)


def test_one_sample_and_silence(frozen: FrozenEncoder) -> None:
    assert np.isfinite(frozen.embed(np.zeros(1, np.float32), 16000)).all()
    assert np.isfinite(frozen.embed(np.zeros(1, np.float32), 192000)).all()
    assert np.isfinite(frozen.embed(np.zeros(16000, np.float32), 16000)).all()


def test_fingerprint_changes_with_weights_and_front_end(frozen: FrozenEncoder) -> None:
    encoder, frontend = SMALL.build(), KaldiFbankConfig(mels=32)
    same = weights_fingerprint(encoder, frontend.build())
    assert same == frozen.fingerprint
    assert weights_fingerprint(encoder, frontend.with_statistics(0.0, 1.0).build()) != same
    with torch.no_grad():
        encoder.cls_token[0, 0, 0] += 1e-3
    assert weights_fingerprint(encoder, frontend.build()) != same


def test_random_control(frozen: FrozenEncoder) -> None:
    one, same, other = frozen.randomised(1), frozen.randomised(1), frozen.randomised(2)
    assert one.fingerprint == same.fingerprint
    assert len({one.fingerprint, other.fingerprint, frozen.fingerprint}) == 3
    assert one.frontend is frozen.frontend


def test_log_mel_baseline_runs_the_same_way() -> None:
    baseline = FrozenEncoder(KaldiFbankConfig(mels=32).build(), LogMelStatisticsConfig(mels=32).build(), name="log-mel")
    tokens, pooled = baseline.encode(Audio.stack([noise(3), noise(1)], 16000), layers=(0,))
    assert pooled.shape == (2, 64)
    assert baseline.pooled_width == 64
    assert tokens.valid is not None
    with pytest.raises(ConfigError, match="no weights"):
        baseline.randomised(0)


def test_wrong_rate_and_precision(frozen: FrozenEncoder) -> None:
    with pytest.raises(ConfigError, match="44100"):
        frozen.tokens(Audio.stack([noise(1)], 44100))
    with pytest.raises(ConfigError, match="precision"):
        FrozenEncoder(frozen.frontend, frozen.encoder, name="x", precision="fp8")


def test_half_precision_is_close(frozen: FrozenEncoder) -> None:
    half = FrozenEncoder(frozen.frontend, frozen.encoder, name="half", precision="bf16")
    a, b = frozen.embed(noise(1), 16000), half.embed(noise(1), 16000)
    assert np.corrcoef(a, b)[0, 1] > 0.999

"""Codes of a random projection as a target: against loops over tokens, on every kind of input, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.frontends.waveform import WaveformConfig
from auricle.encoders.audio_ntt import AudioNTTConfig
from auricle.encoders.beats import BEATsConfig
from auricle.encoders.conformer import ConformerConfig
from auricle.encoders.contract import Encoder, EncoderConfig
from auricle.encoders.waveform_recurrent import WaveformRecurrentConfig
from auricle.errors import ConfigError
from auricle.objectives.contract import Preparation, View
from auricle.objectives.masks.corruption import NoiseFillConfig
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPrediction, MaskedPredictionConfig
from auricle.objectives.predictive.terms import CodeConfig
from auricle.objectives.targets.projections import RandomProjectionTarget, RandomProjectionTargetConfig
from auricle.objectives.targets.random_projection import code_perplexity

MELS = LogMelConfig(mels=32, n_fft=512, window=400, low=0.0, high=8000.0)
CONFORMER = ConformerConfig(width=16, depth=1, heads=2, channels=4, mels=32, dropout=0.0)


def audio(clips: int = 4, samples: int = 20_480, seed: int = 0) -> Audio:
    generator = np.random.default_rng(seed)
    time = np.arange(samples) / 16000
    tones = [np.sin(2 * np.pi * generator.uniform(100, 4000) * time) for _ in range(clips)]
    waves = [0.3 * tone + 0.02 * generator.standard_normal(samples) for tone in tones]
    return Audio.stack([wave.astype(np.float32) for wave in waves], 16000)


def view(sound: Audio | None = None, samples: bool = False) -> View:
    sound = audio() if sound is None else sound
    features = (WaveformConfig() if samples else MELS).build()(sound)
    return View(features, torch.arange(len(sound)), {}, sound)


def objective(encoder: Encoder, target: RandomProjectionTargetConfig, **settings: object) -> MaskedPrediction:
    return MaskedPredictionConfig(
        mask=None, hide="none", decoder=NoDecoderConfig(), terms=(CodeConfig(target),), **settings
    ).build(encoder)


def codes_of(encoder_config: EncoderConfig, target: RandomProjectionTargetConfig, shown: View) -> torch.Tensor:
    encoder = encoder_config.build()
    made = objective(encoder, target)
    masked_batch = made.look(encoder, [shown], torch.Generator().manual_seed(0), list(made.terms))
    return made.terms[0].target(masked_batch)


def slow_codes(vectors: np.ndarray, target: RandomProjectionTarget) -> int:
    projection = target.quantiser.projection[0].double().numpy()
    point = vectors @ projection
    book = target.quantiser.codebook[0].double().numpy()
    return int(((point / np.linalg.norm(point) - book) ** 2).sum(1).argmin())


def test_stacks_of_four_frames_are_coded_as_the_paper_says() -> None:
    shown = view()
    config = RandomProjectionTargetConfig(codes=50, dim=16, seed=3)
    codes = codes_of(CONFORMER, config, shown)
    x = shown.features.x.double().numpy()
    tokens = -(-x.shape[1] // 4)
    # The last stack is completed with its last frame.
    x = np.concatenate([x, np.repeat(x[:, -1:], 4 * tokens - x.shape[1], 1)], 1)
    target = RandomProjectionTargetConfig.build(config, CONFORMER.build(), torch.Generator())
    for clip in range(2):
        stacks = np.stack([x[clip, 4 * t : 4 * t + 4].reshape(-1) for t in range(tokens)])
        normal = (stacks - stacks.mean(0)) / stacks.std(0)
        expected = [slow_codes(normal[t], target) for t in range(tokens)]
        agreement = np.mean([int(codes[clip, t, 0]) == expected[t] for t in range(tokens)])
        assert agreement > 0.95  # ties in the last digits aside


def test_patches_are_coded_in_time_major_order() -> None:
    encoder = BEATsConfig(width=32, embed=16, depth=1, heads=2, mels=32)
    shown = view()
    config = RandomProjectionTargetConfig(codes=40, dim=24, norm="none")
    codes = codes_of(encoder, config, shown)
    x, target = shown.features.x.double().numpy(), config.build(encoder.build(), torch.Generator())
    for t in range(2):
        for f in range(2):
            patch = x[1, 16 * t : 16 * t + 16, 16 * f : 16 * f + 16].reshape(-1)
            assert int(codes[1, 2 * t + f, 0]) == slow_codes(patch, target)


def test_codes_from_the_wave_equal_those_from_the_same_features() -> None:
    shown = view()
    for encoder in (CONFORMER, BEATsConfig(width=32, embed=16, depth=1, heads=2, mels=32)):
        own = codes_of(encoder, RandomProjectionTargetConfig(codes=64, source="input"), shown)
        made = codes_of(encoder, RandomProjectionTargetConfig(codes=64, source="wave", frontend=MELS), shown)
        assert torch.equal(own, made)


def test_encoders_of_samples_take_the_wave_of_themselves() -> None:
    codes = codes_of(WaveformRecurrentConfig.size("tiny"), RandomProjectionTargetConfig(codes=64), view(samples=True))
    assert codes.shape[1] > 100
    assert codes.unique().numel() > 10


def test_an_encoder_that_coarsens_its_grid_is_predicted_on_what_comes_out() -> None:
    encoder = AudioNTTConfig(width=64, mels=32, channels=8).build()
    made = objective(encoder, RandomProjectionTargetConfig(codes=16), corruption=NoiseFillConfig(start=0.05, length=8))
    masked_batch = made.look(encoder, [view()], torch.Generator().manual_seed(0), list(made.terms))
    assert masked_batch.grid == masked_batch.out.grid != masked_batch.tokens.grid
    assert masked_batch.mask.masked.shape == masked_batch.out.x.shape[:2]
    loss = made(encoder, [view()], torch.Generator().manual_seed(0))
    loss.total.backward()
    assert loss.total.isfinite()


def test_loss_is_the_cross_entropy_of_hidden_tokens() -> None:
    encoder = CONFORMER.build().eval()
    made = objective(encoder, RandomProjectionTargetConfig(codes=32), corruption=NoiseFillConfig(start=0.03, length=12))
    shown, generator = view(), torch.Generator().manual_seed(4)
    loss = made(encoder, [shown], generator)
    masked_batch = made.look(encoder, [shown], torch.Generator().manual_seed(4), list(made.terms))
    corrupted = made.config.corruption.apply(shown.features, torch.Generator().manual_seed(4))
    term, total, count = made.terms[0], 0.0, 0
    codes = term.target(masked_batch)
    logits = term.heads[0](encoder(corrupted.features).x)
    altered = corrupted.altered[:, :, 0]
    for clip in range(4):
        for token in range(logits.shape[1]):
            frames = altered[clip, 4 * token : 4 * token + 4]
            if len(frames) and int(frames.sum()) >= 2:
                total += F.cross_entropy(logits[clip, token].detach(), codes[clip, token, 0]).item()
                count += 1
    assert count == int(masked_batch.mask.masked.sum()) > 0
    assert loss.total.item() == pytest.approx(total / count, rel=1e-5)
    # Codes come from the clean clip.
    assert torch.equal(codes, codes_of(CONFORMER, RandomProjectionTargetConfig(codes=32), shown))


def test_the_seed_with_the_most_even_codes_is_kept() -> None:
    encoder, notes = CONFORMER.build(), []
    config = RandomProjectionTargetConfig(codes=64, seed=5, seeds=3)
    made = objective(encoder, config)
    assert made.prepares
    shown = view(audio(8, seed=2))
    made.prepare(encoder, Preparation(lambda n: iter([shown]), 8, None, torch.Generator(), notes.append))
    found = {
        seed: code_perplexity(codes_of(CONFORMER, config.replace(seed=seed, seeds=1), shown), 64) for seed in (5, 6, 7)
    }
    best = max(found, key=lambda seed: found[seed])
    expected = RandomProjectionTargetConfig(codes=64, seed=best).build(encoder, torch.Generator())
    assert torch.equal(made.terms[0].target.quantiser.projection, expected.quantiser.projection)
    assert f"seed {best}" in notes[0]
    # What was chosen travels in a checkpoint.
    again = objective(encoder, config)
    again.load_state_dict(made.state_dict())
    assert torch.equal(again.terms[0].target.quantiser.codebook, expected.quantiser.codebook)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"codes": 0}, "codes is 0"),
        ({"seeds": 0}, "seeds is 0"),
        ({"norm": "clips"}, "clip"),
        ({"source": "waves"}, "wave"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        RandomProjectionTargetConfig(**settings)


def test_a_front_end_of_another_rate_is_refused_with_the_rates_that_fit() -> None:
    slow = MELS.replace(hop=240)
    with pytest.raises(ConfigError, match=r"66\.6667 frames per second.*25, 50, 100"):
        objective(CONFORMER.build(), RandomProjectionTargetConfig(source="wave", frontend=slow))


def test_a_view_without_a_clean_wave_is_refused() -> None:
    shown = view()
    moved = View(Features(shown.features.x, shown.features.lengths, shown.features.rate), shown.clip)
    with pytest.raises(ConfigError, match="PlainViewsConfig"):
        codes_of(CONFORMER, RandomProjectionTargetConfig(source="wave", frontend=MELS), moved)


def test_bands_that_do_not_divide_into_rows_are_refused() -> None:
    encoder = BEATsConfig(width=32, embed=16, depth=1, heads=2, mels=48).build()
    with pytest.raises(ConfigError, match="multiple of 3"):
        objective(encoder, RandomProjectionTargetConfig(source="wave", frontend=MELS))

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import kaldi_native_fbank as knf
import librosa
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from toy_stages import SAMPLES, SMALL, clips, frozen, preparation, view_of

from auricle.audio.batch import Audio
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.frontends.mfcc import MfccConfig
from auricle.audio.frontends.waveform import WaveformConfig
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import ConfigError
from auricle.objectives.contract import Preparation, View
from auricle.objectives.masks.spans import SpanMask
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.heads import CosineHeadConfig
from auricle.objectives.predictive.masked_prediction import MaskedPrediction, MaskedPredictionConfig
from auricle.objectives.predictive.stem_penalty import StemPenaltyConfig
from auricle.objectives.predictive.terms import CodeConfig
from auricle.objectives.targets.clusters import ClusteredFeaturesConfig, ClusteredLayerConfig, KMeansTargetConfig
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig


def hubert(target: KMeansTargetConfig, weight: float = 10.0) -> MaskedPredictionConfig:
    codes = CodeConfig(target, head=CosineHeadConfig(dim=6, temperature=0.1))
    return MaskedPredictionConfig(
        mask=SpanMask(p=0.8, length=10),
        hide="token",
        decoder=NoDecoderConfig(),
        terms=(codes, StemPenaltyConfig(weight=weight)),
    )


def built(
    target: KMeansTargetConfig, previous: FrozenEncoder | None = None
) -> tuple[MaskedPrediction, torch.nn.Module]:
    encoder = SMALL.build()
    objective = hubert(target).build(encoder)
    objective.prepare(encoder, preparation(previous=previous))
    return objective, encoder


def kmeans_target(objective: MaskedPrediction):
    return objective.terms[0].target


LAYER = KMeansTargetConfig(clusters=12, source=ClusteredLayerConfig(2, PreviousEncoderConfig(SMALL, WaveformConfig())))
MFCC = KMeansTargetConfig(clusters=12)


def slow_mfcc(wave: np.ndarray) -> np.ndarray:
    options = knf.MfccOptions()
    options.frame_opts.dither = 0
    options.use_energy = False
    mfcc = knf.OnlineMfcc(options)
    mfcc.accept_waveform(16000, wave.tolist())
    mfcc.input_finished()
    parts = [np.stack([mfcc.get_frame(i) for i in range(mfcc.num_frames_ready)]).T]
    for _ in range(2):
        parts.append(librosa.feature.delta(parts[-1], width=5, order=1, mode="nearest"))
    return np.concatenate(parts).T


def test_loss_equals_a_slow_oracle() -> None:
    """HuBERT's loss by loops: Kaldi's and librosa's features, every second frame, nearest centre, cosine over 0.1."""
    objective, encoder = built(MFCC)
    encoder.eval()
    view = view_of(clips(3, seed=1))
    loss = objective(encoder, [view], torch.Generator().manual_seed(11))
    with torch.no_grad():
        tokens = encoder.tokenize(view.features)
        masked = SpanMask(p=0.8, length=10).draw(tokens.grid, 3, torch.Generator().manual_seed(11)).masked
        out = encoder.contextualize(replace(tokens, x=torch.where(masked[..., None], objective.mask_token, tokens.x))).x
        centres, (head,) = kmeans_target(objective).centres.numpy(), objective.terms[0].heads
        losses = []
        for row in range(3):
            frames = slow_mfcc(view.reference.wave[row].numpy())
            for step in range(tokens.grid.time):
                if not masked[row, step]:
                    continue
                code = int(np.argmin(((frames[2 * step] - centres) ** 2).sum(1)))
                z = head.proj(out[row, step])
                cosines = torch.stack([torch.dot(z, e) / z.norm() / e.norm() for e in head.codes])
                losses.append(-F.log_softmax(cosines / 0.1, 0)[code])
        expected = torch.stack(losses).mean()
        penalty = tokens.stem.raw.square().mean()
    torch.testing.assert_close(loss.parts["codes"], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(loss.total.detach(), expected + 10 * penalty, rtol=1e-4, atol=1e-4)


def test_every_parameter_gets_a_gradient() -> None:
    objective, encoder = built(LAYER, frozen())
    objective(encoder.train(), [view_of(clips(4))], torch.Generator().manual_seed(0)).total.backward()
    trained = [*encoder.named_parameters(), *objective.named_parameters()]
    assert all(p.grad is not None and p.grad.any() for _, p in trained if p.requires_grad)
    assert {name.split(".")[4] for name, p in trained if not p.requires_grad} == {"previous"}


def test_second_iteration_clusters_the_layer_of_the_first() -> None:
    previous = frozen()
    objective, encoder = built(LAYER, previous)
    target = kmeans_target(objective)
    view = view_of(clips(2, seed=3))
    seen: list[torch.Tensor] = []
    hook = target.register_forward_hook(lambda module, given, codes: seen.append(codes))
    objective(encoder, [view], torch.Generator().manual_seed(0))
    hook.remove()
    (layer,) = previous.tokens(view.reference, (2,)).layers
    expected = torch.cdist(layer.block, target.centres.expand(2, -1, -1)).argmin(-1)
    assert torch.equal(seen[0][..., 0], expected)
    assert len(expected.unique()) > 4


def test_codes_come_from_the_clean_clip_and_keep_in_step_with_it() -> None:
    """A click at sample s changes the MFCC codes of the tokens around s / 320, and no others."""
    objective, _ = built(MFCC.replace(clusters=20))
    target = kmeans_target(objective)
    wave = clips(1, seed=2)[0]
    struck = wave.copy()
    struck[8_000:8_040] += 0.9
    grid = SMALL.build().grid(SAMPLES)
    made = []
    for each in (wave, struck):
        frames = target.source(Audio.stack([each], 16000))
        assert frames.rate == 100.0
        made.append(target.on_grid(frames, grid)[0, :, 0])
    changed = (made[0] != made[1]).any(1).nonzero().flatten().tolist()
    # Frames of 25 ms every 20 ms, and differences that reach 4 frames of 10 ms to either side.
    assert changed[0] >= 8_000 // 320 - 4
    assert changed[-1] <= 8_000 // 320 + 3
    assert 25 in changed
    # Every second frame, not a mean of two.
    frames = target.source(Audio.stack([wave], 16000))
    torch.testing.assert_close(made[0], frames.x[0, ::2, 0][: grid.time])


def test_padding_moves_no_centre() -> None:
    """Clips of two lengths in padded batches give the centres that they give one by one."""
    short, long = clips(12, 8_000, seed=4), clips(12, seed=5)
    waves = [wave for pair in zip(short, long, strict=True) for wave in pair]
    found = []
    for batch in (8, 1):
        encoder = SMALL.build()
        objective = hubert(MFCC).build(encoder)
        objective.prepare(encoder, preparation(waves=waves, batch=batch))
        found.append(kmeans_target(objective).centres)
    torch.testing.assert_close(found[0], found[1])


def test_a_checkpoint_brings_clusters_and_the_previous_encoder_with_it() -> None:
    objective, encoder = built(LAYER, frozen())
    view = view_of(clips(3, seed=9))
    expected = objective(encoder.eval(), [view], torch.Generator().manual_seed(1)).total
    again = hubert(LAYER).build(encoder)
    with pytest.raises(ConfigError, match=r"clusters are not found yet.*prepare"):
        again(encoder, [view], torch.Generator().manual_seed(1))
    again.load_state_dict(objective.state_dict())
    assert torch.equal(again(encoder, [view], torch.Generator().manual_seed(1)).total, expected)
    assert MaskedPredictionConfig.from_json(objective.config.to_json()) == objective.config


def test_the_frozen_encoder_stays_as_it_is() -> None:
    objective, _ = built(LAYER, frozen())
    objective.train()
    previous = kmeans_target(objective).source.previous
    assert not previous.training
    assert not previous.encoder.training
    assert not any(p.requires_grad for p in previous.parameters())


def test_a_spectrogram_encoder_before_keeps_the_statistics_it_was_trained_with() -> None:
    config = SpectrogramTransformerConfig(
        width=16, depth=2, heads=2, mels=40, frames=104, patch=(2, 40), cls=False, pooling="mean", drop_path=0.0
    )
    measured = FrozenEncoder(LogMelConfig(mels=40, mean=-3.0, std=2.5).build(), config.build(), name="one")
    source = ClusteredLayerConfig(1, PreviousEncoderConfig(config, LogMelConfig(mels=40)))
    objective, encoder = built(KMeansTargetConfig(clusters=8, source=source), measured)
    again = hubert(KMeansTargetConfig(clusters=8, source=source)).build(encoder)
    again.load_state_dict(objective.state_dict())
    audio = view_of(clips(2)).reference
    (layer,) = measured.tokens(audio, (1,)).layers
    for made in (objective, again):
        torch.testing.assert_close(kmeans_target(made).source(audio).x.flatten(1, 2), layer.block)


def test_rows_of_frequencies_share_the_code_of_their_time_step() -> None:
    config = SpectrogramTransformerConfig(width=16, depth=1, heads=2, mels=32, frames=112, drop_path=0.0, patch=(4, 16))
    encoder = config.build()
    objective = hubert(MFCC).build(encoder)
    frontend = LogMelConfig(mels=32).build()
    waves = clips(24, seed=7)

    def views(wanted: int) -> Iterator[View]:
        audio = Audio.stack(waves, 16000)
        yield View(frontend(audio), torch.arange(24), {}, audio)

    objective.prepare(encoder, Preparation(views, 24, None, torch.Generator().manual_seed(0), lambda text: None))
    seen: list[torch.Tensor] = []
    kmeans_target(objective).register_forward_hook(lambda module, given, codes: seen.append(codes))
    objective(encoder, list(views(24)), torch.Generator().manual_seed(0))
    codes = seen[0][..., 0].unflatten(1, (-1, 2))
    assert torch.equal(codes[..., 0], codes[..., 1])


def test_wrong_rates_are_refused_with_the_number_expected() -> None:
    odd = ClusteredFeaturesConfig(MfccConfig(hop_seconds=0.015))
    with pytest.raises(
        ConfigError, match=r"66\.\d+ frames per second.*tokens at 50.*multiple of the tokens' \(50, 100"
    ):
        hubert(KMeansTargetConfig(source=odd)).build(SMALL.build())
    # Features that come at another rate than their front end says: the number that was expected is named.
    objective, encoder = built(MFCC)
    view = view_of(clips(2))
    half = replace(view, reference=Audio(view.reference.wave[:, :8000], view.reference.lengths // 2, 16000))
    with pytest.raises(ConfigError, match=r"48 frames at 100 per second for 49 tokens.*expected 98"):
        objective(encoder, [half], torch.Generator())


def test_fewer_vectors_than_clusters() -> None:
    encoder = SMALL.build()
    objective = hubert(KMeansTargetConfig(clusters=500)).build(encoder)
    with pytest.raises(
        ConfigError, match="found 98 vectors for 500 clusters; choose fewer clusters, or take more clips"
    ):
        objective.prepare(encoder, preparation(1))


def test_empty_clusters_are_told() -> None:
    encoder = SMALL.build()
    objective = hubert(KMeansTargetConfig(clusters=12)).build(encoder)
    notes: list[str] = []
    silence = [np.zeros(SAMPLES, np.float32)] * 4
    objective.prepare(encoder, preparation(notes=notes, waves=silence))
    assert any("12 clusters of 392 vectors (Mfcc) of 4 clips" in note for note in notes)
    assert any("11 of 12 clusters are empty" in note and "set fewer clusters" in note for note in notes)
    assert torch.isfinite(objective(encoder, [view_of(clips(2))], torch.Generator()).total)


def test_a_stage_that_is_missing_or_does_not_match() -> None:
    encoder = SMALL.build()
    objective = hubert(LAYER).build(encoder)
    with pytest.raises(ConfigError, match=r"encoder of a previous stage, and there is none.*--previous"):
        objective.prepare(encoder, preparation())
    other = FrozenEncoder(WaveformConfig().build(), SMALL.replace(depth=4).build(), name="runs/other")
    with pytest.raises(ConfigError, match=r"encoder of runs/other is not the one.*depth: found 4, expected 3"):
        objective.prepare(encoder, preparation(previous=other))
    louder = FrozenEncoder(WaveformConfig(normalise="clip").build(), SMALL.build(), name="runs/louder")
    with pytest.raises(ConfigError, match=r"front end of runs/louder.*normalise: found clip, expected none"):
        objective.prepare(encoder, preparation(previous=louder))
    with pytest.raises(ConfigError, match=r"layer 9 of the previous stage.*has 3; choose one of 1 ... 3"):
        KMeansTargetConfig(source=ClusteredLayerConfig(9, PreviousEncoderConfig(SMALL))).build(
            encoder, torch.Generator()
        )


def test_a_stage_with_several_tokens_a_time_step_is_named_with_what_fits() -> None:
    config = SpectrogramTransformerConfig(width=16, depth=2, heads=2, mels=40, frames=104, patch=(2, 10), drop_path=0.0)
    previous = FrozenEncoder(LogMelConfig(mels=40).build(), config.build(), name="runs/clap")
    source = ClusteredLayerConfig(1, PreviousEncoderConfig(config, LogMelConfig(mels=40)))
    with pytest.raises(ConfigError) as refused:
        built(KMeansTargetConfig(clusters=8, source=source), previous)
    said = str(refused.value)
    assert "layer 1 of the previous stage (SpectrogramTransformer) has 4 tokens a time step" in said
    assert "the encoder that is trained has 1" in said
    assert "Set --previous to a run whose encoder has 1 token a time step" in said
    assert "hubert" in said


def test_a_view_that_was_moved_has_no_codes() -> None:
    objective, encoder = built(MFCC)
    with pytest.raises(ConfigError, match="the view was moved or stretched in time"):
        objective(encoder, [replace(view_of(clips(2)), reference=None)], torch.Generator())


def test_settings_out_of_range() -> None:
    with pytest.raises(ConfigError, match="clusters is 1"):
        KMeansTargetConfig(clusters=1)
    with pytest.raises(ConfigError, match="share is 0"):
        KMeansTargetConfig(share=0.0)

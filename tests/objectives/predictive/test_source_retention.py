"""Clips and their mixtures in one batch: the same masks, and both sources kept."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from auricle.audio.batch import Features
from auricle.encoders.contract import Grid
from auricle.encoders.spectrogram_layouts import layout
from auricle.encoders.spectrogram_transformer import SpectrogramTransformer
from auricle.errors import ConfigError
from auricle.objectives.contract import View
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.objectives.predictive.joint_views import JointViews, JointViewsConfig, interleave
from auricle.objectives.predictive.masked_prediction import MaskedPrediction
from auricle.objectives.predictive.source_retention import SourceRetentionConfig, mixed_tokens, sources
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.objectives.predictive.terms import RegressionConfig
from auricle.objectives.targets.teachers import TeacherTargetConfig
from auricle.training.backward import _accumulate

CLIPS = 4


def pair(partner: list[int] | None = None) -> tuple[View, View]:
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(CLIPS, 96, 32, generator=generator, dtype=torch.float64)
    mixed = torch.ones(CLIPS, 96, dtype=torch.bool)
    mixed[:, 20:60] = False
    louder = torch.where(mixed[..., None], torch.maximum(clean, clean.roll(1, 0)), clean)
    told = {"partner": torch.tensor([3, 0, 1, 2] if partner is None else partner), "mixed": mixed}
    lengths = torch.full((CLIPS,), 96)
    return (
        View(Features(clean, lengths, 100.0), torch.arange(CLIPS)),
        View(Features(louder, lengths, 100.0), torch.arange(CLIPS), told),
    )


def made() -> tuple[SpectrogramTransformer, JointViews]:
    encoder = layout("eat", "tiny", width=16, depth=2, heads=2, frames=96, mels=32).build().double()
    config = JointViewsConfig(
        teacher=TeacherConfig(), clones=2, decoder=TransformerDecoderConfig(16, 2, 2),
        terms=(RegressionConfig(TeacherTargetConfig(after="layer"), name="patch"), SourceRetentionConfig()),
    )  # fmt: skip
    return encoder, config.build(encoder, torch.Generator().manual_seed(1)).double()


def test_both_halves_hide_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, objective = made()
    seen = []
    look = MaskedPrediction.look
    monkeypatch.setattr(MaskedPrediction, "look", lambda self, *a: seen.append(look(self, *a)) or seen[-1])
    objective(encoder, pair(), torch.Generator().manual_seed(0))
    (masked_batch,) = seen
    assert len(masked_batch.view) == 2 * CLIPS
    masked = masked_batch.mask.masked
    assert masked.shape[0] == 2 * CLIPS * 2
    by_view = masked.unflatten(0, (CLIPS, 2, 2))
    assert torch.equal(by_view[:, 0], by_view[:, 1])
    # Clones and clips differ.
    assert not torch.equal(by_view[0, 0, 0], by_view[0, 0, 1])
    assert not torch.equal(by_view[0, 0, 0], by_view[1, 0, 0])


def test_retention_equals_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, objective = made()
    masked_batches, decoded = [], []
    look = MaskedPrediction.look
    monkeypatch.setattr(
        MaskedPrediction, "look", lambda self, *a: masked_batches.append(look(self, *a)) or masked_batches[-1]
    )
    objective.decoder.register_forward_hook(lambda m, i, o: decoded.append(o))
    clean, mixture = pair()
    loss = objective(encoder, (clean, mixture), torch.Generator().manual_seed(0))
    term = objective.terms[1]
    with torch.no_grad():
        prediction = term.head(decoded[0].x)
        alone = [objective.teacher.see(encoder, clean, masked_batches[0].mask, "all", (1, 2)).layers]

        def latents(clip: int) -> torch.Tensor:
            mean = 0
            for layer in alone[0]:
                x = layer.feedforward[clip]
                mean = mean + (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt() / 2
            return (mean - mean.mean(1, keepdim=True)) / (mean.var(1, correction=0, keepdim=True) + 1e-5).sqrt()

        each = []
        for row in range(4 * CLIPS):
            clip, mixture_shown, clone = row // 4, row // 2 % 2, row % 2
            if not mixture_shown:
                continue
            assert torch.equal(masked_batches[0].mask.masked[row], masked_batches[0].mask.masked[4 * clip + clone])
            own, both = latents(clip), (latents(clip) + latents((clip - 1) % CLIPS)) / 2
            for place in range(12):
                step = place // 2
                frames = mixture.certificate["mixed"][clip, 16 * step : 16 * step + 16]
                wanted = both if frames.float().mean() >= 0.5 else own
                if masked_batches[0].mask.masked[row, place]:
                    each.append(float((prediction[row, place] - wanted[place]).square().sum() / 4))
    assert len(each) > 20
    assert float(loss.parts["retention"]) == pytest.approx(sum(each) / len(each), rel=1e-9)
    assert {"retention/position_ratio", "retention/std_target", "patch/constant"} <= set(loss.watch)


def test_sources_and_mixed_tokens() -> None:
    latents = torch.arange(6.0).view(6, 1, 1)
    # Clips 0, 2, 4; their mixtures 1, 3, 5: the first with the third clip, the second alone, the third with the first.
    partner = torch.tensor([-1, 2, -1, -1, -1, 0])
    mixed = torch.ones(6, 1, dtype=torch.bool)
    assert sources(latents, partner, mixed).flatten().tolist() == [0, (0 + 4) / 2, 2, 3, 4, (4 + 0) / 2]
    mixed[1] = False
    assert sources(latents, partner, mixed).flatten().tolist() == [0, 0, 2, 3, 4, (4 + 0) / 2]
    mixed = torch.zeros(1, 32, dtype=torch.bool)
    mixed[0, 8:24] = True
    assert mixed_tokens(mixed, Grid(2, 3, 6.25)).tolist() == [[True] * 6]
    mixed[0, 8] = False
    assert mixed_tokens(mixed, Grid(2, 3, 6.25)).tolist() == [[False] * 3 + [True] * 3]


def test_join_fills_up_the_certificate() -> None:
    clean, mixture = pair()
    view = interleave(clean, mixture)
    assert view.certificate["partner"].tolist() == [-1, 3, -1, 0, -1, 1, -1, 2]
    assert not view.certificate["mixed"][0::2].any()
    assert view.clip.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert torch.equal(view.features.x[1::2], mixture.features.x)
    assert view.reference is None
    short = View(Features(torch.zeros(4, 80, 32), torch.full((4,), 80), 100.0), torch.arange(4))
    with pytest.raises(ConfigError, match="expected equal ones"):
        interleave(clean, short)


def test_the_control_shows_clips_that_share_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, objective = made()
    straight = objective(encoder, pair(), torch.Generator().manual_seed(0)).total
    seen = []
    look = MaskedPrediction.look
    monkeypatch.setattr(MaskedPrediction, "look", lambda self, *a: seen.append(look(self, *a)) or seen[-1])
    objective.shuffled = True
    assert not torch.equal(objective(encoder, pair(), torch.Generator().manual_seed(0)).total, straight)
    assert objective.shuffled
    assert seen[0].clean.clip.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    # Clip 3 is mixed with clip 2, and clip 1, whose latents are asked for, with clip 0.
    assert seen[0].view.clip.tolist() == [2, 2, 3, 3, 0, 0, 1, 1]
    assert torch.equal(seen[0].clean.features.x[3], pair()[1].features.x[1])


def test_bad_input() -> None:
    encoder, objective = made()
    clean, mixture = pair()
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(ConfigError, match=r"views have none.*PartialMaxMixConfig"):
        objective(encoder, (clean, clean), generator)
    with pytest.raises(ConfigError, match="expected 2"):
        objective(encoder, (clean,), generator)
    with pytest.raises(ConfigError, match=r"leave --train.micro-batch out"):
        _accumulate(objective, encoder, [clean, mixture], generator, micro_batch=2, autocast=nullcontext)
    with pytest.raises(ConfigError, match="joint views are two"):
        JointViewsConfig(views=1)
    with pytest.raises(ConfigError, match="sight to all"):
        SourceRetentionConfig(target=TeacherTargetConfig(sight="masked"))
    # Nobody to mix with: what the batch of one clip is told.
    told = {"partner": torch.tensor([-1]), "mixed": torch.zeros(1, 96, dtype=torch.bool)}
    lonely = (clean[0:1], View(clean.features[0:1], clean.clip[0:1], told))
    assert float(objective(encoder, lonely, generator).parts["retention"]) == 0.0

"""Learned codes are watched as they are used later: in evaluation mode, on clips before the step that sees them."""

from __future__ import annotations

import pytest
import torch

from auricle.audio.batch import Audio
from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.views import PlainViewsConfig
from auricle.encoders.beats import BEATsConfig
from auricle.encoders.coding_encoder import CodingEncoder, CodingEncoderConfig
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.parts.conv_position import ConvPositionConfig
from auricle.encoders.parts.quantisers.codebook import CodebookConfig
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig
from auricle.objectives.targets.tokenizer_distillation import TokenizerDistillationConfig
from auricle.training.ranks import Ranks
from auricle.training.step import TrainingStep, learns_codes
from auricle.training.train_config import TrainConfig

FRONT = LogMelConfig(mels=32)
BODY = BEATsConfig(
    width=16, embed=8, depth=1, heads=2, mels=32, position=ConvPositionConfig(kernel=4, groups=4), dropout=0.5
)


def stage() -> tuple[CodingEncoder, TrainingStep]:
    previous = BODY.build(torch.Generator().manual_seed(9))
    encoder = CodingEncoderConfig(body=BODY, codebook=CodebookConfig(codes=12, dim=4)).build()
    objective = TokenizerDistillationConfig(
        previous=PreviousEncoderConfig(encoder=BODY, frontend=FRONT), estimator=TransformerDecoderConfig(16, 1, 2)
    ).build(encoder)
    objective.previous.adopt(FrozenEncoder(FRONT.build(), previous, name="previous"), "the test")
    config = TrainConfig(steps=5, warmup_steps=0, lr=1e-2, precision="fp32", micro_batch=4)
    views = PlainViewsConfig().build(FRONT.build())
    return encoder, TrainingStep(encoder, objective, views, config, Ranks(0, 1, torch.device("cpu")))


def test_codes_are_watched_in_evaluation_mode_before_the_step() -> None:
    encoder, step = stage()
    wave = torch.randn(8, 8000, generator=torch.Generator().manual_seed(0)).cumsum(1) * 0.01
    audio = Audio(wave, torch.full((8,), 8000), 16000)
    views = step.views(0, audio, torch.arange(8))
    # By hand, of as many clips as are in memory at once.
    encoder.eval()
    with torch.no_grad():
        codes = encoder.codes(encoder.tokenize(views[0].features[:4])).flatten()
    encoder.train()
    share = torch.bincount(codes, minlength=12) / len(codes)
    watch = step(0, views, watched=True).watch
    assert float(watch["evaluation/codes/perplexity"]) == pytest.approx(torch.special.entr(share).sum().exp().item())
    # Dropout makes other codes of the same clips.
    assert float(watch["codes/perplexity"]) != pytest.approx(float(watch["evaluation/codes/perplexity"]), abs=0.05)
    assert encoder.training
    assert step.objective.training
    # Watching changes nothing.
    other, plain = stage()
    assert "evaluation/codes/perplexity" not in plain(0, plain.views(0, audio, torch.arange(8))).watch
    for mine, its in zip(encoder.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(mine, its)


def test_frozen_codes_are_not_watched() -> None:
    encoder, _ = stage()
    assert learns_codes(encoder)
    assert not learns_codes(encoder.requires_grad_(False))
    assert not learns_codes(BODY.build())

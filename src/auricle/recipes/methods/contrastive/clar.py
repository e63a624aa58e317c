"""CLAR: SimCLR on augmented waveforms, seen as spectrograms or as samples (arXiv 2010.09542)."""

from __future__ import annotations

from auricle.audio.frontends.log_mel import LogMelConfig
from auricle.audio.frontends.waveform import WaveformConfig
from auricle.audio.ops.crop import CropConfig
from auricle.audio.ops.wave_masking import WaveTimeMaskConfig
from auricle.audio.ops.wave_ops import (
    PitchShiftConfig,
    TimeStretchConfig,
    WaveFadeConfig,
    WaveNoiseConfig,
    WaveRollConfig,
)
from auricle.audio.view_plan import ViewPlanConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.resnet import ResNetConfig, SampleResNetConfig
from auricle.objectives.contrastive.pair_losses import NTXentConfig
from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.objectives.contrastive.two_views import ContrastiveConfig
from auricle.objectives.masks.structured import MaskConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.notes import searched
from auricle.training.train_config import TrainConfig

CLAR = Method(
    name="clar",
    paradigm="contrastive",
    summary="CLAR: contrast two crops of a clip, each with its own chain of effects on the waveform, by NT-Xent.",
    learns="tests/learning/test_learn_clar.py",
)
CLAR_WAVE = Method(
    name="clar-wave",
    paradigm="contrastive",
    summary="CLAR on samples: the same views, encoded by a one-dimensional ResNet.",
)
_REFERENCE = Reference(
    title="CLAR: Contrastive Learning of Auditory Representations",
    authors="Al-Tahan, Mohsenzadeh",
    arxiv="2010.09542",
    section="3, by summaries; the released code has no known licence",
)
_TRAINING = (
    "AdamW at 1e-4; released code: LARS around Adam at 1",
    "views are crops of 1 s out of 2 s, one for each; released code: the whole clip, 1 s of Speech Commands",
    "the masked span is silent; released code: noise of 0.01",
    "the supervised loss on labelled clips, an option of the publication, is missing",
)
NOTES = Notes(
    method="clar",
    reference=_REFERENCE,
    faithful=(
        "a chain of effects on the waveform, each with probability 0.5 and the released code's range, drawn anew for "
        "each view",
        "16 kHz, 128 mel bands from 40 to 8000 Hz of a transform of 2048 points every 8 ms (the released code's)",
        "ResNet-18; projector of three layers to 128 with BatchNorm; NT-Xent at temperature 0.5; batch 256 (paper)",
    ),
    deviations=(
        "one channel, the log-mel spectrogram; released code: three, with the magnitude and the phase of a "
        "log-frequency transform of 2048 points, 40 to 8000 Hz",
        *_TRAINING,
    ),
    not_specified=searched(
        "paper, released code",
        "steps: 100,000, about the released code's 1020 epochs of Speech Commands' digits in batches of 256",
    ),
    cost="two passes of a ResNet-18 per step; the effects run on the waveform, pitch shift and time stretch being the "
    "most expensive",
    when_to_use="when it is known which changes of a sound don't matter (fades, gaps, shifts, noise): the effects "
    "express that knowledge",
)
WAVE_NOTES = Notes(
    method="clar-wave",
    reference=_REFERENCE,
    faithful=(
        "a chain of effects on the waveform, each with probability 0.5, drawn anew for each view; 16 kHz; the encoder "
        "reads the samples",
        "ResNet-18 in one dimension; projector of three layers to 128 with BatchNorm; NT-Xent at temperature 0.5",
    ),
    deviations=(
        "kernels of 3 x 3 become rows of 9, strides of 2 x 2 become 4, a token is 1024 samples; released code: the "
        "same kernels, strides of 2, tokens of 32 samples",
        *_TRAINING,
    ),
    not_specified=NOTES.not_specified,
    cost="two passes of a one-dimensional ResNet-18 over 16,000 samples per step, and the effects of CLAR",
    when_to_use="as CLAR, where the encoder is to read samples; it needs more audio than the one on spectrograms",
)
# A mask is applied with probability 0.5, and then draws once more whether it does anything.
_FADE, _MASK = WaveFadeConfig(p=0.5), WaveTimeMaskConfig(p=0.25, fraction=(0.125, 0.125))
_SHIFT, _NOISE = WaveRollConfig(p=0.5), WaveNoiseConfig(p=0.5, snr_db=(0.0, 20.0))
_STRETCH, _PITCH = TimeStretchConfig(p=0.5, speed=(0.5, 1.5)), PitchShiftConfig(p=0.5, semitones=(-15.0, 15.0))
_ALL = (_FADE, _MASK, _STRETCH, _PITCH, _SHIFT, _NOISE)
_CHEAP = (_FADE, WaveTimeMaskConfig(p=0.5), _SHIFT, WaveNoiseConfig(p=0.5))
_TINY = (
    *small_scale.DEVIATIONS,
    "noise from 5 to 40 dB below the clip, masked spans of up to an eighth of it with probability 0.5; released code: "
    "0 to 20 dB, an eighth with probability 0.25",
    "ResNet-18 with half its channels; no pitch shift and no time stretch, which cost more than the training step and "
    "which the publication finds less useful than fades, masks and shifts",
)


def _objective(hidden: int) -> ContrastiveConfig:
    return ContrastiveConfig(
        loss=NTXentConfig(temperature=0.5),
        projector=ProjectorConfig(hidden=(hidden, hidden), norm="batch", end="none", bias=False, draw="uniform"),
        mask=MaskConfig(mode="none"),
    )


@CLAR.size("paper")
def clar_paper() -> Recipe:
    """ResNet-18, batch 256 for 100,000 steps."""
    return Recipe(
        name="clar",
        size="paper",
        notes=NOTES,
        window=WindowConfig(seconds=2.0, short="pad", crop="random"),
        loader=LoaderConfig(batch=256, workers=-1),
        frontend=LogMelConfig(
            mels=128, n_fft=2048, window=2048, hop=128, low=40.0, high=8000.0, scale="slaney", area_norm=True,
            floor=1e-5, floor_mode="clamp",
        ),
        augment=ViewPlanConfig(crop=CropConfig(seconds=1.0, each=True, short="silence"), wave=_ALL),
        encoder=ResNetConfig.size("18", mels=128, frame_rate=125.0),
        objective=_objective(512),
        train=TrainConfig(
            steps=100_000, lr=1e-4, min_lr=0.0, warmup_steps=1000, weight_decay=1e-6, save_every=1000
        ),
    )  # fmt: skip


@CLAR.size("tiny")
def clar_tiny() -> Recipe:
    """Small scale: half the channels, batch 64 for 2500 steps."""
    paper = clar_paper()
    return paper.replace(
        size="tiny",
        notes=NOTES.with_deviations(*_TINY),
        window=small_scale.window(2.0),
        loader=small_scale.loader(64),
        augment=paper.augment.replace(wave=_CHEAP),
        encoder=ResNetConfig.size("tiny", mels=128, frame_rate=125.0),
        objective=_objective(256),
        train=small_scale.train(2500, 5e-4),
    )


@CLAR_WAVE.size("paper")
def clar_wave_paper() -> Recipe:
    """CLAR's constants with a ResNet-18 on samples."""
    return clar_paper().replace(
        name="clar-wave", notes=WAVE_NOTES, frontend=WaveformConfig(), encoder=SampleResNetConfig.size("18")
    )


@CLAR_WAVE.size("tiny")
def clar_wave_tiny() -> Recipe:
    """Small scale: CLAR's tiny size with half the channels on samples."""
    return clar_tiny().replace(
        name="clar-wave",
        notes=WAVE_NOTES.with_deviations(*_TINY),
        frontend=WaveformConfig(),
        encoder=SampleResNetConfig.size("tiny"),
    )

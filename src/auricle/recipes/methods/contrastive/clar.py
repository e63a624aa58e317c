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
from auricle.recipes import small_scale
from auricle.recipes.recipe import Recipe, Reference, recipe
from auricle.training.train_config import TrainConfig

_CHEAP = (WaveFadeConfig(p=0.5), WaveTimeMaskConfig(p=0.5), WaveRollConfig(p=0.5), WaveNoiseConfig(p=0.5))
_ALL = (PitchShiftConfig(p=0.5), TimeStretchConfig(p=0.5), *_CHEAP)
_TINY = (
    *small_scale.DEVIATIONS,
    "ResNet-18 with half its channels; without pitch shift and time stretch, which cost more than the training step "
    "and which the publication found less useful than fades, masks and shifts",
)


@recipe("clar", sizes=("tiny", "paper"), paradigm="contrastive")
def clar(size: str = "tiny") -> Recipe:
    """CLAR: two seconds of one clip, each with its own chain of effects on the waveform, contrasted by NT-Xent.

    Args:
        size: `paper` has the published constants as far as they are known; `tiny` is for two cores.
    """
    paper = size == "paper"
    mels = (
        "one log-mel spectrogram; published: three stacked (log power, log-mel, and one more that is unknown here)",
        "1024-point transform around the published 16-ms frames, so that no mel band is empty",
    )
    return Recipe(
        name="clar",
        size=size,
        reference=Reference(
            title="CLAR: Contrastive Learning of Auditory Representations",
            authors="Al-Tahan, Mohsenzadeh",
            arxiv="2010.09542",
            section="3 (by summaries; the code's licence is unknown and it was not read)",
        ),
        deviations=mels if paper else (*mels, *_TINY),
        kept=(
            "chain of effects on the waveform, drawn anew for each view; 16 kHz, frames of 16 ms every 8 ms, 128 bands",
            "ResNet-18; projector of three layers to 128; NT-Xent",
        ),
        unknown=(
            "probabilities and ranges of the effects: 0.5 each, ranges as documented with the operators",
            "crops of 1 s out of 2 s, one for each view; temperature 0.5; width of the projector: the encoder's",
            "batch, optimiser and length of training: batch 1024, AdamW at 1e-4 for 100,000 steps",
            "the supervised loss on labelled clips, an option of the publication, is left out",
        ),
        cost="two passes of a ResNet-18 a step; the effects run on the waveform, pitch shift and time stretch being "
        "the dearest of them",
        choose="when it is known which changes of a sound don't matter (fades, gaps, shifts, noise): the effects are "
        "where that knowledge goes in",
        window=WindowConfig(seconds=2.0, short="pad", crop="random") if paper else small_scale.window(2.0),
        loader=LoaderConfig(batch=1024, workers=-1) if paper else small_scale.loader(64),
        frontend=LogMelConfig(mels=128, n_fft=1024, window=256, hop=128, low=0.0, high=8000.0),
        augment=ViewPlanConfig(
            crop=CropConfig(seconds=1.0, each=True, short="silence"), wave=_ALL if paper else _CHEAP
        ),
        encoder=ResNetConfig.size("18" if paper else "tiny", mels=128, frame_rate=125.0),
        objective=ContrastiveConfig(
            loss=NTXentConfig(temperature=0.5),
            projector=ProjectorConfig(
                hidden=(512, 512) if paper else (256, 256), norm="none", end="none", bias=True, draw="uniform"
            ),
            mask=MaskConfig(mode="none"),
        ),
        train=TrainConfig(steps=100_000, lr=1e-4, weight_decay=1e-4, save_every=1000)
        if paper
        else small_scale.train(2500, 5e-4),
    )


@recipe("clar-wave", sizes=("tiny", "paper"), paradigm="contrastive")
def clar_wave(size: str = "tiny") -> Recipe:
    """CLAR on samples: the same views, read by a one-dimensional ResNet.

    Args:
        size: `paper` has the published constants as far as they are known; `tiny` is for two cores.
    """
    base = clar(size)
    layout = "layout of the one-dimensional ResNet-18: squares become rows (kernels of 9 for 3 x 3, strides of 4)"
    return base.replace(
        name="clar-wave",
        deviations=() if size == "paper" else _TINY,
        unknown=(layout, *base.unknown),
        choose="as CLAR, where the encoder is to read samples; it needs more audio than the one on spectrograms",
        frontend=WaveformConfig(),
        encoder=SampleResNetConfig.size("18" if size == "paper" else "tiny"),
    )

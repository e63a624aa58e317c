"""CLMR: SimCLR on music, from samples (arXiv 2103.09410)."""

from __future__ import annotations

from auricle.audio.frontends.waveform import WaveformConfig
from auricle.audio.ops.crop import CropConfig
from auricle.audio.ops.wave_filters import EchoConfig, PassFilterConfig, ReverbConfig
from auricle.audio.ops.wave_ops import PitchShiftConfig, PolarityConfig, WaveGainConfig, WaveNoiseConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.sample_cnn import SampleCNNConfig
from auricle.objectives.contrastive.pair_losses import NTXentConfig
from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.objectives.contrastive.two_views import ContrastiveConfig
from auricle.objectives.masks.structured import MaskConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.notes import searched
from auricle.training.train_config import TrainConfig

CLMR = Method(
    name="clmr",
    paradigm="contrastive",
    summary="CLMR: contrast two crops of a piece of music, each with its own chain of effects, from samples.",
)
NOTES = Notes(
    method="clmr",
    reference=Reference(
        title="Contrastive Learning of Musical Representations",
        authors="Spijkervet, Burgoyne",
        arxiv="2103.09410",
        section="3, and the released configuration",
    ),
    faithful=(
        "two crops of 59,049 samples at 22.05 kHz; effects with their published probabilities: polarity 0.8, noise "
        "0.01, gain 0.3, filter 0.8, delay 0.3, pitch 0.6, reverberation 0.6",
        "SampleCNN of nine blocks; NT-Xent at temperature 0.5; learning rate 3e-4, batch 48",
    ),
    deviations=("AdamW without weight decay (the same as the published Adam)", "reverberation by synthetic rooms"),
    not_specified=searched(
        "paper, released configuration",
        "ranges of the effects: as documented with the operators",
        "projector: two linear layers without bias, 512 and 128 wide; no dropout before it",
        "length of training: 300,000 steps, constant learning rate",
    ),
    cost="two passes of SampleCNN over 2.7 s at 22.05 kHz per step; pitch shift is the most expensive effect",
    when_to_use="music, with an encoder that reads samples and pieces longer than some seconds",
)

# 3^10 samples, of which SampleCNN makes one token.
_SECONDS = 59049 / 22050
_CHEAP = (
    PolarityConfig(p=0.8),
    WaveNoiseConfig(p=0.01),
    WaveGainConfig(p=0.3),
    PassFilterConfig(p=0.8),
    EchoConfig(p=0.3),
)
_CROP = CropConfig(seconds=_SECONDS, each=True, short="silence")
_REVERB = ReverbConfig(p=0.6)


@CLMR.size("paper")
def clmr_paper() -> Recipe:
    """SampleCNN of 2.4 M parameters, batch 48 for 300,000 steps."""
    return Recipe(
        name="clmr",
        size="paper",
        notes=NOTES,
        window=WindowConfig(seconds=29.0, short="pad", crop="random"),
        loader=LoaderConfig(batch=48, workers=-1),
        frontend=WaveformConfig(rate=22050),
        augment=ViewPlanConfig(crop=_CROP, wave=(*_CHEAP, PitchShiftConfig(p=0.6), _REVERB)),
        encoder=SampleCNNConfig.size("base"),
        objective=ContrastiveConfig(
            loss=NTXentConfig(temperature=0.5),
            projector=ProjectorConfig(hidden=(512,), norm="none", end="none", bias=False, draw="uniform"),
            mask=MaskConfig(mode="none"),
        ),
        train=TrainConfig(
            steps=300_000, lr=3e-4, schedule="constant", warmup_steps=0, weight_decay=0.0, save_every=1000
        ),
    )


@CLMR.size("tiny")
def clmr_tiny() -> Recipe:
    """Small scale: windows of 8 s, 800 steps."""
    return clmr_paper().replace(
        size="tiny",
        notes=NOTES.with_deviations(
            *small_scale.DEVIATIONS,
            "SampleCNN with fewer channels in its first blocks (0.87 M parameters); no pitch shift, which costs more "
            "than the training step",
        ),
        window=small_scale.window(8.0),
        loader=small_scale.loader(48),
        augment=ViewPlanConfig(crop=_CROP, wave=(*_CHEAP, _REVERB)),
        encoder=SampleCNNConfig.size("tiny"),
        train=small_scale.train(800, 3e-4, schedule="constant", weight_decay=0.0),
    )

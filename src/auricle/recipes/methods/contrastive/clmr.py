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
from auricle.recipes import small_scale
from auricle.recipes.methods.contrastive.clar import clar
from auricle.recipes.recipe import Recipe, Reference, recipe
from auricle.training.train_config import TrainConfig

# 3^10 samples, of which SampleCNN makes one token.
_SECONDS = 59049 / 22050
_CHAIN = (
    PolarityConfig(p=0.8),
    WaveNoiseConfig(p=0.01),
    WaveGainConfig(p=0.3),
    PassFilterConfig(p=0.8),
    EchoConfig(p=0.3),
    PitchShiftConfig(p=0.6),
    ReverbConfig(p=0.6),
)


@recipe("clmr", sizes=("tiny", "paper"), paradigm="contrastive")
def clmr(size: str = "tiny") -> Recipe:
    """CLMR: two crops of a piece of music, each with its own chain of effects, contrasted from samples.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    paper = size == "paper"
    chain = _CHAIN if paper else tuple(op for op in _CHAIN if not isinstance(op, PitchShiftConfig))
    base = clar(size)
    always = ("AdamW without weight decay (the same as the published Adam)", "reverberation by synthetic rooms")
    return base.replace(
        name="clmr",
        reference=Reference(
            title="Contrastive Learning of Musical Representations",
            authors="Spijkervet, Burgoyne",
            arxiv="2103.09410",
            section="3, and the released configuration",
        ),
        deviations=always
        if paper
        else (
            *always,
            *small_scale.DEVIATIONS,
            "SampleCNN with fewer channels in its first blocks (0.87 M parameters); without pitch shift, which costs "
            "more than the training step",
        ),
        kept=(
            "two crops of 59,049 samples at 22.05 kHz; effects with their published probabilities: polarity 0.8, noise "
            "0.01, gain 0.3, filter 0.8, delay 0.3, pitch 0.6, reverberation 0.6",
            "SampleCNN of nine blocks; NT-Xent at temperature 0.5; learning rate 3e-4, batch 48",
        ),
        unknown=(
            "ranges of the effects: as documented with the operators",
            "projector: two linear layers without bias, 512 and 128 wide; no dropout before it",
            "length of training: 300,000 steps, constant learning rate",
        ),
        cost="two passes of SampleCNN over 2.7 s at 22.05 kHz a step; pitch shift is the dearest effect",
        choose="music, where an encoder that reads samples is wanted and pieces are longer than some seconds",
        window=WindowConfig(seconds=29.0, short="pad", crop="random") if paper else small_scale.window(8.0),
        loader=LoaderConfig(batch=48, workers=-1) if paper else small_scale.loader(48),
        frontend=WaveformConfig(rate=22050),
        augment=ViewPlanConfig(crop=CropConfig(seconds=_SECONDS, each=True, short="silence"), wave=chain),
        encoder=SampleCNNConfig.size("base" if paper else "tiny"),
        objective=base.objective.replace(
            loss=NTXentConfig(temperature=0.5),
            projector=ProjectorConfig(hidden=(512,), norm="none", end="none", bias=False, draw="uniform"),
        ),
        train=TrainConfig(
            steps=300_000, lr=3e-4, schedule="constant", warmup_steps=0, weight_decay=0.0, save_every=1000
        )
        if paper
        else small_scale.train(800, 3e-4, schedule="constant", weight_decay=0.0),
    )

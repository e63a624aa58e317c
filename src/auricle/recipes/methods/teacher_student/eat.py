"""EAT and BAT: a teacher's averaged latents, predicted by many masked clones of a clip (arXiv 2401.03497)."""

from __future__ import annotations

from typing import Any, Literal

from auricle.audio.frontends.presets import preset
from auricle.audio.ops.wave_ops import WaveGainConfig, WaveRollConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.masks.blocks import InverseBlockMask
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.predictive.conv_decoder import Conv2dDecoderConfig
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.objectives.predictive.heads import IdentityHeadConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.objectives.predictive.terms import RegressionConfig
from auricle.objectives.targets.target import TermConfig
from auricle.objectives.targets.teachers import TeacherClipTargetConfig, TeacherTargetConfig
from auricle.recipes import small_scale
from auricle.recipes.methods.reconstruction.audio_mae import PADDED
from auricle.recipes.recipe import Recipe, Reference, recipe
from auricle.training.train_config import TrainConfig

# Fixed sin-cos positions outweigh the patches of a small encoder: its teacher would then tell of places only.
SMALL_POSITIONS: dict[str, Any] = {"positions": "learned", "position_init": "normal"}
PLACES = "positions are learned and begin small, lest a short run learns them alone; published: fixed sin-cos"
SMALLER = (
    "encoder of 6 layers and width 192 on 2.56 s; published: 12 of 768 on 10.24 s",
    "fewer clones, and a narrower and shallower decoder; published: 16, and 6 layers of 768",
    "the teacher's decay rises from 0.99 to 0.999 in a shorter run; published: 0.9998 to 0.99999",
    PLACES,
)
# Clips on each of the four devices of the published run, and of all four.
_DEVICE, _BATCH = 12, 48
_KEPT = (
    "inverse block mask, many clones of each clip from one tokenize, one pass of the teacher over the whole clip",
    "target: feed-forward outputs before the residual of all layers, instance-normalised, averaged, layer-normalised; "
    "for the clip: its mean over all patches",
    "the class token regresses the clip's target directly, without a head",
    "the teacher averages the whole encoder, patches included",
)


def latent_terms(reduction: Literal["released", "means"]) -> tuple[TermConfig, ...]:
    """Return EAT's two terms: hidden patches, and the clip's class token.

    Args:
        reduction: `released`: the patch term is a mean over hidden patches and the clip term a sum over the clips and
            clones of one device, 192 times its mean, as EAT's code has it; `means`: means of both, as in BAT.
    """
    sums = reduction == "released"
    patch = RegressionConfig(TeacherTargetConfig(after="layer"), dims="sum/sqrt", name="patch")
    clip = RegressionConfig(
        TeacherClipTargetConfig(), where="clip", head=IdentityHeadConfig(), dims="sum/sqrt", name="clip",
        reduce="clip_sum" if sums else "clip_mean", weight=_DEVICE / _BATCH if sums else 1.0,
    )  # fmt: skip
    return patch, clip


def eat_objective(size: str) -> MaskedPredictionConfig:
    """Return EAT's objective at a size."""
    paper = size == "paper"
    return MaskedPredictionConfig(
        mask=InverseBlockMask(ratio=0.8, size=5, adjust=0.07),
        hide="drop",
        clones=16 if paper else 4,
        decoder=Conv2dDecoderConfig() if paper else Conv2dDecoderConfig(width=192, depth=2),
        teacher=TeacherConfig(0.9998, 0.99999, steps=100_000) if paper else TeacherConfig(0.99, 0.999),
        terms=latent_terms("released" if paper else "means"),
    )


@recipe("eat", sizes=("tiny", "paper"), paradigm="teacher-student")
def eat(size: str = "tiny") -> Recipe:
    """EAT: sixteen clones of a clip, each without four fifths of its patches, predict a slow teacher's latents.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    paper = size == "paper"
    return Recipe(
        name="eat",
        size=size,
        reference=Reference(
            title="EAT: Self-Supervised Pre-Training with Efficient Audio Transformer",
            authors="Chen et al.",
            arxiv="2401.03497",
            section="3, 4.1 and the released code and its configuration",
        ),
        kept=_KEPT,
        deviations=(
            "the clip term's sum is over the clips and clones of all devices, weighted by 12 / 48, so that it does not "
            "depend on their number; published: over the 12 clips of each of 4 devices, which is the same number",
            f"{PADDED}; nor do they count in targets",
        )
        if paper
        else (
            *small_scale.DEVIATIONS,
            *SMALLER,
            "means in both terms (`reduce`), as BAT has them; released: the clip term is a sum, 192 times its mean",
        ),
        unknown=(
            "noise in the places of hidden patches: that of data2vec 2.0 (0.01), whose decoder EAT's is",
            "norm, nonlinearity and residuals of the decoder's layers (see `objectives.conv_decoder`)",
            "the gain of the waveform: Audio-MAE's, Beta(10, 10) + 0.5",
        ),
        cost="a step encodes each clip once whole, without gradient, and its clones at a fifth of their patches each",
        choose="the strongest of the latent predictors for sound events at a small cost of pre-training; needs an "
        "encoder that can drop tokens",
        measure_statistics=not paper,
        window=WindowConfig(seconds=10.24, short="pad", crop="start") if paper else small_scale.window(2.56),
        loader=LoaderConfig(batch=_BATCH) if paper else small_scale.loader(32),
        frontend=preset("kaldi128"),
        augment=ViewPlanConfig(wave=(WaveRollConfig(), WaveGainConfig(beta=10.0))),
        encoder=layout("eat", "base") if paper else layout("eat", "tiny", depth=6, frames=256, **SMALL_POSITIONS),
        objective=eat_objective(size),
        train=TrainConfig(
            steps=400_000, lr=5e-4, warmup_steps=53_333, weight_decay=0.05, betas=(0.9, 0.95), clip_norm=4.0
        )
        if paper
        else small_scale.train(1800, 5e-4, betas=(0.9, 0.95), clip_norm=4.0),
    )


@recipe("bat", sizes=("tiny", "paper"), paradigm="teacher-student")
def bat(size: str = "tiny") -> Recipe:
    """BAT: EAT with a transformer decoder, patches hidden at random, and means in both terms.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    base, paper = eat(size), size == "paper"
    decoder = TransformerDecoderConfig(768, 6, 12) if paper else TransformerDecoderConfig(128, 2, 4)
    return base.replace(
        name="bat",
        reference=Reference(
            title="BAT (ICML 2026)",
            authors="Ghaffari et al.",
            section="the released code (houtan-ghaffari/BAT_ICML2026), as summarised by others",
        ),
        kept=(
            "patches hidden at random, 0.8 of them; 16 clones of each clip, the teacher sees it whole and once",
            "a transformer of 6 layers as decoder; plain means of both terms, weighted equally",
            *_KEPT[1:],
        ),
        deviations=(
            "blocks without gates; published: gated ones, of which the form is not known here",
            *((f"{PADDED}; nor do they count in targets",) if paper else (*small_scale.DEVIATIONS, *SMALLER)),
        ),
        unknown=("width and heads of the decoder: the encoder's", "clip of the gradient: EAT's (4)"),
        choose="as EAT, where one wants its terms at plain means and no convolutions",
        loader=LoaderConfig(batch=96) if paper else base.loader,
        objective=base.objective.replace(mask=RandomMask(ratio=0.8), decoder=decoder, terms=latent_terms("means")),
        train=base.train if paper else base.train.replace(steps=1400),
    )

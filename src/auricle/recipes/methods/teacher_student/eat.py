"""EAT: a teacher's averaged latents, predicted by many masked clones of a clip (arXiv 2401.03497)."""

from __future__ import annotations

from typing import Any

from auricle.audio.frontends.presets import preset
from auricle.audio.ops.wave_ops import WaveGainConfig, WaveRollConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.audio.views import PlainViewsConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.masks.blocks import InverseBlockMask
from auricle.objectives.predictive.conv_decoder import Conv2dDecoderConfig
from auricle.objectives.predictive.heads import IdentityHeadConfig, LinearHeadConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.objectives.predictive.terms import RegressionConfig
from auricle.objectives.targets.target import TermConfig
from auricle.objectives.targets.teachers import TeacherClipTargetConfig, TeacherTargetConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.notes import PADDED
from auricle.training.train_config import TrainConfig

EAT = Method(
    name="eat",
    paradigm="teacher-student",
    summary="EAT: sixteen clones of a clip, a fifth of the patches visible in each, predict a slow teacher's latents.",
    learns="tests/learning/test_learn_eat.py",
)
# Fixed sin-cos positions outweigh the patches of a small encoder: its teacher would then encode places only. In EAT's
# tiny size, untrained, the mean at each position has 0.45 of the constant's error with them, 0.94 with these.
SMALL_POSITIONS: dict[str, Any] = {"positions": "learned", "position_init": "normal"}
PLACES = "positions are learned and begin small, so that a short run learns more than places; published: fixed sin-cos"
SMALLER = "encoder of 6 layers and width 192 on 2.56 s; published: 12 of 768 on 10.24 s"
DECAY = "the teacher's decay rises from 0.99 to 0.999 in a shorter run; published: 0.9998 to 0.99999"
TARGETS = (
    "many clones of each clip from one tokenize, one pass of the teacher over the whole clip",
    "target: feed-forward outputs before the residual of all layers, instance-normalised, averaged, layer-normalised; "
    "for the clip: its mean over all patches",
)
DIRECT_CLIP = "the class token regresses the clip's target directly, without a head (paper)"
CLIP_HEAD = (
    "the class token regresses the clip's small target behind a linear layer, and all terms are means; released code: "
    "directly, and the clip term is a sum, 192 times its mean"
)
TEACHER = "the teacher averages the whole encoder, patches included"
PADDED_TARGETS = f"{PADDED}; nor does it count in targets"
NOTES = Notes(
    method="eat",
    reference=Reference(
        title="EAT: Self-Supervised Pre-Training with Efficient Audio Transformer",
        authors="Chen et al.",
        arxiv="2401.03497",
        section="3, 4.1 and the released code and its configuration",
    ),
    faithful=(
        "no augmentation (paper); inverse block mask",
        *TARGETS,
        DIRECT_CLIP,
        TEACHER,
        "decoder of two-dimensional convolutions behind noise of 0.01 in masked positions",
    ),
    cost="a step encodes each clip once whole, without gradient, and its clones at a fifth of their patches each",
    when_to_use="the strongest of the latent predictors for sound events at a small cost of pre-training; needs an "
    "encoder that can drop tokens",
)

MASK = InverseBlockMask(ratio=0.8, size=5, adjust=0.07)
# Clips on each of the four devices of the published run, and of all four.
_DEVICE, _BATCH = 12, 48


def latent_terms(released: bool) -> tuple[TermConfig, ...]:
    """Return EAT's two terms: masked patches, and the clip's class token.

    Args:
        released: the clip term is a sum over the clips and clones of one device, 192 times its mean, and compares the
            class token itself; else a mean, behind a linear layer.
    """
    # The target is small, the class token's norm is not: only a gain that all tokens share could shrink it.
    head = IdentityHeadConfig() if released else LinearHeadConfig()
    patch = RegressionConfig(TeacherTargetConfig(after="layer"), dims="sum/sqrt", name="patch")
    clip = RegressionConfig(
        TeacherClipTargetConfig(), where="clip", head=head, dims="sum/sqrt", name="clip",
        reduce="clip_sum" if released else "clip_mean", weight=_DEVICE / _BATCH if released else 1.0,
    )  # fmt: skip
    return patch, clip


@EAT.size("paper")
def eat_paper() -> Recipe:
    """ViT-B on 10.24 s, 16 clones, 400,000 steps."""
    return Recipe(
        name="eat",
        size="paper",
        notes=NOTES.with_deviations(
            "the clip term's sum is over the clips and clones of all devices, weighted by 12 / 48, so that it does not "
            "depend on their number; published: over the 12 clips of each of 4 devices, which is the same number",
            PADDED_TARGETS,
        ),
        measure_statistics=False,
        window=WindowConfig(seconds=10.24, short="pad", crop="start"),
        loader=LoaderConfig(batch=_BATCH),
        frontend=preset("kaldi128"),
        augment=PlainViewsConfig(),
        encoder=layout("eat", "base"),
        objective=MaskedPredictionConfig(
            mask=MASK,
            hide="drop",
            clones=16,
            decoder=Conv2dDecoderConfig(),
            teacher=TeacherConfig(0.9998, 0.99999, steps=100_000),
            terms=latent_terms(released=True),
        ),
        train=TrainConfig(
            steps=400_000, lr=5e-4, warmup_steps=53_333, weight_decay=0.05, betas=(0.9, 0.95), clip_norm=4.0
        ),
    )


_MOVED = "circular roll of the waveform and gain Beta(10, 10) + 0.5, against few clips; released code: neither"


@EAT.size("tiny")
def eat_tiny() -> Recipe:
    """Small scale: 6 layers of width 192 on 2.56 s, 4 clones, 1800 steps."""
    paper = eat_paper()
    return paper.replace(
        size="tiny",
        notes=NOTES.with_deviations(
            *small_scale.DEVIATIONS,
            SMALLER,
            "4 clones, a decoder of 2 layers and width 192; published: 16, and 6 layers of 768",
            DECAY,
            PLACES,
            CLIP_HEAD,
            _MOVED,
        ),
        measure_statistics=True,
        window=small_scale.window(2.56),
        loader=small_scale.loader(32),
        augment=ViewPlanConfig(wave=(WaveRollConfig(), WaveGainConfig(beta=10.0))),
        encoder=layout("eat", "tiny", depth=6, frames=256, **SMALL_POSITIONS),
        objective=paper.objective.replace(
            clones=4,
            decoder=Conv2dDecoderConfig(width=192, depth=2),
            teacher=TeacherConfig(0.99, 0.999),
            terms=latent_terms(released=False),
        ),
        train=small_scale.train(1800, 5e-4, betas=(0.9, 0.95), clip_norm=4.0),
    )


@EAT.size("small")
def eat_small() -> Recipe:
    """6 layers of width 384 on 5.12 s, 8 clones, batch 48 for 15,000 steps."""
    notes = NOTES.with_deviations(
        *small_scale.DEVIATIONS,
        "8 clones, encoder and decoder of width 384, 6 and 4 layers, on 5.12 s; published: 16, and 12 and 6 layers of "
        "768 on 10.24 s",
        PLACES,
        CLIP_HEAD,
        _MOVED,
    )
    tiny = eat_tiny()
    return small_scale.grown(
        tiny, notes, batch=48, steps=15_000,
        window=small_scale.window(5.12),
        encoder=layout("eat", "small", depth=6, frames=512, **SMALL_POSITIONS),
        objective=tiny.objective.replace(
            clones=8, decoder=Conv2dDecoderConfig(width=384, depth=4), teacher=TeacherConfig(0.999, 0.9999)
        ),
    )  # fmt: skip

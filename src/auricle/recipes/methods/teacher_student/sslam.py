"""SSLAM: EAT goes on with mixtures, and keeps what it knew of each source (arXiv 2506.12222)."""

from __future__ import annotations

from auricle.audio.ops.feature_mixing import PartialMaxMixConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.objectives.predictive.heads import IdentityHeadConfig
from auricle.objectives.predictive.joint_views import JointViewsConfig
from auricle.objectives.predictive.source_retention import SourceRetentionConfig
from auricle.objectives.predictive.terms import RegressionConfig
from auricle.objectives.targets.target import TermConfig
from auricle.objectives.targets.teachers import TeacherClipTargetConfig, TeacherTargetConfig
from auricle.recipes import small_scale
from auricle.recipes.methods.reconstruction.audio_mae import PADDED
from auricle.recipes.methods.teacher_student.eat import SMALLER, eat, eat_objective, latent_terms
from auricle.recipes.recipe import Recipe, Reference, recipe

# Gradient steps of the second stage, published.
_STEPS, _WARMUP = 200_000, 25_000


_CLONES = "4 clones, a decoder of 2 layers and width 192, shorter stages; published: 8, and 6 of 768"


@recipe("sslam", sizes=("tiny", "paper"), paradigm="teacher-student")
def sslam(size: str = "tiny") -> Recipe:
    """SSLAM: a second stage of EAT on clips and their mixtures, which must keep both of their sources.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    base, paper = eat(size), size == "paper"
    patch, _ = latent_terms("means")
    clip: TermConfig = RegressionConfig(
        TeacherClipTargetConfig(TeacherTargetConfig(layers=1, after="layer")),
        where="clip",
        head=IdentityHeadConfig(),
        dims="sum/sqrt",
        reduce="clip_mean",
        name="clip",
    )
    first = eat_objective(size)
    return base.replace(
        name="sslam",
        reference=Reference(
            title="SSLAM: Enhancing Self-Supervised Models with Audio Mixtures for Polyphonic Soundscapes",
            authors="Alex et al.",
            arxiv="2506.12222",
            section="3 and the released code and its configuration",
        ),
        previous=base if paper else base.replace(train=base.train.replace(steps=1000)),
        begin="previous",
        kept=(
            "a first stage of EAT, then clips and their mixtures in one batch with the same masks",
            "element-wise maximum of log-mel features with the neighbour, two stretches of 240 of 1024 frames unmixed",
            "the clip's target from the last layer only; retention: the mean of the teacher's latents of both sources",
        ),
        deviations=(
            "the second stage begins with the first one's encoder, its teacher with a copy of it; decoder and heads "
            "are fresh",
            "one pass of the teacher over whole clips, of which mixed stretches are compared; published: a further "
            "pass, on the second clip's mixed stretch",
            "no roll and no gain of the waveform before mixing",
            *((PADDED,) if paper else (*small_scale.DEVIATIONS, SMALLER[0], _CLONES, *SMALLER[2:])),
        ),
        unknown=(
            "weights of the terms and the reduction of the clip's: 1, and means",
            "which tokens retention compares: hidden ones with at least half of their frames mixed",
            "the teacher's decay in the second stage: EAT's",
        ),
        cost="twice EAT's step for a batch: its second half is the first one mixed",
        choose="sounds that overlap: soundscapes, polyphony; otherwise EAT is as good and simpler",
        augment=ViewPlanConfig(feature=(PartialMaxMixConfig(),), clean=(0,)),
        objective=JointViewsConfig(
            mask=first.mask,
            hide="drop",
            clones=8 if paper else 4,
            decoder=first.decoder,
            teacher=first.teacher,
            terms=(patch, clip, SourceRetentionConfig()),
        ),
        train=base.train.replace(steps=_STEPS, lr=5e-5, warmup_steps=_WARMUP)
        if paper
        else base.train.replace(steps=450, lr=1e-4, warmup_steps=45),
    )

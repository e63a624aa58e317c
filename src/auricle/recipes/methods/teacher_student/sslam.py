"""SSLAM: a second stage of EAT on mixtures that retain both of their sources (arXiv 2506.12222)."""

from __future__ import annotations

from auricle.audio.ops.feature_mixing import PartialMaxMixConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.objectives.predictive.conv_decoder import Conv2dDecoderConfig
from auricle.objectives.predictive.joint_views import JointViewsConfig
from auricle.objectives.predictive.source_retention import SourceRetentionConfig
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.objectives.targets.target import TermConfig
from auricle.objectives.targets.teachers import TeacherClipTargetConfig, TeacherTargetConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.methods.teacher_student.eat import (
    CLIP_HEAD,
    DECAY,
    MASK,
    PLACES,
    SMALLER,
    eat_paper,
    eat_tiny,
    latent_terms,
)
from auricle.recipes.notes import PADDED

SSLAM = Method(
    name="sslam",
    paradigm="teacher-student",
    summary="SSLAM: a second stage of EAT on clips and their mixtures, whose latents retain both sources.",
    learns="tests/learning/test_learn_sslam.py",
)
NOTES = Notes(
    method="sslam",
    reference=Reference(
        title="SSLAM: Enhancing Self-Supervised Models with Audio Mixtures for Polyphonic Soundscapes",
        authors="Alex et al.",
        arxiv="2506.12222",
        section="3 and the released code and its configuration",
    ),
    faithful=(
        "a first stage of EAT, then clips and their mixtures in one batch with the same masks",
        "element-wise maximum of log-mel features with the neighbour, two stretches of 240 of 1024 frames unmixed",
        "the clip's target from the last layer only, its term a sum as in EAT (paper); retention, on all masked "
        "patches of a mixture: the mean of the teacher's latents of both sources, of the clip's own where unmixed",
        "all terms with weight 1, the teacher's decay as in the first stage (paper)",
    ),
    deviations=(
        "the second stage begins with the first one's encoder, its teacher with a copy of it; decoder and heads are "
        "fresh",
        "one pass of the teacher over whole clips, of which mixed stretches are compared; published: a further pass, "
        "on the second clip's mixed stretch",
        "unmixed stretches are drawn for each clip, to the frame; released code: once for a batch, at multiples of 16 "
        "frames",
    ),
    cost="twice EAT's step for a batch: its second half is the first one mixed",
    when_to_use="sounds that overlap: soundscapes, polyphony; otherwise EAT is as good and simpler",
)


def _second_stage(
    first: Recipe, terms: tuple[TermConfig, ...], clones: int, decoder: Conv2dDecoderConfig, teacher: TeacherConfig
) -> Recipe:
    """Return the stage on mixtures that begins with the weights of a first stage of EAT, and has its terms."""
    patch, clip = terms
    last = TeacherClipTargetConfig(TeacherTargetConfig(layers=1, after="layer"))
    return first.replace(
        name="sslam",
        notes=NOTES,
        previous=first,
        begin="previous",
        augment=ViewPlanConfig(feature=(PartialMaxMixConfig(),), clean=(0,)),
        objective=JointViewsConfig(
            mask=MASK,
            hide="drop",
            clones=clones,
            decoder=decoder,
            teacher=teacher,
            terms=(patch, clip.replace(target=last), SourceRetentionConfig()),
        ),
    )


@SSLAM.size("paper")
def sslam_paper() -> Recipe:
    """8 clones, 200,000 steps behind EAT's."""
    first = eat_paper()
    teacher = TeacherConfig(0.9998, 0.99999, steps=100_000)
    return _second_stage(first, latent_terms(released=True), 8, Conv2dDecoderConfig(), teacher).replace(
        notes=NOTES.with_deviations(PADDED), train=first.train.replace(steps=200_000, lr=5e-5, warmup_steps=25_000)
    )


@SSLAM.size("tiny")
def sslam_tiny() -> Recipe:
    """Small scale: 4 clones, 450 steps behind 1000 of EAT's tiny size."""
    first = eat_tiny()
    first = first.replace(train=first.train.replace(steps=1000))
    decoder = Conv2dDecoderConfig(width=192, depth=2)
    return _second_stage(first, latent_terms(released=False), 4, decoder, TeacherConfig(0.99, 0.999)).replace(
        notes=NOTES.with_deviations(
            *small_scale.DEVIATIONS,
            SMALLER,
            "4 clones, a decoder of 2 layers and width 192, shorter stages; published: 8, and 6 of 768",
            DECAY,
            PLACES,
            CLIP_HEAD,
        ),
        train=first.train.replace(steps=450, lr=1e-4, warmup_steps=45),
    )

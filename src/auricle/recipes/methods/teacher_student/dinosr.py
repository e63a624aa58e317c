"""DinoSR: predict clusters of a slow teacher's layers that are found on the way (arXiv 2305.10005, NeurIPS 2023)."""

from __future__ import annotations

from auricle.objectives.masks.spans import SpanMask
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.objectives.predictive.terms import CodeConfig
from auricle.objectives.targets.online_clusters import OnlineClusterTargetConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.methods.teacher_student.data2vec import (
    ADAM,
    DITHERED,
    SMALL,
    SMALL_VECTOR,
    SPANS,
    data2vec_paper,
    data2vec_tiny,
    three_stages,
)

DINOSR = Method(
    name="dinosr",
    paradigm="teacher-student",
    summary="DinoSR: data2vec with codes: each of the teacher's top layers has a codebook that follows it.",
)
NOTES = Notes(
    method="dinosr",
    reference=Reference(
        title="DinoSR: Self-Distillation and Online Clustering for Self-supervised Speech Representation Learning",
        authors="Liu, Chang, Auli, Hsu, Glass",
        arxiv="2305.10005",
        section="3, 4.1, and the settings released with its code",
    ),
    faithful=(
        "a codebook for each of the teacher's top 8 layers (paper), of instance-normalised feed-forward outputs; sums "
        "and numbers of its centres decay by 0.9 a step over the masked tokens, those of idle centres are kept; "
        "centres begin as normal vectors, each channel standardised over the clusters (paper)",
        "spans of 10 tokens, p 0.8; cross-entropy on masked tokens, one linear layer a codebook, averaged over the "
        "layers",
        "the teacher averages the layers behind the stem, position convolutions excepted; its decay rises from 0.999 "
        "to 0.9999 in 30,000 steps, and it is frozen after 200,000 (paper)",
        "data2vec's batch; three stages of 0.03, 0.47 and 0.50 of the steps, the last one falling to a hundredth "
        "(paper)",
    ),
    deviations=(DITHERED,),
    cost="as data2vec: the whole encoder twice, once without gradient; distances to 8 x 256 centres for every token",
    when_to_use="Units of sound without stages. Of all methods here a lookup by place imitates this one best: watch "
    "codes0/code_accuracy against codes0/position_accuracy, and codes0/perplexity.",
)


@DINOSR.size("paper")
def dinosr_paper() -> Recipe:
    """8 codebooks of 256 centres on data2vec's encoder."""
    base = data2vec_paper()
    target = OnlineClusterTargetConfig(layers=8, clusters=256)
    return base.replace(
        name="dinosr",
        notes=NOTES.with_deviations(
            "the stem keeps learning when the teacher is frozen; released code: it is frozen, too",
            ADAM,
            *SPANS,
        ),
        objective=base.objective.replace(
            mask=SpanMask(p=0.8, length=10),
            teacher=TeacherConfig(
                0.999, 0.9999, steps=30_000, frozen_after=200_001, scope="context", positions="copied"
            ),
            terms=(CodeConfig(target, name="codes"),),
        ),
        train=three_stages(0.03, 0.47),
    )


@DINOSR.size("tiny")
def dinosr_tiny() -> Recipe:
    """Small scale: 4 codebooks of 64 centres, 1000 steps."""
    base = data2vec_tiny()
    target = OnlineClusterTargetConfig(layers=4, clusters=64)
    return base.replace(
        name="dinosr",
        notes=NOTES.with_deviations(
            *small_scale.LAYERS_DEVIATIONS,
            *SMALL,
            "the teacher's decay rises from 0.99 to 0.999 in a shorter run; published: 0.999 to 0.9999",
            "4 codebooks of 64; published: 8 of 256",
            SMALL_VECTOR,
        ),
        objective=base.objective.replace(mask=SpanMask(p=0.8, length=10), terms=(CodeConfig(target, name="codes"),)),
    )

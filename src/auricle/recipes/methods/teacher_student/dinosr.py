"""DinoSR: predict clusters of a slow teacher's layers that are found on the way (arXiv 2305.10005, NeurIPS 2023)."""

from __future__ import annotations

from auricle.objectives.masks.spans import SpanMask
from auricle.objectives.predictive.terms import CodeConfig
from auricle.objectives.targets.online_clusters import OnlineClusterTargetConfig
from auricle.recipes.methods.teacher_student.data2vec import data2vec
from auricle.recipes.recipe import Recipe, Reference, recipe


@recipe("dinosr", sizes=("tiny", "paper"), paradigm="teacher-student")
def dinosr(size: str = "tiny") -> Recipe:
    """DinoSR: data2vec with codes: each of the teacher's top layers has a codebook that follows it.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    base, paper = data2vec(size), size == "paper"
    target = OnlineClusterTargetConfig(layers=8, clusters=256) if paper else OnlineClusterTargetConfig(4, 64)
    return base.replace(
        name="dinosr",
        reference=Reference(
            title="DinoSR: Self-Distillation and Online Clustering for Self-supervised Speech Representation Learning",
            authors="Liu, Chang, Auli, Hsu, Glass",
            arxiv="2305.10005",
            section="3, 4.1, and the settings released with its code",
        ),
        deviations=(
            *base.deviations,
            "cross-entropy is averaged over the layers, not added; with Adam only the clipping could tell",
            *(() if paper else ("4 codebooks of 64; published: 8 of 256",)),
        ),
        kept=(
            "a codebook for each of the teacher's top 8 layers; sums and numbers of its centres decay by 0.9 a step",
            "spans of 10 tokens, p 0.8; cross-entropy on hidden tokens, one linear layer a codebook",
            "the teacher averages what follows the stem; its decay rises from 0.999 to 0.9999 in 30,000 steps",
        ),
        unknown=(
            *base.unknown,
            "which tensor of a layer is clustered: data2vec's, instance-normalised feed-forward outputs",
            "which vectors move the centres: all valid tokens of the batch, hidden from the student or not",
            "where centres begin: standard normal, like the vectors; batch, rate and steps: data2vec's",
        ),
        cost=f"{base.cost}; distances to 8 x 256 centres for every token",
        choose="Units of sound without stages. Of all methods here the one that a lookup by place imitates best: watch "
        "codes0/code_accuracy against codes0/position_accuracy, and codes0/perplexity.",
        objective=base.objective.replace(mask=SpanMask(p=0.8, length=10), terms=(CodeConfig(target, name="codes"),)),
    )

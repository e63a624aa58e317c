"""M2D: a teacher that sees the masked patches only (arXiv 2210.14648)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.objectives.predictive.heads import LinearHeadConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.objectives.predictive.terms import RegressionConfig
from auricle.objectives.targets.teachers import TeacherTargetConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.notes import searched
from auricle.training.train_config import TrainConfig

M2D = Method(
    name="m2d",
    paradigm="teacher-student",
    summary="M2D: from the visible patches, predict a slow teacher's output for the masked patches alone.",
    learns="tests/learning/test_learn_m2d.py",
)
NOTES = Notes(
    method="m2d",
    reference=Reference(
        title="Masked Modeling Duo: Learning Representations by Encouraging Both Networks to Model the Input",
        authors="Niizumi et al.",
        arxiv="2210.14648",
        section="3, 4.1 and the released settings",
    ),
    faithful=(
        "70 % of the patches masked at random; the student sees the others, the teacher these only, with one patch "
        "projection and one class token for both",
        "the teacher's blocks begin with weights of their own; all linear layers and patches Xavier-uniform",
        "target: the teacher's output, each token standardised; 2 - 2 cos on masked patches",
        "clip vectors: the frequency tokens of a time step side by side",
        "predictor of 16 heads, weight decay 0.05 (paper)",
    ),
    not_specified=searched("paper, released settings", "steps of an epoch: those of 2 M clips"),
    cost="a step encodes 0.3 of each clip's patches with gradient and 0.7 without",
    when_to_use="a general encoder for sounds, where batches are large and runs long; watch position_ratio: a teacher "
    "that encodes places only is easily predicted",
)

# Steps of an epoch of AudioSet (about 2 M clips) at a batch of 2048.
_EPOCH, _BATCH = 980, 2048


@M2D.size("paper")
def m2d_paper() -> Recipe:
    """ViT-B on 6.07 s, 300 epochs of AudioSet."""
    return Recipe(
        name="m2d",
        size="paper",
        notes=NOTES.with_deviations("windows of 6.07 s (608 frames) are padded where clips are shorter"),
        window=WindowConfig(seconds=6.07, short="pad"),
        loader=LoaderConfig(batch=_BATCH),
        frontend=preset("ntt80"),
        augment=PlainViewsConfig(),
        # A clip has one frame more than its hops.
        encoder=layout("m2d", "base", frames=608),
        objective=MaskedPredictionConfig(
            mask=RandomMask(ratio=0.7),
            hide="drop",
            decoder=TransformerDecoderConfig(512, 8, 16, init="xavier_uniform"),
            teacher=TeacherConfig(0.99995, 0.99999, scope="context", start="own"),
            terms=(
                RegressionConfig(
                    TeacherTargetConfig(layers=-1, per_layer="layer", sight="masked"),
                    LinearHeadConfig(init="xavier_uniform"),
                    measure="cosine",
                    name="latent",
                ),
            ),
        ),
        train=TrainConfig(
            steps=300 * _EPOCH,
            warmup_steps=20 * _EPOCH,
            lr=3e-4 * _BATCH / 256,
            betas=(0.9, 0.95),
            clip_norm=3.0,
            micro_batch=256,
        ),
    )


@M2D.size("tiny")
def m2d_tiny() -> Recipe:
    """Small scale: 6 layers of width 192 on 2.55 s, 2400 steps."""
    paper = m2d_paper()
    return paper.replace(
        size="tiny",
        notes=NOTES.with_deviations(
            *small_scale.DEVIATIONS,
            "encoder of 6 layers and width 192 on 2.55 s, predictor of 2 layers and width 128; published: 12 of 768 on "
            "6.07 s, 8 of 512",
            "the teacher's decay rises from 0.99 to 0.999 in a shorter run; published: 0.99995 to 0.99999",
        ),
        window=small_scale.window(2.55),
        loader=small_scale.loader(64),
        encoder=layout("m2d", "tiny", depth=6, frames=256),
        objective=paper.objective.replace(
            decoder=TransformerDecoderConfig(128, 2, 4, init="xavier_uniform"),
            teacher=TeacherConfig(0.99, 0.999, scope="context", start="own"),
        ),
        train=small_scale.train(2400, 5e-4, betas=(0.9, 0.95), clip_norm=3.0),
    )

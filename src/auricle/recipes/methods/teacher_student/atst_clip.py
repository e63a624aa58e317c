"""ATST-Clip: BYOL on two long crops of a clip, with a transformer (arXiv 2204.12076)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.ops.crop import CropConfig
from auricle.audio.ops.feature_mixing import LogMixupExpConfig
from auricle.audio.ops.feature_ops import ResizeCropConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.predictive.bootstrap import BootstrapConfig, byol_head
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.training.train_config import TrainConfig

ATST_CLIP = Method(
    name="atst-clip",
    paradigm="teacher-student",
    summary="ATST-Clip: the class token of one crop predicts that of a slow teacher for another crop of the clip.",
)
NOTES = Notes(
    method="atst-clip",
    reference=Reference(
        title="ATST: Audio Representation Learning with Teacher-Student Transformer",
        authors="Li, Li",
        arxiv="2204.12076",
        section="2, 3, and the released configuration",
    ),
    faithful=(
        "64 mel bands in decibels, mapped to -1 ... 1; patches of 4 frames over all bands; class token",
        "two crops of one clip, each mixed (up to 0.4) and randomly resized; 2 - 2 cos of predictions and the "
        "teacher's projections, both ways; the decay rises to 1 along a cosine",
        "heads without biases, their BatchNorm over both views together; the teacher in training mode, its BatchNorm "
        "by its own batch",
        "learning rate 2e-4 for every 256 clips, down to 1e-6 along a cosine; weight decay from 0.04 to 0.4; "
        "stochastic depth up to 0.1 (paper)",
    ),
    deviations=(
        "gradient caching instead of six devices of 256 clips each; a batch enters the mixup bank once, after its "
        "views",
        "the losses of both directions are added; released code: averaged, which AdamW does not see",
    ),
    cost="two passes of the student and two of the teacher per step, over all patches: the most expensive of the "
    "methods that compare two views, in time as in memory",
    when_to_use="clips of several seconds whose label holds for the whole clip; for events in time take ATST-Frame",
)


def _objective(hidden: int, decay: float) -> BootstrapConfig:
    head = byol_head(hidden, 256).replace(bias=False)
    return BootstrapConfig(
        projector=head, predictor=head, teacher=TeacherConfig(decay=decay, end=1.0, curve="cosine"), norm_scope="joint"
    )


def _views(seconds: float) -> ViewPlanConfig:
    """Return two crops of a clip, each of some seconds."""
    return ViewPlanConfig(
        crop=CropConfig(seconds=seconds, each=True, short="silence"),
        feature=(LogMixupExpConfig(ratio=0.4), ResizeCropConfig(canvas=(1.0, 1.5))),
    )


@ATST_CLIP.size("paper")
def atst_clip_paper() -> Recipe:
    """12 blocks of width 768, crops of 6 s, 318,000 steps."""
    return Recipe(
        name="atst-clip",
        size="paper",
        notes=NOTES,
        measure_statistics=False,
        window=WindowConfig(seconds=10.0, short="pad", crop="random"),
        loader=LoaderConfig(batch=1536, workers=-1),
        frontend=preset("atst64"),
        augment=_views(5.99),
        encoder=layout("atst_clip", "base", drop_path=0.1),
        objective=_objective(4096, decay=0.9995),
        train=TrainConfig(
            steps=318_000, lr=2e-4 * 1536 / 256, warmup_steps=15_860, weight_decay=0.04, weight_decay_end=0.4,
            micro_batch=256, precision="bf16",
            save_every=2000,
        ),
    )  # fmt: skip


_STEADY = "no stochastic depth, constant weight decay; published: 0.1, from 0.04 to 0.4"


@ATST_CLIP.size("tiny")
def atst_clip_tiny() -> Recipe:
    """Small scale: 4 blocks of width 192, crops of 2 s, 2500 steps."""
    return atst_clip_paper().replace(
        size="tiny",
        notes=NOTES.with_deviations(
            *small_scale.DEVIATIONS[:1],
            "crops of 2 s out of 4 s, 4 blocks 192 wide, heads 1024 wide, batch 64; published: 6 s out of 10 s, 12 "
            "blocks 768 wide, 4096, batch 1536",
            "teacher's decay from 0.99; published: from 0.9995, over 318,000 steps",
            _STEADY,
        ),
        window=small_scale.window(4.0),
        loader=small_scale.loader(64),
        augment=_views(1.99),
        encoder=layout("atst_clip", "tiny", depth=4),
        objective=_objective(1024, decay=0.99),
        train=small_scale.train(2500, 5e-4, weight_decay=0.04),
    )


@ATST_CLIP.size("small")
def atst_clip_small() -> Recipe:
    """6 blocks of width 384, crops of 3 s, batch 128 for 15,000 steps."""
    notes = NOTES.with_deviations(
        *small_scale.DEVIATIONS[:1],
        "crops of 3 s out of 6 s, 6 blocks 384 wide, heads 2048 wide, batch 128; published: 6 s out of 10 s, 12 blocks "
        "768 wide, 4096, batch 1536",
        "teacher's decay from 0.996; published: from 0.9995, over 318,000 steps",
        _STEADY,
    )
    return small_scale.grown(
        atst_clip_tiny(),
        notes,
        batch=128,
        steps=15_000,
        window=small_scale.window(6.0),
        augment=_views(2.99),
        encoder=layout("atst_clip", "small", depth=6),
        objective=_objective(2048, decay=0.996),
    )

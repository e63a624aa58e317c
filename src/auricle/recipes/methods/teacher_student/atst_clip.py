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
from auricle.recipes import small_scale
from auricle.recipes.recipe import Recipe, Reference, recipe
from auricle.training.train_config import TrainConfig

_ALWAYS = (
    "weight decay stays at 0.04; published: it rises to 0.4",
    "gradient caching instead of six devices of 256 clips each; a batch enters the mixup bank once, after its views",
)


@recipe("atst-clip", sizes=("tiny", "paper"), paradigm="teacher-student")
def atst_clip(size: str = "tiny") -> Recipe:
    """ATST-Clip: the class token of one crop predicts what a slow teacher's makes of another crop of the clip.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    paper = size == "paper"
    head = byol_head(4096, 256) if paper else byol_head(1024, 256)
    return Recipe(
        name="atst-clip",
        size=size,
        reference=Reference(
            title="ATST: Audio Representation Learning with Teacher-Student Transformer", authors="Li, Li",
            arxiv="2204.12076", section="2, 3, and the released configuration",
        ),
        deviations=_ALWAYS
        if paper
        else (
            *_ALWAYS,
            *small_scale.DEVIATIONS[:1],
            "crops of 2 s out of 4 s, 4 blocks 192 wide, heads 1024 wide, batch 64; published: 6 s out of 10 s, 12 "
            "blocks 768 wide, 4096, batch 1536",
            "teacher's decay from 0.99; published: from 0.9995, over 318,000 steps",
        ),
        kept=(
            "64 mel bands in decibels, mapped to -1 ... 1; patches of 4 frames over all bands; class token",
            "two crops of one clip, each mixed and randomly resized; symmetric 2 - 2 cos of predictions and the "
            "teacher's projections; the decay rises to 1 along a cosine",
        ),
        unknown=(
            "largest share of the other clip in mixup: 0.4, as BYOL-A 1 has it",
            "BatchNorm of the teacher's head: by its own batch, as BYOL-A has it",
            "warm-up: 10,000 steps; learning rate: down to 1e-6 along a cosine",
        ),
        cost="two passes of the student and two of the teacher a step, over all patches: the dearest of the methods "
        "that compare two views, in time as in memory",
        choose="clips of several seconds whose label holds for the whole clip; for events in time take ATST-Frame",
        measure_statistics=False,
        window=WindowConfig(seconds=10.0, short="pad", crop="random") if paper else small_scale.window(4.0),
        loader=LoaderConfig(batch=1536, workers=-1) if paper else small_scale.loader(64),
        frontend=preset("atst64"),
        augment=ViewPlanConfig(
            crop=CropConfig(seconds=5.99 if paper else 1.99, each=True, short="silence"),
            feature=(LogMixupExpConfig(ratio=0.4), ResizeCropConfig(canvas=(1.0, 1.5))),
        ),
        encoder=layout("atst_clip", "base") if paper else layout("atst_clip", "tiny", depth=4),
        objective=BootstrapConfig(
            projector=head, predictor=head,
            teacher=TeacherConfig(decay=0.9995 if paper else 0.99, end=1.0, curve="cosine"),
        ),
        train=TrainConfig(
            steps=318_000, lr=2e-4, warmup_steps=10_000, weight_decay=0.04, micro_batch=256, precision="bf16",
            save_every=2000,
        )
        if paper
        else small_scale.train(2500, 5e-4, weight_decay=0.04),
    )  # fmt: skip

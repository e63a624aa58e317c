"""ATST-Frame: a teacher's tokens of the clean clip, from an augmented and masked one (arXiv 2306.04186)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.ops.feature_mixing import LogMixupExpConfig
from auricle.audio.ops.feature_ops import ResizeCropConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.masks.blocks import BlockMask
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.objectives.predictive.token_bootstrap import TokenBootstrapConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.training.train_config import TrainConfig

ATST_FRAME = Method(
    name="atst-frame",
    paradigm="teacher-student",
    summary="ATST-Frame: an augmented view, masked in blocks, predicts a slow teacher's tokens of the clean one.",
)
NOTES = Notes(
    method="atst-frame",
    reference=Reference(
        title="Self-supervised Audio Teacher-Student Transformer for Both Clip-level and Frame-level Tasks",
        authors="Li et al.",
        arxiv="2306.04186",
        section="III and the released code",
    ),
    faithful=(
        "one crop for both; only the student's view is mixed up, resized in frequency, and masked",
        "a nominal 65 % of the tokens masked in blocks of 5 by a mask vector in the encoder",
        "2 - 2 cos between predictor and the teacher's projector, on masked tokens",
    ),
    deviations=(
        "one direction: the published loss lets both views take both parts",
        "64.8 % of the tokens are masked, many in runs shorter than 5; released code: 50.3 %, no run shorter than 5",
        "mixup up to 0.5; released code: 0.4",
        "the teacher's decay is constant; released code: it rises to 1 along a cosine",
        "linear layers of the heads with biases, no stochastic depth; released code: no biases, 0.1",
    ),
    not_specified=(
        "weight decay: 0.04, where ATST-Clip's begins",
        "norm of the heads: BatchNorm after the first layer, over the masked tokens of all ranks",
    ),
    cost="a step runs the whole encoder twice, once without gradient; no token is dropped",
    when_to_use="sound events in time: tokens of 40 ms that cover all bands",
)


def _views(entries: int) -> ViewPlanConfig:
    """Return the student's and the teacher's view; earlier clips of the mixup bank: `entries`."""
    return ViewPlanConfig(
        feature=(
            LogMixupExpConfig(ratio=0.5, entries=entries),
            ResizeCropConfig(canvas=(1.0, 1.0), frequency_scale=(0.6, 1.5), time_scale=(1.0, 1.0)),
        ),
        clean=(1,),
    )


@ATST_FRAME.size("paper")
def atst_frame_paper() -> Recipe:
    """12 layers of width 768 on 10 s, 398,000 steps."""
    return Recipe(
        name="atst-frame",
        size="paper",
        notes=NOTES.with_deviations(
            "weight decay is constant",
            "learning rate 8e-5 for a batch of 864, 9,950 steps of warm-up; released code: 3.15e-4 and 19,900",
        ),
        measure_statistics=False,
        window=WindowConfig(seconds=9.99, short="pad"),
        loader=LoaderConfig(batch=6 * 144),
        frontend=preset("atst64"),
        augment=_views(2048),
        # A clip has one frame more than its hops.
        encoder=layout("atst_frame", "base", frames=1000),
        objective=MaskedPredictionConfig(
            mask=BlockMask(ratio=0.65, size=5),
            hide="token",
            views=2,
            decoder=NoDecoderConfig(),
            teacher=TeacherConfig(0.9996, 0.9996),
            terms=(TokenBootstrapConfig(),),
        ),
        train=TrainConfig(steps=398_000, lr=8e-5, warmup_steps=9_950, weight_decay=0.04),
    )


@ATST_FRAME.size("tiny")
def atst_frame_tiny() -> Recipe:
    """Small scale: 6 layers of width 192 on 2.55 s, 3500 steps."""
    paper = atst_frame_paper()
    return paper.replace(
        size="tiny",
        notes=NOTES.with_deviations(
            *small_scale.DEVIATIONS,
            "encoder of 6 layers and width 192 on 2.55 s; heads of 512 and 64; published: 12 of 768 on 10 s, 4096, 256",
            "the teacher's decay is 0.996 in a shorter run; published: 0.9996",
        ),
        window=small_scale.window(2.55),
        loader=small_scale.loader(32),
        augment=_views(256),
        encoder=layout("atst_frame", "tiny", depth=6, frames=256),
        objective=paper.objective.replace(
            teacher=TeacherConfig(0.996, 0.996), terms=(TokenBootstrapConfig(512, 64, decay=0.996),)
        ),
        train=small_scale.train(3500, 3e-4),
    )

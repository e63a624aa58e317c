"""ATST-Frame: a teacher's tokens of a clip from another, masked view of it (arXiv 2306.04186)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.ops.feature_mixing import LogMixupExpConfig
from auricle.audio.ops.feature_ops import ResizeCropConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.masks.spans import SpanMask
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.joint_views import JointViewsConfig
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.objectives.predictive.token_bootstrap import TokenBootstrapConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.training.train_config import TrainConfig

ATST_FRAME = Method(
    name="atst-frame",
    paradigm="teacher-student",
    summary="ATST-Frame: a clean and an augmented view, both masked, predict a slow teacher's tokens of each other.",
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
        "one crop for both views, of which one is mixed up (up to 0.4) and resized in frequency; both are masked alike "
        "for the student and whole for the teacher, and each predicts the other's tokens",
        "spans of 5 tokens, a nominal 65 %, masked by a vector in the encoder: half of the tokens, in runs of 5 and "
        "more",
        "2 - 2 cos between predictor and the teacher's projector, on masked tokens; heads without biases, their "
        "BatchNorm over both views' masked tokens; the teacher's decay rises to 1 along a cosine",
        "learning rate 8e-5 for every 256 clips, down to 1e-6 along a cosine; weight decay from 0.04 to 0.4; "
        "stochastic depth up to 0.1 (paper)",
    ),
    deviations=(
        "the teacher encodes in evaluation mode; released code: with the student's stochastic depth",
        "log-mixup: a batch enters the memory bank once, after its views are made",
    ),
    cost="a step runs the whole encoder on two views, twice, once without gradient; no token is dropped",
    when_to_use="sound events in time: tokens of 40 ms that cover all bands",
)


# Of the released base model: 144 clips on each of 7 devices.
_BATCH = 7 * 144


def _views(entries: int) -> ViewPlanConfig:
    """Return the student's and the teacher's view; earlier clips of the mixup bank: `entries`."""
    return ViewPlanConfig(
        feature=(
            LogMixupExpConfig(ratio=0.4, entries=entries),
            ResizeCropConfig(canvas=(1.0, 1.0), frequency_scale=(0.6, 1.5), time_scale=(1.0, 1.0)),
        ),
        clean=(1,),
    )


def _objective(hidden: int, size: int, teacher: TeacherConfig) -> JointViewsConfig:
    """Return both views' prediction of each other, by heads of a hidden and an output width."""
    return JointViewsConfig(
        mask=SpanMask(p=0.65, length=5, same_count=False),
        hide="token",
        decoder=NoDecoderConfig(),
        teacher=teacher,
        terms=(TokenBootstrapConfig(hidden, size, slow=teacher, across=True),),
    )


@ATST_FRAME.size("paper")
def atst_frame_paper() -> Recipe:
    """12 layers of width 768 on 10 s, 398,000 steps."""
    return Recipe(
        name="atst-frame",
        size="paper",
        notes=NOTES,
        measure_statistics=False,
        window=WindowConfig(seconds=9.99, short="pad"),
        loader=LoaderConfig(batch=_BATCH, workers=-1),
        frontend=preset("atst64"),
        augment=_views(2048),
        # A clip has one frame more than its hops.
        encoder=layout("atst_frame", "base", frames=1000, drop_path=0.1),
        objective=_objective(4096, 256, TeacherConfig(0.9996, 1.0, curve="cosine")),
        # The released rate is for 256 clips.
        train=TrainConfig(
            steps=398_000, lr=8e-5 * _BATCH / 256, warmup_steps=19_900, weight_decay=0.04, weight_decay_end=0.4
        ),
    )


@ATST_FRAME.size("tiny")
def atst_frame_tiny() -> Recipe:
    """Small scale: 6 layers of width 192 on 2.55 s, 1800 steps."""
    return atst_frame_paper().replace(
        size="tiny",
        notes=NOTES.with_deviations(
            *small_scale.DEVIATIONS,
            "encoder of 6 layers and width 192 on 2.55 s; heads of 512 and 64; published: 12 of 768 on 10 s, 4096, 256",
            "the teacher's decay rises from 0.996 in a shorter run; published: from 0.9996",
            "no stochastic depth, constant weight decay; published: 0.1, from 0.04 to 0.4",
        ),
        window=small_scale.window(2.55),
        loader=small_scale.loader(32),
        augment=_views(256),
        encoder=layout("atst_frame", "tiny", depth=6, frames=256),
        objective=_objective(512, 64, TeacherConfig(0.996, 1.0, curve="cosine")),
        train=small_scale.train(1800, 3e-4),
    )

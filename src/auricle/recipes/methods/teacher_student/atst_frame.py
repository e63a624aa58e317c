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
from auricle.recipes import small_scale
from auricle.recipes.recipe import Recipe, Reference, recipe
from auricle.training.train_config import TrainConfig


@recipe("atst-frame", sizes=("tiny", "paper"), paradigm="teacher-student")
def atst_frame(size: str = "tiny") -> Recipe:
    """ATST-Frame: BYOL for frames: the student's view is augmented and masked in blocks, the teacher's is clean.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    paper = size == "paper"
    return Recipe(
        name="atst-frame",
        size=size,
        reference=Reference(
            title="Self-supervised Audio Teacher-Student Transformer for Both Clip-level and Frame-level Tasks",
            authors="Li et al.",
            arxiv="2306.04186",
            section="III and the released code",
        ),
        kept=(
            "one crop for both; only the student's view is mixed up, resized in frequency, and masked",
            "65 % of the tokens hidden in blocks of 5 by a mask vector in the encoder",
            "2 - 2 cos between predictor and the teacher's projector, on hidden tokens",
        ),
        deviations=(
            "one direction: the published loss lets both views take both parts",
            "AdamW's weight decay is constant",
        )
        if paper
        else (
            *small_scale.DEVIATIONS,
            "encoder of 6 layers and width 192 on 2.55 s; heads of 512 and 64; published: 12 of 768 on 10 s, 4096, 256",
            "one direction: the published loss lets both views take both parts",
            "the teacher's decay is 0.996 in a shorter run; published: 0.9996",
        ),
        unknown=(
            "mixing of frames with earlier clips: BYOL-A's, up to 0.5; heights of the crop: 0.6 to 1.5",
            "weight decay: 0.04, where ATST-Clip's begins; warm-up: a fortieth of the run",
            "norm of the heads: BatchNorm after the first layer, over the hidden tokens of all ranks",
        ),
        cost="a step runs the whole encoder twice, once without gradient; nothing is dropped",
        choose="sound events in time: tokens of 40 ms that cover all bands",
        measure_statistics=False,
        window=WindowConfig(seconds=9.99, short="pad") if paper else small_scale.window(2.55),
        loader=LoaderConfig(batch=6 * 144) if paper else small_scale.loader(32),
        frontend=preset("atst64"),
        augment=ViewPlanConfig(
            feature=(
                LogMixupExpConfig(ratio=0.5, entries=2048 if paper else 256),
                ResizeCropConfig(canvas=(1.0, 1.0), frequency_scale=(0.6, 1.5), time_scale=(1.0, 1.0)),
            ),
            clean=(1,),
        ),
        # A clip has one frame more than its hops.
        encoder=layout("atst_frame", "base", frames=1000)
        if paper
        else layout("atst_frame", "tiny", depth=6, frames=256),
        objective=MaskedPredictionConfig(
            mask=BlockMask(ratio=0.65, size=5),
            hide="token",
            views=2,
            decoder=NoDecoderConfig(),
            teacher=TeacherConfig(0.9996, 0.9996) if paper else TeacherConfig(0.996, 0.996),
            terms=(TokenBootstrapConfig(),) if paper else (TokenBootstrapConfig(512, 64, decay=0.996),),
        ),
        train=TrainConfig(steps=398_000, lr=8e-5, warmup_steps=9_950, weight_decay=0.04)
        if paper
        else small_scale.train(3500, 3e-4),
    )

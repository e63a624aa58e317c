"""COLA: two seconds of one recording belong together (arXiv 2010.10915)."""

from __future__ import annotations

from auricle.audio.frontends.clip_log_mel import LevelLogMelConfig
from auricle.audio.ops.crop import CropConfig
from auricle.audio.ops.wave_ops import WaveNoiseConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.efficientnet import EfficientNetConfig
from auricle.objectives.contrastive.pair_losses import InBatchConfig
from auricle.objectives.contrastive.projectors import ProjectorConfig
from auricle.objectives.contrastive.two_views import ContrastiveConfig
from auricle.objectives.masks.structured import MaskConfig
from auricle.recipes import small_scale
from auricle.recipes.recipe import Recipe, Reference, recipe
from auricle.training.train_config import TrainConfig

_ALWAYS = (
    "level: the front end brings whatever it gets to one mean power, so that the encoder meets the same level wherever "
    "it is used afterwards; published: whole clips of unit norm, whose loud and quiet segments keep their levels",
    "97 frames of 0.96 s, centred, the first and the last one reflected; released code: 94 that lie within the segment",
    "mel energies of the power spectrum, to which 1.2e-7 is added; released code: of magnitudes, at least 1e-5",
    "AdamW without weight decay (the same as the published Adam)",
)


@recipe("cola", sizes=("tiny", "paper"), paradigm="contrastive")
def cola(size: str = "tiny") -> Recipe:
    """COLA: finds, among a batch, the other second of the same clip, by a learned bilinear similarity.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    paper = size == "paper"
    return Recipe(
        name="cola",
        size=size,
        reference=Reference(
            title="Contrastive Learning of General-Purpose Audio Representations",
            authors="Saeed, Grangier, Zeghidour",
            arxiv="2010.10915",
            section="2, 3, and the released code",
        ),
        deviations=_ALWAYS
        if paper
        else (
            *_ALWAYS,
            *small_scale.DEVIATIONS,
            "EfficientNet-B0 with half its channels, batch 64; published: B0, batch 1024",
            "the bilinear matrix begins as a scaled dot product; released code: random",
        ),
        kept=(
            "two random segments of 0.96 s of one clip of unit norm; white noise of deviation 0.001 on the second one",
            "64 mel bands of 25-ms frames, not normalised by a corpus",
            "EfficientNet, global maximum, linear layer to 512, LayerNorm, tanh",
            "bilinear similarity without temperature; softmax over the batch in one direction",
        ),
        unknown=("stochastic depth of the encoder: 0.2, as EfficientNet has it",),
        cost="two passes of a small convolutional net a step; the loss grows with the square of the batch, which is "
        "nothing up to some thousands",
        choose="recordings longer than a second whose parts sound alike (speakers, places, species, machines); the "
        "larger the batch the better; not where what matters changes from second to second",
        measure_statistics=False,
        window=WindowConfig(seconds=10.0, short="pad", crop="random") if paper else small_scale.window(5.12),
        loader=LoaderConfig(batch=1024, workers=-1) if paper else small_scale.loader(64),
        frontend=LevelLogMelConfig(window=400),
        augment=ViewPlanConfig(
            crop=CropConfig(seconds=0.96, each=True, short="silence"),
            level="l2",
            level_over="clip",
            wave=(WaveNoiseConfig(sigma=(0.001, 0.001)),),
            clean=(0,),
        ),
        encoder=EfficientNetConfig.size("base" if paper else "tiny"),
        objective=ContrastiveConfig(
            loss=InBatchConfig(similarity="bilinear", symmetric=False, draw="normal" if paper else "identity"),
            projector=ProjectorConfig(hidden=(), out=512, end="layer_tanh", bias=True, draw="uniform"),
            mask=MaskConfig(mode="none"),
        ),
        train=TrainConfig(
            steps=100_000, lr=1e-4, schedule="constant", warmup_steps=0, weight_decay=0.0, save_every=1000
        )
        if paper
        else small_scale.train(1800, 1e-3, schedule="constant", weight_decay=0.0),
    )

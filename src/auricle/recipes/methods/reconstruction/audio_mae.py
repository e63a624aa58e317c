"""Audio-MAE: masked autoencoding of spectrogram patches (arXiv 2207.06405, NeurIPS 2022)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.ops.wave_ops import WaveGainConfig, WaveRollConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.terms import RegressionConfig
from auricle.objectives.predictive.window_decoder import WindowDecoderConfig
from auricle.objectives.targets.inputs import PatchTargetConfig
from auricle.recipes import small_scale
from auricle.recipes.recipe import Recipe, Reference, recipe
from auricle.training.train_config import TrainConfig

REFERENCE = Reference(
    title="Masked Autoencoders that Listen",
    authors="Po-Yao Huang, Hu Xu, Juncheng Li, Alexei Baevski, Michael Auli, Wojciech Galuba, Florian Metze, "
    "Christoph Feichtenhofer",
    arxiv="2207.06405",
    section="3 (method), 4.1 (set-up), and numbers of the released code",
)

# Said of every recipe whose short clips are filled up with silence.
PADDED = "places of padding are neither attended to nor predicted; published: they are silence like any other"

# Steps of an epoch of AudioSet (2 M clips) at a batch of 512.
_EPOCH = 3906


@recipe("audio-mae", sizes=("tiny", "paper"), paradigm="reconstruction")
def audio_mae(size: str = "tiny") -> Recipe:
    """Audio-MAE: an encoder sees a fifth of the patches, a decoder with local windows reconstructs the others.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    paper = size == "paper"
    return Recipe(
        name="audio-mae",
        size=size,
        reference=REFERENCE,
        deviations=(PADDED,)
        if paper
        else (
            "encoder of width 192 on 2.56 s, decoder of 2 blocks of width 128; published: width 768 on 10.24 s, 16 "
            "blocks of 512",
            "batch 64 for 1500 steps at 5e-4; published: batch 512 for 33 epochs of AudioSet at 4e-4",
            *small_scale.DEVIATIONS,
        ),
        kept=(
            "80 % of the patches hidden at random, dropped before the encoder",
            "decoder of window attention, 4 x 4 patches, shifted by two time steps in every second block",
            "squared error of patches that are standardised one by one, on hidden patches only",
            "circular roll and gain Beta(10, 10) + 0.5 on the waveform; fixed sin-cos positions; class token",
        ),
        unknown=(
            "whether the windows' attention has learned biases of offsets: it has, as in Swin (chosen)",
            "the epoch is counted as 2 million clips: copies of AudioSet differ (chosen)",
            "the clip vector: the mean over patches (chosen)",
        ),
        cost="a fifth of the patches in the encoder; the decoder works on all, in windows: linear in their number",
        choose="general sounds on a fixed window, fine-tuned afterwards: its vectors need more training than a linear "
        "probe; cheap for long windows",
        measure_statistics=not paper,
        frontend=preset("kaldi128"),
        augment=ViewPlanConfig(wave=(WaveRollConfig(), WaveGainConfig(beta=10.0))),
        encoder=layout("audio_mae", "base" if paper else "tiny", frames=1024 if paper else 256),
        objective=MaskedPredictionConfig(
            mask=RandomMask(ratio=0.8),
            hide="drop",
            decoder=WindowDecoderConfig() if paper else WindowDecoderConfig(width=128, depth=2, heads=4),
            terms=(RegressionConfig(PatchTargetConfig(norm="patch"), measure="l2", name="patch_mse"),),
        ),
        window=WindowConfig(seconds=10.24, short="pad") if paper else small_scale.window(2.56),
        loader=LoaderConfig(batch=512, workers=-1) if paper else small_scale.loader(64),
        train=TrainConfig(
            steps=33 * _EPOCH, warmup_steps=3 * _EPOCH, lr=4e-4, betas=(0.9, 0.95), weight_decay=1e-4, save_every=_EPOCH
        )
        if paper
        else small_scale.train(1500, 5e-4, betas=(0.9, 0.95), weight_decay=1e-4),
    )

"""PASE: many small workers on the frames of one encoder (arXiv 1904.03416)."""

from __future__ import annotations

from auricle.audio.frontends.frame_spectrum import FrameSpectrumConfig
from auricle.audio.frontends.prosody import ProsodyConfig
from auricle.audio.frontends.waveform import WaveformConfig
from auricle.audio.ops.crop import CropConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.pase import PaseConfig
from auricle.objectives.workers.pairs import PairWorkerConfig
from auricle.objectives.workers.regression import FrameWorkerConfig, WaveWorkerConfig
from auricle.objectives.workers.workers import WorkersConfig
from auricle.recipes import small_scale
from auricle.recipes.recipe import Recipe, Reference, recipe
from auricle.training.train_config import TrainConfig

REFERENCE = Reference(
    title="Learning Problem-agnostic Speech Representations from Multiple Self-supervised Tasks",
    authors="Santiago Pascual, Mirco Ravanelli, Joan Serra, Antonio Bonafonte, Yoshua Bengio",
    arxiv="1904.03416",
    section="2 (encoder and workers), and numbers of the released code",
)

# Steps of an epoch: 50 hours of utterances of 12 s at a batch of 32.
_EPOCH = 470


@recipe("pase", sizes=("tiny", "paper"), paradigm="auxiliary")
def pase(size: str = "tiny") -> Recipe:
    """PASE: seven workers predict signals of a clip, or tell pairs apart, from the same frames every 10 ms.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    paper = size == "paper"
    return Recipe(
        name="pase",
        size=size,
        reference=REFERENCE,
        deviations=(
            "pitch by autocorrelation, in auricle's own front ends; one learning rate for encoder and workers; cosine "
            "decay; published: halved every 30 epochs",
            *(
                ()
                if paper
                else (
                    "half the channels: 1.5 million weights; published: 5.8 million",
                    "batch 16 for 1000 steps; published: batch 32 for 150 epochs of 50 hours",
                    *small_scale.DEVIATIONS,
                )
            ),
        ),
        kept=(
            "filters learned as band-passes, seven convolutions, 100 numbers every 10 ms",
            "workers on the same frames: waveform (absolute error), log power spectrum of 1025 bins, 20 MFCC, prosody "
            "(squared error, targets standardised), local and global identity of the clip, order in time "
            "(binary cross-entropy); the loss is the sum of all",
            "regression workers have one hidden layer of 256",
        ),
        unknown=(
            "length of a chunk: 1 s (chosen); steps of an epoch: 50 hours of 12 s each (chosen)",
            "strides and widths of the waveform worker: three transposed convolutions (chosen)",
            "context of the order worker: 50 ms, 150 ms away, so that both see different samples, and 75 ms from the "
            "ends of a chunk, which would give the order away (chosen)",
            "pairs of a clip: 8 for each worker on time steps (chosen)",
        ),
        cost="convolutions over every sample, two pieces a clip; the front ends of the targets cost about as much as "
        "reading the clip. Targets are standardised on 500 clips before the first step",
        choose="speech, with little of it: many weak tasks guard against a shortcut in one; frames every 10 ms",
        frontend=WaveformConfig(),
        augment=ViewPlanConfig(crop=CropConfig(seconds=1.0, each=True)),
        encoder=PaseConfig.size("base" if paper else "tiny"),
        objective=WorkersConfig(
            workers=(
                WaveWorkerConfig(),
                FrameWorkerConfig("lps", FrameSpectrumConfig()),
                FrameWorkerConfig("mfcc", FrameSpectrumConfig(bands="mel", n_fft=512, cepstra=20)),
                FrameWorkerConfig("prosody", ProsodyConfig()),
                PairWorkerConfig("lim", "local"),
                PairWorkerConfig("gim", "global"),
                PairWorkerConfig("spc", "sequence"),
            )
        ),
        window=WindowConfig(seconds=4.0, short="repeat") if paper else small_scale.window(2.56),
        loader=small_scale.loader(32 if paper else 16),
        train=TrainConfig(steps=150 * _EPOCH, lr=5e-4, weight_decay=0.0, warmup_steps=0, save_every=_EPOCH)
        if paper
        else small_scale.train(1000, 1e-3),
    )

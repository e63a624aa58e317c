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
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.notes import searched
from auricle.training.train_config import TrainConfig

PASE = Method(
    name="pase",
    paradigm="auxiliary",
    summary="PASE: seven workers predict signals of a clip, or discriminate pairs, from the same frames every 10 ms.",
    learns="tests/learning/test_learn_pase.py",
)
NOTES = Notes(
    method="pase",
    reference=Reference(
        title="Learning Problem-agnostic Speech Representations from Multiple Self-supervised Tasks",
        authors="Santiago Pascual, Mirco Ravanelli, Joan Serra, Antonio Bonafonte, Yoshua Bengio",
        arxiv="1904.03416",
        section="2 (encoder and workers), and numbers of the released code",
    ),
    faithful=(
        "filters learned as band-passes, seven convolutions, 100 numbers every 10 ms",
        "workers on the same frames: waveform (absolute error), log power spectrum of 1025 bins, 20 MFCC, prosody "
        "(squared error, targets standardised), local and global identity of the clip, order in time (binary "
        "cross-entropy); the loss is the sum of all",
        "regression workers have one hidden layer of 256; that of the waveform has transposed convolutions of 512, 256 "
        "and 128 channels, strides 4, 4 and 10, kernels of 30, then 64 units (paper)",
    ),
    deviations=(
        "pitch by autocorrelation, in auricle's own front ends; one learning rate for encoder and workers; cosine "
        "decay; published: halved every 30 epochs",
        "Hann windows in all spectra; released code: none in the power spectrum",
    ),
    not_specified=searched(
        "paper, released code and its configuration",
        "length of a chunk: 1 s (chosen); steps of an epoch: 50 hours of 12 s each (chosen)",
        "context of the order worker: 50 ms, 150 ms away, so that both see different samples, and 75 ms from the ends "
        "of a chunk, which would reveal the order (chosen)",
        "pairs of a clip: 8 for each worker on time steps (chosen)",
    ),
    cost="convolutions over every sample, two chunks per clip; the front ends of the targets cost about as much as "
    "decoding the clip. Targets are standardised on 500 clips before the first step",
    when_to_use="speech, with little of it: many weak tasks guard against a shortcut in one; frames every 10 ms",
)

SMALLER_WAVE = "waveform worker of 64, 32 and 16 channels, strides 8, 5 and 4; released: 512, 256 and 128, 4, 4 and 10"
# Steps of an epoch: 50 hours of utterances of 12 s at a batch of 32.
_EPOCH = 470


def _objective(wave: WaveWorkerConfig) -> WorkersConfig:
    """Return seven workers, of which one predicts the waveform."""
    return WorkersConfig(
        workers=(
            wave,
            FrameWorkerConfig("lps", FrameSpectrumConfig()),
            FrameWorkerConfig("mfcc", FrameSpectrumConfig(bands="mel", n_fft=512, cepstra=20)),
            FrameWorkerConfig("prosody", ProsodyConfig()),
            PairWorkerConfig("lim", "local"),
            PairWorkerConfig("gim", "global"),
            PairWorkerConfig("spc", "sequence"),
        )
    )


@PASE.size("paper")
def pase_paper() -> Recipe:
    """5.8 M parameters, 150 epochs of 50 hours."""
    return Recipe(
        name="pase",
        size="paper",
        notes=NOTES,
        frontend=WaveformConfig(),
        augment=ViewPlanConfig(crop=CropConfig(seconds=1.0, each=True)),
        encoder=PaseConfig.size("base"),
        objective=_objective(WaveWorkerConfig(strides=(4, 4, 10))),
        window=WindowConfig(seconds=4.0, short="repeat"),
        loader=small_scale.loader(32),
        train=TrainConfig(steps=150 * _EPOCH, lr=5e-4, weight_decay=0.0, warmup_steps=0, save_every=_EPOCH),
    )


# A waveform worker for encoders of half the channels.
SMALL_WAVE = WaveWorkerConfig(channels=(64, 32, 16), kernel=None, hidden=16)


@PASE.size("tiny")
def pase_tiny() -> Recipe:
    """Small scale: half the channels, 1000 steps."""
    return pase_paper().replace(
        size="tiny",
        notes=NOTES.with_deviations(
            "half the channels: 1.5 million weights; published: 5.8 million",
            SMALLER_WAVE,
            "batch 16 for 1000 steps; published: batch 32 for 150 epochs of 50 hours",
            *small_scale.LAYERS_DEVIATIONS,
        ),
        features=small_scale.FEATURES,
        encoder=PaseConfig.size("tiny"),
        objective=_objective(SMALL_WAVE),
        window=small_scale.window(2.56),
        loader=small_scale.loader(16),
        train=small_scale.train(1000, 1e-3),
    )

"""PASE+: PASE on distorted input, with more workers and a recurrent layer (arXiv 2001.09239)."""

from __future__ import annotations

from auricle.audio.frontends.frame_spectrum import FrameSpectrumConfig
from auricle.audio.frontends.frontend import FrontEndConfig
from auricle.audio.frontends.prosody import ProsodyConfig
from auricle.audio.ops.crop import CropConfig
from auricle.audio.ops.wave_filters import BandDropConfig, NarrowbandConfig, ReverbConfig
from auricle.audio.ops.wave_masking import ChopsConfig
from auricle.audio.ops.wave_mixing import OverlapConfig
from auricle.audio.ops.wave_ops import ClippingConfig, WaveNoiseConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.encoders.pase import PaseConfig
from auricle.objectives.workers.pairs import PairWorkerConfig
from auricle.objectives.workers.regression import FrameWorkerConfig, WaveWorkerConfig
from auricle.objectives.workers.workers import WorkersConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.methods.auxiliary.pase import SMALL_WAVE, SMALLER_WAVE, pase_paper, pase_tiny
from auricle.recipes.notes import searched

PASE_PLUS = Method(
    name="pase-plus",
    paradigm="auxiliary",
    summary="PASE+: the encoder reads distorted speech, twelve workers predict signals of the clean speech.",
)
NOTES = Notes(
    method="pase-plus",
    reference=Reference(
        title="Multi-task self-supervised learning for Robust Speech Recognition",
        authors="Mirco Ravanelli, Jianyuan Zhong, Santiago Pascual, Pawel Swietojanski, Joao Monteiro, Jan Trmal, "
        "Yoshua Bengio",
        arxiv="2001.09239",
        section="2 (distortions, encoder, workers), and numbers of the released code",
    ),
    faithful=(
        "distortions of the encoder's input only, targets of the clean waveform: reverberation 0.5, noise 0.4 at 0, 5 "
        "or 10 dB, overlapping speech 0.1 at 5, 7.5 or 10 dB, clipping 0.2, chops 0.2, 8 kHz 0.25, a band 0.35",
        "a skip from every block to the output, a recurrent layer, 256 numbers every 10 ms (paper)",
        "ten regression workers (waveform, three kinds of spectrum and cepstra with both windows, prosody), two on the "
        "local and the global identity of the clip (paper)",
        "long windows of 512 samples for the power spectrum, 1024 for the filter bank, 2048 for gammatone and cepstra; "
        "targets of seven frames with two derivatives (paper)",
    ),
    deviations=(
        "noise is white and rooms are made of decaying noise, which needs no files; published: recorded ones",
        "a GRU in both directions of the same width instead of the QRNN; one learning rate for all, cosine decay; "
        "released code: 5e-4 for the workers, polynomial decay",
        "no other speakers or noises than those of the batch",
        "Hann windows in all spectra; released code: none in the power spectrum and the filter bank",
    ),
    not_specified=searched(
        "paper, released code and its configuration",
        "order of the distortions: as listed (chosen)",
        "context: workers predict derivatives and context together (chosen)",
        "power of the released code's polynomial decay",
    ),
    cost="as pase, with a recurrent layer; the heads of context and derivatives are larger than the encoder",
    when_to_use="speech that will be recorded in noise and rooms: the encoder learns to predict the clean signal",
)

# Steps of an epoch: 50 hours of utterances of 12 s at a batch of 16.
_EPOCH = 940
_BANK = {"n_fft": 512, "count": 40}
# Names and kinds of spectrum; MFCC of the long window keep 20 coefficients.
_SHORT_WINDOWS: dict[str, FrontEndConfig] = {
    "lps": FrameSpectrumConfig(),
    "fbank": FrameSpectrumConfig(bands="mel", **_BANK),
    "gammatone": FrameSpectrumConfig(bands="gammatone", **_BANK),
    "mfcc": FrameSpectrumConfig(bands="mel", cepstra=13, **_BANK),
    "prosody": ProsodyConfig(),
}
_LONG_WINDOWS: dict[str, FrontEndConfig] = {
    "lps": FrameSpectrumConfig(window=512),
    "fbank": FrameSpectrumConfig(bands="mel", n_fft=1024, window=1024),
    "gammatone": FrameSpectrumConfig(bands="gammatone", window=2048),
    "mfcc": FrameSpectrumConfig(bands="mel", cepstra=20, window=2048),
}


def _workers(wave: WaveWorkerConfig, frames: tuple[FrameWorkerConfig, ...]) -> WorkersConfig:
    pairs = (PairWorkerConfig("lim", "local"), PairWorkerConfig("gim", "global"))
    return WorkersConfig(workers=(wave, *frames, *pairs))


def _views(seconds: float) -> ViewPlanConfig:
    """Return two distorted chunks of a clip, each of some seconds."""
    return ViewPlanConfig(
        crop=CropConfig(seconds=seconds, each=True),
        wave=(
            ReverbConfig(p=0.5),
            WaveNoiseConfig(p=0.4, choices_db=(0.0, 5.0, 10.0)),
            OverlapConfig(p=0.1),
            ClippingConfig(p=0.2),
            ChopsConfig(p=0.2),
            NarrowbandConfig(p=0.25),
            BandDropConfig(p=0.35),
        ),
    )


@PASE_PLUS.size("paper")
def pase_plus_paper() -> Recipe:
    """Twelve workers, chunks of 2 s, 400 epochs of 50 hours."""
    frames: list[FrameWorkerConfig] = []
    for name, short in _SHORT_WINDOWS.items():
        frames.append(FrameWorkerConfig(name, short, deltas=2, context=3))
        if name in _LONG_WINDOWS:
            frames.append(FrameWorkerConfig(f"{name}_long", _LONG_WINDOWS[name], deltas=2, context=3))
    base = pase_paper()
    return base.replace(
        name="pase-plus",
        notes=NOTES,
        augment=_views(2.0),
        encoder=PaseConfig.size("plus"),
        objective=_workers(WaveWorkerConfig(strides=(4, 4, 10)), tuple(frames)),
        loader=small_scale.loader(16),
        train=base.train.replace(steps=400 * _EPOCH, lr=1e-3),
    )


@PASE_PLUS.size("tiny")
def pase_plus_tiny() -> Recipe:
    """Small scale: eight workers, chunks of 1 s, 800 steps."""
    frames = tuple(FrameWorkerConfig(name, made, deltas=1, context=0) for name, made in _SHORT_WINDOWS.items())
    return pase_tiny().replace(
        name="pase-plus",
        notes=NOTES.with_deviations(
            "first derivatives only, no context, no long windows; half the channels",
            SMALLER_WAVE,
            "chunks of 1 s, batch 16 for 800 steps; published: 2 s, batch 16 for 400 epochs",
            *small_scale.LAYERS_DEVIATIONS,
        ),
        augment=_views(1.0),
        encoder=PaseConfig.size("tiny", width=128, skips=True, recurrent=128),
        objective=_workers(SMALL_WAVE, frames),
        train=small_scale.train(800, 1e-3),
    )

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
from auricle.recipes import small_scale
from auricle.recipes.recipe import Recipe, Reference, get_recipe, recipe

PLUS = Reference(
    title="Multi-task self-supervised learning for Robust Speech Recognition",
    authors="Mirco Ravanelli, Jianyuan Zhong, Santiago Pascual, Pawel Swietojanski, Joao Monteiro, Jan Trmal, "
    "Yoshua Bengio",
    arxiv="2001.09239",
    section="2 (distortions, encoder, workers), and numbers of the released code",
)
# Samples of the long analysis window: all of the transform.
_LONG = 2048
# Steps of an epoch: 50 hours of utterances of 12 s at a batch of 16.
_EPOCH = 940


@recipe("pase-plus", sizes=("tiny", "paper"), paradigm="auxiliary")
def pase_plus(size: str = "tiny") -> Recipe:
    """PASE+: the encoder hears distorted speech, twelve workers ask for the clean one.

    Args:
        size: as for `pase`.
    """
    paper = size == "paper"
    base = get_recipe("pase", size)
    deltas, context = (2, 7) if paper else (1, 0)
    bank = {"n_fft": 512, "count": 40}
    # Names, kinds of spectrum; MFCC of the long window keep 20 coefficients.
    spectra: tuple[tuple[str, FrontEndConfig], ...] = (
        ("lps", FrameSpectrumConfig()),
        ("lps_long", FrameSpectrumConfig(window=_LONG)),
        ("fbank", FrameSpectrumConfig(bands="mel", **bank)),
        ("fbank_long", FrameSpectrumConfig(bands="mel", window=_LONG)),
        ("gammatone", FrameSpectrumConfig(bands="gammatone", **bank)),
        ("gammatone_long", FrameSpectrumConfig(bands="gammatone", window=_LONG)),
        ("mfcc", FrameSpectrumConfig(bands="mel", cepstra=13, **bank)),
        ("mfcc_long", FrameSpectrumConfig(bands="mel", cepstra=20, window=_LONG)),
        ("prosody", ProsodyConfig()),
    )
    if not paper:
        spectra = tuple(each for each in spectra if not each[0].endswith("_long"))
    return base.replace(
        name="pase-plus",
        reference=PLUS,
        deviations=(
            "noise is white and rooms are made of decaying noise: views read no files; published: recorded ones",
            "a GRU in both directions of the same width instead of the QRNN; one learning rate for all; cosine decay",
            "no other speakers or noises than those of the batch",
            *(
                ()
                if paper
                else (
                    "first derivatives only, no context, no long windows; half the channels",
                    "chunks of 1 s, batch 16 for 800 steps; published: 2 s, batch 16 for 400 epochs",
                    *small_scale.DEVIATIONS,
                )
            ),
        ),
        kept=(
            "distortions of the encoder's input only, targets of the clean waveform: reverberation 0.5, noise 0.4 at "
            "0, 5 or 10 dB, overlapping speech 0.1 at 5, 7.5 or 10 dB, clipping 0.2, chops 0.2, 8 kHz 0.25, a band "
            "0.35",
            "a skip from every block to the output, a recurrent layer, 256 numbers every 10 ms",
            "targets with derivatives and 7 frames of context on either side; windows of 25 ms and long ones",
            "ten regression workers (waveform, three kinds of spectrum and cepstra with both windows, prosody), two "
            "on the local and the global identity of the clip",
        ),
        unknown=(
            "the long window: 128 ms, all of the transform (chosen)",
            "order of the distortions: as listed (chosen)",
            "how far workers look around: context and derivatives are predicted together (chosen)",
            "the released code's decay of the learning rate: polynomial of unknown power; cosine (chosen)",
        ),
        cost="as pase, with a recurrent layer; the heads of context and derivatives outweigh the encoder",
        choose="speech that will be met in noise and rooms: it learns to hear the clean signal",
        augment=ViewPlanConfig(
            crop=CropConfig(seconds=2.0 if paper else 1.0, each=True),
            wave=(
                ReverbConfig(p=0.5),
                WaveNoiseConfig(p=0.4, choices_db=(0.0, 5.0, 10.0)),
                OverlapConfig(p=0.1),
                ClippingConfig(p=0.2),
                ChopsConfig(p=0.2),
                NarrowbandConfig(p=0.25),
                BandDropConfig(p=0.35),
            ),
        ),
        encoder=PaseConfig.size("plus") if paper else PaseConfig.size("tiny", width=128, skips=True, recurrent=128),
        objective=WorkersConfig(
            workers=(
                WaveWorkerConfig(),
                *(FrameWorkerConfig(name, made, deltas=deltas, context=context) for name, made in spectra),
                PairWorkerConfig("lim", "local"),
                PairWorkerConfig("gim", "global"),
            )
        ),
        loader=small_scale.loader(16),
        train=base.train.replace(steps=400 * _EPOCH, lr=1e-3) if paper else small_scale.train(800, 1e-3),
    )

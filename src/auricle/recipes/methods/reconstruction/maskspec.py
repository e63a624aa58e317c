"""MaskSpec: masked spectrogram prediction at 32 kHz (arXiv 2204.12768, ICASSP 2023)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.methods.reconstruction.audio_mae import audio_mae_paper, audio_mae_tiny
from auricle.recipes.notes import PADDED, searched

MASKSPEC = Method(
    name="maskspec",
    paradigm="reconstruction",
    summary="MaskSpec: encode a quarter of the patches of a 32 kHz spectrogram; a plain decoder reconstructs the rest.",
)
NOTES = Notes(
    method="maskspec",
    reference=Reference(
        title="Masked Spectrogram Prediction for Self-Supervised Audio Pre-Training",
        authors="Dading Chong, Helin Wang, Peilin Zhou, Qingcheng Zeng",
        arxiv="2204.12768",
        section="2 (method), 3.1, and numbers of the released code",
    ),
    faithful=(
        "32 kHz, 128 of Kaldi's mel bins to 15 kHz of 25 ms every 10 ms, pre-emphasis of 0.97, symmetric Hann window",
        "75 % of the patches of 16 x 16 masked, dropped before the encoder; 992 frames (paper)",
        "plain transformer decoder over all patches; squared error of standardised masked patches",
        "learning rate 1e-3 for every 256 clips, down to 0, weight decay 0.05, 40 of 400 epochs of warm-up (paper)",
    ),
    deviations=(
        "Kaldi's frames, each minus its mean, with a floor of 1e-7; released code: frames centred on multiples of the "
        "hop, 1e-5 added",
        "the corpus's mean and deviation over all bins; released code: those of each bin",
        "the highest corner of the mel bins is fixed; released code: jittered by 1 kHz on either side in training",
    ),
    not_specified=searched(
        "paper, released code",
        "the epoch is counted as 2 million clips: copies of AudioSet differ (chosen)",
    ),
    cost="a quarter of the patches in the encoder, all of them in the decoder with global attention",
    when_to_use="sounds with content above 8 kHz; otherwise Audio-MAE, whose decoder is cheaper on long windows",
)


# Steps of an epoch of AudioSet (2 M clips) at a batch of 512.
_EPOCH = 3906


@MASKSPEC.size("paper")
def maskspec_paper() -> Recipe:
    """ViT-B on 10 s at 32 kHz, 400 epochs of AudioSet."""
    base = audio_mae_paper()
    return base.replace(
        name="maskspec",
        notes=NOTES.with_deviations(PADDED),
        measure_statistics=True,
        frontend=preset("maskspec128"),
        augment=PlainViewsConfig(),
        encoder=layout("maskspec", "base", frames=992),
        objective=base.objective.replace(
            mask=RandomMask(ratio=0.75), decoder=TransformerDecoderConfig(init="xavier_uniform")
        ),
        # 992 whole frames.
        window=base.window.replace(seconds=9.935),
        train=base.train.replace(
            steps=400 * _EPOCH, warmup_steps=40 * _EPOCH, lr=1e-3 * 512 / 256, min_lr=0.0, weight_decay=0.05
        ),
    )


@MASKSPEC.size("tiny")
def maskspec_tiny() -> Recipe:
    """Small scale: width 192 on 2.56 s, 1500 steps."""
    base = audio_mae_tiny()
    return base.replace(
        name="maskspec",
        notes=NOTES.with_deviations(
            "encoder of width 192 on 2.56 s, decoder of 2 blocks of width 128; published: width 768 on 10 s, 8 blocks "
            "of 512",
            "batch 64 for 1500 steps at 5e-4, weight decay 1e-4; published: batch 512, 2e-3, 0.05",
            *small_scale.DEVIATIONS,
        ),
        frontend=preset("maskspec128"),
        augment=PlainViewsConfig(),
        encoder=layout("maskspec", "tiny", frames=272),
        objective=base.objective.replace(
            mask=RandomMask(ratio=0.75),
            decoder=TransformerDecoderConfig(width=128, depth=2, heads=4, init="xavier_uniform"),
        ),
    )

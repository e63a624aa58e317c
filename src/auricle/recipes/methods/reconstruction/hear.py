"""HeAR: health acoustic representations, a masked autoencoder on two-second clips (arXiv 2403.02522)."""

from __future__ import annotations

from auricle.audio.views import PlainViewsConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.methods.reconstruction.audio_mae import audio_mae_paper, audio_mae_tiny
from auricle.recipes.notes import searched

HEAR = Method(
    name="hear",
    paradigm="reconstruction",
    summary="HeAR: a large masked autoencoder on clips of two seconds, for coughs, breath and speech.",
)
NOTES = Notes(
    method="hear",
    reference=Reference(
        title="HeAR - Health Acoustic Representations",
        authors="Sebastien Baur and others",
        arxiv="2403.02522",
        section="the abstract; the training code is not public",
    ),
    faithful=(
        "masked autoencoding with 75 % masked, an encoder of large size, a plain decoder of 8 blocks (paper)",
        "clips of two seconds at 16 kHz, patches of 16 x 16",
    ),
    deviations=("clip vectors have the encoder's width, averaged over patches; published: 512",),
    not_specified=searched(
        "abstract; the training code is not public",
        "front end, width of the decoder, optimiser, schedule: those of Audio-MAE, without augmentation (chosen)",
    ),
    cost="a quarter of the 104 patches of two seconds in the encoder, which is large",
    when_to_use="short bodily sounds: coughs, breath, heart; or as the plainest masked autoencoder on short clips",
)


@HEAR.size("paper")
def hear_paper() -> Recipe:
    """ViT-L on two seconds, with Audio-MAE's optimiser."""
    base = audio_mae_paper()
    return base.replace(
        name="hear",
        notes=NOTES,
        augment=PlainViewsConfig(),
        encoder=layout("audio_mae", "large", frames=208),
        objective=base.objective.replace(
            mask=RandomMask(ratio=0.75), decoder=TransformerDecoderConfig(init="xavier_uniform")
        ),
        window=base.window.replace(seconds=2.0, short="repeat"),
    )


@HEAR.size("tiny")
def hear_tiny() -> Recipe:
    """Small scale: width 192, 1500 steps."""
    base = audio_mae_tiny()
    return base.replace(
        name="hear",
        notes=NOTES.with_deviations(
            "encoder of width 192; published: large (1024 wide, 24 layers)",
            "hours of audio; published: 313 million clips of two seconds",
            *small_scale.DEVIATIONS,
        ),
        augment=PlainViewsConfig(),
        encoder=layout("audio_mae", "tiny", frames=208),
        objective=base.objective.replace(
            mask=RandomMask(ratio=0.75),
            decoder=TransformerDecoderConfig(width=128, depth=2, heads=4, init="xavier_uniform"),
        ),
        window=base.window.replace(seconds=2.0),
    )

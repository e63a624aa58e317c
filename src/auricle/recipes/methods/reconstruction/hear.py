"""HeAR: health acoustic representations, a masked autoencoder on two-second clips (arXiv 2403.02522)."""

from __future__ import annotations

from auricle.audio.views import PlainViewsConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.recipes import small_scale
from auricle.recipes.methods.reconstruction.audio_mae import audio_mae
from auricle.recipes.recipe import Recipe, Reference, recipe


@recipe("hear", sizes=("tiny", "paper"), paradigm="reconstruction")
def hear(size: str = "tiny") -> Recipe:
    """HeAR: a large masked autoencoder on clips of two seconds, for coughs, breath and speech.

    Args:
        size: `paper` has what is published; `tiny` is for hours of audio and two cores.
    """
    paper, base = size == "paper", audio_mae(size)
    decoder = TransformerDecoderConfig() if paper else TransformerDecoderConfig(width=128, depth=2, heads=4)
    return base.replace(
        name="hear",
        reference=Reference(
            title="HeAR - Health Acoustic Representations",
            authors="Sebastien Baur and others",
            arxiv="2403.02522",
            section="the abstract; the training code is not public",
        ),
        deviations=(
            "clip vectors have the encoder's width, averaged over patches; published: 512",
            *(
                ()
                if paper
                else (
                    "encoder of width 192; published: large (1024 wide, 24 layers)",
                    "hours of audio; published: 313 million clips of two seconds",
                    *small_scale.DEVIATIONS,
                )
            ),
        ),
        kept=(
            "masked autoencoding with 75 % hidden, an encoder of large size, a plain decoder of 8 blocks",
            "clips of two seconds at 16 kHz, patches of 16 x 16",
        ),
        unknown=(
            "front end, width of the decoder, optimiser, schedule: those of Audio-MAE, without augmentation (chosen)",
        ),
        cost="a quarter of the 104 patches of two seconds in the encoder, which is large",
        choose="short bodily sounds: coughs, breath, heart; or as the plainest masked autoencoder on short clips",
        augment=PlainViewsConfig(),
        encoder=layout("audio_mae", "large" if paper else "tiny", frames=208),
        objective=base.objective.replace(mask=RandomMask(ratio=0.75), decoder=decoder),
        window=base.window.replace(seconds=2.0, short="repeat"),
    )

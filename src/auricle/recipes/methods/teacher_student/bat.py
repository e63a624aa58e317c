"""BAT: EAT with a transformer decoder, patches masked at random, and means in both terms (ICML 2026)."""

from __future__ import annotations

from auricle.corpus.loader import LoaderConfig
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.methods.teacher_student.eat import (
    DECAY,
    DIRECT_CLIP,
    PADDED_TARGETS,
    PLACES,
    SMALLER,
    TARGETS,
    TEACHER,
    eat_paper,
    eat_tiny,
    latent_terms,
)

BAT = Method(
    name="bat",
    paradigm="teacher-student",
    summary="BAT: EAT with a transformer decoder, patches masked at random, and means in both terms.",
)
NOTES = Notes(
    method="bat",
    reference=Reference(
        title="BAT (ICML 2026)",
        authors="Ghaffari et al.",
        section="the released code (houtan-ghaffari/BAT_ICML2026), as summarised by others",
    ),
    faithful=(
        *TARGETS,
        TEACHER,
        "a transformer of 6 layers as decoder (paper); plain means of both terms, weighted equally",
        "0.8 of the patches masked; 16 clones of each clip (paper)",
    ),
    deviations=(
        "patches masked at random; released code: inverse blocks of 5 x 5, adjusted by 0.07",
        "blocks without gates; released code: the output of attention is gated by a sigmoid of a linear layer",
        "pre-norm decoder with fixed positions; released code: a gated post-norm decoder with learned positions",
        "targets are feed-forward outputs, their squared error summed over channels, times 1 / sqrt(D), gradients "
        "clipped at 4; released code: block outputs, means over channels, no clipping",
        f"a class token ({DIRECT_CLIP}); released code: no class token",
        "EAT's front end, with roll and gain of the waveform; released code: mel bins in decibels (at most "
        "80 dB below the top), scaled to the range of each clip, no augmentation",
        "positions lie on the grid of time and frequency; released code: on the transposed grid",
    ),
    not_specified=("width and heads of the decoder: the encoder's (paper)",),
    cost="as EAT: a step encodes each clip once whole, without gradient, and its clones at a fifth of their patches "
    "each; the decoder attends over all patches of every clone",
    when_to_use="as EAT, with its terms at plain means and without convolutions",
)


@BAT.size("paper")
def bat_paper() -> Recipe:
    """ViT-B on 10.24 s, 16 clones, batch 96."""
    base = eat_paper()
    return base.replace(
        name="bat",
        notes=NOTES.with_deviations(PADDED_TARGETS),
        loader=LoaderConfig(batch=96),
        objective=base.objective.replace(
            mask=RandomMask(ratio=0.8), decoder=TransformerDecoderConfig(768, 6, 12), terms=latent_terms("means")
        ),
    )


@BAT.size("tiny")
def bat_tiny() -> Recipe:
    """Small scale: 6 layers of width 192 on 2.56 s, 4 clones, 1400 steps."""
    base = eat_tiny()
    return base.replace(
        name="bat",
        notes=NOTES.with_deviations(
            *small_scale.DEVIATIONS,
            SMALLER,
            "4 clones, a decoder of 2 layers and width 128; published: 16, and 6 layers",
            DECAY,
            PLACES,
        ),
        objective=base.objective.replace(mask=RandomMask(ratio=0.8), decoder=TransformerDecoderConfig(128, 2, 4)),
        train=base.train.replace(steps=1400),
    )

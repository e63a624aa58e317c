"""MAE-AST: SSAST's terms behind a masked autoencoder's encoder (arXiv 2203.16691, Interspeech 2022)."""

from __future__ import annotations

from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.masks.blocks import ClusterMask
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.methods.reconstruction.ssast import ALIKE, ssast_paper, ssast_tiny
from auricle.recipes.notes import PADDED

MAE_AST = Method(
    name="mae-ast",
    paradigm="reconstruction",
    summary="MAE-AST: drop masked patches before the encoder; a short decoder discriminates and reconstructs them.",
)
NOTES = Notes(
    method="mae-ast",
    reference=Reference(
        title="MAE-AST: Masked Autoencoding Audio Spectrogram Transformer",
        authors="Alan Baade, Puyuan Peng, David Harwath",
        arxiv="2203.16691",
        section="3, and numbers of the released code",
    ),
    faithful=(
        "75 % of the patches masked, dropped before an encoder of 12 layers; a decoder of 2 layers over all (paper)",
        "contrast between the masked patches of a clip (weight 1), their reconstruction (weight 10), raw patches",
    ),
    deviations=(
        "masked in squares as in SSAST; released code: single random patches (mask=RandomMask)",
        "heads of two layers (ReLU); released code: one linear layer each",
        "InfoNCE normalised over the predictions; released code: over the true patches",
        "sin-cos positions of two dimensions and a class token, as in Audio-MAE; released code: one-dimensional "
        "sinusoids, no class token",
        "spectrograms normalised by the corpus; released code: by each batch, times 0.5",
        "optimiser, batch and steps are SSAST's; released code: Adam with betas 0.9 and 0.98, weight decay 0.01, "
        "400,000 steps, warm-up of 32,000, clipping at 10, dropout 0.1, layer drop 0.05",
    ),
    not_specified=("one mask for both terms (chosen)",),
    cost="a quarter of the patches in the encoder, all in two layers: about a third of SSAST's with one mask",
    when_to_use="as SSAST, at less cost",
)


@MAE_AST.size("paper")
def mae_ast_paper() -> Recipe:
    """ViT-B on 10.24 s, with SSAST's optimiser."""
    base = ssast_paper()
    return base.replace(
        name="mae-ast",
        notes=NOTES.with_deviations(PADDED),
        encoder=layout("audio_mae", "base", frames=1024),
        objective=base.objective.replace(
            mask=ClusterMask(ratio=0.75),
            hide="drop",
            separate=False,
            decoder=TransformerDecoderConfig(width=768, depth=2, heads=12),
        ),
    )


@MAE_AST.size("tiny")
def mae_ast_tiny() -> Recipe:
    """Small scale: width 192 on 2.56 s, 1500 steps."""
    base = ssast_tiny()
    return base.replace(
        name="mae-ast",
        notes=NOTES.with_deviations(
            ALIKE,
            "encoder of width 192 on 2.56 s, decoder of width 128; published: 768 on 10.24 s",
            "batch 24 for 1500 steps at 5e-4",
            *small_scale.DEVIATIONS,
        ),
        encoder=layout("audio_mae", "tiny", frames=256),
        objective=base.objective.replace(
            mask=ClusterMask(ratio=0.75),
            hide="drop",
            decoder=TransformerDecoderConfig(width=128, depth=2, heads=4),
        ),
    )

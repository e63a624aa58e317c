"""MAE-AST: SSAST's terms behind a masked autoencoder's encoder (arXiv 2203.16691, Interspeech 2022)."""

from __future__ import annotations

from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.masks.blocks import ClusterMask
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.recipes import small_scale
from auricle.recipes.methods.reconstruction.audio_mae import PADDED
from auricle.recipes.methods.reconstruction.ssast import ssast
from auricle.recipes.recipe import Recipe, Reference, recipe


@recipe("mae-ast", sizes=("tiny", "paper"), paradigm="reconstruction")
def mae_ast(size: str = "tiny") -> Recipe:
    """MAE-AST: hidden patches are dropped before the encoder; behind a short decoder they are told apart and rebuilt.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    paper, base = size == "paper", ssast(size)
    decoder = TransformerDecoderConfig(width=768, depth=2, heads=12)
    return base.replace(
        name="mae-ast",
        reference=Reference(
            title="MAE-AST: Masked Autoencoding Audio Spectrogram Transformer",
            authors="Alan Baade, Puyuan Peng, David Harwath",
            arxiv="2203.16691",
            section="3, and numbers of the released code",
        ),
        deviations=(PADDED,)
        if paper
        else (
            "candidates that are all but identical to the true patch (silence) are left out; published: kept",
            "encoder of width 192 on 2.56 s, decoder of width 128; published: 768 on 10.24 s",
            "batch 24 for 1500 steps at 5e-4",
            *small_scale.DEVIATIONS,
        ),
        kept=(
            "75 % of the patches hidden, dropped before an encoder of 12 layers; a decoder of 2 layers over all",
            "contrast between the hidden patches of a clip (weight 1), their reconstruction (weight 10), raw patches",
        ),
        unknown=(
            "hidden in squares as in SSAST, or one by one: squares (chosen; mask=RandomMask is the other)",
            "one mask for both terms; fixed positions and class token as in Audio-MAE (chosen)",
            "batch, learning rate, schedule and length: SSAST's (chosen)",
        ),
        cost="a quarter of the patches in the encoder, all in two layers: about a third of SSAST's with one mask",
        choose="SSAST's uses, at less cost",
        encoder=layout("audio_mae", "base" if paper else "tiny", frames=1024 if paper else 256),
        objective=base.objective.replace(
            mask=ClusterMask(ratio=0.75),
            hide="drop",
            separate=False,
            decoder=decoder if paper else TransformerDecoderConfig(width=128, depth=2, heads=4),
        ),
    )

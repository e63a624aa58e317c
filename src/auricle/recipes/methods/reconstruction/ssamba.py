"""SSAMBA: SSAST's objective on a bidirectional state space encoder (arXiv 2405.11831, SLT 2024)."""

from __future__ import annotations

from auricle.encoders.state_space import BidirectionalStateSpaceConfig
from auricle.recipes import small_scale
from auricle.recipes.methods.reconstruction.audio_mae import PADDED
from auricle.recipes.methods.reconstruction.ssast import patch_terms, ssast
from auricle.recipes.recipe import Recipe, Reference, recipe


@recipe("ssamba", sizes=("tiny", "paper"), paradigm="reconstruction")
def ssamba(size: str = "tiny") -> Recipe:
    """SSAMBA: joint discriminative and generative patch terms on selective state spaces in both directions.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    paper, base = size == "paper", ssast(size)
    encoder = (
        BidirectionalStateSpaceConfig.size("base")
        if paper
        else BidirectionalStateSpaceConfig.size("micro", frames=256, drop_path=0.0)
    )
    return base.replace(
        name="ssamba",
        reference=Reference(
            title="SSAMBA: Self-Supervised Audio Representation Learning with Mamba State Space Model",
            authors="Siavash Shams, Sukru Samet Dindar, Xilin Jiang, Nima Mesgarani",
            arxiv="2405.11831",
            section="3, 4.1, and numbers of the released code",
        ),
        deviations=(
            "patches are read in time-major order; published: frequency-major",
            "squares that pass the end of a row go on in the next band, as in the released code",
            *(
                ("AdamW with decoupled decay of 5e-7; published: Adam with it in the gradient", PADDED)
                if paper
                else (
                    "one mask, and one pass, for both terms; released code: one for each",
                    "candidates that are all but identical to the true patch (silence) are left out; published: kept",
                    "8 blocks of width 128 on 2.56 s, batch 16, 600 steps at 1e-3; published: 24 of up to 768 on "
                    "10.24 s, batch 64, ten epochs at 1e-4",
                    *small_scale.DEVIATIONS,
                )
            ),
        ),
        kept=(
            "blocks that scan from both ends, in pairs of which the second reads the sequence turned round",
            "400 of 512 patches hidden in squares; both of SSAST's terms, weights 1 and 10",
            "batch 64, learning rate 1e-4 (paper size)",
        ),
        unknown=(*base.unknown, "schedule: constant, as SSAST's here (chosen)"),
        cost="linear in the number of patches; on a CPU the recurrence is slow: several times a transformer's step",
        choose="long recordings, where attention's square is too much; SSAST is quicker on short ones",
        encoder=encoder,
        objective=base.objective.replace(terms=patch_terms(768, "negatives") if paper else patch_terms(128, "ignored")),
        loader=base.loader.replace(batch=64) if paper else small_scale.loader(16),
        train=base.train.replace(steps=356_000) if paper else small_scale.train(600, 1e-3, weight_decay=5e-7),
    )
